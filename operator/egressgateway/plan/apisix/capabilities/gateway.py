"""What APISIX does with the settings of the gateway's own pods, logs and headers."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.apisix.capabilities.remedies import REMOVE_OR_ISTIO
from egressgateway.plan.capabilities.model import Refusal, Support, Table, refused

GATEWAY: Final[Table] = {
    "gateway": refused("the pods are those of the platform's APISIX"),
    "telemetry.accessLog": refused("APISIX's own installation decides what it logs"),
    "telemetry.tracing": Support("Strip: plugin `proxy-rewrite` removes those that came with the request"),
    "telemetry.meshHeaders": Support(
        "Keep; without the field `proxy-rewrite` removes the mesh's headers, and the status lists those that stay",
        (
            Refusal(
                "APISIX itself adds x-real-ip and x-forwarded-*, with the address of the caller's pod",
                REMOVE_OR_ISTIO,
                "Strip",
                lambda value: value == "Strip",
            ),
        ),
    ),
}
