"""Fields that an older CustomResourceDefinition lacks, by name."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd
from egressgateway.api.schemas import missing_fields
from egressgateway.refs import Manifest


def schema_of(definition: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return found


@pytest.fixture
def definition() -> Manifest:
    return deepcopy(egress_gateway_crd())


@pytest.mark.parametrize("own", [egress_gateway_crd, egress_gateway_class_crd])
def test_own_definitions_lack_nothing(own: Any) -> None:
    assert missing_fields(own()) == ()


def test_each_missing_field_is_named(definition: Manifest) -> None:
    """In lists as well; of a field with others in it, only its own name."""
    schema = schema_of(definition)
    del schema["status"]["properties"]["consumers"]
    del schema["spec"]["properties"]["destinations"]["items"]["properties"]["probe"]
    assert set(missing_fields(definition)) == {"status.consumers", "spec.destinations[].probe"}


def test_field_that_only_the_definition_knows_is_not_missing(definition: Manifest) -> None:
    """A newer one: after the way back."""
    schema_of(definition)["spec"]["properties"]["news"] = {"type": "string"}
    assert missing_fields(definition) == ()


def test_schema_that_drops_nothing_lacks_nothing(definition: Manifest) -> None:
    schema_of(definition)["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert missing_fields(definition) == ()


def test_other_definitions_are_nobodys_affair(definition: Manifest) -> None:
    definition["metadata"]["name"] = "things.example.com"
    schema_of(definition).clear()
    assert missing_fields(definition) == ()
