"""`docs/providers.md`, written from the providers' tables of capabilities."""

from __future__ import annotations

from collections.abc import Iterator

from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd
from egressgateway.plan.capabilities.model import Refusal, Support, Table
from egressgateway.plan.providers import PROVIDERS
from egressgateway.refs import Manifest
from unit.golden.test_coverage import fields_of

_HEAD = """\
# What each provider makes of each field

`make golden` writes this page from each provider's tables (`operator/egressgateway/plan/istio/capabilities/` and
`operator/egressgateway/plan/apisix/capabilities/`). What a provider cannot do is refused with `Accepted=False`, reason
`UnsupportedValue`, and a message that names field, value, provider and a way out. A field that is not listed is part of
the one above it.

Three things of APISIX cannot be helped, and the status says so: it verifies no certificate of an external host; it
shows external hosts the address of the caller's pod in `x-real-ip` and `x-forwarded-*`; and it does not know who calls.
Its routes are not open to everybody for all that: they take only requests with the mark that consumers' sidecars set.
What `access` does not grant gets a 403 there, and goes to nobody else's route. But APISIX takes the longest path first,
whatever the priority: who else has routes at this APISIX for a destination's hosts should not have longer paths there.

APISIX needs its ingress controller in version 2.0.0 or later (tried with what 2.2.0 does), an IngressClass, and a
GatewayProxy that the parameters of the class name. The controller reports `Accepted` before it pushes to APISIX. So a
route counts once nothing about it has changed for `apisix.pushTimeout`; until then clients stay where they are.
"""


def provider_page() -> str:
    """The whole page."""
    providers = list(PROVIDERS.values())
    return "\n".join(
        [
            _HEAD,
            *_page_of("`EgressGateway.spec`", egress_gateway_crd(), [each.capabilities.spec for each in providers]),
            "",
            *_page_of(
                "`EgressGatewayClass.spec`",
                egress_gateway_class_crd(),
                [each.capabilities.class_spec for each in providers],
            ),
            "",
        ]
    )


def schema_of(crd: Manifest) -> Manifest:
    """Schema of a kind's `spec`."""
    found: Manifest = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def _page_of(title: str, crd: Manifest, tables: list[Table]) -> Iterator[str]:
    """A row for each field that some provider speaks of, in the order of the CRD."""
    yield f"## {title}"
    yield ""
    yield f"| field | {' | '.join(PROVIDERS)} |"
    yield "|---" * (1 + len(tables)) + "|"
    for field in fields_of(schema_of(crd)):
        if any(field in table for table in tables):
            yield f"| `{field}` | {' | '.join(_cell(table.get(field, Support())) for table in tables)} |"


def _cell(support: Support) -> str:
    if not support.becomes and not support.refusals:
        return "as above"
    said = [support.becomes, support.also, *map(_refusal, support.refusals)]
    return "; ".join(each for each in said if each).replace("|", "\\|")


def _refusal(refusal: Refusal) -> str:
    what = " ".join(filter(None, (refusal.values, refusal.only)))
    return f"**refused**{f' {what}' if what else ''}: {refusal.why}"
