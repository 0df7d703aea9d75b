"""Traffic cases are read, and no way is left unprobed without a reason that holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.mesh.cases import Unprobed, load_case
from harness.mesh.detector import Consumer

CASES = Path(__file__).parents[2] / "mesh" / "cases"
WAY = {"through": "shop/exit"}


def rows(directory: Path, *rows: dict[str, Any]) -> Path:
    path = directory / "case.yaml"
    path.write_text(yaml.safe_dump({"about": "one", "steps": [{"traffic": [*rows]}]}))
    return path


def row(request: str, who: str = "shop/app", **more: Any) -> dict[str, Any]:
    return {"from": who, "request": request, "expect": WAY, **more}


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_case_probes_somebody(path: Path) -> None:
    """Each case is watched by at least one consumer all the time."""
    assert load_case(path).calls


@pytest.mark.parametrize(
    ("request_", "url"),
    [
        ("GET http://api.example.com/v1", "http://api.example.com/v1"),
        ("WEBSOCKET wss://api.example.com/", "https://api.example.com/"),
        ("GRPC api.example.com:50051", "http://api.example.com:50051/"),
        ("TCP api.example.com:9000", "tcp://api.example.com:9000"),
        ("TLS api.example.com:6380", "tls://api.example.com:6380"),
    ],
)
def test_row_is_asked_all_the_time(request_: str, url: str, tmp_path: Path) -> None:
    [call] = load_case(rows(tmp_path, row(request_))).calls
    assert (call.url, call.consumer) == (url, Consumer("shop", "app"))


def test_one_call_for_each_client_host_and_port(tmp_path: Path) -> None:
    """The mesh steers by nothing else: the first of several rows is taken."""
    asked = [
        row("GET http://api.example.com/a"),
        row("GET http://api.example.com/b"),
        row("WEBSOCKET ws://api.example.com/c"),
        row("GET https://api.example.com/"),
        row("GET http://api.example.com/a", who="shop/other"),
        row("GET http://other.example.com/") | {"expect": {"through": "direct"}},
        row("GET http://other.example.com/") | {"expect": "refused"},
    ]
    found = {(call.who, call.url) for call in load_case(rows(tmp_path, *asked)).calls}
    assert found == {
        ("shop/app", "http://api.example.com/a"),
        ("shop/app", "https://api.example.com/"),
        ("shop/other", "http://api.example.com/a"),
    }


EXCUSED = {
    Unprobed.SERVER_FIRST: row("TCP db.example.com:5432"),
    Unprobed.FROM_OUTSIDE: row("GET http://api.example.com/", who="world"),
    Unprobed.BY_HAND: row("GET https://private.internal/", identity="mesh shop/app"),
    Unprobed.OTHER_NAME: row("GET http://other.example.com/", headers={"host": "api.example.com"}),
}


@pytest.mark.parametrize("reason", Unprobed)
def test_reason_must_be_there_and_hold(reason: Unprobed, tmp_path: Path) -> None:
    excused = EXCUSED[reason]
    assert load_case(rows(tmp_path, excused | {"unprobed": reason.value})).calls == []
    with pytest.raises(ValueError, match=f"unprobed is None, not {reason}"):
        load_case(rows(tmp_path, excused))
    with pytest.raises(ValueError, match=f"unprobed is {reason}, not None"):
        load_case(rows(tmp_path, row("GET http://api.example.com/", unprobed=reason.value)))


def test_way_that_another_row_probes_needs_no_reason(tmp_path: Path) -> None:
    """The same client, host and port, asked for by the same name."""
    twice = (
        row("GET http://api.example.com/"),
        row("GET http://api.example.com/", headers={"host": "api.example.com:1"}),
    )
    assert len(load_case(rows(tmp_path, *twice)).calls) == 1
