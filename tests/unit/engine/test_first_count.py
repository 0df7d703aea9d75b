"""After a restart, the first count of clients is a reason to judge an object only if its status says something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from egressgateway.cluster.result import Done
from egressgateway.engine.reconcile.state import SteadyState
from egressgateway.facts import ClientPods, Facts
from egressgateway.status.section_rules import ROUTED
from unit.plan.world import destination, facts_of, spec_of

CONSUMERS = {"api": frozenset({"shop", "billing"})}
NOBODY, IN_MESH, OUTSIDE = ClientPods(), ClientPods(in_mesh=2), ClientPods(outside=1)
NOBODY_YET = "no pod in the mesh runs there yet"


def at_rest(remark: str, counts: Mapping[str, int]) -> tuple[Facts, SteadyState]:
    """An object whose status says this of its clients, after its first pass."""
    message = f"{ROUTED}; {remark}" if remark else ROUTED
    condition = {"type": "Steered", "status": "True", "message": message}
    status = {"clients": counts, "destinations": [{"name": "api", "conditions": [condition]}]}
    facts = facts_of(spec_of(destination("api")), namespaces={"shop": {}, "billing": {}}, status=status)
    facts = replace(facts, client_pods=None)
    settled = SteadyState.after(facts, Done(), CONSUMERS)
    assert settled is not None
    return facts, settled


@pytest.mark.parametrize(
    ("remark", "counts", "pods", "is_news"),
    [
        ("", {"inMesh": 4, "outside": 0}, {"shop": IN_MESH, "billing": IN_MESH}, False),
        ("", {"inMesh": 9, "outside": 0}, {"shop": IN_MESH, "billing": IN_MESH}, False),
        (NOBODY_YET, {"inMesh": 0, "outside": 0}, {"shop": NOBODY, "billing": NOBODY}, False),
        (NOBODY_YET, {}, {"shop": NOBODY, "billing": NOBODY}, True),
        (NOBODY_YET, {"inMesh": 0, "outside": 0}, {"shop": IN_MESH, "billing": NOBODY}, True),
        ("", {"inMesh": 4, "outside": 0}, {"shop": OUTSIDE, "billing": OUTSIDE}, True),
        ("", {"inMesh": 4, "outside": 1}, {"shop": IN_MESH, "billing": IN_MESH}, True),
    ],
    ids=["same", "other-numbers", "still-nobody", "not-told", "first-client", "last-client", "none-outside"],
)
def test_first_count_is_news_where_the_status_says_otherwise(
    remark: str, counts: Mapping[str, int], pods: Mapping[str, ClientPods], is_news: bool
) -> None:
    facts, settled = at_rest(remark, counts)
    assert (settled.outcome_for(replace(facts, client_pods=pods)) is None) == is_news


def test_later_counts_are_compared_with_the_first() -> None:
    facts, settled = at_rest("", {"inMesh": 4, "outside": 0})
    counted = replace(facts, client_pods={"shop": IN_MESH, "billing": IN_MESH})
    settled = settled.counted(counted)
    assert settled.outcome_for(counted) == Done()
    assert settled.outcome_for(facts) is None
    assert settled.outcome_for(replace(facts, client_pods={"shop": IN_MESH, "billing": OUTSIDE})) is None
