"""
Kinds go and come back: ours with every object of theirs, and those that the operator writes. A namespace cannot end.

The same process lives through all of it, asks little meanwhile, and leaves what an undisturbed one does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from egressgateway.refs import CHILD_RESOURCES, EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, GROUP, Resource
from harness.chaos import world
from harness.chaos.account import Account, complaints, passed, writes_stop
from harness.chaos.endstate import gateways, no_orphans, owned, release, wipe
from harness.chaos.seeds import SEED
from harness.chaos.stage import ALONE, KOPF_BEGINS_ANEW, Stage, open_stage
from harness.chaos.story import HELD, LONG, Story, do
from harness.controlplane import ControlPlane
from harness.gateways import NAMESPACES, Gateways, destination
from harness.kinds import DEFINITIONS, install_definitions
from harness.objects import apply_all, namespace, path_of
from harness.operator import OperatorProcess
from harness.rest import ApiError, Object
from harness.wait import eventually

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(900)]

OWN: Final = (EGRESS_GATEWAY,)
CLASSES: Final = (EGRESS_GATEWAY_CLASS,)
PROVIDERS: Final = tuple(
    resource for resource in CHILD_RESOURCES if resource.group.endswith(("istio.io", "apisix.apache.org"))
)
"""Istio's kinds and APISIX's, as far as the operator writes them."""

AWAY_SECONDS: Final = 10.0
"""How long kinds are away while requests are counted."""

REQUESTS_PER_KIND: Final = 20
"""What may be asked for one kind in that time: waits double. A hot loop asks for thousands."""


@pytest.fixture(scope="module")
def stage(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(plane, tmp_path_factory.mktemp("stage"), Story(SEED)) as stage:
        yield stage


@pytest.fixture
def expected_errors() -> tuple[str, ...]:
    """How errors begin that a test's disturbance brings with it."""
    return ()


@pytest.fixture
def operator(stage: Stage, operator_log: Path, expected_errors: tuple[str, ...]) -> Iterator[OperatorProcess]:
    """One process for a test; at its end the same one lives, has logged no trace, and leaves nothing behind."""
    print(f"EGRESSGATEWAY_CHAOS_SEED={SEED}")
    with stage.operator(operator_log, *ALONE) as operator:
        pid = operator.pid
        yield operator
        assert operator.running
        assert operator.pid == pid
        wipe(stage.plane)
        world.build(stage.plane)
    assert complaints(operator_log, expected_errors) == []


@pytest.mark.parametrize("expected_errors", [KOPF_BEGINS_ANEW], ids=["own"])
def test_kind_of_egress_gateways_goes_and_comes_back(stage: Stage, operator: OperatorProcess) -> None:
    """
    The CRD is deleted in the midst of a story, and every object with it: their clients are taken back, nothing stays.

    It comes back, the story is played anew, and ends as it does undisturbed.
    """
    plane = stage.plane
    for chapter in [*stage.story.chapters(2)][:1]:
        for step in chapter:
            do(plane, step)
    with without_kinds(plane, OWN):
        no_orphans(plane)
        asked_little(plane, OWN)
    stage.story.play(plane)
    stage.ends_well()
    writes_stop(plane, LONG)


def test_kind_of_classes_goes_and_comes_back(stage: Stage, operator: OperatorProcess) -> None:
    """Without its class an object keeps what it has; with it back, all is as before and nothing was made anew."""
    plane = stage.plane
    stage.story.play(plane)
    stage.ends_well()
    before = uids(plane)
    classes = [as_written(each) for each in plane.rest.items(EGRESS_GATEWAY_CLASS.path(None))]
    with without_kinds(plane, CLASSES):
        eventually(partial(reasons_are, plane, "Accepted", "ClassNotFound"), timeout=LONG, what="ClassNotFound")
        asked_little(plane, CLASSES)
        assert uids(plane) == before
    apply_all(plane, classes)
    stage.ends_well()
    assert uids(plane) == before
    writes_stop(plane, LONG)


def test_kinds_of_providers_go_and_come_back(stage: Stage, operator: OperatorProcess) -> None:
    """
    Without Istio's and APISIX's kinds each object says so; with them back, every route is made anew.

    Nothing is made for one that is suspended, until it is woken, nor for one that is on its way out.
    """
    plane = stage.plane
    stage.story.play(plane)
    stage.ends_well()
    with without_kinds(plane, PROVIDERS):
        eventually(
            partial(reasons_are, plane, "ResolvedRefs", "ProviderUnavailable"), timeout=LONG, what="ProviderUnavailable"
        )
        asked_little(plane, PROVIDERS)
    apply_all(plane, world.foreign())
    wake(plane, stage.story.objects["resting"])
    release(plane, stage.story.objects["held"])
    stage.ends_well(gone="held")
    writes_stop(plane, LONG)


