"""
Fixtures of this tier: a real cluster with Istio, nodes of this machine or kind (`make kind`), and the operator in it as
its users have it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from harness.gateways import NAMESPACES, Gateways
from harness.installed import Installed
from harness.node.cluster import NodeCluster
from harness.node.dump import dump
from harness.node.real import RealNodes
from harness.node.session import cluster_of
from harness.objects import apply_all, namespace
from harness.real import RealCluster, on_kind
from harness.rest import ApiError
from harness.session import Run
from harness.shop import Shop


@pytest.fixture(scope="session")
def nodes(run: Run) -> Iterator[NodeCluster]:
    """The cluster of the whole run, whose nodes are this machine's own."""
    if on_kind():
        pytest.skip("nodes of kind are not ours to end")
    cluster = cluster_of(run)
    yield cluster
    cluster.rest.close()


@pytest.fixture(scope="session")
def real(request: pytest.FixtureRequest) -> Iterator[RealCluster]:
    """The cluster of the whole run, whoever runs it."""
    if on_kind():
        # Imported here: elsewhere kind is not installed.
        from harness.kind import RealKind, kind_cluster  # noqa: PLC0415

        with kind_cluster() as cluster:
            yield RealKind(cluster)
        return
    yield RealNodes(request.getfixturevalue("nodes"))


@pytest.fixture
def release(real: RealCluster) -> Installed:
    """The release of the chart, with its defaults; other tests use it as well, or remove it."""
    installed = Installed(real)
    if not installed.exists():
        installed.install()
    installed.wait_for_leader()
    return installed


@pytest.fixture
def new_shop(real: RealCluster) -> Iterator[Callable[..., Shop]]:
    """
    `new_shop()`: a namespace of the mesh with a client, on the node `on`. It is deleted afterwards, and nobody waits
    for that.
    """
    made: list[str] = []

    def make(*, on: str = "", **labels: str) -> Shop:
        made.append(f"shop-{secrets.token_hex(3)}")
        apply_all(real.cluster, [namespace(made[-1], **{"istio-injection": "enabled", **labels})])
        shop = Shop(real, made[-1])
        shop.open(node=on)
        return shop

    yield make
    for name in made:
        with suppress(ApiError):
            for each in real.cluster.rest.items(Gateways(real.cluster, name).path()):
                real.cluster.rest.delete(Gateways(real.cluster, name).path(each["metadata"]["name"]))
            real.cluster.rest.delete(f"{NAMESPACES}/{name}")


@pytest.fixture
def shop(release: Installed, new_shop: Callable[..., Shop]) -> Shop:
    """A namespace of the mesh with a client, where the operator is installed."""
    assert release.exists()
    return new_shop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Add the state of the cluster to the report of a failure, before anything is cleaned up."""
    report = yield
    arguments = getattr(item, "funcargs", {})
    if report.failed and report.when != "teardown" and "real" in arguments:
        report.sections.append(("cluster", dump(arguments["real"].cluster)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what events cost requests."""
    reports = [each for kind in ("passed", "failed") for each in terminalreporter.getreports(kind)]
    rows = [value for report in reports for name, value in getattr(report, "user_properties", ()) if name == "nodes"]
    if rows:
        terminalreporter.section("requests on real nodes")
    for row in rows:
        terminalreporter.write_line(row)
