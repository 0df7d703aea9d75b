"""The field reference is that of the models, and shows an example of every field."""

from __future__ import annotations

import pytest

from docs.reference import DIRECTORY, all_sections, fields, pages, read_examples, used
from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd
from egressgateway.refs import Manifest
from gitops.states import as_yaml, gateway_states
from harness.golden import Golden

CRDS = [
    pytest.param(egress_gateway_crd(), id="EgressGateway"),
    pytest.param(egress_gateway_class_crd(), id="EgressGatewayClass"),
]


@pytest.mark.parametrize("name", ["egressgateway.md", "egressgatewayclass.md", "codes.md"])
def test_page_is_up_to_date(name: str) -> None:
    """Whoever changes a model, or the catalogue of codes, runs `make docs`."""
    assert (DIRECTORY / name).read_text() == pages()[name], "run: make docs"


@pytest.mark.parametrize("crd", CRDS)
def test_every_field_of_a_spec_has_an_example(crd: Manifest) -> None:
    """A new field needs an object in docs/reference/examples that uses it."""
    known = {each for each in fields(all_sections(crd)) if each.startswith("spec.")}
    shown = {each for example in read_examples(crd["spec"]["names"]["kind"]) for each in used(example)}
    assert len(known) > 20
    assert sorted(known - shown) == []


def test_example_of_a_status_is_the_operators(golden: Golden) -> None:
    """The status that the reference shows was written by the operator's own code."""
    head = "# An object with the status that the operator gave it. Written by `make golden`: do not edit.\n"
    Golden(golden.update, DIRECTORY / "examples")("4-status.yaml", head + as_yaml(gateway_states()["ready"]))
