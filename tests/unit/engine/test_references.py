"""Who wants what, and to whom something is news."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.engine.cache.references import (
    MOST_LOOKS,
    MOST_LOOKS_IN_A_NAMESPACE,
    ReferenceCache,
    Wanted,
    keep_of_pod,
    pods_of,
)
from egressgateway.facts import PodFacts, PodSelection, References
from egressgateway.refs import Key, Manifest, ObjectRef

ME, OTHER = Key("shop", "me"), Key("shop", "other")
SECRET, SERVICE = ObjectRef("Secret", "shop", "client"), ObjectRef("Service", "shop", "web")
PODS = PodSelection("istio-egress", (("istio", "egress"),))


class Recorded:
    """A cache, and what it told of what is wanted."""

    def __init__(self) -> None:
        self.cache = ReferenceCache()
        self.told: list[tuple[str, Wanted]] = []
        self.cache.on_wanted = lambda wanted: self.told.append(("wanted", wanted))
        self.cache.on_unwanted = lambda wanted: self.told.append(("unwanted", wanted))

    def told_now(self) -> set[tuple[str, Wanted]]:
        told, self.told = set(self.told), []
        return told


def secret(version: int = 1, **data: str) -> Manifest:
    metadata = {"namespace": "shop", "name": "client", "resourceVersion": f"{version}"}
    return {"kind": "Secret", "metadata": metadata, "data": data}


def pod(name: str, *, ready: bool = True, phase: str = "Running", **metadata: Any) -> Manifest:
    return {
        "metadata": {"namespace": "istio-egress", "name": name, "annotations": {"a": "b"}} | metadata,
        "spec": {"serviceAccountName": "egress", "containers": [{"image": "x"}]},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def test_first_who_wants_and_last_who_does_not_are_told() -> None:
    """Between the two nothing happens: one watch serves all."""
    it = Recorded()
    it.cache.want(ME, {SECRET, SERVICE})
    assert it.told_now() == {("wanted", SECRET), ("wanted", SERVICE)}
    it.cache.want(ME, {SECRET, SERVICE})
    it.cache.want(OTHER, {SECRET})
    it.cache.want(ME, {SERVICE})
    assert it.told_now() == set()
    assert it.cache.wanted_by(SECRET) == {OTHER}
    it.cache.want(OTHER, frozenset())
    assert it.told_now() == {("unwanted", SECRET)}
    it.cache.release_all()
    assert it.told_now() == {("unwanted", SERVICE)}
    assert it.cache.wanted_by(SERVICE) == frozenset()


def test_unread_is_absent_and_missing_is_none() -> None:
    """The one may be there, the other is not."""
    cache = ReferenceCache()
    cache.put(SERVICE, None)
    assert cache.read([SECRET, SERVICE], [PODS]) == References(objects={SERVICE: None})
    cache.put(SECRET, secret())
    cache.put_pods(PODS, [])
    assert cache.read([SECRET], [PODS]) == References(objects={SECRET: secret()}, pods={PODS: ()})
    cache.forget(SECRET)
    cache.forget(PODS)
    assert cache.read([SECRET], [PODS]) == References()


@pytest.mark.parametrize(
    ("after", "is_news"),
    [(secret(2), False), (secret(2, a=""), True), (None, True)],
    ids=["touched", "changed", "deleted"],
)
def test_change_is_news_to_those_who_want_it(after: Manifest | None, is_news: bool) -> None:
    """A write that changes nothing but the version is none."""
    cache = ReferenceCache()
    cache.want(ME, {SECRET})
    assert cache.put(SECRET, secret()) == {ME}
    assert cache.put(SECRET, after) == ({ME} if is_news else frozenset())


def test_refusal_is_news_once_and_ends_with_the_next_read() -> None:
    """Nothing is known of what may not be read, not even what was known before."""
    cache = ReferenceCache()
    cache.want(ME, {SECRET})
    cache.put(SECRET, secret())
    assert cache.refuse(SECRET) == {ME}
    assert cache.refuse(SECRET) == frozenset()
    assert cache.read([SECRET]) == References(unreadable=frozenset({SECRET}))
    assert cache.put(SECRET, secret()) == {ME}
    assert cache.read([SECRET]).unreadable == frozenset()


def test_pods_are_news_when_their_facts_change() -> None:
    """A kubelet writes each pod's status every few seconds."""
    cache = ReferenceCache()
    cache.want(ME, {PODS})
    assert cache.put_pods(PODS, []) == {ME}, "no pods are an answer"
    assert cache.put_pods(PODS, [pod("b"), pod("a")]) == {ME}
    assert cache.put_pods(PODS, [pod("a", labels={"x": "y"}), pod("b")]) == frozenset()
    assert cache.put_pods(PODS, [pod("a", ready=False), pod("b")]) == {ME}


def test_pods_that_end_are_not_ready_and_ended_ones_are_none() -> None:
    """Whatever their condition says."""
    found = list(pods_of([pod("going", deletionTimestamp="now"), pod("done", phase="Succeeded"), pod("up")]))
    assert found == [
        PodFacts("istio-egress", "going", "egress", ready=False),
        PodFacts("istio-egress", "up", "egress", ready=True),
    ]


