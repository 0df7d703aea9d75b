"""What APISIX does with the settings of the gateway's own pods, logs and headers."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.apisix.capabilities.remedies import REMOVE_OR_ISTIO
from egressgateway.plan.capabilities.model import Refusal, Support, Table, refused

GATEWAY: Final[Table] = {
    "gateway": refused("the pods are those of the platform's APISIX"),
    "telemetry.accessLog": refused("what APISIX logs is its installation's"),
    "telemetry.tracing": Support("Strip: plugin `proxy-rewrite` removes what came with the request"),
    "telemetry.meshHeaders": Support(
        "Keep; without the field `proxy-rewrite` removes what the mesh added, and the status says what stays",
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