@pytest.mark.parametrize("holds", ["something else", "the object itself"])
def test_namespace_that_cannot_end_is_left_alone(stage: Stage, operator: OperatorProcess, holds: str) -> None:
    """
    Something in a namespace under deletion is held by somebody else: what is ours leaves it, and other namespaces.

    Nobody goes on writing, and when it is let go, the namespace ends.
    """
    plane, place = stage.plane, f"chaos-stuck-{holds.rsplit(maxsplit=1)[-1]}"
    apply_all(plane, [namespace(place)])
    stuck = Gateways(plane, place)
    stuck.apply("partners", destination("api", "stuck.example.com"), className="chaos-shared")
    stuck.apply("wide", className="chaos-open", access={"from": [{"namespaces": [place, world.TENANTS[0]]}]})
    stuck.wait_ready("partners", "wide", timeout=LONG)
    held = stuck.path("partners") if holds == "the object itself" else make_config_map(plane, place)
    add_finalizer(plane, held)
    plane.rest.delete(f"{NAMESPACES}/{place}")
    eventually(lambda: not stuck.exists("wide"), timeout=LONG, what="the end of the object that nobody holds")
    eventually(lambda: not [each for each in owned(plane) if steers(each)], timeout=LONG, what="no client's object")
    no_orphans(plane)
    writes_stop(plane, LONG)
    assert plane.rest.exists(f"{NAMESPACES}/{place}")
    drop_finalizer(plane, held)
    eventually(lambda: not plane.rest.exists(f"{NAMESPACES}/{place}"), timeout=LONG, what="the end of the namespace")
    assert owned(plane) == []


@contextmanager
def without_kinds(plane: ControlPlane, resources: tuple[Resource, ...]) -> Iterator[None]:
    """Delete kinds with every object of theirs, wait until they are gone, and give them back at the end."""
    paths = [f"{DEFINITIONS}/{each.plural}.{each.group}" for each in resources]
    definitions = [definition_of(plane.rest.get(path)) for path in paths if plane.rest.exists(path)]
    for path in paths:
        plane.rest.delete(path)
    eventually(lambda: not any(map(plane.rest.exists, paths)), timeout=LONG, what=f"the end of {paths}")
    yield
    install_definitions(plane.rest, definitions)
    served = [each for each, path in zip(resources, paths, strict=True) if plane.rest.exists(path)]
    eventually(lambda: all(can_be_listed(plane, each) for each in served), timeout=LONG, what="kinds that are served")


def can_be_listed(plane: ControlPlane, resource: Resource) -> bool:
    """Whether the kind's storage is there: 429 until then, though discovery names the kind."""
    try:
        plane.rest.items(resource.path(None))
    except ApiError as error:
        if error.code not in (404, 429):
            raise
        return False
    return True


def wake(plane: ControlPlane, suspended: Object) -> None:
    """Let an object be served once, and suspend it again."""
    awake = {**suspended, "spec": {key: value for key, value in suspended["spec"].items() if key != "suspend"}}
    apply_all(plane, [awake])
    Gateways(plane, awake["metadata"]["namespace"]).wait_ready(awake["metadata"]["name"], timeout=LONG)
    apply_all(plane, [suspended])


def as_written(class_: Object) -> Object:
    """A class as somebody applied it."""
    return world.class_(class_["metadata"]["name"], **class_["spec"])


def definition_of(definition: Object) -> Object:
    kept = {
        key: definition["metadata"][key] for key in ("name", "labels", "annotations") if key in definition["metadata"]
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": kept,
        "spec": definition["spec"],
    }


def asked_little(plane: ControlPlane, resources: tuple[Resource, ...]) -> None:
    """
    Count what the operator asks for while kinds are away, after it has found out.

    Raises:
        AssertionError: it asks in a loop, or writes.
    """
    writes_stop(plane, LONG)
    account = Account(plane)
    passed(AWAY_SECONDS)
    asked = account.read()
    for resource in resources:
        count = asked.reads[resource.plural] + asked.watches[resource.plural]
        assert count <= REQUESTS_PER_KIND, f"{count} requests for {resource.plural} in {AWAY_SECONDS:g} s"


def reasons_are(plane: ControlPlane, type_: str, reason: str) -> bool:
    """Whether each object that is served says this; those that are suspended or going are not judged."""
    found = {
        each["metadata"]["name"]: condition["reason"]
        for each in gateways(plane)
        if "deletionTimestamp" not in each["metadata"] and not each["spec"].get("suspend")
        for condition in each["status"]["conditions"]
        if condition["type"] == type_
    }
    others = {name: said for name, said in found.items() if said != reason}
    assert not others, others
    return True


def uids(plane: ControlPlane) -> dict[str, str]:
    """Identities of all children: one that was made anew has another."""
    return {
        f"{each['metadata']['namespace']}/{each['kind']}/{each['metadata']['name']}": each["metadata"]["uid"]
        for each in owned(plane)
    }


def steers(child: Object) -> bool:
    return bool(child["metadata"]["labels"].get(f"{GROUP}/stage") == "clients")


def make_config_map(plane: ControlPlane, place: str) -> str:
    found = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "namespace": place}}
    apply_all(plane, [found])
    return path_of(found)


def add_finalizer(plane: ControlPlane, path: str) -> None:
    held = plane.rest.get(path)["metadata"].get("finalizers", [])
    plane.rest.merge(path, {"metadata": {"finalizers": [*held, HELD]}})


def drop_finalizer(plane: ControlPlane, path: str) -> None:
    held = plane.rest.get(path)["metadata"].get("finalizers", [])
    plane.rest.merge(path, {"metadata": {"finalizers": [each for each in held if each != HELD]}})
