"""What Istio does with exposed hosts."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.capabilities.model import Support, Table

EXPOSE: Final[Table] = {
    "expose.hosts": Support("Gateway and VirtualService"),
    "expose.gatewayRef": Support("`gateways` of the VirtualService", also="required with a shared gateway"),
    "expose.port": Support("a server of the own Gateway"),
    "expose.tls": Support("a server of the own Gateway"),
    "expose.paths": Support("matches of the VirtualService"),
    "expose.backend.service": Support("destination of the VirtualService"),
    "expose.backend.destination": Support("the destination's route through the gateway"),
}
