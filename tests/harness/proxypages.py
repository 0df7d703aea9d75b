"""
The page of the proxies that a fake pod would have: the clusters that istiod would have made for them by now, and the
Secrets that it would have given them.

A proxy keeps a Secret that it got, also when that is deleted; one that starts later does not get it.

Pods' addresses lead nowhere, so the operator asks through an HTTP proxy (`--pods-proxy`), and that answers for all.
Commands are annotations of a Namespace: `fake-kubelet/page: frozen` cuts its pods off from istiod, `silent` lets none
of them answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from harness.watch import Event, Object, follow

PAGE = "fake-kubelet/page"
PORT = 15090
ADDRESS_FILE = "pods-proxy"
"""Beside the control plane's kubeconfig: the URL of the proxy."""

_ISTIO: Final = "/apis/networking.istio.io/v1"
_PATHS: Final = {
    "ServiceEntry": f"{_ISTIO}/serviceentries",
    "DestinationRule": f"{_ISTIO}/destinationrules",
    "Gateway": f"{_ISTIO}/gateways",
    "Secret": "/api/v1/secrets",
}
_CA: Final = "-cacert"
"""What proxies add to the name of a Secret when they ask istiod for the CA in it."""

NamespaceOf = Callable[[str], str | None]


class ProxyPages:
    """Knows what the proxies of each namespace would have, and serves their pages."""

    def __init__(self, namespace_of: NamespaceOf) -> None:
        """`namespace_of`: of the pod with an address; None where no ready pod has it."""
        self._namespace_of = namespace_of
        self._objects: dict[str, dict[tuple[str, str], Object]] = {kind: {} for kind in _PATHS}
        self._frozen: dict[str, tuple[str, ...]] = {}
        self._got: dict[str, set[str]] = {}
        """By address of a pod, the Secrets that its proxy got."""
        self._silent: set[str] = set()

    async def run(self, session: aiohttp.ClientSession, address_file: Path) -> None:
        """Serve on a free port of loopback, and write the URL to a file."""
        runner = web.ServerRunner(web.Server(self._answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        await asyncio.to_thread(address_file.write_text, f"http://127.0.0.1:{runner.addresses[0][1]}")
        async with asyncio.TaskGroup() as tasks:
            for kind in _PATHS:
                tasks.create_task(self._follow(session, kind))

    def command(self, namespace: str, annotations: dict[str, str]) -> None:
        """A Namespace has these annotations from now on."""
        if annotations.get(PAGE) == "frozen":
            self._frozen.setdefault(namespace, tuple(self._lines(namespace, "")))
        else:
            self._frozen.pop(namespace, None)
        (self._silent.add if annotations.get(PAGE) == "silent" else self._silent.discard)(namespace)

    async def _follow(self, session: aiohttp.ClientSession, kind: str) -> None:
        async with aclosing(follow(session, _PATHS[kind])) as events:  # type: ignore[type-var]
            async for event in events:
                self._take(self._objects[kind], event)

    def _take(self, objects: dict[tuple[str, str], Object], event: Event) -> None:
        if event.type == "RESET":
            objects.clear()
            return
        metadata = event.object["metadata"]
        key = metadata["namespace"], metadata["name"]
        if event.type == "DELETED":
            objects.pop(key, None)
        else:
            objects[key] = event.object

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        namespace = self._namespace_of(request.url.host or "")
        if namespace is None or namespace in self._silent or request.url.port != PORT:
            return web.Response(status=502)
        known = self._frozen.get(namespace)
        lines = self._lines(namespace, request.url.host or "") if known is None else known
        return web.Response(text="\n".join(lines))

    def _lines(self, namespace: str, address: str) -> Iterator[str]:
        for cluster in sorted(set(self._clusters(namespace))):
            yield f'envoy_cluster_membership_total{{cluster_name="{cluster}"}} 1'
        got = self._got.setdefault(address, set())
        for name in sorted(set(self._asked(namespace))):
            if self._is_there(namespace, name):
                got.add(name)
            plain = name.replace("-", "_").replace(".", "_")
            yield f"envoy_sds_kubernetes_{plain}_update_success{{}} {int(name in got)}"

    def _asked(self, namespace: str) -> Iterator[str]:
        """Names by which proxies of a namespace ask istiod for Secrets."""
        for rule in self._of(namespace, "DestinationRule"):
            policies = [subset.get("trafficPolicy") or {} for subset in rule["spec"].get("subsets", [])]
            for policy in (rule["spec"].get("trafficPolicy") or {}, *policies):
                tls = policy.get("tls") or {}
                if "credentialName" in tls:
                    yield from [tls["credentialName"]] if tls["mode"] == "MUTUAL" else []
                    yield tls["credentialName"] + _CA
        for gateway in self._of(namespace, "Gateway"):
            servers = gateway["spec"].get("servers", [])
            yield from (tls["credentialName"] for each in servers if "credentialName" in (tls := each.get("tls") or {}))

    def _is_there(self, namespace: str, name: str) -> bool:
        """Whether istiod finds a key pair by that name, or a CA."""
        held = {key for found in (name, name.removesuffix(_CA)) for key in self._data(namespace, found)}
        return bool(held & {"ca.crt", "cacert"}) if name.endswith(_CA) else {"tls.crt", "tls.key"} <= held

    def _data(self, namespace: str, name: str) -> Object:
        return self._objects["Secret"].get((namespace, name), {}).get("data") or {}

    def _of(self, namespace: str, kind: str) -> Iterator[Object]:
        return (found for (own, _), found in self._objects[kind].items() if own == namespace)

    def _clusters(self, namespace: str) -> Iterator[str]:
        subsets: dict[str, list[str]] = {}
        for rule in self._objects["DestinationRule"].values():
            names = [subset["name"] for subset in rule["spec"].get("subsets", [])]
            subsets.setdefault(rule["spec"]["host"], []).extend(names)
        for (own, _), entry in self._objects["ServiceEntry"].items():
            export = entry["spec"].get("exportTo", ["*"])
            if not {own if each == "." else each for each in export} & {"*", namespace}:
                continue
            for host in entry["spec"]["hosts"]:
                for port in entry["spec"].get("ports", []):
                    for subset in ("", *subsets.get(host, [])):
                        yield f"outbound|{port['number']}|{subset}|{host}"
