"""Every field of the API is in a golden case: what no case has, nobody has looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd
from egressgateway.refs import Manifest
from unit.golden.cases import Case, case_named, case_names

PASSED_ON = ("affinity", "podTemplate", "tolerations", "topologySpreadConstraints", "matchExpressions")
"""Parts of Kubernetes' own API: passed on as a whole."""


def fields_of(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Paths of all fields below `schema`; lists and maps of free keys do not count as levels."""
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here
        below = child.get("items", child)
        if name not in PASSED_ON:
            yield from fields_of(below, here)


def used_in(value: Any, path: str = "") -> Iterator[str]:
    """Paths of all fields in a spec, as `fields_of` names them."""
    if isinstance(value, list):
        for item in value:
            yield from used_in(item, path)
    elif isinstance(value, dict):
        for name, child in value.items():
            here = f"{path}.{name}" if path else name
            yield here
            yield from used_in(child, here)


def _cases() -> list[Case]:
    return [case_named(name) for name in case_names()]


@pytest.mark.parametrize(
    ("crd", "manifests"),
    [
        pytest.param(egress_gateway_crd(), [case.gateway for case in _cases()], id="EgressGateway"),
        pytest.param(egress_gateway_class_crd(), [case.class_ for case in _cases()], id="EgressGatewayClass"),
    ],
)
def test_every_field_is_in_a_golden_case(crd: Manifest, manifests: list[Manifest | None]) -> None:
    """The list of what is missing is the work to do."""
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    used = {path for manifest in manifests if manifest for path in used_in(manifest.get("spec") or {})}
    assert sorted(set(fields_of(schema)) - used) == []
