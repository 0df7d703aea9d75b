"""
What a mesh would make of an EgressGateway's children, and whether a moment or a step of it may be.

The rules of make before break (design.md §3), said of objects alone: nothing here knows how the operator plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from egressgateway.refs import Manifest, ObjectRef

Live = Mapping[ObjectRef, Manifest]

PRIVATE = ".egress.internal"
"""End of the names by which a gateway tells its ways apart."""


@dataclass(frozen=True, slots=True)
class Routing:
    """
    The routes in `live`.

    Attributes:
        registered: (host, port) that clients can resolve as part of the mesh.
        steered: (host, port) to the hop that clients are sent to.
        complete: hops that lead from the hop's Service to a real host.
    """

    registered: frozenset[tuple[str, int]]
    steered: Mapping[tuple[str, int], str]
    complete: frozenset[str]

    @property
    def in_use(self) -> frozenset[str]:
        return frozenset(self.steered.values())


def read_routing(live: Live) -> Routing:
    """The routes that the children in `live` make."""
    clients = [
        found for found in live.values() if found["metadata"]["labels"].get("egressgateway.dev/stage") == "clients"
    ]
    return Routing(
        registered=frozenset(
            (host, port["number"])
            for found in clients
            if found["kind"] == "ServiceEntry"
            for host in found["spec"]["hosts"]
            for port in found["spec"]["ports"]
        ),
        steered=dict(steer for found in clients if found["kind"] == "VirtualService" for steer in _steers(found)),
        complete=frozenset(_complete_hops(live)),
    )


@dataclass
class Watcher:
    """
    Judges each write. Times are the clock's.

    A hop may come into use once it has been complete, with a ready pod, for `grace`; it may break once it has been out
    of use for `grace`. `excused` hosts are open to the direct way already: closing that comes first.
    """

    grace: float
    excused: set[str] = field(default_factory=set)
    offences: list[str] = field(default_factory=list)
    _last: Routing = field(default_factory=lambda: Routing(frozenset(), {}, frozenset()))
    _complete_since: dict[str, float] = field(default_factory=dict)
    _left_at: dict[str, float] = field(default_factory=dict)

    def look(self, live: Live, now: float, *, ready: bool) -> None:
        """Judge the step from the last look to this one."""
        routing = read_routing(live)
        self.offences.extend(f"{now}: sidecars beside the gateway can follow {name}" for name in unguarded(live))
        for (host, port), hop in routing.steered.items():
            if hop not in routing.complete:
                self.offences.append(f"{now}: clients of {host}:{port} are sent to {hop}, which leads nowhere")
        for hop in routing.complete - self._last.complete:
            self._complete_since[hop] = now
        for hop in self._last.in_use - routing.in_use:
            self._left_at[hop] = now
        self._judge_opened(routing, now, ready=ready)
        for hop in self._last.complete - routing.complete:
            if now - self._left_at.get(hop, float("-inf")) < self.grace:
                self.offences.append(f"{now}: {hop} broke before its clients can have heard")
        self._last = routing

    def _judge_opened(self, routing: Routing, now: float, *, ready: bool) -> None:
        opened = routing.in_use - self._last.in_use
        for (host, port), hop in routing.steered.items():
            if hop not in opened or host in self.excused:
                continue
            if now - self._complete_since.get(hop, now) < self.grace and now - self._left_at.get(hop, now) <= 0:
                self.offences.append(f"{now}: {host}:{port} is sent to {hop} before the mesh can know of it")
            if not ready and hop not in self._left_at:
                self.offences.append(f"{now}: {host}:{port} is sent to {hop} with no ready pod")


def leaks(live: Live) -> set[str]:
    """Hosts that clients can reach past the gateway: registered on a port on which nothing steers them."""
    routing = read_routing(live)
    return {host for host, port in routing.registered if (host, port) not in routing.steered}


def unguarded(live: Live) -> set[str]:
    """Private names that sidecars can see, and that no VirtualService for sidecars takes wherever they are seen."""
    guards = [found for found in _of_kind(live, "VirtualService") if found["spec"]["gateways"] == ["mesh"]]
    taken = {(host, where) for found in guards for host in found["spec"]["hosts"] for where in _exported(found)}
    return {
        name
        for entry in _of_kind(live, "ServiceEntry")
        for name in entry["spec"]["hosts"]
        if name.endswith(PRIVATE)
        for where in _exported(entry)
        if not any((taking, where) in taken for taking in (name, *_wildcards_over(name)))
    }


def ports_dialed(live: Live) -> set[int]:
    """Ports at destinations on which hops in use go on."""
    in_use = read_routing(live).in_use
    named = {form for hop, name in private_names(live) if hop in in_use for form in (name, f"*.{name}")}
    entries = [found for found in _of_kind(live, "ServiceEntry") if named & set(found["spec"]["hosts"])]
    return {port.get("targetPort", port["number"]) for found in entries for port in found["spec"]["ports"]}


def ports_open(live: Live) -> set[int]:
    """Ports at destinations that the NetworkPolicy lets the gateway reach."""
    [policy] = [found for ref, found in live.items() if ref.kind == "NetworkPolicy"]
    outside = [rule for rule in policy["spec"]["egress"] if any("ipBlock" in peer for peer in rule.get("to", ()))]
    return {port["port"] for rule in outside for port in rule["ports"]}


def _steers(found: Manifest) -> Iterator[tuple[tuple[str, int], str]]:
    """What a clients' VirtualService sends where; those of earlier versions have private names among their hosts."""
    hosts = [host for host in found["spec"]["hosts"] if not host.endswith(PRIVATE)]
    for route in (*found["spec"].get("http", ()), *found["spec"].get("tls", ())):
        for match in route["match"]:
            for host in hosts:
                yield (host, match["port"]), route["route"][0]["destination"]["subset"]


def _complete_hops(live: Live) -> Iterator[str]:
    """Hops with a subset, a server for its name, a route from there, and a way out."""
    servers = {
        host
        for gateway in _of_kind(live, "Gateway")
        for server in gateway["spec"]["servers"]
        for host in server["hosts"]
    }
    entries = {host for found in _of_kind(live, "ServiceEntry") for host in found["spec"]["hosts"]}
    routed = {
        route["route"][0]["destination"]["host"]
        for found in _of_kind(live, "VirtualService")
        if found["spec"]["gateways"] != ["mesh"]
        for route in (*found["spec"].get("http", ()), *found["spec"].get("tcp", ()))
        if route["route"][0]["destination"]["host"] in found["spec"]["hosts"]
    }
    for hop, name in private_names(live):
        if f"./{name}" in servers and name in entries and name in routed:
            yield hop


def private_names(live: Live) -> Iterator[tuple[str, str]]:
    """Hops, each with the server name by which clients ask the gateway for it."""
    for rule in _of_kind(live, "DestinationRule"):
        for subset in rule["spec"].get("subsets") or ():
            yield subset["name"], subset["trafficPolicy"]["portLevelSettings"][0]["tls"]["sni"]


def _exported(found: Manifest) -> frozenset[str]:
    own = found["metadata"]["namespace"]
    return frozenset(own if name == "." else name for name in found["spec"]["exportTo"])


def _wildcards_over(name: str) -> Iterator[str]:
    while "." in name:
        _, _, name = name.removeprefix("*.").partition(".")
        yield f"*.{name}"


def _of_kind(live: Live, kind: str) -> Iterable[dict[str, Any]]:
    return (found for ref, found in live.items() if ref.kind == kind)
