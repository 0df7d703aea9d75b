"""The mesh tier's kubelet probes a pod as a real one does (kubernetes.io, "Configure Probes")."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from harness.mesh.containers import Container
from harness.mesh.netns import Netns
from harness.mesh.pods import PodLife
from harness.mesh.sandbox import Process, Programs, Sandbox

Object = dict[str, Any]

PATIENCE_SECONDS = 20
SLEEP = [sys.executable, "-S", "-c", "import signal; signal.pause()"]


class Place(Sandbox):
    """A pod without a network namespace, whose containers are processes that wait."""

    def __init__(self, pod: Object, directory: Path) -> None:
        super().__init__(pod, "127.0.0.1", Netns("none"), directory, Programs(directory, directory))
        self.started: list[Process] = []

    def create(self, device: str) -> None:
        self.directory.mkdir(exist_ok=True)

    def own(self, container: Container) -> None:
        pass

    async def start(self, container: Container) -> Process:
        log = self.directory / container.name
        process = await Process.start(SLEEP, log.with_suffix(".log"), os.environ, self.directory, os.geteuid())
        self.started.append(process)
        return process

    def destroy(self) -> None:
        for each in self.started:
            each.kill()


class Pod:
    """A pod that lives, and the status that its kubelet wrote last."""

    def __init__(self, directory: Path, **probes: Object) -> None:
        container = {"name": "istio-proxy", "image": "none", **probes}
        metadata = {"name": "web", "namespace": "shop", "uid": "1"}
        self.place = Place({"metadata": metadata, "spec": {"containers": [container]}}, directory)
        self.statuses: list[Object] = []
        self._news = asyncio.Event()
        self.life = PodLife(self.place, self._send, "device", lambda _: None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        living = asyncio.create_task(self.life.run())
        try:
            yield
        finally:
            self.life.gone()
            await living
            # Whoever started a process has to see its end, or asyncio complains.
            await asyncio.gather(*(each.wait() for each in self.place.started))

    async def until(self, holds: Callable[[Object], bool]) -> None:
        """Return once the container's status as it was written last is so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (self.statuses and holds(self.container)):
                self._news.clear()
                await self._news.wait()

    @property
    def container(self) -> Object:
        found: Object = self.statuses[-1]["containerStatuses"][0]
        return found

    async def _send(self, method: str, path: str, body: Object | None) -> Object | None:
        assert (method, path) == ("PATCH", "/api/v1/namespaces/shop/pods/web/status")
        self.statuses.append((body or {})["status"])
        self._news.set()
        return body


class Port:
    """A port of loopback that answers, or does not."""

    def __init__(self) -> None:
        self.asked = 0
        self._server: asyncio.Server | None = None
        self.number = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.number)
        self.number = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        if self._server:
            self._server.close()

    async def _connected(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        with suppress(OSError):
            writer.close()

    def probe(self) -> Object:
        return {"tcpSocket": {"port": self.number}, "periodSeconds": 1, "failureThreshold": 1}


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """Nobody listens there yet."""
    port = Port()
    await port.open()
    port.close()
    yield port
    port.close()


def is_ready(container: Object) -> bool:
    return bool(container["ready"])


async def test_startup_probe_alone_lets_a_pod_become_ready(tmp_path: Path, port: Port) -> None:
    """
    Without a liveness probe, too, and not before it passes.

    Only the liveness probe's loop once waited for it: a pod with a startup probe alone was never Ready.
    """
    pod = Pod(tmp_path, startupProbe=port.probe())
    async with pod.running():
        await pod.until(lambda container: "running" in container["state"])
        assert (pod.container["started"], pod.container["ready"]) == (False, False)
        await port.open()
        await pod.until(is_ready)
    assert pod.container["started"]


async def test_readiness_is_not_asked_for_before_the_start(tmp_path: Path, port: Port) -> None:
    """A pod whose startup probe fails is not asked whether it is ready."""
    ready = Port()
    await ready.open()
    pod = Pod(tmp_path, startupProbe=port.probe(), readinessProbe=ready.probe())
    async with pod.running():
        await pod.until(lambda container: "running" in container["state"])
        assert ready.asked == 0
        await port.open()
        await pod.until(is_ready)
    assert ready.asked > 0
    ready.close()


async def test_container_that_was_restarted_has_to_start_again(tmp_path: Path, port: Port) -> None:
    """It is neither started nor ready until its startup probe passes anew."""
    await port.open()
    pod = Pod(tmp_path, startupProbe=port.probe())
    async with pod.running():
        await pod.until(is_ready)
        port.close()
        pod.place.started[0].terminate()
        await pod.until(lambda container: container["restartCount"] == 1 and "running" in container["state"])
        assert (pod.container["started"], pod.container["ready"]) == (False, False)
        await port.open()
        await pod.until(is_ready)


async def test_failing_liveness_probe_restarts_the_container(tmp_path: Path, port: Port) -> None:
    """And the next process has all of its chances again."""
    await port.open()
    pod = Pod(tmp_path, livenessProbe=port.probe())
    async with pod.running():
        await pod.until(is_ready)
        port.close()
        await pod.until(lambda container: container["restartCount"] == 1)
        await port.open()
        await pod.until(is_ready)
    assert len(pod.place.started) == 2


async def test_pod_without_probes_is_ready_when_it_runs(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    async with pod.running():
        await pod.until(is_ready)
    assert pod.container["started"]
