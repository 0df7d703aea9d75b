"""
Metrics for Prometheus, in a registry of their own: two operators in one process do not mix theirs.

Labels come from closed sets (kinds, verbs, reasons), except for namespace and name of an EgressGateway, whose series
are deleted with it (`forget`). Hosts are never labels: users decide how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from egressgateway import __version__
from egressgateway.cluster.queue import WorkQueue
from egressgateway.engine.process.gateway_series import GatewaySeries
from egressgateway.refs import Key, Manifest
from egressgateway.status.causes import causes
from egressgateway.status.expirations import first_ends

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# From a reconcile that finds nothing to do to one that waits for a slow API server, in seconds.
RECONCILE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Everything that the operator counts."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._reconciles = Counter("egressgateway_reconcile", "Reconciles by result.", ["result"], registry=registry)
        self._reconcile_seconds = Histogram(
            "egressgateway_reconcile_duration_seconds",
            "Time that one reconcile takes, its writes included.",
            buckets=RECONCILE_BUCKETS,
            registry=registry,
        )
        self._applied = Counter(
            "egressgateway_children_applied",
            "Writes of children.",
            ["kind", "operation", "result"],
            registry=registry,
        )
        self._drift = Counter(
            "egressgateway_drift_corrections",
            "Children that another client changed or deleted, and that the operator corrected.",
            ["kind"],
            registry=registry,
        )
        self._requests = Counter(
            "egressgateway_api_requests",
            "Calls to the API server; code `error` means that there was no answer.",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "egressgateway_api_request_duration_seconds",
            "Time that one call to the API server takes; of a watch, until it is accepted.",
            ["verb"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._watch_restarts = Counter(
            "egressgateway_watch_restarts", "Watches that were restarted.", ["kind", "reason"], registry=registry
        )
        self._served = Gauge(
            "egressgateway_namespace_served",
            "Per namespace of --namespace: 1 while its objects are served, 0 while the operator may not read them.",
            ["namespace"],
            registry=registry,
        )
        self._missing_fields = Gauge(
            "egressgateway_crd_missing_fields",
            "Fields that the operator knows and the CRD in the cluster does not: the API server drops them.",
            ["crd"],
            registry=registry,
        )
        self._leader = Gauge("egressgateway_leader", "1 while this replica leads.", registry=registry)
        build = Gauge("egressgateway_build_info", "Version of the operator.", ["version"], registry=registry)
        build.labels(__version__).set(1)
        # Looking up a series by its labels costs more than counting; these are on the hot path.
        self._request_series: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self._applied_series: dict[tuple[str, str, str], Counter] = {}
        self._gateways = GatewaySeries()
        registry.register(self._gateways)

    def reconciled(self, result: str, seconds: float) -> None:
        """One reconcile ended."""
        self._reconciles.labels(result).inc()
        self._reconcile_seconds.observe(seconds)

    def status(self, key: Key, status: Mapping[str, Any]) -> None:
        """`key` has this status; the series of its former values are removed."""
        conditions: Iterable[Manifest] = status.get("conditions") or ()
        self._gateways.conditions[key] = {condition["type"]: condition["status"] for condition in conditions}
        self._gateways.causes[key] = causes(status)
        self._gateways.expirations[key] = first_ends(status)
        gateway = status.get("gateway")
        if gateway is None:
            self._gateways.ready_pods.pop(key, None)
        else:
            self._gateways.ready_pods[key] = gateway.get("readyReplicas") or 0

    def destinations(self, key: Key, provider: str, count: int) -> None:
        """`key` has `count` destinations, served by `provider`."""
        self._gateways.destinations[key] = (provider, count)

    def reachable(self, key: Key, statuses: Mapping[str, str]) -> None:
        """The results of the probes of `key`, by destination."""
        self._gateways.reachable[key] = statuses

    def host_conflicts(self, key: Key, count: int) -> None:
        """`count` hosts of `key` are claimed by others."""
        self._gateways.conflicts[key] = count

    def child_applied(self, kind: str, operation: str, result: str) -> None:
        """A child was written: `operation` is create, update or delete, `result` success or the error's reason."""
        series = self._applied_series.get((kind, operation, result))
        if series is None:
            series = self._applied_series[kind, operation, result] = self._applied.labels(kind, operation, result)
        series.inc()

    def drift_corrected(self, kind: str) -> None:
        """A child that another client had changed is corrected."""
        self._drift.labels(kind).inc()

    def api_request(self, verb: str, resource: str, code: str, seconds: float) -> None:
        """A call to the API server ended: `ApiClient`'s `on_request`."""
        series = self._request_series.get((verb, resource, code))
        if series is None:
            series = self._requests.labels(verb, resource, code), self._request_seconds.labels(verb)
            self._request_series[verb, resource, code] = series
        counter, histogram = series
        counter.inc()
        histogram.observe(seconds)

    def watch_restarted(self, kind: str, reason: str) -> None:
        """A watch was started anew: `Informer`'s `on_restart`."""
        self._watch_restarts.labels(kind, reason).inc()

    def namespace_served(self, namespace: str, served: bool) -> None:
        """Whether the operator can read a namespace that it was given by name. As many series as names."""
        self._served.labels(namespace).set(1 if served else 0)

    def definition_lacks(self, name: str, count: int) -> None:
        """The definition `name` lacks so many fields: `DefinitionWatch`'s `on_missing`."""
        self._missing_fields.labels(name).set(count)

    def leads(self, leads: bool) -> None:
        """This replica leads, or no longer: `LeaderElector`'s `on_change`."""
        self._leader.set(1 if leads else 0)
        if not leads:
            self.forget_all()

    def forget_all(self) -> None:
        """The next leader reports what objects are like: alerts take the highest value of all replicas."""
        self._gateways.clear()

    def observe_queue(self, queue: WorkQueue[Any]) -> None:
        """Show the state of `queue`, read at each scrape. For one queue."""
        figures = {
            "depth": ("Keys that wait for a worker.", lambda: queue.depth),
            "oldest_seconds": ("How long the oldest of them has been waiting.", queue.oldest_seconds),
            "processing": ("Keys that are being reconciled.", lambda: queue.processing),
            "delayed": ("Keys that are scheduled for later: retries and timers.", lambda: queue.delayed),
            "adds": ("Keys that were queued, since the start.", lambda: queue.adds),
            "retries": ("Reconciles that failed and were requeued, since the start.", lambda: queue.retried),
        }
        for name, (text, read) in figures.items():
            Gauge(f"egressgateway_queue_{name}", text, registry=self.registry).set_function(read)

    def observe_clock(self, skew: Callable[[], timedelta]) -> None:
        """Show how far this machine's clock is ahead of the API server's, read at each scrape."""
        text = "How far this machine's clock is ahead of the API server's, which the operator uses."
        gauge = Gauge("egressgateway_clock_skew_seconds", text, registry=self.registry)
        gauge.set_function(lambda: skew().total_seconds())

    def observe_memory(self, namespaces_over: Callable[[], int]) -> None:
        """Show how many namespaces are short of memory, read at each scrape."""
        text = "Namespaces whose objects exceed the memory limit: some are cached without their bodies."
        Gauge("egressgateway_namespaces_over_memory", text, registry=self.registry).set_function(namespaces_over)

    def forget(self, key: Key) -> None:
        """The EgressGateway `key` is deleted, and its series with it."""
        self._gateways.forget(key)

    def pieces(self) -> Iterator[bytes]:
        """All of it in Prometheus' text format; a caller on the event loop lets other tasks run between two pieces."""
        yield generate_latest(self.registry)
        for piece in self._gateways.pieces():
            yield piece.encode()

    def render(self) -> bytes:
        """The same as a whole."""
        return b"".join(self.pieces())
