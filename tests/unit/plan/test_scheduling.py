"""Where a gateway's pods run by default, and what an object or a class changes of it."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.plan.pods import scheduling
from egressgateway.plan.pods.workload import effective_settings
from unit.plan.world import class_of, spec_of

SELECTOR = {"egressgateway.dev/gateway": "partners"}
DEAD = scheduling.NODE_FAILURE_TAINTS
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def settings(gateway: dict[str, Any] | None = None, dedicated: dict[str, Any] | None = None) -> Any:
    """Settings of an object over those of its class."""
    spec = spec_of(**({"gateway": gateway} if gateway else {}))
    return effective_settings(spec, class_of(**({"dedicated": dedicated} if dedicated else {})))


def seconds_on_a_dead_node(found: list[dict[str, Any]]) -> dict[str, Any]:
    """By taint, what the first toleration that covers it allows."""
    return {
        taint: next((each.get("tolerationSeconds") for each in found if each.get("key") in (None, taint)), "none")
        for taint in DEAD
    }


def test_pods_keep_apart_by_node_and_by_zone_without_a_label_that_nodes_may_lack() -> None:
    """
    Both are preferences, and only the label that every node has is in a spread constraint: a constraint for zones would
    leave nodes without a zone out of every score (0 and 4 pods on two nodes).
    """
    default = settings()
    terms = scheduling.affinity(default, SELECTOR)["podAntiAffinity"][PREFERRED]
    assert {term["podAffinityTerm"]["topologyKey"]: term["weight"] for term in terms} == {
        "topology.kubernetes.io/zone": 100,
    }
    assert all(term["podAffinityTerm"]["labelSelector"] == {"matchLabels": SELECTOR} for term in terms)
    [spread] = scheduling.topology_spread(default, SELECTOR)
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    # Else both new pods of a rollout may share a node, beside the old ones that they replace.
    assert spread["matchLabelKeys"] == ["pod-template-hash"]


@pytest.mark.parametrize("where", ["object", "class"])
def test_own_constraints_are_the_whole_spread(where: str) -> None:
    """Whoever says how pods are spread is not contradicted by a default affinity."""
    own = [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]
    said = {"topologySpreadConstraints": own}
    found = settings(said) if where == "object" else settings(None, said)
    assert scheduling.topology_spread(found, SELECTOR) == own
    assert scheduling.affinity(found, SELECTOR) is None


@pytest.mark.parametrize("where", ["object", "class"])
def test_own_affinity_replaces_the_default_one(where: str) -> None:
    """Pods are still spread over nodes: to choose a pool is not to want them all on one of its nodes."""
    own = {"nodeAffinity": {PREFERRED: []}}
    found = settings({"affinity": own}) if where == "object" else settings(None, {"affinity": own})
    assert scheduling.affinity(found, SELECTOR) == own
    assert [each["topologyKey"] for each in scheduling.topology_spread(found, SELECTOR)] == ["kubernetes.io/hostname"]


def test_pods_leave_a_dead_node_soon() -> None:
    """Kubernetes' own 300 seconds are not added where a pod says a time."""
    assert seconds_on_a_dead_node(scheduling.tolerations(settings())) == dict.fromkeys(DEAD, 30)


@pytest.mark.parametrize("where", ["object", "class"])
def test_toleration_of_a_pool_leaves_dead_nodes_as_they_were(where: str) -> None:
    """The API server would add its 300 seconds, however short the pod's other tolerations are."""
    own = {"tolerations": [{"key": "pool", "operator": "Exists"}]}
    found = scheduling.tolerations(settings(own) if where == "object" else settings(None, own))
    assert found[0] == own["tolerations"][0]
    assert seconds_on_a_dead_node(found) == dict.fromkeys(DEAD, 30)


@pytest.mark.parametrize(
    ("own", "seconds"),
    [
        ({"key": DEAD[0], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}, (5, 30)),
        ({"key": DEAD[1], "operator": "Exists"}, (30, None)),
        ({"operator": "Exists"}, (None, None)),
        # Another effect says nothing of pods that run already.
        ({"key": DEAD[0], "operator": "Exists", "effect": "NoSchedule"}, (30, 30)),
    ],
    ids=["another time", "for ever", "every taint", "another effect"],
)
def test_named_taints_of_dead_nodes_are_the_authors(own: dict[str, Any], seconds: tuple[int | None, ...]) -> None:
    """A time of the author's replaces ours, whichever it is."""
    found = scheduling.tolerations(settings({"tolerations": [own]}))
    executing = [each for each in found if each.get("effect") in (None, "NoExecute")]
    assert seconds_on_a_dead_node(executing) == dict(zip(DEAD, seconds, strict=True))
