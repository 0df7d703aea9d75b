"""What Istio does with `access`."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.capabilities.model import Circumstance, Refusal, Support, Table

_NO_IDENTITY: Final = Refusal(
    "the gateway does not know the caller",
    "remove it, or use a class with mtls Strict",
    only=Circumstance.PLAIN,
)

ACCESS: Final[Table] = {
    "access.from": Support(
        "AuthorizationPolicy at the gateway, for protocol TCP an EnvoyFilter besides; `exportTo` of what clients see",
        also="with a shared gateway one entry with methods or paths for each destination",
    ),
    "access.from.namespaces": Support("principals, `exportTo`"),
    "access.from.namespaceSelector": Support("principals, `exportTo`"),
    "access.from.serviceAccounts": Support("principals", (_NO_IDENTITY,)),
    "access.from.destinations": Support("`connection.sni`"),
    "access.from.methods": Support("`methods`", (_NO_IDENTITY,)),
    "access.from.paths": Support("`paths`", (_NO_IDENTITY,)),
}
