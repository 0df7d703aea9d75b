"""`docs/providers.md`, written from the table of capabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from egressgateway.plan.capabilities.table import CAPABILITIES, CLASS_CAPABILITIES, Capability, Refusal, Support

_HEAD = """\
# What each provider makes of each field

`make golden` writes this page from `operator/egressgateway/plan/capabilities/table.py`. What a provider cannot do is
refused with `Accepted=False`, reason `UnsupportedValue`, and a message that names field, value, provider and a way out.
A field that is not listed is part of the one above it.

Three things of APISIX cannot be helped, and the status says so: it verifies no certificate of an external host; it
shows external hosts the address of the caller's pod in `x-real-ip` and `x-forwarded-*`; and it does not know who calls.
Its routes are not open to everybody for all that: they take only requests with the mark that consumers' sidecars set.
What `access` does not grant gets a 403 there, and goes to nobody else's route. But APISIX takes the longest path first,
whatever the priority: who else has routes at this APISIX for a destination's hosts should not have longer paths there.
"""


def provider_page() -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            *_table("`EgressGateway.spec`", CAPABILITIES),
            "",
            *_table("`EgressGatewayClass.spec`", CLASS_CAPABILITIES),
            "",
        ]
    )


def _table(title: str, table: Mapping[str, Capability]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield "| field | Istio | APISIX |"
    yield "|---|---|---|"
    for field, row in table.items():
        yield f"| `{field}` | {_cell(row.istio)} | {_cell(row.apisix)} |"


def _cell(support: Support) -> str:
    if not support.becomes and not support.refusals:
        return "as above"
    said = [support.becomes, support.also, *map(_refusal, support.refusals)]
    return "; ".join(each for each in said if each).replace("|", "\\|")


def _refusal(refusal: Refusal) -> str:
    what = " ".join(filter(None, (refusal.values, refusal.only)))
    return f"**refused**{f' {what}' if what else ''}: {refusal.why}"
