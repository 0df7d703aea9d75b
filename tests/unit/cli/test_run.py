"""`egressgw run` where it cannot run: one line that names the remedy, and no traceback."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from egressgateway.cli.main import app
from egressgateway.cli.operator import checked_proxy, checked_revision
from egressgateway.cli.run import _run, report_loop_error
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
        f"egressgw: cannot serve metrics on 127.0.0.1:{port}: another process already listens there; choose another "
        "--metrics-port\n"
    )


@pytest.mark.parametrize("flags", [[], ["--mesh-revision", "1-30-3"]])
def test_revision_of_the_mesh_is_what_the_flag_says(monkeypatch: pytest.MonkeyPatch, flags: list[str]) -> None:
    """Without it nothing is said of revisions."""
    given: list[Settings] = []
    monkeypatch.setattr("egressgateway.cli.run.run_operator", lambda settings: given.append(settings) or 0)
    done = CliRunner().invoke(app, ["run", *flags])
    assert (done.exit_code, [each.mesh.revision for each in given]) == (0, [*flags[1:], ""][:1])


@pytest.mark.parametrize("value", ["10.0.0.1:3128", "https://proxy", "http://", "http://a/b"])
def test_proxy_that_is_no_url_is_refused(value: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"{value!r} is not the URL of an HTTP proxy: http://HOST:PORT"):
        checked_proxy(value)
    assert CliRunner().invoke(app, ["run", f"--pods-proxy={value}"]).exit_code == 2


@pytest.mark.parametrize("value", ["1.30", "Stable", "-a", "a b", "a" * 57])
def test_revision_that_no_control_plane_has_is_refused(value: str) -> None:
    """It would be a ConfigMap that is never there, and a label that no webhook looks for."""
    with pytest.raises(typer.BadParameter, match=f"{value!r} is not a revision of istiod.*istio.io/rev"):
        checked_revision(value)
    assert CliRunner().invoke(app, ["run", f"--mesh-revision={value}"]).exit_code == 2


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


def test_a_watch_that_cannot_be_closed_at_the_end_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """kopf leaves its generator to the end of the loop; whatever else goes wrong there is logged as an error."""

    async def watch() -> AsyncIterator[int]:
        try:
            yield 1
        except GeneratorExit:
            raise RuntimeError("the connection is gone") from None

    async def leave_it(left: list[AsyncIterator[int]]) -> None:
        left.append(watch())
        await anext(left[0])

    left: list[AsyncIterator[int]] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(report_loop_error)
        runner.run(leave_it(left))
    assert [record.levelname for record in caplog.records] == []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(report_loop_error)
        runner.get_loop().call_exception_handler({"message": "something else"})
    assert [record.levelname for record in caplog.records] == ["ERROR"]
