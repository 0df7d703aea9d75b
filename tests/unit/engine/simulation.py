"""
A world small enough to hold in the head: the real reconciler, a server that is a dictionary, a clock that is a number.

The server answers single writes as the API server does (preconditions, resource versions, field ownership as far as
the operator relies on it). After each write the world is judged as the mesh would see it; see `routing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import yaml

from egressgateway.api.scalars import format_instant
from egressgateway.cluster.request import APPLY_PATCH, Request
from egressgateway.cluster.result import Again, Outcome, Waiting
from egressgateway.diff.subset import EXACT_KINDS
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.process.metrics import Metrics
from egressgateway.engine.reconcile.observe import Observer
from egressgateway.engine.reconcile.reconciler import Reconciler
from egressgateway.errors import ClusterError, Conflict, NotFound
from egressgateway.facts import PodSelection
from egressgateway.refs import CHILD_RESOURCES, CONFIG_MAP, EGRESS_GATEWAY, Key, Manifest, ObjectRef, ref_of
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import RenderCache
from egressgateway.settings import Settings
from harness.conditions import transition_violations, violations
from unit.objects import gateway

KEY = Key("shop", "partners")
START = datetime(2026, 1, 1, tzinfo=UTC)
GRACE = Settings().mesh.push_grace.total_seconds()
_RENDERER = Renderer()
_RESOURCES = {resource.plural: resource for resource in (*CHILD_RESOURCES, EGRESS_GATEWAY, CONFIG_MAP)}


class Crash(BaseException):
    """The process is killed. Not an Exception: nothing may catch it."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock only moves when it is told to."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Server:
    """
    Objects by ref, and what happens to them.

    `before` and `after` are called around each write of a child, with its ref; they may raise, as a server would, or
    as a kill does.
    """

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        """`now`: when objects are created; without it all are of one age."""
        self._now = now or (lambda: START)
        self.objects: dict[ObjectRef, Manifest] = {}
        self.writes: list[tuple[str, ObjectRef]] = []
        self.record_writes: list[tuple[str, ObjectRef]] = []
        """To the records of children in other namespaces, which are nobody's children themselves."""
        self.before: Callable[[ObjectRef], None] = lambda ref: None
        self.after: Callable[[ObjectRef], None] = lambda ref: None
        self._applied: dict[ObjectRef, Manifest] = {}
        self._patched: dict[ObjectRef, set[str]] = {}
        self._version = 0

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        """Answer one call."""
        if request.verb == "list":
            name = dict(request.query)["fieldSelector"].removeprefix("metadata.name=")
            return {"items": [deepcopy(found) for ref, found in self.objects.items() if _is_named(ref, name)]}
        ref, subresource = _target(request)
        body = orjson.loads(request.body or b"{}")
        if request.method == "GET":
            return deepcopy(self.objects.get(ref) or _not_found(request))
        if ref.kind == EGRESS_GATEWAY.kind:
            return deepcopy(self._patch_owner(ref, body, subresource))
        self.before(ref)
        (self.record_writes if ref.kind == CONFIG_MAP.kind else self.writes).append((request.verb, ref))
        if request.method == "DELETE":
            self._delete(ref, body, request)
        elif request.content_type == APPLY_PATCH:
            self._apply(ref, body, request)
        else:
            self._merge(ref, body, request)
        self.after(ref)
        return deepcopy(self.objects.get(ref))

    def edit(self, ref: ObjectRef, change: Callable[[Manifest], None]) -> Manifest:
        """Somebody else changes an object."""
        found = deepcopy(self.objects[ref])
        change(found)
        return self.put(ref, found)

    def put(self, ref: ObjectRef, manifest: Manifest) -> Manifest:
        """Store `manifest` as a new version."""
        self._version += 1
        manifest["metadata"]["resourceVersion"] = str(self._version)
        manifest["metadata"].setdefault("uid", f"uid-{self._version}")
        manifest["metadata"].setdefault("creationTimestamp", format_instant(self._now()))
        self.objects[ref] = manifest
        return deepcopy(manifest)

    def _apply(self, ref: ObjectRef, body: Manifest, request: Request) -> None:
        """Server-side apply: own fields that are no longer sent go, those of others stay. Lists are one value."""
        live = self.objects.get(ref)
        uid, version = body["metadata"].pop("uid", None), body["metadata"].pop("resourceVersion", None)
        if live is not None and (version is not None or uid not in (None, live["metadata"]["uid"])):
            raise Conflict(request.call, "the object has been modified", code=409)
        if live is None and uid is not None:
            raise Conflict(request.call, "uid mismatch", code=409)
        before = self._applied.get(ref, {})
        others = self._patched.get(ref, set())
        merged = _without_dropped(deepcopy(live or {}), before, body, others)
        self._applied[ref] = deepcopy(body)
        if live is None or _merged(merged, body) != live:
            self.put(ref, _merged(merged, body))

    def _merge(self, ref: ObjectRef, body: Manifest, request: Request) -> None:
        live = self.objects.get(ref)
        if live is None or body["metadata"].pop("uid", None) != live["metadata"]["uid"]:
            raise Conflict(request.call, "precondition failed", code=409)
        # What a patch changed belongs to the patching manager from then on: an apply that omits it leaves it there.
        changed = {key for key, value in body["spec"].items() if live["spec"].get(key) != value}
        self._patched.setdefault(ref, set()).update(changed)
        self.put(ref, merge(live, body))

    def _delete(self, ref: ObjectRef, body: Manifest, request: Request) -> None:
        live = self.objects.get(ref) or _not_found(request)
        if body["preconditions"]["uid"] != live["metadata"]["uid"]:
            raise Conflict(request.call, "uid mismatch", code=409)
        if live["metadata"].get("finalizers"):
            self.edit(ref, lambda found: found["metadata"].setdefault("deletionTimestamp", "2026-01-01T01:00:00Z"))
        else:
            self.remove(ref)

    def remove(self, ref: ObjectRef) -> Manifest:
        """The object is gone, with all that is known of who set its fields."""
        self._applied.pop(ref, None)
        self._patched.pop(ref, None)
        return self.objects.pop(ref)

    def _patch_owner(self, ref: ObjectRef, body: Manifest, subresource: str) -> Manifest:
        live = self.objects[ref]
        if body["metadata"].pop("resourceVersion") != live["metadata"]["resourceVersion"]:
            raise Conflict("patch", "the object has been modified", code=409)
        assert (subresource == "status") == ("status" in body)
        new = merge(live, body)
        if subresource:
            assert not (found := violations(new) + transition_violations(live, new)), found
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            # The answer shows what was written, though it ended the object.
            self.put(ref, new)
            return self.remove(ref)
        return self.put(ref, new)


