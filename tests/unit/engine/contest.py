"""
Several EgressGateways that want the same names, one operator, and the server that is a dictionary (`simulation`).

What happens while the operator is down happens to the server alone; a new process then reads everything. After each
write of a child the steers are judged: two objects never steer one name for one namespace, and no object's clients
speak TCP on a port on which another one has them, too. Only while a name goes from one object of a namespace to another
do both have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, Final

from egressgateway.api.conditions import OBJECT_CONDITIONS
from egressgateway.api.status import initial_status
from egressgateway.cluster.result import Again, Waiting
from egressgateway.cluster.store import Change
from egressgateway.contention.hostnames import overlaps
from egressgateway.engine.cache.caches import Caches
from egressgateway.errors import ClusterError
from egressgateway.refs import EGRESS_GATEWAY, Key, Manifest, ObjectRef
from egressgateway.settings import Settings
from unit.engine.simulation import START, Crash, Loop, Server, default_class, reconciler_over
from unit.objects import TLS, destination, gateway

FORGED: Final = "forged"
"""Beginning of the names of what tenants write themselves."""

CLASS: Final = {"allowedConsumers": {"from": "All"}}
Place = tuple[str, str]
"""A name, and a consumer namespace in which it is steered."""

PortPlace = tuple[int, str]
"""A port, and a consumer namespace in which it is registered."""


class Contest:
    """A cluster, its EgressGateways by key, and an operator that is up or down."""

    def __init__(self, *namespaces: str) -> None:
        self.loop = Loop()
        self.server = Server(self._now)
        self.server.after = self._look
        self.namespaces = namespaces
        self.offences: list[str] = []
        self.shares_for_a_while = False
        """Whether two objects of one namespace may both steer a name for which both ask: one of them took it back."""
        self.status_writes: Counter[Key] = Counter()
        self._created = 0
        self._crash_in = 0
        self._due: dict[Key, float] = {}
        self._caches: Caches | None = None
        self.start()

    def close(self) -> None:
        self.loop.close()

    def create(self, key: Key, *hosts: str, consumers: Collection[str] = (), aliases: Sequence[str] = ()) -> None:
        """A second later than the last one: creation is known to the second. `host:port` is TCP, a host TLS."""
        self._created += 1
        created = (START + timedelta(seconds=self._created)).strftime("%Y-%m-%dT%H:%M:%SZ")
        wanted = _spec(key, hosts, consumers, aliases)
        self._put(key, gateway(key, wanted, _initial_status(), uid=f"uid-{self._created}", creationTimestamp=created))

    def edit(self, key: Key, *hosts: str, consumers: Collection[str] = (), aliases: Sequence[str] = ()) -> None:
        """Another spec; who is suspended stays so."""
        self._specify(key, {**_spec(key, hosts, consumers, aliases), "suspend": self.is_suspended(key)})

    def suspend(self, key: Key, *, suspended: bool = True) -> None:
        self._specify(key, {**self.spec_of(key), "suspend": suspended})

    def change(self, key: Key, **spec: Any) -> None:
        """Change some fields of the spec, and nothing else of it."""
        self._specify(key, {**self.spec_of(key), **spec})

    def delete(self, key: Key) -> None:
        found = deepcopy(self.server.objects[_ref(key)])
        if found["metadata"].get("finalizers"):
            found["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z"
            self._put(key, found)
        else:
            self.server.remove(_ref(key))
            self._gone(key)

    def set_finalizers(self, key: Key, *finalizers: str) -> None:
        """The author writes the object's finalizers, and no others."""
        found = deepcopy(self.server.objects[_ref(key)])
        found["metadata"]["finalizers"] = list(finalizers)
        self._put(key, found)

    def lose(self, key: Key) -> None:
        """The object is gone from the API at once; the garbage collector has yet to take its children."""
        self.server.remove(_ref(key))
        known = self._caches.gateways.get(*key) if self._caches is not None else None
        if self._caches is not None and known is not None:
            self._heard(self._caches.remove_gateway(known))

    def wipe_status(self, *keys: Key) -> None:
        """As a restore from a backup leaves objects."""
        for key in keys:
            found = deepcopy(self.server.objects[_ref(key)])
            found["status"] = _initial_status()
            self._put(key, found)

    def forge(self, namespace: str, kind: str, spec: Manifest, **metadata: Any) -> None:
        """A tenant writes an object of its own, older than all that the operator made."""
        ref = ObjectRef(kind, namespace, f"{FORGED}-{len(self.server.objects)}")
        made = {"name": ref.name, "namespace": namespace, "creationTimestamp": "2025-01-01T00:00:00Z"}
        manifest = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": made | metadata, "spec": spec}
        self._route(ref, self.server.put(ref, manifest))

    def keep(self, ref: ObjectRef, finalizer: str) -> None:
        """A tenant puts a finalizer of its own on an object in its namespace."""
        self._route(ref, self.server.edit(ref, lambda found: found["metadata"].update(finalizers=[finalizer])))

    def let_go(self, ref: ObjectRef) -> None:
        """The last finalizer of an object that is being deleted is taken off."""
        removed = self.server.remove(ref)
        if self._caches is not None:
            change = self._caches.children[ref.kind].remove(removed)
            self._look_at(self._caches.affected_by_route(change) if change else ())

    def relabel(self, ref: ObjectRef, labels: Manifest) -> None:
        """A tenant changes the labels of an object in its namespace; None takes one away."""
        self._route(ref, self.server.edit(ref, lambda found: _relabelled(found, labels)))

    def strip(self, key: Key) -> None:
        """A tenant takes the operator's finalizer off; an object that is being deleted goes with the last one."""
        found = deepcopy(self.server.objects[_ref(key)])
        found["metadata"]["finalizers"] = []
        if "deletionTimestamp" in found["metadata"]:
            self.server.remove(_ref(key))
            self._gone(key)
        else:
            self._put(key, found)

    def uid_of(self, key: Key) -> str:
        uid: str = self.server.objects[_ref(key)]["metadata"]["uid"]
        return uid

    def step(self, passes: int) -> None:
        """As many passes as that, or fewer when nothing is due."""
        with suppress(AssertionError):
            self.settle(passes=passes)

    def crash_after(self, writes: int) -> None:
        """The process is killed right after so many more writes of children, and started again."""
        self._crash_in = writes

    def stop(self) -> None:
        """The process ends; nothing of it is left."""
        self._caches = None
        self._due.clear()

    def start(self) -> None:
        """A process that has read everything."""
        caches = Caches()
        caches.on_own_write = self._told
        caches.on_freed = self._look_at
        caches.classes.put(default_class(CLASS))
        for name in self.namespaces:
            caches.namespaces.put({"metadata": {"name": name, "resourceVersion": "1", "labels": {}}})
        self._caches = caches
        for ref, found in self.server.objects.items():
            if ref.kind == EGRESS_GATEWAY.kind:
                caches.put_gateway(deepcopy(found))
                self._due[Key(ref.namespace, ref.name)] = self.loop.now
            else:
                caches.put_child(ref.kind, deepcopy(found))
        self._reconciler = reconciler_over(self.server, caches, Settings(), now=self._now, told=[])

    def settle(self, *, backwards: bool = False, passes: int = 200) -> int:
        """
        Reconcile what is due, those due at one time in the order of their keys or `backwards`, until nothing is.

        Raises:
            AssertionError: it never ends.
        """
        for number in range(passes):
            self._run_controllers()
            if not self._due:
                return number
            at = min(self._due.values())
            self.loop.now = max(self.loop.now, at)
            key = sorted((key for key, when in self._due.items() if when == at), reverse=backwards)[0]
            del self._due[key]
            self._pass(key)
        raise AssertionError(f"still moving after {passes} passes: {self._due}, {self.server.writes[-10:]}")

    def steers(self) -> dict[Place, frozenset[Key]]:
        """Whose live routes send a namespace's clients of a name through a gateway."""
        found: dict[Place, set[Key]] = {}
        for ref, route in self.server.objects.items():
            labels = route["metadata"].get("labels") or {}
            if ref.kind == "VirtualService" and _is_written_by_the_operator(ref, labels):
                owner = Key(labels["egressgateway.dev/namespace"], labels["egressgateway.dev/gateway"])
                names = [host for host in route["spec"]["hosts"] if not host.endswith(".egress.internal")]
                for place in _exported(route, self.namespaces):
                    for name in names:
                        found.setdefault((name, place), set()).add(owner)
        return {place: frozenset(owners) for place, owners in found.items()}

    def ports(self, *protocols: str) -> dict[PortPlace, frozenset[Key]]:
        """Whose clients of a namespace are told of a port, of some protocols or of any."""
        found: dict[PortPlace, set[Key]] = {}
        for ref, entry in self.server.objects.items():
            labels = entry["metadata"].get("labels") or {}
            # Sidecars listen for TCP on the addresses alone, where an entry has some.
            own = ref.kind == "ServiceEntry" and _is_written_by_the_operator(ref, labels)
            if own and not entry["spec"].get("addresses"):
                owner = Key(labels["egressgateway.dev/namespace"], labels["egressgateway.dev/gateway"])
                numbers = [
                    port["number"] for port in entry["spec"]["ports"] if not protocols or port["protocol"] in protocols
                ]
                for place in _exported(entry, self.namespaces):
                    for number in numbers:
                        found.setdefault((number, place), set()).add(owner)
        return {place: frozenset(owners) for place, owners in found.items()}

    def misplaced(self) -> list[str]:
        """
        What is wrong with the steers of a world at rest.

        In each namespace that it is for, each destination has all of its names, alone, unless another object steers a
        name that stands against one of them; it then keeps what it had. Nobody steers what it does not ask for. Who is
        suspended asks for nothing, and keeps all.
        """
        steers = self.steers()
        found = [f"{place} is steered by {sorted(owners)}" for place, owners in steers.items() if len(owners) != 1]
        for key in self.everybody():
            if self.is_suspended(key):
                continue
            asked = self._asked_by(key)
            held = {place for place, owners in steers.items() if key in owners}
            unasked = held.difference(*asked)
            found += [f"{key} steers {place}, and does not ask for it" for place in sorted(unasked)]
            for places in asked:
                if not places <= held and not self._is_beaten(key, places):
                    found.append(f"{key} steers {sorted(places & held)} of {sorted(places)}, and nobody is in its way")
        return found

    def _is_beaten(self, key: Key, places: frozenset[Place]) -> bool:
        """Whether others steer one of the names; a name that only overlaps counts if it is of another namespace."""
        return any(
            namespace == where and (name == other or (overlaps(name, other) and owner.namespace != key.namespace))
            for name, namespace in places
            for (other, where), owners in self.steers().items()
            for owner in owners - {key}
        )

    def _asked_by(self, key: Key) -> list[frozenset[Place]]:
        """Names of each destination in each namespace that it is for."""
        spec = self.spec_of(key)
        access = spec.get("access") or {"from": [{"namespaces": [key.namespace]}]}
        return [
            frozenset((name, place) for name in (*each["hosts"], *each.get("aliases", ())))
            for each in spec["destinations"]
            for entry in access["from"]
            for place in entry["namespaces"]
        ]

    def verdict(self, key: Key) -> tuple[str, str]:
        """Status and reason of `Accepted`, and that the object was judged as it stands."""
        found = self.server.objects[_ref(key)]
        status = found.get("status") or {}
        assert status.get("observedGeneration") == found["metadata"]["generation"], status
        [condition] = [each for each in status["conditions"] if each["type"] == "Accepted"]
        return condition["status"], condition["message"]

    def writes_to(self, key: Key) -> int:
        """Writes to children of an object so far."""
        prefix = f"{key.name}-"
        return sum(ref.namespace == key.namespace and ref.name.startswith(prefix) for _, ref in self.server.writes)

    def everybody(self) -> list[Key]:
        """Of all objects that there are, those that are being deleted among them."""
        return sorted(Key(ref.namespace, ref.name) for ref in self.server.objects if ref.kind == EGRESS_GATEWAY.kind)

    def is_suspended(self, key: Key) -> bool:
        return bool(self.spec_of(key).get("suspend"))

    def exists(self, key: Key) -> bool:
        return _ref(key) in self.server.objects

    def is_ending(self, key: Key) -> bool:
        return "deletionTimestamp" in self.server.objects[_ref(key)]["metadata"]

    def spec_of(self, key: Key) -> dict[str, Any]:
        spec: dict[str, Any] = self.server.objects[_ref(key)]["spec"]
        return spec

    def _specify(self, key: Key, spec: dict[str, Any]) -> None:
        found = deepcopy(self.server.objects[_ref(key)])
        found["spec"] = spec
        found["metadata"]["generation"] += 1
        self._put(key, found)

    def _now(self) -> datetime:
        return START + timedelta(hours=1, seconds=self.loop.now - Loop.now)

    def _pass(self, key: Key) -> None:
        try:
            outcome = self.loop.run_until_complete(self._reconciler.reconcile(key))
        except ClusterError:
            self._due[key] = self.loop.now + 1
            return
        except Crash:
            self.stop()
            self.start()
            return
        # A key that became due while it was worked on is looked at again at once.
        again = outcome.after if isinstance(outcome, Again | Waiting) else None
        if again is not None and key not in self._due:
            self._due[key] = self.loop.now + again.total_seconds()
        if not self.exists(key):
            self._gone(key)

    def _run_controllers(self) -> None:
        """Deployments become ready."""
        for ref, found in list(self.server.objects.items()):
            ready = {"readyReplicas": found["spec"].get("replicas", 1)} if ref.kind == "Deployment" else None
            if ready and found.get("status") != ready:
                self._child(ref, self.server.edit(ref, lambda each, status=ready: each.update(status=status)))

    def _put(self, key: Key, manifest: Manifest) -> None:
        stored = self.server.put(_ref(key), manifest)
        if self._caches is not None:
            self._heard(self._caches.put_gateway(stored))

    def _heard(self, change: Change | None) -> None:
        """What the watch, or the answer to a write of the operator's own, makes be looked at."""
        if change is None or self._caches is None:
            return
        if change.old is not None and change.new is not None and change.old.get("status") != change.new.get("status"):
            metadata = change.new["metadata"]
            self.status_writes[Key(metadata["namespace"], metadata["name"])] += 1
        for key in self._caches.affected_by_gateway(change):
            self._due[key] = self.loop.now

    def _told(self, change: Change) -> None:
        """A write of the operator's own: who wrote knows what comes next, the others do not."""
        own = change.object["metadata"]
        known = self._due.get(Key(own["namespace"], own["name"]))
        self._heard(change)
        self._due.pop(Key(own["namespace"], own["name"]), None)
        if known is not None:
            self._due[Key(own["namespace"], own["name"])] = known

    def _look_at(self, keys: Iterable[Key]) -> None:
        self._due.update(dict.fromkeys(keys, self.loop.now))

    def _child(self, ref: ObjectRef, manifest: Manifest) -> None:
        if self._caches is not None:
            change = self._caches.children[ref.kind].put(deepcopy(manifest))
            for key in self._caches.affected_by_child(change) if change else ():
                self._due[key] = self.loop.now

    def _route(self, ref: ObjectRef, manifest: Manifest) -> None:
        """What the watch of routes tells of an object that others wrote."""
        if self._caches is not None:
            change = self._caches.children[ref.kind].put(deepcopy(manifest))
            self._look_at(self._caches.affected_by_route(change) if change else ())

    def _gone(self, key: Key) -> None:
        """The object is no more: the watch says so, and the garbage collector takes its children."""
        uids = {
            found["metadata"]["uid"] for ref, found in self.server.objects.items() if ref.kind == EGRESS_GATEWAY.kind
        }
        for ref, found in list(self.server.objects.items()):
            owners = {each["uid"] for each in found["metadata"].get("ownerReferences") or ()}
            if owners and not owners & uids:
                if found["metadata"].get("finalizers"):
                    continue
                removed = self.server.remove(ref)
                if self._caches is not None:
                    self._caches.remove_child(ref.kind, removed)
        known = self._caches.gateways.get(*key) if self._caches is not None else None
        if self._caches is not None and known is not None:
            self._heard(self._caches.remove_gateway(known))

    def _look(self, ref: ObjectRef) -> None:
        """Judge the world after a write."""
        for (name, place), owners in self.steers().items():
            if len(owners) > 1 and not self._hands_over(owners, name):
                self.offences.append(f"{self.loop.now}: {name} for {place} is steered by {sorted(owners)}")
        everybody = self.ports()
        for (number, place), _ in self.ports("TCP").items():
            if len(everybody[number, place]) > 1:
                owners = everybody[number, place]
                self.offences.append(f"{self.loop.now}: port {number} in {place} is that of {sorted(owners)}")
        if self._crash_in:
            self._crash_in -= 1
            if not self._crash_in:
                raise Crash

    def _hands_over(self, owners: Collection[Key], name: str) -> bool:
        """Whether all but one of some objects of one namespace have ceased to ask for `name`."""
        asking = [key for key in owners if not self.is_ending(key) and name in self._names_of(key)]
        return len({key.namespace for key in owners}) == 1 and (self.shares_for_a_while or len(asking) <= 1)

    def _names_of(self, key: Key) -> set[str]:
        spec = self.spec_of(key)
        return {name for each in spec["destinations"] for name in (*each["hosts"], *each.get("aliases", ()))}


