"""
The kubelet and scheduler of the one node: every pod is bound to it and lives there. What a pod's life is, is in `pods`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp

from harness.kubelet import Addresses
from harness.mesh.layout import NODE_IP, NODE_NAME, POD_NETWORK
from harness.mesh.netns import Netns
from harness.mesh.pods import PodLife
from harness.mesh.sandbox import Programs, Sandbox
from harness.watch import Event, follow

Object = dict[str, Any]


class Api:
    """Requests with the node's rights."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def send(self, method: str, path: str, body: Object | None) -> Object | None:
        """
        Send and return the answer; None when the object is not there, or is another by now.

        Raises:
            aiohttp.ClientError: no answer, or another refusal.
        """
        # A strategic patch would merge the lists of conditions and containers, which are written whole.
        form = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = json.dumps(body) if body is not None else None
        async with self.session.request(method, path, data=data, headers={"Content-Type": form}) as answer:
            content = await answer.read()
            if answer.status in (404, 409):
                return None
            if answer.status >= 400:
                raise aiohttp.ClientResponseError(
                    answer.request_info, (), status=answer.status, message=content.decode(errors="replace")[:500]
                )
            result: Object = json.loads(content)
            return result


class Kubelet:
    """Runs until it is cancelled; its pods end with it."""

    def __init__(self, api: Api, prefix: str, directory: Path, programs: Programs, log: Callable[[str], None]) -> None:
        self._api = api
        self._prefix = prefix
        self._directory = directory
        self._programs = programs
        self._log = log
        self._lives: dict[str, PodLife] = {}
        self._bound: set[str] = set()
        self._addresses = Addresses(POD_NETWORK)
        self._addresses.note(NODE_IP, in_use=True)
        self._numbers = itertools.count(1)
        self._tasks: asyncio.TaskGroup

    async def run(self) -> None:
        """Serve the cluster, through restarts of its API server."""
        await self._register()
        followed = aclosing(follow(self._api.session, "/api/v1/pods"))  # type: ignore[type-var]
        async with asyncio.TaskGroup() as self._tasks, followed as events:
            async for event in events:
                self._changed(event)

    def _changed(self, event: Event) -> None:
        if event.type == "RESET":
            # Pods that went while nobody watched are not told of: each life looks for itself.
            for known, living in self._lives.items():
                self._tasks.create_task(self._verify(known, living))
            return
        pod = event.object
        uid = pod["metadata"]["uid"]
        life = self._lives.get(uid)
        if event.type == "DELETED":
            if life:
                life.gone()
        elif life:
            life.changed(pod)
        elif "nodeName" not in pod["spec"]:
            if uid not in self._bound:
                self._bound.add(uid)
                self._tasks.create_task(self._bind(pod))
        elif pod["spec"]["nodeName"] == NODE_NAME:
            self._lives[uid] = self._new(pod)
            self._tasks.create_task(self._live(uid, self._lives[uid]))

    def _new(self, pod: Object) -> PodLife:
        metadata = pod["metadata"]
        number = next(self._numbers)
        directory = self._directory / "pods" / metadata["uid"]
        sandbox = Sandbox(pod, self._addresses.take(), Netns(f"{self._prefix}p{number}"), directory, self._programs)
        name = self._directory / "names" / metadata["namespace"] / metadata["name"]
        name.parent.mkdir(parents=True, exist_ok=True)
        name.unlink(missing_ok=True)
        name.symlink_to(directory)
        return PodLife(sandbox, self._api.send, f"pod{number}", self._log)

    async def _live(self, uid: str, life: PodLife) -> None:
        try:
            await life.run()
        finally:
            del self._lives[uid]
            self._addresses.note(life.sandbox.address, in_use=False)

    async def _verify(self, uid: str, life: PodLife) -> None:
        try:
            found = await self._api.send("GET", life.path, None)
        except (aiohttp.ClientError, TimeoutError):
            return
        if found is None or found["metadata"]["uid"] != uid:
            life.gone()

    async def _bind(self, pod: Object) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE_NAME}
        await self._insist(
            "POST", path, {"metadata": {"name": metadata["name"], "uid": metadata["uid"]}, "target": target}
        )

    async def _register(self) -> None:
        # istiod goes by the version when it decides how sidecars are started.
        version = (await self._insist("GET", "/version", None) or {}).get("gitVersion", "")
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME}}
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "pods are processes"}
        info = {
            **dict.fromkeys(
                ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion"), ""
            ),
            "kubeletVersion": version,
            "kubeProxyVersion": version,
            "operatingSystem": "linux",
            "architecture": "amd64",
        }
        addresses = [{"type": "InternalIP", "address": NODE_IP}]
        await self._insist("POST", "/api/v1/nodes", node)
        status = {"status": {"conditions": [condition], "addresses": addresses, "nodeInfo": info}}
        await self._insist("PATCH", f"/api/v1/nodes/{NODE_NAME}/status", status)

    async def _insist(self, method: str, path: str, body: Object | None) -> Object | None:
        while True:
            try:
                return await self._api.send(method, path, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                self._log(f"{method} {path}: {error!r}")
                await asyncio.sleep(0.2)