class _Told:
    """An `EventRecorder` that keeps what it is told."""

    def __init__(self, told: list[tuple[str, str, str]]) -> None:
        self._told = told

    def record(self, regarding: Manifest, type_: str, reason: str, action: str, note: str) -> None:
        self._told.append((type_, reason, note))


def reconciler_over(
    server: Server,
    caches: Caches,
    settings: Settings,
    *,
    now: Callable[[], datetime],
    told: list[tuple[str, str, str]],
) -> Reconciler:
    """The real reconciler, of a process that has just started; its events go to `told`."""
    made = Reconciler(
        client=server,  # type: ignore[arg-type]  # all that it needs of a client is `send`
        caches=caches,
        events=_Told(told),  # type: ignore[arg-type]  # what is told is kept instead of posted
        metrics=Metrics(),
        observer=Observer(caches, settings),
        settings=settings,
        now=now,
    )
    # To compile the templates takes longer than all else that a small world does.
    made._renderer = _RENDERER
    made._rendered = RenderCache(_RENDERER)
    return made


def default_class(spec: Manifest, version: str = "1") -> Manifest:
    """An EgressGatewayClass for objects that name none."""
    annotations = {"egressgateway.dev/is-default-class": "true"}
    fixed = {"name": "standard", "uid": "class", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": {**fixed, "resourceVersion": version, "annotations": annotations}, "spec": spec}


class World:
    """One EgressGateway, its operator, and the pods of its gateway."""

    def __init__(self, spec: Manifest, *, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.loop = Loop()
        self.server = Server()
        self.pods_ready = True
        self.owner = ObjectRef(EGRESS_GATEWAY.kind, *KEY)
        self.server.put(self.owner, gateway(KEY, spec, uid="owner"))
        self.classes: list[Manifest] = []
        self.namespaces: dict[str, dict[str, str]] = {KEY.namespace: {}}
        self.mesh_config: Manifest | None = None
        self.references: dict[ObjectRef, Manifest | None] = {}
        self.pods: dict[PodSelection, list[Manifest]] = {}
        self.foreign: dict[ObjectRef, Manifest] = {}
        self.outcomes: list[Outcome] = []
        self.told: list[tuple[str, str, str]] = []
        """Events: type, reason and note."""
        self.namespace_bytes = self.settings.namespace_memory
        self.gateway_bytes: int | None = None
        """Memory for EgressGateways, if it is not half of `namespace_bytes`."""
        self.fillers: list[tuple[str, Manifest]] = []
        """What else there is in the caches, by kind, and was there before the object: it takes the memory."""
        self._stamp = 0
        self.restart()

    def close(self) -> None:
        self.loop.close()

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.loop.now - Loop.now)

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.server.objects[self.owner].get("status", {})
        return status

    @property
    def live(self) -> dict[ObjectRef, Manifest]:
        """The children."""
        beside = (EGRESS_GATEWAY.kind, CONFIG_MAP.kind)
        return {ref: found for ref, found in self.server.objects.items() if ref.kind not in beside}

    @property
    def records(self) -> dict[ObjectRef, Manifest]:
        """What the operator recorded of children in other namespaces."""
        return {ref: found for ref, found in self.server.objects.items() if ref.kind == CONFIG_MAP.kind}

    def settings_for(self, *namespaces: str) -> Settings:
        """Those of an operator that serves only these."""
        return replace(self.settings, namespaces=namespaces)

    def restart(self, without: Collection[str] = ()) -> None:
        """A new process: nothing is remembered, everything is read anew; but `without` some namespaces."""
        self.caches = Caches(namespace_bytes=self.namespace_bytes)
        self.caches.gateways_budget.limit = self.gateway_bytes or self.caches.gateways_budget.limit
        for kind, filler in self.fillers:
            if kind == EGRESS_GATEWAY.kind:
                self.caches.put_gateway(deepcopy(filler))
            else:
                self.caches.put_child(kind, deepcopy(filler))
        for found in self.classes:
            self.caches.classes.put(deepcopy(found))
        self._tell_of_the_world()
        for ref, found in self.server.objects.items():
            if ref.namespace not in without:
                self._tell(ref, found)
        self.reconciler = reconciler_over(self.server, self.caches, self.settings, now=lambda: self.now, told=self.told)

    def edit(self, spec: Manifest) -> None:
        """The author changes the spec."""

        def change(found: Manifest) -> None:
            found["spec"] = spec
            found["metadata"]["generation"] += 1

        self._tell(self.owner, self.server.edit(self.owner, change))

    def delete(self) -> None:
        """The author deletes the object."""
        self.tamper(self.owner, lambda found: found["metadata"].update(deletionTimestamp="2026-01-01T01:00:00Z"))

    def set_finalizers(self, *finalizers: str) -> None:
        """The author writes the object's finalizers, and no others."""
        self.tamper(self.owner, lambda found: found["metadata"].update(finalizers=list(finalizers)))

    def lose(self) -> None:
        """The object is gone from the API without a pass of the operator's: nobody's finalizer kept it."""
        self.caches.remove_gateway(self.server.remove(self.owner))

    def collect(self) -> None:
        """The garbage collector takes what has only owners that are gone."""
        for ref, found in list(self.live.items()):
            owners = found["metadata"].get("ownerReferences")
            if owners and self.owner not in self.server.objects:
                self.remove(ref)

    def set_class(self, spec: Manifest) -> None:
        """The default class is now this one."""
        version = len(self.server.writes) + 10_000 + int(self.loop.now * 1000)
        self.classes = [default_class(spec, str(version))]
        self.caches.classes.put(deepcopy(self.classes[0]))

    def set_namespace(self, name: str, **labels: str) -> None:
        """A namespace is there, with these labels and no others; `_` in a label's name stands for `-`."""
        self.namespaces[name] = {label.replace("_", "-"): value for label, value in labels.items()}
        self._tell_of_the_world()

    def remove_namespace(self, name: str) -> None:
        del self.namespaces[name]
        for found in list(self.caches.namespaces):
            if found["metadata"]["name"] == name:
                self.caches.namespaces.remove(found)

    def set_mesh_config(self, **mesh: Any) -> None:
        """The mesh says this of itself."""
        self.mesh_config = mesh
        self._tell_of_the_world()

    def set_reference(self, ref: ObjectRef, manifest: Manifest | None) -> None:
        """An object that a spec or class may name; None: it was looked for, and is not there."""
        self.references[ref] = manifest
        self._tell_of_the_world()

    def set_pods(self, selection: PodSelection, *pods: Manifest) -> None:
        """Pods of a gateway that somebody else runs."""
        self.pods[selection] = list(pods)
        self._tell_of_the_world()

    def set_foreign_route(self, manifest: Manifest) -> None:
        """Somebody else's VirtualService or ServiceEntry."""
        created = {"creationTimestamp": "2026-01-01T00:00:00Z"}
        self.foreign[ref_of(manifest)] = manifest | {"metadata": created | manifest["metadata"]}
        self._tell_of_the_world()

    def remove_foreign_route(self, ref: ObjectRef) -> None:
        change = self.caches.children[ref.kind].remove(self._stamped(self.foreign.pop(ref)))
        if change is not None:
            self.caches.affected_by_route(change)

    def _tell_of_the_world(self) -> None:
        """Everything around the object, as informers would."""
        for name, labels in self.namespaces.items():
            self.caches.namespaces.put(self._stamped({"metadata": {"name": name, "labels": labels}}))
        if self.mesh_config is not None:
            metadata = {"namespace": self.settings.mesh.root_namespace, "name": "istio"}
            data = {"mesh": yaml.safe_dump(self.mesh_config)}
            self.caches.mesh.config_maps.put(self._stamped({"metadata": metadata, "data": data}))
        for ref, found in self.references.items():
            self.caches.references.put(ref, deepcopy(found))
        for selection, pods in self.pods.items():
            self.caches.references.put_pods(selection, deepcopy(pods))
        for ref, found in self.foreign.items():
            self.caches.put_child(ref.kind, self._stamped(found))

    def _stamped(self, manifest: Manifest) -> Manifest:
        """A copy under a version of its own."""
        self._stamp += 1
        return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(1_000_000 + self._stamp)}}

    def tamper(self, ref: ObjectRef, change: Callable[[Manifest], None]) -> None:
        """Somebody changes an object by hand."""
        self._tell(ref, self.server.edit(ref, change))

    def remove(self, ref: ObjectRef) -> None:
        """Somebody deletes a child by hand."""
        self.caches.children[ref.kind].remove(self.server.remove(ref))

    def reconcile(self) -> Outcome:
        """One pass."""
        outcome = self.loop.run_until_complete(self.reconciler.reconcile(KEY))
        self.outcomes.append(outcome)
        return outcome

    def settle(self, passes: int = 40) -> int:
        """
        Go on until nothing moves: do what outcomes ask for, let pods become ready. The number of passes.

        Raises:
            AssertionError: it never ends.
        """
        for number in range(passes):
            try:
                outcome = self.reconcile()
            except ClusterError:
                self.loop.now += 1
                continue
            if self.kubelet():
                continue
            match outcome:
                case Again(after):
                    self.loop.now += after.total_seconds()
                case Waiting(_, after) if after is not None:
                    self.loop.now += after.total_seconds()
                    return number + 1
                case _:
                    return number + 1
        raise AssertionError(f"still moving after {passes} passes: {self.outcomes[-6:]}, {self.server.writes[-20:]}")

    def kubelet(self) -> bool:
        """Pods become what `pods_ready` says. Whether that changed anything."""
        ref = ObjectRef("Deployment", KEY.namespace, f"{KEY.name}-egress")
        found = self.server.objects.get(ref)
        if found is None:
            return False
        ready = found["spec"].get("replicas", 1) if self.pods_ready else 0
        if found.get("status", {}).get("readyReplicas", 0) == ready:
            return False
        self.tamper(ref, lambda manifest: manifest.update(status={"readyReplicas": ready}))
        return True

    def writes_of(self, action: Callable[[], object]) -> list[tuple[str, ObjectRef]]:
        """Writes to children while `action` runs."""
        before = len(self.server.writes)
        action()
        return self.server.writes[before:]

    def _tell(self, ref: ObjectRef, found: Manifest) -> None:
        if ref == self.owner:
            self.caches.put_gateway(deepcopy(found))
        elif ref.kind == CONFIG_MAP.kind:
            self.caches.records.put(deepcopy(found))
        else:
            self.caches.put_child(ref.kind, deepcopy(found))


