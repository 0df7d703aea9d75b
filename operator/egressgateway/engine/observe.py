"""From the caches to `Facts`: the only place where raw objects become what planning sees."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.objects import DEFAULT_CLASS_ANNOTATION, GATEWAY_NAME
from egressgateway.api.scalars import parse_instant
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.api.validation import SpecError, parse_class_spec, parse_spec
from egressgateway.diff.changeset import is_child_of
from egressgateway.engine.caches import Caches, key_of, names_in
from egressgateway.engine.memory import Progress
from egressgateway.facts import ClassFacts, Facts, GatewayFacts, Rival, WorkloadFacts
from egressgateway.plan.claims import contended_names, read_claims
from egressgateway.plan.ir import Stage
from egressgateway.plan.names import FINALIZER, workload_name
from egressgateway.plan.retain import stage_of
from egressgateway.refs import Key, Manifest
from egressgateway.settings import Settings

PATIENCE: Final = timedelta(seconds=10)
"""How long a gateway with a ready pod waits for its other pods before it takes traffic: one alone may be too few."""


class Observer:
    """Reads the caches; remembers what it parsed."""

    def __init__(self, caches: Caches, settings: Settings) -> None:
        self._caches = caches
        self._settings = settings
        self._specs: dict[Key, tuple[str, int, EgressGatewaySpec | None, tuple[SpecError, ...]]] = {}
        self.unserved: frozenset[str] = frozenset()
        """Kinds of children without a CRD, as the informers found."""

    def observe(self, key: Key, progress: Progress, now: datetime, clock: float) -> Facts | None:
        """
        The facts about `key`; None when there is no such EgressGateway.

        Args:
            now: wall clock, for times that are written down.
            clock: the event loop's time, which `progress` is measured by.
        """
        manifest = self._caches.gateways.get(*key)
        if manifest is None:
            self._specs.pop(key, None)
            return None
        gateway = self._gateway(key, manifest)
        labelled = self._caches.children_of(key)
        live = {ref: found for ref, found in labelled.items() if is_child_of(found, key)}
        grace = self._settings.mesh.push_grace.total_seconds()
        namespace = self._caches.namespaces.get("", key.namespace)
        return Facts(
            now=now,
            gateway=gateway,
            class_=self._class(manifest),
            mesh=self._settings.mesh,
            namespace_labels=None if namespace is None else namespace["metadata"].get("labels") or {},
            rivals=tuple(self._rival(other) for other in self._rivals(key, manifest)),
            live=live,
            others={ref: found for ref, found in labelled.items() if ref not in live},
            workload=self._workload(key, progress, clock),
            unserved=self.unserved,
            gateway_settled=clock - progress.gateway_written_at >= grace,
            clients_settled=clock - progress.clients_written_at >= grace,
        )

    def _gateway(self, key: Key, manifest: Manifest) -> GatewayFacts:
        metadata = manifest["metadata"]
        uid, generation = metadata["uid"], metadata["generation"]
        known = self._specs.get(key)
        if known is None or known[:2] != (uid, generation):
            parsed = parse_spec(manifest.get("spec") or {})
            errors = GATEWAY_NAME.find(key.name) + (parsed if isinstance(parsed, tuple) else ())
            spec = None if errors or isinstance(parsed, tuple) else parsed
            known = self._specs[key] = (uid, generation, spec, errors)
        return GatewayFacts(
            key=key,
            uid=uid,
            generation=generation,
            created=parse_instant(metadata["creationTimestamp"]),
            spec=known[2],
            errors=known[3],
            status=manifest.get("status") or {},
            deleting="deletionTimestamp" in metadata,
        )

    def _class(self, gateway: Manifest) -> ClassFacts:
        name = (gateway.get("spec") or {}).get("className")
        if name is None:
            return self._default_class((gateway.get("status") or {}).get("className") or "")
        manifest = self._caches.classes.get("", name)
        return ClassFacts(name, None) if manifest is None else _class_facts(manifest)

    def _default_class(self, last: str) -> ClassFacts:
        """
        The class marked as default, of several the oldest, then by name; else the built-in one.

        Never the built-in one for an object that `last` had a class: it may allow what that class denied.
        """
        marked = [manifest for manifest in self._caches.classes if _is_default(manifest)]
        if marked:
            return _class_facts(
                min(marked, key=lambda found: (found["metadata"]["creationTimestamp"], found["metadata"]["name"]))
            )
        built_in = self._settings.built_in_class and not last
        return ClassFacts(last, EgressGatewayClassSpec() if built_in else None)

    def _rivals(self, key: Key, manifest: Manifest) -> list[Manifest]:
        keys = self._caches.hosts.rivals_of(key, names_in(manifest))
        found = (self._caches.gateways.get(*other) for other in keys)
        return [rival for rival in found if rival is not None and not _has_let_go(rival)]

    def _rival(self, manifest: Manifest) -> Rival:
        key = key_of(manifest)
        routes = (
            child
            for child in self._caches.children["VirtualService"].by_index(key)
            if stage_of(child) is Stage.CLIENTS and is_child_of(child, key)
        )
        return Rival(
            key=key,
            created=parse_instant(manifest["metadata"]["creationTimestamp"]),
            wants=contended_names(manifest),
            claimed=read_claims(manifest.get("status") or {}),
            steers=frozenset(host for child in routes for host in (child.get("spec") or {}).get("hosts") or ()),
        )

    def _workload(self, key: Key, progress: Progress, clock: float) -> WorkloadFacts:
        deployment = self._caches.children["Deployment"].get(key.namespace, workload_name(key)) or {}
        replicas = int((deployment.get("spec") or {}).get("replicas") or 0)
        ready = int((deployment.get("status") or {}).get("readyReplicas") or 0)
        if ready == 0:
            progress.first_ready_at = None
            return WorkloadFacts(replicas, ready, complete=False)
        if progress.first_ready_at is None:
            progress.first_ready_at = clock
        patient = clock - progress.first_ready_at < PATIENCE.total_seconds()
        return WorkloadFacts(replicas, ready, complete=ready >= replicas or not patient)


def _has_let_go(gateway: Manifest) -> bool:
    """Whether it is being deleted and has withdrawn its clients: only somebody else's finalizer keeps it."""
    metadata = gateway["metadata"]
    return "deletionTimestamp" in metadata and FINALIZER not in (metadata.get("finalizers") or ())


def _class_facts(manifest: Manifest) -> ClassFacts:
    parsed = parse_class_spec(manifest.get("spec") or {})
    name = manifest["metadata"]["name"]
    return ClassFacts(name, None, parsed) if isinstance(parsed, tuple) else ClassFacts(name, parsed)


def _is_default(manifest: Manifest) -> bool:
    annotations: Mapping[str, Any] = manifest["metadata"].get("annotations") or {}
    return annotations.get(DEFAULT_CLASS_ANNOTATION) == "true"
