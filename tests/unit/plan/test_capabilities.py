"""Each provider's table holds every field of the API, drives the refusals, and is what the page says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apicases.corpus import full_objects
from egressgateway.api.conditions import Reason
from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd
from egressgateway.api.gateway_class import EgressGatewayClassSpec, ProviderName
from egressgateway.api.model import ApiModel
from egressgateway.api.validation import parse_class_spec, parse_spec
from egressgateway.facts import MeshConfig, PodFacts, PodSelection, References
from egressgateway.plan.accept import accept
from egressgateway.plan.capabilities.fields import SetField, refusals, set_fields
from egressgateway.plan.capabilities.model import Circumstance, Refusal, Table
from egressgateway.plan.providers import PROVIDERS
from egressgateway.plan.unsupported import unsupported_in_class
from egressgateway.refs import Manifest, ObjectRef
from harness.golden import Golden
from unit.golden.test_coverage import fields_of
from unit.plan.provider_page import provider_page, schema_of
from unit.plan.world import class_of, destination, facts_of, spec_of

ROOT = Path(__file__).parents[3]
SHARED = {"namespace": "edge", "service": "apisix", "selector": {"app": "apisix"}}
CLASSES: dict[str, EgressGatewayClassSpec] = {
    "Istio": class_of(),
    "Istio with mtls Disabled": class_of(mtls="Disabled"),
    "Istio with a shared gateway": class_of(shared=SHARED),
    "APISIX with a shared gateway with mtls Disabled": class_of(provider="APISIX", shared=SHARED, mtls="Disabled"),
}
REFERENCES = References(
    {ObjectRef("Service", "edge", "apisix"): {"spec": {"ports": [{"port": 80}, {"port": 443}]}}},
    {PodSelection("edge", (("app", "apisix"),)): (PodFacts("edge", "p", "apisix", ready=True),)},
)


def parsed(kind: str) -> Iterator[ApiModel]:
    """The specs that together use every field."""
    for document in full_objects():
        if document.manifest["kind"] == kind:
            parse = parse_spec if kind == "EgressGateway" else parse_class_spec
            spec = parse(document.manifest["spec"])
            assert isinstance(spec, ApiModel), spec
            yield spec


def tables() -> Iterator[Any]:
    """Every provider's tables, with the kind that each is about and its CRD."""
    for name, provider in PROVIDERS.items():
        found = provider.capabilities
        yield pytest.param(egress_gateway_crd(), found.spec, "EgressGateway", id=f"EgressGateway-{name}")
        yield pytest.param(
            egress_gateway_class_crd(), found.class_spec, "EgressGatewayClass", id=f"EgressGatewayClass-{name}"
        )


@pytest.mark.parametrize(("crd", "table", "kind"), list(tables()))
def test_every_field_of_the_crd_has_a_row_and_every_row_a_field(crd: Manifest, table: Table, kind: str) -> None:
    """A field without a row of its own is part of one; a field that is read from a spec is called as in the CRD."""
    fields = set(fields_of(schema_of(crd)))
    assert sorted(table.keys() - fields) == []
    leaves = [row for row in table if not any(other.startswith(f"{row}.") for other in table)]
    assert sorted(field for field in fields - table.keys() if not _is_below(field, leaves)) == []
    read = {found.row for spec in parsed(kind) for found in set_fields(spec)}
    assert sorted(field for field in read - fields if not _is_below(field, leaves)) == []


def _is_below(field: str, rows: list[str]) -> bool:
    return any(field.startswith(f"{row}.") for row in rows)


def _cases() -> Iterator[tuple[str, str, Refusal]]:
    for name, class_spec in CLASSES.items():
        for field, row in PROVIDERS[class_spec.data_plane].capabilities.spec.items():
            for refusal in row.refusals:
                if refusal.only in name:
                    yield name, field, refusal


@pytest.mark.parametrize(("class_name", "field", "refusal"), list(_cases()), ids=lambda value: str(value)[:60])
def test_each_refusal_is_a_finding_that_names_field_and_provider(class_name: str, field: str, refusal: Refusal) -> None:
    """UnsupportedValue, with the words of the table; the same spec without the value has no such finding."""
    message = next((each for each in _messages(class_name, field, refusal) if refusal.why in each), "")
    assert message, f"nothing refuses {field}"
    assert f"provider {CLASSES[class_name].data_plane}" in message
    assert message.endswith(refusal.remedy)
    plain = spec_of(destination())
    assert refusal.why not in str(accept(facts_of(plain, CLASSES[class_name], references=REFERENCES)).findings)


def _messages(class_name: str, field: str, refusal: Refusal) -> Iterator[str]:
    for raw in _raw_specs(field, refusal):
        spec = parse_spec(raw)
        assert not isinstance(spec, tuple), spec
        facts = facts_of(spec, CLASSES[class_name], references=REFERENCES)
        for found in accept(facts).findings:
            if found.reason is Reason.UNSUPPORTED_VALUE:
                yield found.message