def merge(live: Any, patch: Any) -> Any:
    """RFC 7386, as its appendix has it."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    result = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def _merged(live: Any, applied: Any) -> Any:
    if not isinstance(applied, dict) or not isinstance(live, dict):
        return deepcopy(applied)
    return {**live, **{key: _merged(live.get(key), value) for key, value in applied.items()}}


def _without_dropped(live: Manifest, before: Manifest, now: Manifest, others: set[str]) -> Manifest:
    """`live` without the top-level fields of `spec` that this manager sent before, and nobody else did."""
    spec = live.get("spec")
    if isinstance(spec, dict) and live.get("kind") in EXACT_KINDS | {"Deployment", "Service"}:
        for key in (before.get("spec") or {}).keys() - (now.get("spec") or {}).keys() - others:
            spec.pop(key, None)
    return live


def _is_named(ref: ObjectRef, name: str) -> bool:
    """Whether it is the EgressGateway of that name: there is one in a world, or their names differ."""
    return ref.kind == EGRESS_GATEWAY.kind and ref.name == name


def _target(request: Request) -> tuple[ObjectRef, str]:
    parts = request.path.split("/")
    at = parts.index("namespaces")
    resource = _RESOURCES[parts[at + 2]]
    return ObjectRef(resource.kind, parts[at + 1], parts[at + 3]), "/".join(parts[at + 4 :])


def _not_found(request: Request) -> Manifest:
    raise NotFound(request.call, "not found", code=404)
