"""Fixtures and hooks of every tier. What they do is in the package `harness`; here it is only tied to pytest."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, settings

from harness import tiers
from harness.cluster import Cluster
from harness.controlplane import ControlPlane
from harness.dump import dump_namespace
from harness.golden import Golden
from harness.rest import ApiError
from harness.session import Run
from harness.wait import eventually

# How fast a busy machine draws examples says nothing of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

TIERS = ("controlplane", "mesh", "node", "kind")
RUN = pytest.StashKey[Run]()


class Kubectl(Protocol):
    """Calls kubectl in the test's namespace; see `Cluster.kubectl`."""

    def __call__(
        self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing with them")


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", None)
    config.stash[RUN] = Run(Path(given["run_directory"]), given["run_owner"]) if given else Run.begin()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist which run it belongs to."""
    run = node.config.stash[RUN]
    node.workerinput.update(run_directory=str(run.directory), run_owner=run.owner)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and RUN in config.stash:
        config.stash[RUN].end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is of the tier whose cluster it uses, if it says no other."""
    for item in items:
        uses = set(getattr(item, "fixturenames", ()))
        if any(item.get_closest_marker(tier) for tier in TIERS):
            continue
        if "mesh" in uses:
            item.add_marker("mesh")
        elif uses & {"real", "nodes"}:
            item.add_marker("node")
        elif uses & {"cluster", "control_plane"}:
            item.add_marker("controlplane")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for tier in TIERS:
        if item.get_closest_marker(tier) and (reason := tiers.missing(tier)):
            if tiers.may_be_skipped(tier):
                pytest.skip(f"{tier}: {reason}")
            pytest.fail(f"{tier} must run here: {reason}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Add the state of the test's namespace to the report of its failure, before anything is cleaned up."""
    report = yield
    arguments = getattr(item, "funcargs", {})
    if report.failed and report.when != "teardown" and {"cluster", "namespace"} <= arguments.keys():
        namespace = arguments["namespace"]
        report.sections.append((f"namespace {namespace}", dump_namespace(arguments["cluster"], namespace)))
    return report


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config) -> Run:
    return pytestconfig.stash[RUN]


@pytest.fixture(scope="session")
def cluster(run: Run) -> Iterator[Cluster]:
    """The cluster of the whole run; never stop it, others use it too."""
    with run.cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def control_plane(run: Run) -> Iterator[ControlPlane]:
    """A control plane of this module's own, with an audit log: to stop, or to count all of its requests."""
    with run.private(run.options(audit=True)) as plane:
        yield plane


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own. It is deleted afterwards, and nobody waits for that."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    name = f"{words[:40].strip('-')}-{secrets.token_hex(3)}"
    cluster.rest.create("/api/v1/namespaces", {"metadata": {"name": name}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    eventually(lambda: cluster.rest.exists(account), what="the default service account")
    yield name
    with suppress(ApiError):
        cluster.rest.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Kubectl:
    """kubectl as administrator, in the test's namespace unless told another."""

    def call(
        *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        return cluster.kubectl("--namespace", namespace, *arguments, stdin=stdin, check=check, timeout=timeout)

    return call


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Golden:
    """`golden("case/out.yaml", text)`: the text is what was committed."""
    return Golden(update=pytestconfig.getoption("--update-golden"))
