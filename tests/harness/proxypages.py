"""
The page of the proxies that a fake pod would have: the clusters that istiod would have made for them by now.

Pods' addresses lead nowhere, so the operator asks through an HTTP proxy (`--pods-proxy`), and that answers for all.
Commands are annotations of a Namespace: `fake-kubelet/page: frozen` cuts its pods off from istiod, `silent` lets none
of them answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import aiohttp
from aiohttp import web

from harness.watch import Event, Object, follow

PAGE = "fake-kubelet/page"
PORT = 15090
ADDRESS_FILE = "pods-proxy"
"""Beside the control plane's kubeconfig: the URL of the proxy."""

_KINDS = {"ServiceEntry": "serviceentries", "DestinationRule": "destinationrules"}

NamespaceOf = Callable[[str], str | None]


class ProxyPages:
    """Knows what the proxies of each namespace would have, and serves their pages."""

    def __init__(self, namespace_of: NamespaceOf) -> None:
        """`namespace_of`: of the pod with an address; None where no ready pod has it."""
        self._namespace_of = namespace_of
        self._objects: dict[str, dict[tuple[str, str], Object]] = {kind: {} for kind in _KINDS}
        self._frozen: dict[str, frozenset[str]] = {}
        self._silent: set[str] = set()

    async def run(self, session: aiohttp.ClientSession, address_file: Path) -> None:
        """Serve on a free port of loopback, and write the URL to a file."""
        runner = web.ServerRunner(web.Server(self._answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        await asyncio.to_thread(address_file.write_text, f"http://127.0.0.1:{runner.addresses[0][1]}")
        async with asyncio.TaskGroup() as tasks:
            for kind in _KINDS:
                tasks.create_task(self._follow(session, kind))

    def command(self, namespace: str, annotations: dict[str, str]) -> None:
        """A Namespace has these annotations from now on."""
        if annotations.get(PAGE) == "frozen":
            self._frozen.setdefault(namespace, frozenset(self._clusters(namespace)))
        else:
            self._frozen.pop(namespace, None)
        (self._silent.add if annotations.get(PAGE) == "silent" else self._silent.discard)(namespace)

    async def _follow(self, session: aiohttp.ClientSession, kind: str) -> None:
        path = f"/apis/networking.istio.io/v1/{_KINDS[kind]}"
        async with aclosing(follow(session, path)) as events:  # type: ignore[type-var]
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
        clusters = self._frozen[namespace] if namespace in self._frozen else frozenset(self._clusters(namespace))
        lines = (f'envoy_cluster_membership_total{{cluster_name="{cluster}"}} 1' for cluster in sorted(clusters))
        return web.Response(text="\n".join(lines))

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
