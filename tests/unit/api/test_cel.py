"""The two faces of a rule say the same: CEL, as an interpreter of it runs it, and the Python check."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.hosts import is_cidr, is_ip
from egressgateway.api.model import ApiModel
from egressgateway.api.rules import Rule
from egressgateway.api.spec import EgressGatewaySpec

cel = pytest.importorskip("cel_expr_python.cel", reason="needs the package cel-expr-python")
ext_strings = pytest.importorskip("cel_expr_python.ext.ext_strings")

# Letters that the forms treat differently, and what only careless patterns let pass. No NUL, at which this
# interpreter's strings end; the corpus asks the API server about it.
TEXTS = st.text(alphabet="aAzm0159-._/*:?#{} \néſ٣%GETs", max_size=24) | st.sampled_from(
    [
        *(
            "api.example.com",
            "*.example.com",
            "a.b.",
            "127.0.0.1",
            "127.1",
            "a.0x7f",
            "::1",
            "::ffff:1.2.3.4",
            "1::/129",
        ),
        *(
            "10.0.0.0/8",
            "10.0.0.0/08",
            "a.svc",
            "a.svc.b",
            "metadata.google.internal",
            "/v1/*",
            "/v1*",
            "gateway-error",
        ),
        *("a.pod", "cluster.local", "x.egress.internal", "egress.internal", "instance-data.a", "*.ec2.internal"),
        *("http://a.b", "a.b:80", "10.0.0.0/8", "a.*.b", "*-a.b", "a_b.c", "A.b", "a b.c"),
        *("503", "600", "a" * 63 + ".b", "a" * 64 + ".b", "a-.b", "-a.b", "a\n.b", "Host", "istio-system/*", "a/b/c"),
    ]
)


def text_rules(hint: Any, seen: set[Any]) -> Iterator[Rule[str]]:
    """The rules about texts in a type and everything below it."""
    if isinstance(hint, type) and issubclass(hint, ApiModel) and hint not in seen:
        seen.add(hint)
        for field in get_type_hints(hint, include_extras=True).values():
            yield from text_rules(field, seen)
    arguments = get_args(hint)
    if arguments and arguments[0] is str:
        yield from (item for item in arguments[1:] if isinstance(item, Rule))
    for argument in arguments:
        yield from text_rules(argument, seen)


def all_text_rules() -> list[Rule[str]]:
    found = [rule for model in (EgressGatewaySpec, EgressGatewayClassSpec) for rule in text_rules(model, set())]
    return list({rule.cel: rule for rule in found}.values())


def function(name: str, check: Any) -> Any:
    """A function of Kubernetes' CEL library that the interpreter lacks."""
    overload = cel.Overload(f"{name}_string", return_type=cel.Type.BOOL, parameters=[cel.Type.STRING], impl=check)
    return cel.FunctionDecl(name, [overload])


@cache
def _environment() -> Any:
    kubernetes = cel.CelExtension("kubernetes", [function("isIP", is_ip), function("isCIDR", is_cidr)])
    return cel.NewEnv(variables={"self": cel.Type.STRING}, extensions=[ext_strings.ExtStrings(), kubernetes])


@cache
def compiled(expression: str) -> Any:
    """To compile costs a hundred times what an evaluation does."""
    return _environment().compile(expression)


def test_rules_are_found() -> None:
    """The comparison below compares something."""
    assert len(all_text_rules()) > 15


@pytest.mark.parametrize("rule", all_text_rules(), ids=lambda rule: rule.message[:40])
@settings(
    deadline=None,
    derandomize=True,
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(text=TEXTS)
@example(text=".0\n")
def test_text_rule_means_the_same_in_cel_and_python(rule: Rule[str], text: str) -> None:
    """Whatever the text, the API server and the models give it the same verdict."""
    value = compiled(rule.cel).eval(data={"self": text}).value()
    assert value is (not list(rule.find(text))), repr(text)


@pytest.mark.parametrize(
    "rule", [rule for rule in all_text_rules() if rule.mistakes], ids=lambda rule: rule.message[:40]
)
@settings(
    deadline=None,
    derandomize=True,
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(text=TEXTS)
@example(text="1/2\n")
@example(text="a.example.\n")
def test_refusal_names_the_same_mistake_in_cel_and_python(rule: Rule[str], text: str) -> None:
    """The API server's words for a text are those of the models."""
    words = compiled(rule.as_cel()["messageExpression"]).eval(data={"self": text}).value()
    assert words == rule.message_for(text), repr(text)
