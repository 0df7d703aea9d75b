"""The recorder of conditions: what it forgives, and what it does not."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from gitops.states import gateway_states
from harness.conditions import BEHIND
from harness.recorder import ConditionsRecorder
from harness.rest import Object

KUBECONFIG = """
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: nobody, user: {}}]
contexts: [{name: here, context: {cluster: none, user: nobody}}]
current-context: here
"""


@pytest.fixture
def recorder(tmp_path: Path) -> ConditionsRecorder:
    """One that watches nothing, and is told."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    return ConditionsRecorder(kubeconfig)


def edited(gateway: Object, message: str) -> Object:
    """The object after an edit that the status does not know of, with another message in that."""
    found = deepcopy(gateway)
    found["metadata"]["generation"] += 1
    found["status"]["conditions"][0]["message"] = message
    return found


def test_a_status_may_be_overtaken_by_an_edit_once(recorder: ConditionsRecorder) -> None:
    """No writer can know of an edit that comes while it writes; the next time it must."""
    ready = gateway_states()["ready"]
    ready["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    recorder.see(ready)
    recorder.see(edited(ready, "one"))
    assert recorder.found == []
    recorder.see(edited(ready, "two"))
    assert [BEHIND in text for text in recorder.found] == [True]


def test_each_edit_may_overtake_one_status(recorder: ConditionsRecorder) -> None:
    """A status that knows of the edit before is late for the one after at most once."""
    ready = gateway_states()["ready"]
    ready["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    recorder.see(edited(ready, "one"))
    following = edited(edited(ready, "two"), "three")
    for each in (following["status"], *following["status"]["conditions"]):
        each["observedGeneration"] += 1
    recorder.see(following)
    assert recorder.found == []
    recorder.see(edited(following, "four"))
    assert [BEHIND in text for text in recorder.found] == [True]
