"""What APISIX does with `access`."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.apisix.capabilities.remedies import REMOVE_OR_ISTIO
from egressgateway.plan.capabilities.model import Support, Table, refused

_ALIKE: Final = "the same for all namespaces: APISIX does not know the caller"

ACCESS: Final[Table] = {
    "access.from": Support(
        "`exportTo` of what clients see; APISIX takes requests only with the mark that their sidecars set"
    ),
    "access.from.namespaces": Support("`exportTo`"),
    "access.from.namespaceSelector": Support("`exportTo`"),
    "access.from.serviceAccounts": refused("APISIX does not know the caller", REMOVE_OR_ISTIO),
    "access.from.destinations": Support("as said above, for these destinations"),
    "access.from.methods": Support("`http[].match.methods`, and a rule that answers 403 to the rest", also=_ALIKE),
    "access.from.paths": Support("`http[].match.paths`, and a rule that answers 403 to the rest", also=_ALIKE),
}
