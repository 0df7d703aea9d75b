"""What the operator itself says of objects: its reconciler, over the server that is a dictionary."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from datetime import datetime
from typing import Any

from egressgateway.api.conditions import OBJECT_CONDITIONS
from egressgateway.api.status import initial_status
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.cache.references import KEPT, Wanted
from egressgateway.facts import PodSelection
from egressgateway.refs import EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, NAMESPACE, Key, Manifest, ObjectRef, ref_of
from egressgateway.settings import Settings
from unit.engine.simulation import Loop, Server, reconciler_over

_PASSES = 4
"""References are read between the first and the second; the status then says all that it will say of the spec."""


def statuses(objects: Iterable[Manifest], now: datetime) -> dict[Key, dict[str, Any]]:
    """The status of every EgressGateway, once the operator has seen all of it."""
    stored = {ref_of(each): deepcopy(each) for each in objects}
    server, caches, settings, loop = Server(lambda: now), Caches(), Settings(), Loop()
    caches.references.on_wanted = lambda wanted: _answer(caches, stored, wanted)
    keys = sorted(Key(ref.namespace, ref.name) for ref in stored if ref.kind == EGRESS_GATEWAY.kind)
    try:
        _tell(caches, server, stored, {key.namespace for key in keys})
        reconciler = reconciler_over(server, caches, settings, now=lambda: now, told=[])
        for _ in range(_PASSES):
            for key in keys:
                loop.run_until_complete(reconciler.reconcile(key))
                loop.now += 1
    finally:
        loop.close()
    return {key: server.objects[ObjectRef(EGRESS_GATEWAY.kind, *key)].get("status", {}) for key in keys}


def _tell(caches: Caches, server: Server, stored: dict[ObjectRef, Manifest], inhabited: set[str]) -> None:
    named = {ref.name for ref in stored if ref.kind == NAMESPACE.kind}
    for name in inhabited - named:
        labels = {"kubernetes.io/metadata.name": name}
        caches.namespaces.put({"metadata": {"name": name, "labels": labels, "resourceVersion": "1"}})
    for ref, found in stored.items():
        if ref.kind == NAMESPACE.kind:
            caches.namespaces.put(found)
        elif ref.kind == EGRESS_GATEWAY_CLASS.kind:
            caches.classes.put(found)
    for ref, found in stored.items():
        if ref.kind == EGRESS_GATEWAY.kind:
            caches.put_gateway(server.put(ref, {**found, "status": initial_status(*OBJECT_CONDITIONS)}))
    for ref, found in stored.items():
        if ref.kind in caches.children:
            caches.put_child(ref.kind, found)


def _answer(caches: Caches, stored: dict[ObjectRef, Manifest], wanted: Wanted) -> None:
    if isinstance(wanted, PodSelection):
        caches.references.put_pods(wanted, ())
        return
    found = stored.get(wanted)
    trim = KEPT.get(wanted.kind)
    caches.references.put(wanted, trim(found) if trim is not None and found is not None else found)
