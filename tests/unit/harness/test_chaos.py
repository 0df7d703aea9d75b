"""What the tests of disturbances judge by: a comparison that sees a difference, a log's complaints, a story's seed."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from harness.chaos.account import complaints
from harness.chaos.endstate import differences
from harness.chaos.story import Story, is_at_rest
from harness.controlplane import is_free


def test_differences_name_object_and_value() -> None:
    """What is missing, what is too much, and each value that is another, with its place."""
    was = {"a Service x": json.dumps({"spec": {"ports": [80, 443]}}), "a Service y": "{}"}
    is_ = {"a Service x": json.dumps({"spec": {"ports": [80, 444]}}), "a Service z": "{}"}
    assert list(differences(was, was)) == []
    assert list(differences(was, is_)) == [
        "different: a Service x",
        "  undisturbed: .spec.ports[1]: 443",
        "  disturbed:   .spec.ports[1]: 444",
        "missing: a Service y",
        "too much: a Service z",
    ]


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ({"level": "info", "message": "Started"}, False),
        ({"level": "warning", "message": "Reconcile failed; retrying"}, False),
        ({"level": "error", "message": "Leadership lost"}, False),
        ({"level": "error", "message": "Something else"}, True),
        ({"level": "warning", "message": "Caught", "exception": "Traceback"}, True),
        ("Traceback (most recent call last):", True),
        ('{"ts": "2026-1', False),
    ],
)
def test_complaints_are_errors_and_traces(tmp_path: Path, line: object, bad: bool) -> None:
    """An error that belongs to the disturbance is none, nor is the half line of a process that was killed."""
    log = tmp_path / "log"
    log.write_text(f"{line if isinstance(line, str) else json.dumps(line)}\n")
    assert bool(complaints(log, ("Leadership lost",))) == bad


def test_story_is_the_same_for_the_same_seed() -> None:
    """A failure can be repeated; another seed is another story."""
    assert [each.said for each in Story(1).steps] == [each.said for each in Story(1).steps]
    assert Story(1).objects == Story(1).objects
    assert Story(1).objects != Story(2).objects


@pytest.mark.parametrize(
    ("ready", "steered", "rest"),
    [("Ready", "Steered", True), ("PartiallyReady", "Pending", False), ("Pending", "Pending", False)],
)
def test_rest_is_what_the_status_says(ready: str, steered: str, rest: bool) -> None:
    """Nothing of what is served is still to come, and the status is of the newest spec."""
    accepted = {"type": "Accepted", "status": "True", "reason": "Accepted"}
    part = {"conditions": [accepted, {"type": "Steered", "status": "Unknown", "reason": steered}]}
    status = {"observedGeneration": 2, "conditions": [{"type": "Ready", "reason": ready}], "destinations": [part]}
    assert is_at_rest({"metadata": {"generation": 2}, "status": status}) == rest
    assert not is_at_rest({"metadata": {"generation": 3}, "status": status})


def test_port_is_free_once_nobody_listens() -> None:
    """Whichever of the machine's addresses somebody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)
