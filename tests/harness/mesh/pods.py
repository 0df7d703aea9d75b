"""
A pod's life: made, started in the order of its containers, probed, reported, ended with its grace period.

One coroutine a pod; what the API server says of the pod meanwhile comes by `changed`. Nothing is shared between pods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

from harness.mesh.containers import Container, environment, init_containers, main_containers
from harness.mesh.interception import INIT, interception_rules
from harness.mesh.layout import NODE_IP
from harness.mesh.probes import STARTING_PERIOD, Probe, probe_of
from harness.mesh.sandbox import Process, Sandbox
from harness.mesh.volumes import NotYet, Send, Volumes

Object = dict[str, Any]

MOUNT_RETRY_SECONDS = 0.1
BACKOFF_SECONDS = (0.5, 1, 2, 4, 8)
"""Before a container that ended is started again."""


@dataclass(slots=True)
class Running:
    """What is known of one container's process."""

    container: Container
    process: Process | None = None
    started_at: str = ""
    ready: bool = False
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Its startup probe has passed, if it has one: until then it is not asked anything else. And so after a restart."""
    restarts: int = 0
    exit_code: int | None = None

    def status(self) -> Object:
        state: Object = {"waiting": {"reason": "ContainerCreating"}}
        if self.process and self.exit_code is None:
            state = {"running": {"startedAt": self.started_at}}
        elif self.exit_code is not None:
            reason = "Completed" if self.exit_code == 0 else "Error"
            state = {
                "terminated": {
                    "exitCode": self.exit_code,
                    "reason": reason,
                    "startedAt": self.started_at or now(),
                    "finishedAt": now(),
                }
            }
        return {
            "name": self.container.name,
            "image": self.container.spec.get("image", ""),
            "imageID": "",
            "ready": self.ready,
            "started": self.begun.is_set() and self.exit_code is None,
            "restartCount": self.restarts,
            "state": state,
        }


@dataclass(slots=True)
class PodLife:
    """One pod from the moment at which the node has it until nothing of it is left."""

    sandbox: Sandbox
    send: Send
    device: str
    log: Callable[[str], None]
    pod: Object = field(init=False)
    _init: list[Running] = field(init=False)
    _main: list[Running] = field(init=False)
    _deleting: asyncio.Event = field(default_factory=asyncio.Event)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _reported: Object = field(default_factory=dict)
    _reporting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.pod = self.sandbox.pod
        self._init = [Running(each) for each in init_containers(self.pod)]
        self._main = [Running(each) for each in main_containers(self.pod)]
        self.changed(self.pod)

    @property
    def path(self) -> str:
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    def changed(self, pod: Object) -> None:
        """The API server's newest word on the pod."""
        self.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            self._deleting.set()

    def gone(self) -> None:
        """The object is gone: nothing is to be asked or reported any more."""
        self._gone.set()
        self._deleting.set()

    async def run(self) -> None:
        """The whole life."""
        try:
            await asyncio.to_thread(self.sandbox.create, self.device)
            self._keep(self._start())
            await self._deleting.wait()
            await self._end()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # One broken pod is that pod's trouble alone.
            self.log(f"{self.path}: {error!r}")
            await self._deleting.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.shield(asyncio.to_thread(self.sandbox.destroy))
        if not self._gone.is_set():
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.pod["metadata"]["uid"]}}
            await self._insist("DELETE", self.path, options)

    async def _start(self) -> None:
        await self._report()
        volumes = Volumes(self.pod, self.sandbox.address, self.sandbox.directory / "volumes", self.send)
        for running in self._init:
            if running.container.name == INIT:
                values = environment(self.pod, running.container, self.sandbox.address)
                rules = interception_rules(running.container.spec.get("args") or (), values)
                await asyncio.to_thread(self.sandbox.netns.nft, rules)
            if running.container.sidecar:
                await self._launch(running, volumes)
                await running.begun.wait()
            else:
                running.exit_code, running.ready = 0, True
        for running in self._main:
            await self._launch(running, volumes)
        await self._report()

    async def _launch(self, running: Running, volumes: Volumes) -> None:
        """Start a container and whatever looks after it."""
        root = self.sandbox.root_of(running.container)
        root.mkdir(exist_ok=True)
        while running.container.real:
            try:
                await volumes.mount(running.container.spec, root)
            except (NotYet, aiohttp.ClientError, TimeoutError) as error:
                self.log(f"{self.path}: waiting for {error}")
                await asyncio.sleep(MOUNT_RETRY_SECONDS)
            else:
                break
        await asyncio.to_thread(self.sandbox.own, running.container)
        self._keep(self._supervise(running))

    async def _supervise(self, running: Running) -> None:
        """Start the process, and again when it ends by itself."""
        while True:
            running.process = await self.sandbox.start(running.container)
            running.started_at, running.exit_code = now(), None
            probing = asyncio.create_task(self._probe(running))
            probing.add_done_callback(self._complain)
            try:
                running.exit_code = await running.process.wait()
            finally:
                probing.cancel()
            running.begun.clear()
            running.ready = False
            await self._report()
            if self._deleting.is_set():
                return
            running.process.kill()
            await asyncio.sleep(BACKOFF_SECONDS[min(running.restarts, len(BACKOFF_SECONDS) - 1)])
            running.restarts += 1

    async def _probe(self, running: Running) -> None:
        """Ask for as long as one process of the container runs: whether it has begun, then whether it is well."""
        startup, readiness, liveness = (
            probe_of(running.container.spec, f"{kind}Probe") if running.container.real else None
            for kind in ("startup", "readiness", "liveness")
        )
        if startup:
            await self._report()
            await startup.wait(self.sandbox.address)
        running.begun.set()
        running.ready = readiness is None
        await self._report()
        async with asyncio.TaskGroup() as tasks:
            if readiness:
                tasks.create_task(self._watch_readiness(running, readiness))
            if liveness:
                tasks.create_task(self._watch_liveness(running, liveness))

    async def _watch_readiness(self, running: Running, probe: Probe) -> None:
        failures = 0
        while True:
            passed = await probe.passes(self.sandbox.address)
            failures = 0 if passed else failures + 1
            ready = passed or (running.ready and failures < probe.failures)
            if ready != running.ready and running.exit_code is None:
                running.ready = ready
                await self._report()
            await asyncio.sleep(probe.period if running.ready else STARTING_PERIOD)

    async def _watch_liveness(self, running: Running, probe: Probe) -> None:
        """End the process when it fails; whoever supervises it starts another."""
        failures = 0
        while True:
            await asyncio.sleep(probe.period)
            failures = 0 if await probe.passes(self.sandbox.address) else failures + 1
            if failures == probe.failures and running.process:
                running.process.terminate()

    async def _end(self) -> None:
        """Ask the processes to end, wait for the grace period, and then do not ask."""
        grace = float(self.pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        if grace and not self._gone.is_set():
            asked = {asyncio.create_task(self._terminate()), asyncio.create_task(self._until_gone())}
            await asyncio.wait(asked, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            for task in asked:
                task.cancel()
        for running in (*self._main, *self._init):
            if running.process:
                running.process.kill()

    async def _terminate(self) -> None:
        """Ask the processes to end: those of the main containers before the sidecars that serve them."""
        for group in (self._main, [each for each in reversed(self._init) if each.container.sidecar]):
            processes = [each.process for each in group if each.process and each.exit_code is None]
            for process in processes:
                process.terminate()
            await asyncio.gather(*(process.wait() for process in processes))

    async def _until_gone(self) -> None:
        await self._gone.wait()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._complain)
        self._tasks.add(task)

    def _complain(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self.log(f"{self.path}: {error!r}")

    async def _report(self) -> None:
        """Write the status if it says anything new; one write at a time, or an older one could come last."""
        async with self._reporting:
            status = self._status()
            if status == self._reported or self._gone.is_set():
                return
            self._reported = status
            body = {"metadata": {"uid": self.pod["metadata"]["uid"]}, "status": status}
            if await self._insist("PATCH", f"{self.path}/status", body) is None:
                self.gone()

    async def _insist(self, method: str, path: str, body: Object) -> Object | None:
        while True:
            try:
                return await self.send(method, path, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                self.log(f"{method} {path}: {error!r}")
                await asyncio.sleep(0.2)

    def _status(self) -> Object:
        initialized = all(each.ready or (each.container.sidecar and each.process is not None) for each in self._init)
        sidecars = [each for each in self._init if each.container.sidecar]
        ready = initialized and all(each.ready for each in (*self._main, *sidecars))
        conditions = {"PodScheduled": True, "Initialized": initialized, "ContainersReady": ready, "Ready": ready}
        known = {each["type"]: each for each in self._reported.get("conditions", ())}
        return {
            "phase": "Running" if any(each.process for each in self._main) else "Pending",
            "hostIP": NODE_IP,
            "hostIPs": [{"ip": NODE_IP}],
            "podIP": self.sandbox.address,
            "podIPs": [{"ip": self.sandbox.address}],
            "startTime": self._reported.get("startTime", now()),
            "conditions": [_condition(known.get(name), name, str(value)) for name, value in conditions.items()],
            "containerStatuses": [each.status() for each in self._main],
            "initContainerStatuses": [each.status() for each in self._init],
        }


def _condition(known: Object | None, name: str, status: str) -> Object:
    if known and known["status"] == status:
        return known
    reason = {} if status == "True" else {"reason": "ContainersNotReady", "message": "see containerStatuses"}
    return {"type": name, "status": status, "lastTransitionTime": now(), **reason}


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
