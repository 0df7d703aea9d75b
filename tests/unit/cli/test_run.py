"""`egressgw run` where it cannot run: one line that names the remedy, and no traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from egressgateway.cli.run import _run
from egressgateway.settings import Settings
from harness.controlplane import free_ports
from unit.cluster.fake_api import write_kubeconfig


def run_operator(kubeconfig: Path | str, *flags: str) -> subprocess.CompletedProcess[str]:
    """The command, expected to end by itself."""
    argv = [sys.executable, "-m", "egressgateway", "run", "--metrics-host", "127.0.0.1", *flags]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_missing_kubeconfig_ends_with_one_line(tmp_path: Path) -> None:
    """The file that was looked for is named, and what to set."""
    path = tmp_path / "nowhere"
    done = run_operator(path, "--metrics-port", "0")
    assert done.returncode == 1
    assert done.stderr == (
        f"egressgw: connect: cannot read {path}: no such file; set KUBECONFIG to a kubeconfig, or run in a pod\n"
    )


def test_taken_port_ends_with_one_line(tmp_path: Path) -> None:
    """The port is named, and the flag that chooses another."""
    kubeconfig = write_kubeconfig(tmp_path, "http://127.0.0.1:1", token="unused")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_operator(kubeconfig, "--metrics-port", str(port))
    assert done.returncode == 1
    assert done.stderr == (
        f"egressgw: cannot serve metrics on 127.0.0.1:{port}: another process listens there; "
        "choose another --metrics-port\n"
    )


async def test_kopf_that_gives_up_before_it_begins_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port of the probes is free again: what kopf cannot do now it may do a second later."""
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, "http://127.0.0.1:1", token="unused")))
    [port] = free_ports(1)
    started: list[str] = []

    async def operator(*, identity: str, **_: object) -> None:
        started.append(identity)
        if len(started) == 1:
            raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr("kopf.operator", operator)
    settings = Settings(identity="operator-0", metrics_host="127.0.0.1", metrics_port=port)
    assert await _run(settings) == 0
    assert started == ["operator-0", "operator-0"]