def test_kept_of_a_pod_is_enough() -> None:
    """And it may be kept twice."""
    for each in (pod("a"), pod("b", ready=False), pod("c", deletionTimestamp="now"), pod("d", phase="Failed")):
        kept = keep_of_pod(each)
        assert list(pods_of([kept])) == list(pods_of([each]))
        assert keep_of_pod(kept) == kept
        assert set(kept["spec"]) == {"serviceAccountName", "containers", "initContainers"}


@pytest.mark.parametrize(
    ("spec", "annotations", "expected"),
    [
        ({"containers": ["app"]}, {}, (False, False)),
        ({"containers": ["app", "istio-proxy"]}, {}, (True, True)),
        ({"containers": ["app"], "initContainers": ["istio-init", "istio-proxy"]}, {}, (True, True)),
        ({"containers": ["istio-proxy"]}, {}, (False, False)),
        ({"containers": ["app", "istio-proxy"]}, {"includeOutboundIPRanges": ""}, (True, False)),
        ({"containers": ["app", "istio-proxy"]}, {"includeOutboundIPRanges": "10.0.0.0/8"}, (True, True)),
        ({"containers": ["app", "istio-proxy"]}, {"excludeOutboundIPRanges": "10.0.0.0/8, 0.0.0.0/0"}, (True, False)),
    ],
    ids=["plain", "sidecar", "native sidecar", "gateway", "nothing included", "some included", "all excluded"],
)
def test_sidecar_of_a_pod_and_what_passes_it_are_seen(
    spec: dict[str, list[str]], annotations: dict[str, str], expected: tuple[bool, bool]
) -> None:
    """By the pod itself, and by what is kept of it alike; a gateway's own proxy stands beside nothing."""
    found = pod("a")
    found["spec"] |= {field: [{"name": name, "image": "x"} for name in names] for field, names in spec.items()}
    found["metadata"]["annotations"] = {f"traffic.sidecar.istio.io/{name}": each for name, each in annotations.items()}
    for each in (found, keep_of_pod(found)):
        [facts] = pods_of([each])
        assert (facts.sidecar, facts.intercepted) == expected


def test_references_of_one_namespace_are_bounded() -> None:
    """Each is a watch. What a namespace wants beyond is not watched, and is tried again when there is room."""
    cache = ReferenceCache(most=4)
    told: list[Wanted] = []
    cache.on_wanted = told.append
    greedy = {ObjectRef("Secret", "shop", f"s{number}") for number in range(10)}
    cache.want(ME, {*greedy, PODS})
    assert len(told) == 4
    assert PODS in told
    assert len(cache.too_many(ME)) == 7
    cache.want(OTHER, {SERVICE, PODS})
    assert cache.too_many(OTHER) == {SERVICE}, "what is watched for the namespace anyway costs nothing"
    elsewhere = Key("bank", "partners")
    cache.want(elsewhere, {SERVICE})
    assert cache.too_many(elsewhere) == frozenset()
    cache.want(ME, {SECRET})
    cache.want(OTHER, {SERVICE, PODS})
    assert cache.too_many(ME) == cache.too_many(OTHER) == frozenset()
    cache.release_all()
    assert cache._wanted_in == {}


def test_looks_are_bounded_and_take_no_room_of_what_is_wanted() -> None:
    """A namespace whose gateways all fail has some watches, and its Secrets are read all the same."""
    cache = ReferenceCache(most=1)
    watched: set[Wanted] = set()
    cache.on_wanted = cache.on_looked_at = watched.add
    cache.on_unwanted = watched.discard
    selections = [PodSelection("shop", (("gateway", f"{number}"),)) for number in range(20)]
    for number, selection in enumerate(selections):
        cache.look(Key("shop", f"{number}"), selection)
    assert len(watched) == MOST_LOOKS_IN_A_NAMESPACE
    cache.want(ME, {SECRET})
    assert SECRET in watched
    for number in range(MOST_LOOKS):
        cache.look(Key(f"ns-{number}", "a"), PodSelection(f"ns-{number}", ()))
    assert len(watched) == MOST_LOOKS + 1
    cache.look(Key("shop", "0"), None)
    cache.look(Key("shop", "19"), selections[19])
    assert selections[19] in watched
    assert selections[0] not in watched
    cache.release_all()
    assert watched == set()


def test_pods_that_are_wanted_and_looked_at_are_watched_until_neither_holds() -> None:
    """A destination with a probe wants the pods that a stuck rollout looks at; either may end first."""
    for end_first in ("want", "look"):
        it = Recorded()
        it.cache.look(ME, PODS)
        it.cache.want(ME, {PODS})
        assert it.told_now() == {("wanted", PODS)}
        ends = {"want": lambda cache: cache.want(ME, frozenset()), "look": lambda cache: cache.look(ME, None)}
        ends.pop(end_first)(it.cache)
        assert it.told_now() == set()
        ends.popitem()[1](it.cache)
        assert it.told_now() == {("unwanted", PODS)}