def _is_written_by_the_operator(ref: ObjectRef, labels: Manifest) -> bool:
    return labels.get("egressgateway.dev/stage") == "clients" and not ref.name.startswith(FORGED)


def _relabelled(manifest: Manifest, labels: Manifest) -> None:
    merged = {**(manifest["metadata"].get("labels") or {}), **labels}
    manifest["metadata"]["labels"] = {name: value for name, value in merged.items() if value is not None}


def _ref(key: Key) -> ObjectRef:
    return ObjectRef(EGRESS_GATEWAY.kind, *key)


def _spec(key: Key, hosts: Iterable[str], consumers: Collection[str], aliases: Sequence[str]) -> dict[str, Any]:
    """
    A destination for each host, one with all aliases, and one that nobody else wants, which nothing may touch.

    The consumer `*` is everybody.
    """
    own = destination("own", f"{key.name}.{key.namespace}.own.example", ports=[TLS])
    destinations = [_asked(f"d{number}", host) for number, host in enumerate(hosts)]
    if aliases:
        destinations.append(destination("also", f"{key.name}.{key.namespace}.also.example", aliases=list(aliases)))
    granted = {"namespaceSelector": {}} if "*" in consumers else {"namespaces": sorted(consumers)}
    access = {"access": {"from": [granted]}} if consumers else {}
    return {"destinations": [own, *destinations], **access}


def _asked(name: str, host: str) -> Manifest:
    """`host:port/protocol`, by default TCP; without a port it is TLS."""
    plain, _, port = host.partition(":")
    number, _, protocol = port.partition("/")
    ports = [{"port": int(number), "protocol": protocol or "TCP"}] if number else [TLS]
    return destination(name, plain, ports=ports, **(_DYNAMIC if host.startswith("*") else {}))


def _initial_status() -> dict[str, Any]:
    """What the CRD gives to an object without a status."""
    return initial_status(*OBJECT_CONDITIONS)


_DYNAMIC: Final = {"wildcard": {"strategy": "DynamicResolution"}}


def _exported(route: Manifest, namespaces: Iterable[str]) -> Iterable[str]:
    to = route["spec"].get("exportTo") or ["."]
    return namespaces if "*" in to else [route["metadata"]["namespace"] if each == "." else each for each in to]
