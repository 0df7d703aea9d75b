"""Reading specs: every mistake is a value with a field, and nothing that a user writes raises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from egressgateway.api.destination import Protocol
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.api.validation import SpecError, parse_class_spec, parse_spec
from unit import objects

TLS = [{"port": 443, "protocol": "TLS"}]


def destination(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {**objects.destination(name, f"{name}.example", ports=TLS), **fields}


def errors_of(spec: Any) -> tuple[SpecError, ...]:
    parsed = parse_spec(spec)
    assert isinstance(parsed, tuple)
    return parsed


def test_parse_spec_valid_gives_the_model() -> None:
    """Names are Python's, values typed."""
    spec = parse_spec({"destinations": [destination(traffic={"timeout": "1m"})]})
    assert isinstance(spec, EgressGatewaySpec)
    assert spec.destinations[0].ports[0].protocol is Protocol.TLS
    assert spec.destinations[0].traffic is not None
    assert spec.as_json() == {"destinations": [destination(traffic={"timeout": "1m"})]}


def test_parse_spec_collects_every_broken_rule() -> None:
    """All mistakes are told at once, each at its own place."""
    wrong = [
        destination(hosts=["A.example", "x.test.svc"]),
        destination("b", hosts=["*.b.example"]),
        destination("c", hosts=["b.example"], ports=[{"port": 15001, "protocol": "TCP"}]),
    ]
    access = {"from": [{"destinations": ["d"]}]}
    assert [error.field for error in errors_of({"destinations": wrong, "access": access})] == [
        "spec.destinations[0].hosts[0]",
        "spec.destinations[0].hosts[1]",
        "spec.destinations[1].wildcard",
        "spec.destinations[2].ports[0].port",
        "spec.access.from[0].destinations[0]",
    ]


def test_parse_spec_collects_every_wrong_shape() -> None:
    """Types, bounds, missing and unknown fields come together too."""
    wrong = destination(ports=[{"port": 0, "protocol": "HTTPS"}], host="x")
    del wrong["name"]
    assert {error.field for error in errors_of({"destinations": [wrong], "suspend": "yes"})} == {
        "spec.suspend",
        "spec.destinations[0].name",
        "spec.destinations[0].host",
        "spec.destinations[0].ports[0].port",
        "spec.destinations[0].ports[0].protocol",
    }


def test_parse_spec_names_the_value_and_the_remedy() -> None:
    """A message can be read alone: field, value, what helps."""
    (error,) = errors_of({"destinations": [destination(hosts=["*.example.com"])]})
    assert str(error) == "spec.destinations[0].wildcard: wildcard is required for wildcard hosts: choose a strategy"
    (error,) = errors_of({"destinations": [destination(hosts=["reviews"])]})
    assert str(error).startswith('spec.destinations[0].hosts[0]: "reviews": must be a lower-case fully qualified host')


def test_spec_error_escapes_what_a_terminal_would_obey() -> None:
    """A value is shown escaped and cut, whatever it holds."""
    (error,) = errors_of({"destinations": [destination(hosts=["\x1b[2Ja\n" + "b" * 200])]})
    assert "\x1b" not in str(error)
    assert "\n" not in str(error)
    assert "…" in str(error)


def test_parse_spec_wrong_list_is_not_called_too_short() -> None:
    """An invalid entry is one mistake; that the list of valid ones is empty then is no second one."""
    (error,) = errors_of({"destinations": [destination(ports=[{"port": 443, "protocol": "HTTPS"}])]})
    assert error.field == "spec.destinations[0].ports[0].protocol"


@pytest.mark.parametrize("raw", [None, [], "spec", 1, {}, {"destinations": {}}, {1: 2}])
def test_parse_spec_of_no_object_is_an_error(raw: Any) -> None:
    """Whatever stands in the place of a spec, the answer is a value."""
    assert errors_of(raw)


def test_whole_float_is_an_integer() -> None:
    """kubectl sends 443.0 of a YAML file as 443."""
    assert isinstance(
        parse_spec({"destinations": [destination(ports=[{"port": 443.0, "protocol": "TLS"}])]}), EgressGatewaySpec
    )


def test_models_are_frozen() -> None:
    """Planning may hold on to a spec: nobody changes it behind its back."""
    spec = parse_spec({"destinations": [destination()]})
    assert isinstance(spec, EgressGatewaySpec)
    with pytest.raises(ValidationError, match="frozen"):
        spec.suspend = True  # type: ignore[misc]


def test_empty_class_is_the_built_in_one() -> None:
    """A class with an empty spec is valid, and limits nothing."""
    spec = parse_class_spec({})
    assert isinstance(spec, EgressGatewayClassSpec)
    assert spec.allowed_hosts is None


def test_allowed_hosts_empty_is_not_absent() -> None:
    """An empty list allows nothing; an absent one is the default, every host."""
    spec = parse_class_spec({"allowedHosts": []})
    assert isinstance(spec, EgressGatewayClassSpec)
    assert spec.allowed_hosts == ()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
)
DESTINATION_FIELDS = st.sampled_from(
    [
        "name",
        "hosts",
        "aliases",
        "ports",
        "endpoints",
        "wildcard",
        "requestHeaders",
        "traffic",
        "expiresAt",
        "resolution",
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["className", "suspend", "gateway", "expose", "access", "telemetry"]), JSON, max_size=3
    ),
    st.lists(st.dictionaries(DESTINATION_FIELDS, JSON, max_size=5).map(lambda raw: destination() | raw), max_size=3),
)
def test_parse_spec_never_raises(rest: dict[str, Any], destinations: list[dict[str, Any]]) -> None:
    """Any JSON is either a spec or a list of mistakes that can be printed."""
    parsed = parse_spec({**rest, "destinations": destinations})
    if isinstance(parsed, tuple):
        assert all(str(error).startswith("spec") for error in parsed)
    else:
        assert parsed.destinations
