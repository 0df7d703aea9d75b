"""Desired as a part of live: what servers and controllers add is no drift, what they take or change is."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressgateway.diff.subset import has_foreign_fields, holds, merge_patch, same_quantity
from unit.engine.simulation import merge

SCALARS = st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)
KEYS = st.text("abc", min_size=1, max_size=1)
# A merge patch cannot say null inside a mapping; in a list, which is one value, it can.
JSON = st.recursive(
    SCALARS | st.lists(SCALARS | st.none(), max_size=3),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=4)


@given(desired=JSON, live=JSON)
def test_merge_patch_makes_live_equal_to_desired(desired: Any, live: Any) -> None:
    """RFC 7386: whatever stands there, after the patch it is what was asked for."""
    assert merge(live, merge_patch(desired, live)) == desired


@given(desired=OBJECTS, live=OBJECTS)
def test_has_foreign_fields_tells_what_an_apply_leaves(desired: dict[str, Any], live: dict[str, Any]) -> None:
    """A field of live's mappings is foreign when desired has no such place; an object has none beside itself."""
    assert not has_foreign_fields(desired, desired)
    assert has_foreign_fields(desired, {**desired, "z": live})
    assert not has_foreign_fields({**live, **desired}, {key: desired.get(key, value) for key, value in live.items()})


def deployment(**spec: Any) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "x", "labels": {"a": "b"}}, "spec": spec}


def route(**spec: Any) -> dict[str, Any]:
    return {"kind": "VirtualService", "metadata": {"name": "x", "labels": {"a": "b"}}, "spec": spec}


@given(spec=OBJECTS, more=OBJECTS)
def test_holds_does_not_mind_what_others_add(spec: dict[str, Any], more: dict[str, Any]) -> None:
    """Defaults, status and labels of others are no drift."""
    live = deepcopy(deployment(**{**more, **spec}))
    live["status"] = more
    live["metadata"] |= {"resourceVersion": "7", "labels": {"a": "b", "c": "d"}}
    assert holds(deployment(**spec), live)


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        ({"replicas": 2}, {"replicas": 3}),
        ({"replicas": 2}, {}),
        ({"paused": True}, {"paused": 1}),
        ({"a": {"b": 1}}, {"a": None}),
        ({"a": [1]}, {"a": [1, 2]}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": [1]}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": [1]}),
        ({"containers": [{"name": "a", "image": "x"}]}, {"containers": [{"name": "a", "image": "y"}]}),
        ({"containers": [{"name": "a"}]}, {"containers": [{"name": "b"}]}),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "2"}}}),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {}}}),
    ],
)
def test_holds_sees_what_was_taken_or_changed(desired: dict[str, Any], live: dict[str, Any]) -> None:
    """Every field of ours must be there as we sent it."""
    assert not holds(deployment(**desired), deployment(**live))


VOLUME = {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1Gi"}}]}


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        ({"containers": [{"name": "a"}]}, {"containers": [{"name": "sidecar"}, {"name": "a", "image": "auto"}]}),
        ({"resources": {"limits": {"cpu": "1000m"}}}, {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}),
        ({"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1024Mi"}}]}, VOLUME),
        ({"tolerations": [], "nodeSelector": {}}, {}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "added": 2}]}),
    ],
)
def test_holds_knows_lists_by_key_and_amounts(desired: dict[str, Any], live: dict[str, Any]) -> None:
    """A container more, an amount in another unit, an empty list left out: nothing of ours is missing."""
    assert holds(deployment(**desired), deployment(**live))


def test_holds_is_exact_for_kinds_that_are_ours_alone() -> None:
    """A field more in a route can send traffic elsewhere; a label more cannot."""
    desired = route(hosts=["a"], http=[{"route": []}])
    assert holds(desired, deepcopy(desired))
    assert not holds(desired, route(hosts=["a"], http=[{"route": []}], tcp=[]))
    assert not holds(desired, route(hosts=["a"], http=[{"route": [], "mirror": {"host": "evil"}}]))
    more = deepcopy(desired)
    more["metadata"]["labels"]["c"] = "d"
    assert holds(desired, more)


@pytest.mark.parametrize("labels", [{}, {"a": "c"}, {"c": "b"}, {"a": None}, ["a"], None])
def test_lost_or_changed_label_is_drift(labels: Any) -> None:
    """Whatever stands there instead."""
    desired = route(hosts=["a"])
    live = deepcopy(desired)
    live["metadata"]["labels"] = labels
    assert not holds(desired, live)
    del live["metadata"]["labels"]
    assert not holds(desired, live)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1000m", "1", True),
        ("1", 1, True),
        ("1Gi", "1024Mi", True),
        ("1G", "1Gi", False),
        ("1e3", "1k", True),
        ("0.1", "100m", True),
        ("1500000u", "1.5", True),
        ("100n", "0.1u", True),
        ("2", "1", False),
        ("", "", True),
        ("word", "word", True),
        ("word", "1", False),
    ],
)
def test_same_quantity_compares_amounts(one: object, other: object, *, same: bool) -> None:
    """As Kubernetes' `resource.Quantity` does; what is no amount is compared as it stands."""
    assert same_quantity(one, other) is same
    assert same_quantity(other, one) is same


def anti_affinity(*revision: str) -> dict[str, Any]:
    term = {"topologyKey": "zone", **({"matchLabelKeys": list(revision)} if revision else {})}
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    return deployment(template={"spec": {"affinity": {"podAntiAffinity": preferred}}})


def test_field_that_an_older_server_drops_is_no_drift() -> None:
    """Kubernetes 1.30 takes the key of 1.31 and drops it. Another value is drift, and so is all else."""
    assert holds(anti_affinity("pod-template-hash"), anti_affinity())
    assert holds(anti_affinity("pod-template-hash"), anti_affinity("pod-template-hash"))
    assert not holds(anti_affinity("pod-template-hash"), anti_affinity("app"))
    dropped = anti_affinity("pod-template-hash")
    del dropped["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
    assert not holds(anti_affinity("pod-template-hash"), dropped)
