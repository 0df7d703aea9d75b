"""
Every table of `cases` holds on real proxies: who asks for what, what comes of it, and what the server saw. Beside it
consumers ask all the time, and the statuses are true of that at every moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.mesh.cases import Case, load_case
from harness.mesh.clients import Clients, ensure_namespace
from harness.mesh.detector import Detector
from harness.mesh.mesh import Mesh
from harness.mesh.runner import Result, Watched, clean_up, run_step
from harness.operator import OperatorProcess
from harness.release import allow_secrets, withdraw_secrets

FILES = sorted(Path(__file__).with_name("cases").glob("*.yaml"))

RATE = 3.0
"""Requests a second of each call of each consumer: enough to see what lasts for two seconds."""

UNAVOIDABLE = ("IST0133 ", "IST0118 Service ingress-apisix/")
"""
Notices about every EnvoyFilter, without which some wildcards cannot be had (notes "istio-recipes" §10), and about the
names that APISIX's chart gives its ports, which are not ours to choose.
"""


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest, mesh: Mesh, operator: OperatorProcess) -> Iterator[Case]:
    """A case, whose objects are gone afterwards."""
    assert operator.running
    case = load_case(request.param)
    for place in case.secret_rights:
        ensure_namespace(mesh, place)
        allow_secrets(mesh.cluster, place)
    yield case
    clean_up(mesh, case)
    for place in case.secret_rights:
        withdraw_secrets(mesh.cluster, place)


def test_traffic(case: Case, mesh: Mesh, clients: Clients, record_property: Callable[[str, object], None]) -> None:
    """
    Each row of the table comes out as it says, Istio has nothing against the objects, and no status ever says otherwise
    than what becomes of requests.
    """
    failed = []
    with Detector(mesh.kubeconfig, RATE) as detector:
        watched = Watched(detector, case.calls)
        for step in case.steps:
            for result in run_step(mesh, clients, step, watched):
                record_property("traffic", line_of(case, result))
                record_property("headers", " ".join(result.headers))
                if result.faults:
                    failed.append(
                        f"{step.about or case.about}\n  {line_of(case, result)}\n    {'; '.join(result.faults)}"
                    )
            found = [each for each in mesh.analyze(case.namespaces) if not each.startswith(UNAVOIDABLE)]
            assert found == [], step.about
    for call, report in detector.reports():
        record_property("probed", report.line(f"{case.name}: {call.who} {call.url}"))
    failed += detector.lies()
    assert not failed, "\n".join(failed)
    assert watched.waiting == []


def line_of(case: Case, result: Result) -> str:
    """A row of the table that is printed at the end of a run."""
    row = result.row
    verdict = "ok" if not result.faults else "FAILED"
    return f"{case.name:24} {row.who:26} {row.request:52} {verdict:6} {result.answer.status:3} {row.wanted()}"
