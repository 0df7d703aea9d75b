"""Services: their addresses translated to those of ready endpoints by nftables, and their names to their addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

import aiohttp

from harness.kubelet import Addresses
from harness.mesh.dns import NAME_ERROR, SERVER_FAILURE, Query, ask
from harness.mesh.kubelet import Api
from harness.mesh.layout import CLUSTER_DOMAIN, LOAD_BALANCER_NETWORK, WORLD_DNS_IP
from harness.mesh.netns import NetworkError
from harness.watch import Event, follow

Object = dict[str, Any]
Key = tuple[str, str]

SERVICE_LABEL = "kubernetes.io/service-name"
SETTLE_SECONDS = 0.02


class Services:
    """
    All Services of the cluster. `apply` takes a ruleset of nftables for the namespace through which all pods send.
    """

    def __init__(self, api: Api, apply: Callable[[str], None], log: Callable[[str], None]) -> None:
        self._api = api
        self._apply = apply
        self._log = log
        self._services: dict[Key, Object] = {}
        self._slices: dict[Key, Object] = {}
        self._balancers = Addresses(LOAD_BALANCER_NETWORK)
        self._changed = asyncio.Event()
        self._changed.set()

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow("/api/v1/services", self._services))
            tasks.create_task(self._follow("/apis/discovery.k8s.io/v1/endpointslices", self._slices))
            tasks.create_task(self._write())

    async def resolve(self, message: bytes) -> bytes:
        """The answer of cluster DNS: names of Services are known here, all others to the world."""
        query = Query.parse(message)
        if query.name.split(".")[-2:] != CLUSTER_DOMAIN.split("."):
            try:
                return await ask(WORLD_DNS_IP, message)
            except TimeoutError:
                return query.answer((), SERVER_FAILURE)
        match query.name.removesuffix(f".{CLUSTER_DOMAIN}").split("."):
            case [name, namespace, "svc"] if service := self._services.get((namespace, name)):
                return query.answer(self._addresses(service))
        return query.answer((), NAME_ERROR)

    async def _follow(self, path: str, store: dict[Key, Object]) -> None:
        async with aclosing(follow(self._api.session, path)) as events:  # type: ignore[type-var]
            async for event in events:
                self._store(store, event)
                if event.type in ("ADDED", "MODIFIED"):
                    await self._balance(event.object)

    def _store(self, store: dict[Key, Object], event: Event) -> None:
        self._changed.set()
        if event.type == "RESET":
            store.clear()
            return
        metadata = event.object["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if event.type == "DELETED":
            store.pop(key, None)
            for address in _ingress(event.object):
                self._balancers.note(address, in_use=False)
        else:
            store[key] = event.object

    async def _balance(self, service: Object) -> None:
        """Give a Service of type LoadBalancer the address that a cloud would."""
        metadata = service["metadata"]
        if (
            (service.get("spec") or {}).get("type") != "LoadBalancer"
            or _ingress(service)
            or "deletionTimestamp" in metadata
        ):
            return
        path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status"
        ingress = [{"ip": self._balancers.take(), "ipMode": "VIP"}]
        try:
            await self._api.send("PATCH", path, {"status": {"loadBalancer": {"ingress": ingress}}})
        except (aiohttp.ClientError, TimeoutError) as error:
            self._log(f"{path}: {error!r}")

    async def _write(self) -> None:
        written = ""
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._changed.clear()
            rules = "\n".join(self._rules())
            if rules != written:
                try:
                    await asyncio.to_thread(self._apply, rules)
                    written = rules
                except NetworkError as error:
                    self._log(str(error))

    def _rules(self) -> Iterator[str]:
        targets = list(self._targets())
        # One transaction: the first line makes sure that there is something to delete.
        yield "table ip services\ndelete table ip services\ntable ip services {"
        for number, (_, _, _, endpoints) in enumerate(targets):
            listed = ", ".join(f"{index} : {address} . {port}" for index, (address, port) in enumerate(endpoints))
            choice = f"dnat ip to numgen random mod {len(endpoints)} map {{ {listed} }}" if endpoints else "return"
            yield f" chain target{number} {{\n  meta l4proto {{ tcp, udp }} {choice};\n }}"
        for hook in ("prerouting", "output"):
            yield f" chain {hook} {{\n  type nat hook {hook} priority -100;"
            for number, (address, protocol, port, _) in enumerate(targets):
                yield f"  ip daddr {address} {protocol} dport {port} jump target{number};"
            yield " }"
        yield "}"

    def _targets(self) -> Iterator[tuple[str, str, int, list[tuple[str, int]]]]:
        """Address, protocol and port of each Service, with the endpoints behind them."""
        for key, service in sorted(self._services.items()):
            listed = [each for each in self._slices.values() if _service_of(each) == key]
            for port in service["spec"].get("ports") or ():
                endpoints = sorted(set(_endpoints(listed, port.get("name", ""))))
                for address in (*_cluster_ips(service), *_ingress(service)):
                    yield address, port.get("protocol", "TCP").lower(), port["port"], endpoints

    def _addresses(self, service: Object) -> list[str]:
        if own := _cluster_ips(service):
            return own
        key = (service["metadata"]["namespace"], service["metadata"]["name"])
        listed = [each for each in self._slices.values() if _service_of(each) == key]
        return sorted({address for each in listed for address in _ready(each)})


def _service_of(slice_: Object) -> Key:
    metadata = slice_["metadata"]
    return metadata["namespace"], (metadata.get("labels") or {}).get(SERVICE_LABEL, "")


def _endpoints(slices: Iterable[Object], port_name: str) -> Iterator[tuple[str, int]]:
    for each in slices:
        for port in each.get("ports") or ():
            if port.get("name", "") == port_name and port.get("port"):
                yield from ((address, port["port"]) for address in _ready(each))


def _ready(slice_: Object) -> Iterator[str]:
    for endpoint in slice_.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready", True):
            yield from endpoint["addresses"]


def _cluster_ips(service: Object) -> list[str]:
    return [each for each in service["spec"].get("clusterIPs") or () if each not in ("", "None") and ":" not in each]


def _ingress(service: Object) -> list[str]:
    entries = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [each["ip"] for each in entries if "ip" in each]
