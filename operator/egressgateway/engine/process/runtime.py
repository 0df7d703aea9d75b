"""
The engine as a whole: what runs in one replica, and in which order it starts and ends.

Every replica keeps its caches warm and answers probes; only the one that holds the Lease writes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Final

from egressgateway.cluster.background import background
from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.events import EventRecorder
from egressgateway.cluster.informer import Informer
from egressgateway.cluster.leader_election import LeaderElector
from egressgateway.cluster.queue import Priority, WorkQueue
from egressgateway.cluster.reflector import Restart
from egressgateway.cluster.store import Change, Store
from egressgateway.contention.raw import key_of
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.cache.external_name_watch import ExternalNameWatch
from egressgateway.engine.cache.mesh_watch import MeshWatch
from egressgateway.engine.cache.reference_watch import ReferenceWatch
from egressgateway.engine.cache.resync import Resync
from egressgateway.engine.cache.route_index import ROUTE_KINDS, WATCHED_WHOLE
from egressgateway.engine.process.acknowledgement import AcknowledgementReader
from egressgateway.engine.process.classes import ClassStatusWriter
from egressgateway.engine.process.client_census import ClientCensus
from egressgateway.engine.process.definitions import DefinitionWatch
from egressgateway.engine.process.health import Server, dead_informers, missing_kinds
from egressgateway.engine.process.metrics import Metrics
from egressgateway.engine.process.preflight import Preflight
from egressgateway.engine.process.probing import ProbeReader
from egressgateway.engine.process.reach import Reach
from egressgateway.engine.process.worker import Workers, work_while_leading
from egressgateway.engine.reconcile.observe import Observer
from egressgateway.engine.reconcile.reconciler import Reconciler
from egressgateway.engine.reconcile.remote_records import RECORD_SELECTOR
from egressgateway.names import CHILD_SELECTOR
from egressgateway.plan.checks import suffixes
from egressgateway.refs import (
    APISIX_KINDS,
    CHILD_RESOURCES,
    CONFIG_MAP,
    EGRESS_GATEWAY,
    EGRESS_GATEWAY_CLASS,
    NAMESPACE,
    SIDECAR,
    Key,
    Manifest,
    ObjectRef,
    Resource,
    ref_of,
)
from egressgateway.settings import Settings

log = logging.getLogger(__name__)

_STOP_GRACE: Final = timedelta(seconds=10)
_GC_THRESHOLDS: Final = (10_000, 5, 100)
"""A collection visits about a million objects a second, and holds the event loop: 10 ms for the youngest generation."""


def _namespace_of(key: Key) -> str:
    """The tenant of a key: users who may write in a namespace are one tenant."""
    return key.namespace


class Runtime:
    """One replica of the operator, from `start` to `stop`."""

    def __init__(self, client: ApiClient, settings: Settings, metrics: Metrics) -> None:
        suffixes.read_list()
        self._settings = settings
        self._metrics = metrics
        self._client = client
        self.caches = Caches(settings.mesh, namespace_bytes=settings.namespace_memory)
        self.caches.on_own_write = self._enqueue_contenders
        self.caches.on_freed = self._enqueue_at_once
        self.caches.own_writes.on_news = self._enqueue_at_once
        # Half of the workers at most: the other half remains for all other tenants.
        self._queue: WorkQueue[Key] = WorkQueue(tenant_of=_namespace_of, share=max(1, settings.workers // 4))
        self._working = False
        self._following = False
        self._reach = Reach(settings.child_namespaces)
        self._reach.on_change = self._reach_changed
        self._preflight = Preflight(client, settings.namespaces)
        self._events = EventRecorder(client, instance=settings.identity)
        self._probes = ProbeReader(self._enqueue_at_once, proxy=settings.pods_proxy)
        self._census = ClientCensus(client, self._enqueue_at_once)
        self._acknowledgements = AcknowledgementReader(client, self._enqueue_at_once, proxy=settings.pods_proxy)
        self._observer = Observer(self.caches, settings, self._probes, self._census, self._acknowledgements)
        self._informers = self._build_informers()
        self._mesh = MeshWatch(
            client,
            self.caches.mesh,
            on_news=self._enqueue_all,
            on_restart=self._watch_restarted,
        )
        self._definitions = DefinitionWatch(
            client, on_restart=self._watch_restarted, on_missing=metrics.definition_lacks
        )
        self._external_names = ExternalNameWatch(
            client,
            self.caches.external_names.store,
            settings.child_namespaces,
            on_change=lambda change: self._enqueue(self.caches.affected_by_external_name(change), change),
            on_restart=self._watch_restarted,
        )
        self._references = ReferenceWatch(
            client, self.caches.references, self._enqueue_at_once, on_restart=self._watch_restarted
        )
        self._resync = Resync(
            client,
            settings,
            self.caches,
            self._gateway_changed,
            self._enqueue_all,
            on_scope=partial(self._reach.record_result, EGRESS_GATEWAY.kind),
        )
        self.elector = LeaderElector(client, settings.lease, settings.identity, on_change=self._leads)
        self._filled = False
        self._reported_missing: frozenset[str] = frozenset()
        self._classes = ClassStatusWriter(
            client,
            self.caches.classes,
            self.caches.gateways,
            trials=self.caches.trials,
            may_write=lambda: self._filled and self.elector.is_leader,
            now=client.clock.now,
        )
        self._reconciler = Reconciler(
            client=client,
            caches=self.caches,
            events=self._events,
            metrics=metrics,
            observer=self._observer,
            settings=settings,
            now=client.clock.now,
        )
        self._workers = Workers(self._queue, self._reconciler.reconcile, concurrency=settings.workers, metrics=metrics)
        self.server = Server(
            settings.metrics_host,
            settings.metrics_port,
            healthy=self._unhealthy,
            ready=self._unready,
            remarks=lambda: (*self._reach.refused.values(), *self._definitions.outdated),
            metrics=metrics,
        )
        self._leading: asyncio.Task[None] | None = None

    async def serve_probes(self) -> None:
        """
        Answer probes first: the kubelet must not kill a replica that waits for the API server.

        Raises:
            StartError: the port is taken.
        """
        await self.server.start()
        fields = {"host": self._settings.metrics_host, "port": self.server.port}
        log.info("Answering probes", extra={"fields": fields})

    async def start(self) -> None:
        """
        Fill the caches, then take part in the leader election; work begins when both are done.

        Returns once the API server has answered for our kinds, however long that takes.
        """
        await self._preflight.wait()
        gc.set_threshold(*_GC_THRESHOLDS)
        self._metrics.observe_queue(self._queue)
        self._metrics.observe_clock(self._client.clock.skew)
        self._metrics.observe_memory(self.caches.namespaces_over_memory)
        self._events.start()
        for informer in self._informers:
            informer.start()
        self._mesh.start()
        self._external_names.informer.start()
        self._definitions.start()
        self._references.start()
        self._probes.task.start()
        self._census.task.start()
        self._acknowledgements.task.start()
        self._resync.start()
        self._classes.start()
        for namespace in self._settings.child_namespaces:
            self._metrics.namespace_served(namespace, self._reach.serves(namespace))
        self._leading = background(self._lead(), "leading")

    async def stop(self) -> None:
        """Finish the passes in flight, release the Lease, end the watches."""
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)
        await self._classes.stop()
        finished = await self._workers.stop(_STOP_GRACE)
        if not finished:
            log.warning("Some reconciles did not finish in time; the next leader repeats them")
        await self.elector.stop()
        await self._events.stop()
        await self._resync.stop()
        for informer in self._informers:
            await informer.stop()
        await self._mesh.stop()
        await self._external_names.informer.stop()
        await self._definitions.stop()
        await self._references.stop()
        await self._probes.task.stop()
        await self._census.task.stop()
        await self._acknowledgements.task.stop()
        await self.server.stop()

    def gateway_event(self, type_: str | None, manifest: Manifest) -> None:
        """An EgressGateway as kopf's watch saw it."""
        change = self.caches.remove_gateway(manifest) if type_ == "DELETED" else self.caches.put_gateway(manifest)
        if change is not None:
            self._gateway_changed(change if type_ is not None else change._replace(listed=True))

    async def _lead(self) -> None:
        """
        Take part in the election once everything has been read, and work whenever this replica leads.

        A replica that cannot work (it waits for a CRD, a right, the mesh's configuration) must not keep others from
        leading.
        """
        synced = (informer.synced() for informer in self._informers)
        looked = (self.elector.look(),) if self._settings.lease.enabled else ()
        await asyncio.gather(
            *synced, self._resync.synced.wait(), self._mesh.read(), self._external_names.read(), *looked
        )
        self._refresh_unserved()
        log.info("Caches are synced", extra={"fields": {"gateways": len(self.caches.gateways)}})
        # What was read lives as long as the process: no collection has to visit it again.
        gc.freeze()
        self._filled = True
        self._report_missing_kinds()
        self._classes.look()
        self.elector.start()
        await work_while_leading(self.elector, self._workers, begin=self._begin_term, end=self._end_term)

    def _leads(self, leads: bool) -> None:
        self._metrics.leads(leads)
        if leads:
            self._classes.look()

    def _begin_term(self) -> None:
        """Enqueue every key: none was queued for this replica before."""
        self._working = True
        for key in self.caches.known_keys():
            self._add(key, Priority.ROUTINE)

    def _end_term(self) -> None:
        """
        Drop what this replica knew as the leader: the next leader reports it and watches it from now on.

        A queue without workers would show keys as overdue for ever, also those of deleted objects.
        """
        self._working = False
        self._queue.clear()
        self._reconciler.end_term()
        self.caches.references.release_all()
        self.caches.scopes.release_all()
        self._probes.release_all()
        self._census.release_all()
        self._acknowledgements.release_all()
        self._metrics.forget_all()

    def _add(self, key: Key, priority: Priority) -> None:
        """Enqueue a key, if this replica leads and can read the key's namespace."""
        if self._working and self._reach.serves(key.namespace):
            self._queue.add(key, priority)

    def _reach_changed(self) -> None:
        """
        A namespace can or cannot be served from now on: enqueue its objects, and those that share something with it.
        """
        for namespace in self._settings.child_namespaces:
            self._metrics.namespace_served(namespace, self._reach.serves(namespace))
        for key in self.caches.known_keys():
            self._add(key, Priority.ROUTINE)

    def _build_informers(self) -> list[Informer]:
        children = [
            # It also looks for unmanaged routes of a host; two watches of one kind would cost the server twice.
            self._informer(
                resource,
                self.caches.children[resource.kind],
                None if resource.kind in WATCHED_WHOLE else CHILD_SELECTOR,
            )
            for resource in CHILD_RESOURCES
        ]
        return [
            *children,
            self._informer(EGRESS_GATEWAY_CLASS, self.caches.classes),
            self._informer(NAMESPACE, self.caches.namespaces),
            self._informer(SIDECAR, self.caches.sidecars),
            self._records_informer(),
        ]

    def _records_informer(self) -> Informer:
        """For the operator's own namespace, whichever namespaces are served."""
        return Informer(
            self._client,
            CONFIG_MAP,
            self.caches.records,
            namespaces=(self._settings.lease.namespace,),
            label_selector=RECORD_SELECTOR,
            on_change=lambda change: self._enqueue(self.caches.affected_by_record(change), change),
            on_restart=self._watch_restarted,
        )

    def _informer(self, resource: Resource, store: Store, label_selector: str | None = None) -> Informer:
        handlers = {
            EGRESS_GATEWAY_CLASS.kind: self.caches.affected_by_class,
            NAMESPACE.kind: self.caches.affected_by_namespace,
            SIDECAR.kind: self.caches.scopes.take_sidecar,
            "DestinationRule": self.caches.affected_by_rule,
            **dict.fromkeys(ROUTE_KINDS, self.caches.affected_by_route),
        }
        affected = handlers.get(resource.kind, self.caches.affected_by_child)

        def on_change(change: Change) -> None:
            if resource is EGRESS_GATEWAY_CLASS:
                self._classes.look()
            if resource is NAMESPACE and change.listed:
                self._follow_namespaces_soon()
            self._enqueue(self._but_the_writer(ref_of(change.object), affected(change), change), change)

        return Informer(
            self._client,
            resource,
            store,
            namespaces=self._settings.child_namespaces,
            label_selector=label_selector,
            on_change=on_change,
            on_restart=self._watch_restarted,
            on_served=self._served_changed,
            on_scope=partial(self._reach.record_result, resource.kind),
            optional=resource.kind in APISIX_KINDS,
        )

    def _follow_namespaces_soon(self) -> None:
        """Once for all namespaces that one stretch of a list brings."""
        if not self._following:
            self._following = True
            asyncio.get_running_loop().call_soon(self._follow_namespaces)

    def _follow_namespaces(self) -> None:
        self._following = False
        for key in self.caches.follow_namespaces():
            self._add(key, Priority.ROUTINE)

    def _served_changed(self) -> None:
        """A CRD was installed or removed: every object may be affected."""
        self._refresh_unserved()
        if self._filled:
            self._report_missing_kinds()
        self._enqueue_all()

    def _report_missing_kinds(self) -> None:
        """Report once the kinds that some clusters lack: which are missing, and what that means."""
        missing = self._observer.unserved & APISIX_KINDS
        if missing == self._reported_missing:
            return
        self._reported_missing = missing
        if missing:
            fields = {"kinds": sorted(missing)}
            log.info(
                "APISIX is not installed, or the operator may not read its kinds: no class can use it",
                extra={"fields": fields},
            )
        else:
            log.info("APISIX is installed: classes can use it")

    def _enqueue_all(self) -> None:
        for gateway in self.caches.gateways:
            self._add(key_of(gateway), Priority.ROUTINE)
        for key in self.caches.without_object():
            # Deleted unseen, while another replica or none led, with children in other namespaces.
            self._add(key, Priority.ROUTINE)

    def _refresh_unserved(self) -> None:
        self._observer.unserved = frozenset(
            informer.resource.kind for informer in self._informers if not informer.state.served
        ) & frozenset(self.caches.children)

    def _gateway_changed(self, change: Change) -> None:
        self._classes.gateway_changed(change)
        ref = ObjectRef(EGRESS_GATEWAY.kind, *key_of(change.object))
        self._enqueue(self._but_the_writer(ref, self.caches.affected_by_gateway(change), change), change)

    def _but_the_writer(self, ref: ObjectRef, keys: Iterable[Key], change: Change) -> Iterable[Key]:
        """All keys that a change affects, except the one whose pass is writing to the object now."""
        writer = self.caches.own_writes.take(ref, change)
        return keys if writer is None else [key for key in keys if key != writer]

    def _enqueue_contenders(self, change: Change) -> None:
        """We wrote to an EgressGateway: its own pass knows what comes next, its contenders do not."""
        self._classes.gateway_changed(change)
        own = key_of(change.object)
        self._enqueue((key for key in self.caches.affected_by_gateway(change) if key != own), change)

    def _enqueue_at_once(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._add(key, Priority.URGENT)

    def _watch_restarted(self, kind: str, why: Restart) -> None:
        self._metrics.watch_restarted(kind, str(why))

    def _enqueue(self, keys: Iterable[Key], change: Change) -> None:
        for key in keys:
            self._add(key, Priority.ROUTINE if change.listed else Priority.URGENT)

    def _unhealthy(self) -> list[str]:
        if self._preflight.obstacle:
            return []
        ended = self._leading is not None and self._leading.done()
        return [
            *dead_informers(self._all_informers()),
            *(["the engine has ended"] if ended else []),
            *(["the reader of probes has ended"] if self._probes.task.ended else []),
            *(["the census of consumers' pods has ended"] if self._census.task.ended else []),
            *(["the reader of acknowledgements has ended"] if self._acknowledgements.task.ended else []),
        ]

    def _all_informers(self) -> list[Informer]:
        return [
            *self._informers,
            *self._mesh.informers,
            *self._definitions.informers,
            self._external_names.informer,
        ]

    def _unready(self) -> list[str]:
        if self._preflight.obstacle:
            return [self._preflight.obstacle]
        missing = [*missing_kinds(self._informers), *filter(None, [self._mesh.missing])]
        return missing if self._resync.synced.is_set() else ["EgressGateway has not been listed yet", *missing]
