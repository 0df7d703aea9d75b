"""The schema of `defaultClass.spec` is that of a class: it takes what the API server takes, and prunes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from harness.helm import CHART
from harness.jsonschema import draft7
from harness.session import ROOT

Object = dict[str, Any]
OPEN = {
    *("podTemplate", "nodeAffinity", "podAffinity", "podAntiAffinity"),
    *("nodeSelector", "podLabels", "podAnnotations", "annotations", "matchLabels", "selector", "requests", "limits"),
}
"""Fields that Kubernetes judges, and maps."""

CORPUS = ROOT / "tests" / "corpus"


def schema() -> Object:
    """The part of the chart's schema, as it is stored."""
    values: Object = json.loads((CHART / "values.schema.json").read_text())
    found: Object = values["properties"]["defaultClass"]["properties"]["spec"]
    return found


def valid_specs() -> Iterator[Any]:
    """Specs of all classes that the API server takes (the control-plane tier sends them there)."""
    for path in (*sorted((CORPUS / "valid").glob("*.yaml")), CORPUS / "full.yaml"):
        for number, document in enumerate(yaml.safe_load_all(path.read_text())):
            if document and document["kind"] == "EgressGatewayClass":
                yield pytest.param(document["spec"], id=f"{path.stem}-{number}")


@pytest.mark.parametrize("spec", list(valid_specs()))
def test_every_valid_class_can_be_the_default_one(spec: Object) -> None:
    """What `kubectl apply` takes, the chart takes."""
    jsonschema.Draft7Validator(schema()).validate(spec)


def objects_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of all objects within `value`, itself among them."""
    if isinstance(value, dict):
        yield path
        for name, each in value.items():
            yield from objects_of(each, (*path, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from objects_of(each, (*path, index))


def with_typo(spec: Object, path: tuple[str | int, ...]) -> Object:
    changed: Any = json.loads(json.dumps(spec))
    place = changed
    for step in path:
        place = place[step]
    place["aTypo"] = "x"
    typed: Object = changed
    return typed


def test_a_typo_is_refused_at_every_level() -> None:
    """But within what is passed on to Kubernetes as it is, and in maps whose keys are the author's."""
    full = next(
        document["spec"]
        for document in yaml.safe_load_all((CORPUS / "full.yaml").read_text())
        if document["kind"] == "EgressGatewayClass"
    )
    validator = jsonschema.Draft7Validator(schema())
    paths = list(objects_of(full))
    refused = [path for path in paths if not validator.is_valid(with_typo(full, path))]
    assert () in refused
    assert [path for path in paths if path not in refused and not OPEN & set(path)] == []


@pytest.mark.parametrize(
    ("structural", "value", "fits"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"b": 1}, False),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, {"b": 1}, True),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"b": 1}, True),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"b": "x"}, False),
        ({"x-kubernetes-int-or-string": True}, "50%", True),
        ({"x-kubernetes-int-or-string": True}, [], False),
        ({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}, ["a", "a"], False),
        ({"type": "string", "pattern": "^a$", "description": "x", "format": "ip"}, "b", False),
    ],
)
def test_structural_schema_keeps_its_meaning(structural: Object, value: Any, fits: bool) -> None:
    """Each word of a CRD's schema that tells values apart tells the same of values of the chart."""
    assert jsonschema.Draft7Validator(draft7(structural)).is_valid(value) == fits
