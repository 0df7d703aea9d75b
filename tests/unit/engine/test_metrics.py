"""What Prometheus sees."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from egressgateway import __version__
from egressgateway.cluster.queue import WorkQueue
from egressgateway.engine.process.gateway_series import MOST_SERIES, OBJECTS_PER_PIECE
from egressgateway.engine.process.metrics import Metrics
from egressgateway.refs import Key

KEY, OTHER = Key("shop", "out"), Key("shop", "other")


def conditions(**statuses: str) -> list[dict[str, str]]:
    return [{"type": type_, "status": status} for type_, status in statuses.items()]


def value(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    """As Prometheus reads it."""
    families = text_string_to_metric_families(metrics.render().decode())
    samples = (sample for family in families for sample in family.samples)
    wanted = (f"egressgateway_{name}", labels)
    return next((sample.value for sample in samples if (sample.name, sample.labels) == wanted), None)


def test_conditions_are_one_series_per_status() -> None:
    """Of the three statuses exactly one is 1, and a condition that goes takes its series along."""
    metrics = Metrics()
    metrics.status(KEY, {"conditions": conditions(Ready="False", Stalled="True")})
    metrics.status(KEY, {"conditions": conditions(Ready="True")})
    ready = {
        status: value(metrics, "status_condition", namespace="shop", name="out", type="Ready", status=status)
        for status in ("True", "False", "Unknown")
    }
    assert ready == {"True": 1, "False": 0, "Unknown": 0}
    assert b"Stalled" not in metrics.render()


def test_forget_removes_every_series_of_the_object() -> None:
    """Nothing in the output names an object that is gone, and the sums are those of the others."""
    metrics = Metrics()
    for key in (KEY, OTHER):
        metrics.status(key, {"conditions": conditions(Ready="True", Accepted="Unknown")})
        metrics.destinations(key, "Istio", 2)
        metrics.host_conflicts(key, 1)
    metrics.forget(KEY)
    metrics.forget(KEY)
    assert b'name="out"' not in metrics.render()
    assert b'name="other"' in metrics.render()
    assert value(metrics, "destinations", provider="Istio") == 2
    assert value(metrics, "host_conflicts") == 1


def test_destinations_are_summed_by_provider() -> None:
    """An object that changes its provider moves, a provider without objects has no series."""
    metrics = Metrics()
    metrics.destinations(KEY, "Istio", 3)
    metrics.destinations(OTHER, "Istio", 2)
    assert value(metrics, "destinations", provider="Istio") == 5
    metrics.destinations(KEY, "APISIX", 1)
    metrics.destinations(OTHER, "APISIX", 1)
    assert value(metrics, "destinations", provider="APISIX") == 2
    assert value(metrics, "destinations", provider="Istio") is None


def test_names_are_those_of_the_documentation() -> None:
    """Every series that alerts and dashboards rely on is there under its name."""
    metrics = Metrics()
    metrics.reconciled("success", 0.01)
    metrics.child_applied("Service", "create", "success")
    metrics.drift_corrected("Service")
    metrics.api_request("apply", "services", "200", 0.002)
    metrics.watch_restarted("Service", "ended")
    metrics.leads(True)
    metrics.status(KEY, {"conditions": conditions(Ready="True")})
    metrics.destinations(KEY, "Istio", 1)
    assert value(metrics, "reconcile_total", result="success") == 1
    assert value(metrics, "reconcile_duration_seconds_count") == 1
    assert value(metrics, "children_applied_total", kind="Service", operation="create", result="success") == 1
    assert value(metrics, "drift_corrections_total", kind="Service") == 1
    assert value(metrics, "api_requests_total", verb="apply", resource="services", code="200") == 1
    assert value(metrics, "watch_restarts_total", kind="Service", reason="ended") == 1
    assert value(metrics, "leader") == 1
    assert value(metrics, "host_conflicts") == 0
    assert value(metrics, "build_info", version=__version__) == 1
    families = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert {"egressgateway_reconcile", "egressgateway_destinations", "process_cpu_seconds"} <= families


@pytest.mark.asyncio
async def test_queue_is_read_at_the_scrape() -> None:
    """Depth and counts are those of the moment."""
    metrics = Metrics()
    queue: WorkQueue[Key] = WorkQueue()
    metrics.observe_queue(queue)
    queue.add(KEY)
    queue.add(OTHER)
    assert await asyncio.wait_for(queue.get(), 5) == KEY
    queue.add_rate_limited(KEY)
    assert value(metrics, "queue_depth") == 1
    assert value(metrics, "queue_processing") == 1
    assert value(metrics, "queue_delayed") == 1
    assert value(metrics, "queue_adds") == 2
    assert value(metrics, "queue_retries") == 1


def test_two_operators_in_one_process_do_not_mix() -> None:
    """Each has a registry of its own."""
    one, two = Metrics(), Metrics()
    one.reconciled("success", 0.1)
    assert value(two, "reconcile_total", result="success") is None


def test_series_of_one_namespace_are_bounded() -> None:
    """Ten thousand objects of one tenant made a page of 20 MB, which held up everything else for seconds."""
    metrics = Metrics()
    conditions = [{"type": name, "status": "True", "reason": name} for name in ("Accepted", "Programmed", "Ready")]
    for number in range(5_000):
        metrics.status(Key("intruder", f"gw-{number}"), {"conditions": conditions})
    metrics.status(Key("shop", "partners"), {"conditions": conditions})
    lines = metrics.render().decode().splitlines()
    assert sum('namespace="intruder"' in line for line in lines) <= MOST_SERIES + 1
    assert any('name="partners"' in line for line in lines)
    [hidden] = [line for line in lines if line.startswith("egressgateway_objects_without_series{")]
    assert hidden.startswith('egressgateway_objects_without_series{namespace="intruder"} ')
    assert 4_000 <= float(hidden.split()[-1]) < 5_000


def test_a_page_of_many_objects_comes_in_pieces() -> None:
    """
    No piece has the series of more objects than one may, of whichever family; together they have all, each once.

    A page of ten thousand objects, written at once, held up everything else for a second at each scrape.
    """
    metrics = Metrics()
    keys = [Key(f"ns-{number}", "partners") for number in range(2 * OBJECTS_PER_PIECE + 1)]
    for key in keys:
        metrics.status(key, {"conditions": conditions(Ready="False", Accepted="True"), "gateway": {"readyReplicas": 2}})
        metrics.reachable(key, {"api": "Unknown"})
    found: list[str] = []
    for piece in metrics.pieces():
        lines = [line for line in piece.decode().splitlines() if 'namespace="ns-' in line]
        assert len({line.split('"')[1] for line in lines}) <= OBJECTS_PER_PIECE
        found += lines
    # Statuses of two conditions and of a probe, a cause, and the pods.
    assert len(found) == len(set(found)) == len(keys) * (2 * 3 + 3 + 1 + 1)
    assert value(metrics, "destination_reachable", **labels_of(keys[-1]), destination="api", status="Unknown") == 1
    assert value(metrics, "gateway_ready_pods", **labels_of(keys[0])) == 2


def labels_of(key: Key) -> dict[str, str]:
    return {"namespace": key.namespace, "name": key.name}
