"""Golden cases against the core. `pytest --update-golden -k golden` writes what it makes of them now."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.refs import Manifest
from harness.conditions import violations
from harness.everychild import with_common, without_common
from harness.golden import ROOT, Golden
from unit.golden.cases import as_text, case_named, case_names, parse_case, run_named

LONGEST_IN, LONGEST_OUT = 80, 700


@pytest.mark.parametrize("name", case_names())
def test_golden_case_comes_out_as_reviewed(name: str, golden: Golden) -> None:
    """The core makes of the case what a person has looked at."""
    text = (ROOT / name / "in.yaml").read_text()
    out = as_text(case_named(name), run_named(name))
    assert text.count("\n") <= LONGEST_IN
    assert out.count("\n") <= LONGEST_OUT
    golden(f"{name}/out.yaml", out)


@pytest.mark.parametrize("name", case_names())
def test_every_child_of_a_golden_case_bears_what_every_child_does(name: str) -> None:
    """Labels, owner and digest, which its `out.yaml` leaves out: added to the rest, they make the child."""
    result = run_named(name)
    owner = result.facts.key
    for item in result.desired:
        assert with_common(without_common(item.manifest, owner), owner) == item.manifest


def test_another_label_owner_or_digest_is_seen() -> None:
    """What a child bears instead of the common part is shown by its case, and what it lacks fails the test above."""
    item, owner = run_named("one-http-host").desired[0], run_named("one-http-host").facts.key
    metadata = item.manifest["metadata"]
    labels = {**metadata["labels"], "app.kubernetes.io/managed-by": "somebody"}
    annotations = {"egressgateway.dev/digest": "0" * 16}

    def changed(**change: Any) -> Manifest:
        return {**item.manifest, "metadata": {**metadata, **change}}

    relabelled, orphaned = changed(labels=labels), changed(ownerReferences=[])
    undigested, unlabelled = changed(annotations=annotations), changed(labels={})
    assert without_common(relabelled, owner)["metadata"]["labels"].keys() == {
        "egressgateway.dev/stage",
        "app.kubernetes.io/managed-by",
    }
    assert without_common(orphaned, owner)["metadata"]["ownerReferences"] == []
    assert with_common(without_common(undigested, owner), owner) != undigested
    assert with_common(without_common(unlabelled, owner), owner) != unlabelled


@pytest.mark.parametrize("name", case_names())
def test_golden_case_has_a_status_that_tools_understand(name: str) -> None:
    """The status of every case keeps the rules of Flux and kstatus."""
    assert violations({"metadata": {"generation": 1}, "status": run_named(name).status}) == []


def test_golden_directory_holds_nothing_but_cases(golden: Golden) -> None:
    """An `out.yaml` whose case is gone goes with it."""
    orphans = [path for path in ROOT.glob("*/*") if path.name != "in.yaml" and not (path.parent / "in.yaml").exists()]
    for path in orphans if golden.update else ():
        path.unlink()
        path.parent.rmdir()
    assert golden.update or orphans == []


def test_golden_case_with_an_unknown_key_fails() -> None:
    """A key that nothing reads would make a case say something that it does not test."""
    with pytest.raises(ValueError, match="unknown keys: nowz"):
        parse_case("{gateway: {}, nowz: 2026-01-01T00:00:00Z}")
