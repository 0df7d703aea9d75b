"""
The fake kubelet: one node on which every pod runs at once, and Ready or not on command.

It does what a node, a scheduler and a load balancer would: binds pods, sets their status, deletes those that
are being deleted, and gives Services of type LoadBalancer an address. No container ever runs.

Commands are annotations, so that any process may give them: `fake-kubelet/ready: "false"` on a Namespace
makes its pods unready, on a Pod just that one; the pod's own beats its namespace's. What the pods' proxies say is
`proxypages`' part.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from harness.cluster import READY
from harness.kubeconfig import Access
from harness.proxypages import ADDRESS_FILE, ProxyPages
from harness.watch import Event, Object, follow

NODE = "fake-node"
NODE_IP = "198.51.100.10"
POD_NETWORK = ipaddress.ip_network("10.244.0.0/16")
LOAD_BALANCER_NETWORK = ipaddress.ip_network("192.0.2.0/24")
WORKERS = 16
RETRY_SECONDS = 0.2

Key = tuple[str, str, str]


class FakeKubelet:
    """Runs until it is cancelled. `is_ready` replaces the annotations as the judge of a pod."""

    def __init__(
        self, access: Access, is_ready: Callable[[Object], bool] | None = None, pages: Path | None = None
    ) -> None:
        """`pages`: the file for the URL of the proxy through which the pods' own proxies answer; None: none answers."""
        self._access = access
        self._pages_file = pages
        self._pages = ProxyPages(self._namespace_at)
        self._is_ready = is_ready or self._annotated_ready
        self._pods: dict[Key, Object] = {}
        self._services: dict[Key, Object] = {}
        self._ready_by_namespace: dict[str, bool] = {}
        self._pod_addresses = Addresses(POD_NETWORK)
        self._balancer_addresses = Addresses(LOAD_BALANCER_NETWORK)
        # A queue for each worker, and an object always in the same one: never two writes to it at once.
        self._queues: list[asyncio.Queue[Key]] = [asyncio.Queue() for _ in range(WORKERS)]
        self._queued: set[Key] = set()
        self._session: aiohttp.ClientSession

    async def run(self) -> None:
        """Serve the cluster, through restarts of its API server."""
        connector = aiohttp.TCPConnector(ssl=self._access.ssl_context() or True, limit=0)
        async with aiohttp.ClientSession(
            self._access.server, connector=connector, headers=self._access.headers()
        ) as self._session:
            await self._register_node()
            async with asyncio.TaskGroup() as tasks:
                for queue in self._queues:
                    tasks.create_task(self._work(queue))
                tasks.create_task(self._follow("/api/v1/namespaces", self._namespace_changed))
                tasks.create_task(self._follow("/api/v1/pods", self._pod_changed))
                tasks.create_task(self._follow("/api/v1/services", self._service_changed))
                if self._pages_file is not None:
                    tasks.create_task(self._pages.run(self._session, self._pages_file))

    async def _follow(self, path: str, changed: Callable[[Event], None]) -> None:
        async with aclosing(follow(self._session, path)) as events:  # type: ignore[type-var]
            async for event in events:
                changed(event)

    def _namespace_changed(self, event: Event) -> None:
        if event.type == "RESET":
            return
        metadata = event.object["metadata"]
        name = metadata["name"]
        ready = metadata.get("annotations", {}).get(READY) != "false"
        self._pages.command(name, {} if event.type == "DELETED" else metadata.get("annotations", {}))
        if event.type == "DELETED":
            self._ready_by_namespace.pop(name, None)
        elif self._ready_by_namespace.get(name, True) != ready:
            self._ready_by_namespace[name] = ready
            for key in [key for key in self._pods if key[1] == name]:
                self._enqueue(key)

    def _pod_changed(self, event: Event) -> None:
        self._store(self._pods, "Pod", event)
        if event.type != "RESET":
            address = event.object.get("status", {}).get("podIP")
            self._pod_addresses.note(address, in_use=event.type != "DELETED")

    def _namespace_at(self, address: str) -> str | None:
        """The namespace of the pod that has an address, if it is ready."""
        pods = (pod for pod in self._pods.values() if pod.get("status", {}).get("podIP") == address)
        return next((pod["metadata"]["namespace"] for pod in pods if self._is_ready(pod)), None)

    def _service_changed(self, event: Event) -> None:
        if event.type == "RESET" or event.object["spec"].get("type") == "LoadBalancer":
            self._store(self._services, "Service", event)
            for address in _ingress(event.object):
                self._balancer_addresses.note(address, in_use=event.type != "DELETED")

    def _store(self, store: dict[Key, Object], kind: str, event: Event) -> None:
        if event.type == "RESET":
            store.clear()
            return
        metadata = event.object["metadata"]
        key = (kind, metadata["namespace"], metadata["name"])
        if event.type == "DELETED":
            store.pop(key, None)
        elif _newer(event.object, store.get(key)):
            store[key] = event.object
            self._enqueue(key)

    def _enqueue(self, key: Key) -> None:
        if key not in self._queued:
            self._queued.add(key)
            self._queues[hash(key) % WORKERS].put_nowait(key)

    async def _work(self, queue: asyncio.Queue[Key]) -> None:
        while True:
            key = await queue.get()
            self._queued.discard(key)
            try:
                await self._sync(key)
            except (aiohttp.ClientError, TimeoutError):
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._enqueue, key)

    async def _sync(self, key: Key) -> None:
        if pod := self._pods.get(key):
            await self._sync_pod(key, pod)
        elif service := self._services.get(key):
            await self._sync_service(service)

    async def _sync_pod(self, key: Key, pod: Object) -> None:
        path = _path("pods", pod)
        metadata = pod["metadata"]
        if pod["spec"].get("nodeName", NODE) != NODE:
            return
        if "deletionTimestamp" in metadata:
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
            await self._send("DELETE", path, options)
            return
        if "nodeName" not in pod["spec"]:
            target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
            await self._send("POST", f"{path}/binding", {"metadata": {"name": metadata["name"]}, "target": target})
        address = pod.get("status", {}).get("podIP") or self._pod_addresses.take()
        status = pod_status(pod, address, ready=self._is_ready(pod), now=datetime.now(UTC))
        if status:
            body = {"metadata": {"uid": metadata["uid"]}, "status": status}
            written = await self._send("PATCH", f"{path}/status", body)
            # The watch still owes events from before this write; judged by them the pod would get a second address.
            if written and _newer(written, self._pods.get(key)):
                self._pods[key] = written

    async def _sync_service(self, service: Object) -> None:
        if "deletionTimestamp" in service["metadata"] or _ingress(service):
            return
        ingress = [{"ip": self._balancer_addresses.take(), "ipMode": "VIP"}]
        body = {"status": {"loadBalancer": {"ingress": ingress}}}
        await self._send("PATCH", f"{_path('services', service)}/status", body)

    def _annotated_ready(self, pod: Object) -> bool:
        own = pod["metadata"].get("annotations", {}).get(READY)
        if own is not None:
            return bool(own != "false")
        return self._ready_by_namespace.get(pod["metadata"]["namespace"], True)

    async def _register_node(self) -> None:
        # The EndpointSlice controller leaves out pods whose node it does not know.
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "no kubelet at all"}
        addresses = [{"type": "InternalIP", "address": NODE_IP}]
        await self._until_answered(lambda: self._send("POST", "/api/v1/nodes", node))
        status = {"status": {"conditions": [condition], "addresses": addresses}}
        await self._until_answered(lambda: self._send("PATCH", f"/api/v1/nodes/{NODE}/status", status))

    async def _until_answered(self, call: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await call()
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _send(self, method: str, path: str, body: Object) -> Object | None:
        """
        Send a write and return the answer. Gone (404) and changed meanwhile (409) give None and are no errors:
        the watch tells what is true now.

        Raises:
            aiohttp.ClientError: no answer, or another refusal.
        """
        form = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Content-Type": form}
        async with self._session.request(method, path, data=json.dumps(body), headers=headers) as answer:
            content = await answer.read()
            if answer.status in (404, 409):
                return None
            answer.raise_for_status()
            result: Object = json.loads(content)
            return result


class Addresses:
    """Addresses of a network, each given once while it is in use."""

    def __init__(self, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
        self._network = network
        self._hosts: Iterator[Any] = network.hosts()
        self._used: set[str] = set()

    def take(self) -> str:
        """
        A free address.

        Raises:
            LookupError: every address is in use.
        """
        for _ in range(2):
            for address in self._hosts:
                if str(address) not in self._used:
                    self._used.add(str(address))
                    return str(address)
            self._hosts = self._network.hosts()
        raise LookupError(f"no free address in {self._network}")

    def note(self, address: str | None, *, in_use: bool) -> None:
        """Remember what the cluster says of an address."""
        if address and in_use:
            self._used.add(address)
        elif address:
            self._used.discard(address)


def pod_status(pod: Object, address: str, *, ready: bool, now: datetime) -> Object | None:
    """The status that a pod on the fake node should have, or None if it has it. Conditions keep their times."""
    live = pod.get("status", {})
    had = {each["type"]: each for each in live.get("conditions", [])}
    wanted = {"PodScheduled": True, "Initialized": True, "ContainersReady": ready, "Ready": ready}
    if live.get("phase") == "Running" and all(
        type_ in had and had[type_]["status"] == str(value) for type_, value in wanted.items()
    ):
        return None
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    started = live.get("startTime", time)
    return {
        "phase": "Running",
        "hostIP": NODE_IP,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": started,
        "conditions": [_condition(had.get(type_), type_, str(value), time) for type_, value in wanted.items()],
        "containerStatuses": [_container(each, ready, started) for each in pod["spec"]["containers"]],
    }


def _condition(had: Object | None, type_: str, status: str, time: str) -> Object:
    if had and had["status"] == status:
        return had
    reason = {} if status == "True" else {"reason": "ContainersNotReady", "message": "not ready on command"}
    return {"type": type_, "status": status, "lastTransitionTime": time, **reason}


def _container(container: Object, ready: bool, started: str) -> Object:
    return {
        "name": container["name"],
        "image": container.get("image", ""),
        "imageID": "",
        "ready": ready,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": started}},
    }


def _newer(one: Object, other: Object | None) -> bool:
    """Whether `one` is to replace `other`: another object of that name, or a later version of the same."""
    if other is None or one["metadata"]["uid"] != other["metadata"]["uid"]:
        return True
    return int(one["metadata"]["resourceVersion"]) > int(other["metadata"]["resourceVersion"])


def _path(plural: str, manifest: Object) -> str:
    metadata = manifest["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"


def _ingress(service: Object) -> list[str]:
    entries = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    return [each["ip"] for each in entries if "ip" in each]


async def run_kubelet(kubeconfig: Path) -> None:
    """Run the fake kubelet for the cluster of a kubeconfig until cancelled."""
    await FakeKubelet(Access.read(kubeconfig), pages=kubeconfig.with_name(ADDRESS_FILE)).run()