WITH_PLACE: dict[str, Any] = {
    "destinations.ports.tls.sni": {
        "ports": [
            {
                "port": 80,
                "protocol": "HTTP",
                "targetPort": 443,
                "tls": {"mode": "Simple", "insecureSkipVerify": True, "sni": "b.example.com"},
            }
        ]
    },
}
"""Of fields whose every value is refused: those that the full objects have only beside others that are, too."""


def _raw_specs(field: str, refusal: Refusal) -> Iterator[Manifest]:
    """Specs that have the field with a refused value and as little else as may be."""
    path = field.split(".")
    for document in full_objects():
        if document.manifest["kind"] == "EgressGateway":
            raw = _reduced(document.manifest["spec"], path)
            if raw is not None:
                yield _with_value(raw, field, refusal)


def _with_value(raw: Manifest, field: str, refusal: Refusal) -> Manifest:
    value = WITH_PLACE.get(field) or {
        "HTTP2, GRPC": {"ports": [{"port": 80, "protocol": "GRPC"}]},
        "TLS, TCP": {"ports": [{"port": 443, "protocol": "TLS"}]},
        "without `insecureSkipVerify: true`": {
            "ports": [{"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Simple"}}]
        },
        "IPv6": {"endpoints": [{"address": "2001:db8::1"}]},
        "DynamicResolution": {"wildcard": {"strategy": "DynamicResolution"}},
        "with `$`": {"requestHeaders": {"set": [{"name": "x-a", "value": "$host"}]}},
        "fractions of a second": {"traffic": {"connectionPool": {"connectTimeout": "1500ms"}}},
        "more than 254": {"traffic": {"outlierDetection": {"consecutive5xxErrors": 255}}},
        "Random": {"traffic": {"loadBalancing": {"algorithm": "Random"}}},
    }.get(refusal.values)
    if value is None:
        return raw
    hosts = ["*.saas.example"] if "wildcard" in value else ["api.example.com"]
    ports = [{"port": 80, "protocol": "HTTP"}]
    return {"destinations": [{"name": "api", "hosts": hosts, "ports": ports, **value}]}


def _reduced(spec: Manifest, path: list[str]) -> Manifest | None:
    """`spec` when it has the field: the parts that others refer to stay with it."""
    found: Any = spec
    for name in path:
        candidates = found if isinstance(found, list) else [found]
        found = next((each[name] for each in candidates if isinstance(each, dict) and name in each), None)
        if found is None:
            return None
    kept = {path[0], "destinations"}
    if path[0] == "gateway":
        kept |= {"expose"}
    return {name: value for name, value in spec.items() if name in kept}


def test_refused_fields_of_a_class_are_told_with_it() -> None:
    """Every object of the class would need them."""
    shared = {**SHARED, "ports": {"http": 80, "tls": 443}}
    class_spec = class_of(provider="APISIX", shared=shared, externalAuthorization={"provider": "opa"})
    told = list(unsupported_in_class(class_spec, "EgressGatewayClass default", MeshConfig()))
    assert [message.split(": ")[1] for message in told] == ["spec.externalAuthorization", "spec.shared.ports.tls"]


def test_what_is_within_a_refused_field_is_not_told_too() -> None:
    """One message for one mistake."""
    spec = spec_of(destination(), gateway={"replicas": 3, "podLabels": {"a": "b"}})
    class_spec = CLASSES["APISIX with a shared gateway with mtls Disabled"]
    findings = accept(facts_of(spec, class_spec, references=REFERENCES)).findings
    assert [found.message.split(":")[0] for found in findings] == ["spec.gateway"]


def test_a_field_is_found_with_its_place_and_its_row() -> None:
    """Places count the entries of lists, rows do not."""
    spec = spec_of(destination("a"), destination("b", "b.example.com", aliases=["c.example.com"]))
    assert SetField("destinations.aliases", "spec.destinations[1].aliases", ("c.example.com",)) in set_fields(spec)


def test_a_field_without_a_row_is_refused_by_nothing() -> None:
    """It is part of the field above."""
    table = PROVIDERS[ProviderName.APISIX].capabilities.spec
    assert refusals(table, SetField("gateway.podLabels.a", "spec.gateway.podLabels.a", 1)) == ()


@pytest.mark.parametrize(("crd", "table", "kind"), list(tables()))
def test_each_cell_says_something(crd: Manifest, table: Table, kind: str) -> None:
    """A refusal of every value leaves nothing that the field could become, and the other way round."""
    for field, support in table.items():
        always = any(not each.values and each.only is Circumstance.ALWAYS for each in support.refusals)
        assert bool(support.becomes) != always, field


def test_golden_page_of_the_providers_is_what_the_table_says(golden: Golden) -> None:
    """`docs/providers.md` is written from the tables; `make golden` does it."""
    Golden(golden.update, ROOT)("docs/providers.md", provider_page())
