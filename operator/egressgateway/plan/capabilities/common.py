"""Fields that the operator handles alike for every provider."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.capabilities.model import Support, Table

SPEC: Final[Table] = {
    "className": Support("the class; a change moves clients once the new route is complete"),
    "suspend": Support("the operator writes only the status, and withdraws what the class no longer allows"),
    "destinations": Support("below"),
    "destinations.name": Support("part of the names of children"),
    "destinations.ports": Support("below"),
    "destinations.requestHeaders": Support("below"),
    "destinations.traffic": Support("below"),
    "destinations.expiresAt": Support("the destination counts as deleted from then on"),
    "expose": Support("below"),
    "expose.name": Support("part of the names of children"),
    "expose.backend": Support("below"),
    "access": Support("below"),
    "telemetry": Support("below"),
}

CLASS: Final[Table] = {
    "provider": Support("this column"),
    "shared.namespace": Support("namespace of both"),
    "shared.service": Support("endpoint of the clients' ServiceEntry, host of the hop's DestinationRule"),
    "shared.ports": Support("below"),
    "allowedNamespaces": Support("checked by the operator"),
    "allowedConsumers": Support("checked by the operator"),
    "allowedHosts": Support("checked by the operator"),
    "deniedHosts": Support("checked by the operator"),
    "allowedCIDRs": Support("checked by the operator"),
    "allowedExposedHosts": Support("checked by the operator"),
    "deniedFeatures": Support("checked by the operator"),
    "trial": Support("checked by the operator, and not in force"),
}
