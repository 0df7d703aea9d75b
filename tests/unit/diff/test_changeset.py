"""Which writes separate live from desired: these, and no other."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from egressgateway.diff.changeset import ChangeSet, Mode, Written, diff
from egressgateway.live.evidence import is_child_of
from egressgateway.names import child_labels, is_childs_name
from egressgateway.plan.ir import Plan
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.render.manifests import Desired
from egressgateway.stages import Stage
from unit.golden.cases import run_named

KEY = Key("shop", "partners")
DESIRED = run_named("one-http-host").desired
ROUTE = next(item for item in DESIRED if item.ref.kind == "VirtualService" and item.stage.label == "clients")
DEPLOYMENT = next(item for item in DESIRED if item.ref.kind == "Deployment")


def stored(*items: Desired) -> dict[ObjectRef, Manifest]:
    live = {item.ref: deepcopy(item.manifest) for item in items}
    for ref, manifest in live.items():
        manifest["metadata"] |= {"uid": f"uid of {ref}", "resourceVersion": "7"}
    return live


def changes(live: dict[ObjectRef, Manifest], desired: tuple[Desired, ...] = DESIRED, **kwargs: Any) -> ChangeSet:
    return diff(kwargs.pop("plan", Plan()), desired, live, KEY, **kwargs)


def edited(item: Desired, change: Callable[[Manifest], object]) -> dict[ObjectRef, Manifest]:
    live = stored(*DESIRED)
    change(live[item.ref])
    return live


def test_nothing_is_written_when_everything_stands() -> None:
    """A restart, or a status change of a child, costs no write."""
    live = stored(*DESIRED)
    live[DEPLOYMENT.ref] |= {"status": {"readyReplicas": 2}}
    live[DEPLOYMENT.ref]["spec"] |= {"revisionHistoryLimit": 10}
    assert changes(live).empty


def test_a_missing_child_is_created_and_never_applied_over_another() -> None:
    """A create carries a resource version that no object has, so that an object of that name is a conflict."""
    [write] = changes({ref: found for ref, found in stored(*DESIRED).items() if ref != ROUTE.ref}).writes
    assert (write.mode, write.ref, write.drift) == (Mode.CREATE, ROUTE.ref, False)
    assert write.body["metadata"]["resourceVersion"] == "1"
    assert "resourceVersion" not in ROUTE.manifest["metadata"]


def test_a_changed_child_is_applied_onto_the_very_object_that_was_seen() -> None:
    """The uid is a precondition; the plan changed, so this is no drift."""
    other = replace(DEPLOYMENT, digest="other", manifest=_annotated(DEPLOYMENT.manifest, "other"))
    [write] = changes(stored(*DESIRED), tuple(other if item is DEPLOYMENT else item for item in DESIRED)).writes
    assert (write.mode, write.drift) == (Mode.APPLY, False)
    assert write.body["metadata"]["uid"] == f"uid of {DEPLOYMENT.ref}"


def test_an_edited_child_is_drift() -> None:
    """Somebody changed what we had written."""
    [write] = changes(edited(DEPLOYMENT, lambda found: found["spec"].update(replicas=9))).writes
    assert (write.mode, write.drift) == (Mode.APPLY, True)


def test_a_field_that_somebody_added_to_a_route_is_reset() -> None:
    """Server-side apply cannot remove it: the merge patch says null where it stands, and only there."""
    [write] = changes(edited(ROUTE, lambda found: found["spec"].update(tcp=[{"route": []}]))).writes
    assert (write.mode, write.drift) == (Mode.RESET, True)
    assert write.body["spec"] == {**ROUTE.manifest["spec"], "tcp": None}


@pytest.mark.parametrize("kind", ["labels", "annotations"])
def test_a_label_or_annotation_of_others_stays(kind: str) -> None:
    """Tools mark objects; that is nobody's harm."""
    live = edited(ROUTE, lambda found: found["metadata"].setdefault(kind, {}).update({"tool.example/mark": "x"}))
    assert changes(live).empty


def test_a_write_is_not_repeated_while_the_object_stays_at_its_version() -> None:
    """The server may store another form of a value than the one sent: one write, then peace."""
    live = edited(DEPLOYMENT, lambda found: found["spec"].update(replicas="2"))
    memo = {DEPLOYMENT.ref: Written(DEPLOYMENT.digest, "7", reset=False)}
    assert not changes(live).empty
    assert changes(live, memo=memo).empty
    live[DEPLOYMENT.ref]["metadata"]["resourceVersion"] = "8"
    assert not changes(live, memo=memo).empty


def test_an_apply_that_left_a_foreign_field_is_followed_by_a_reset() -> None:
    """
    An edit of the object while somebody's field stands on a child: the apply kept that field, and was remembered.

    Until the next restart the field stayed, because the object was still at the version that our write had made.
    """
    live = edited(ROUTE, lambda found: found["spec"].update(tcp=[{"route": []}]))
    [write] = changes(live, memo={ROUTE.ref: Written(ROUTE.digest, "7", reset=False)}).writes
    assert write.mode is Mode.RESET
    assert changes(live, memo={ROUTE.ref: Written(ROUTE.digest, "7", reset=True)}).empty


@pytest.mark.parametrize(
    "owners",
    [
        [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "partners"}],
        [{"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGateway", "name": "other"}],
        [{"apiVersion": "egressgateway.dev.evil/v1", "kind": "EgressGateway", "name": "partners"}],
    ],
)
def test_an_object_of_others_is_neither_written_nor_deleted(owners: Any) -> None:
    """Labels anybody can set: what somebody else owns is reported, and left alone."""
    live = edited(ROUTE, lambda found: found["metadata"].update(ownerReferences=owners) or found["spec"].clear())
    found = changes(live)
    assert found.empty
    assert found.foreign == {ROUTE.ref}
    assert ROUTE.ref not in {delete.ref for delete in changes(live, desired=()).deletes}


@pytest.mark.parametrize("owners", [[], None])
def test_an_orphan_is_taken_over(owners: Any) -> None:
    """As `--cascade=orphan`, or a backup, leaves what we wrote: it gets its owner, or goes if nobody wants it."""
    live = edited(ROUTE, lambda found: found["metadata"].update(ownerReferences=owners))
    found = changes(live)
    [write] = found.writes
    assert (found.foreign, write.mode) == (frozenset(), Mode.APPLY)
    assert write.body["metadata"]["ownerReferences"] == ROUTE.manifest["metadata"]["ownerReferences"]
    assert write.body["metadata"]["uid"] == live[ROUTE.ref]["metadata"]["uid"]
    assert ROUTE.ref in {delete.ref for delete in changes(live, desired=()).deletes}


@pytest.mark.parametrize(
    "change",
    [
        lambda metadata: metadata.update(annotations={}),
        lambda metadata: metadata.update(annotations=None),
        lambda metadata: metadata["labels"].pop("egressgateway.dev/gateway"),
        lambda metadata: metadata["labels"].update({"egressgateway.dev/gateway": "other"}),
        lambda metadata: metadata["labels"].update({"egressgateway.dev/namespace": "lab"}),
        lambda metadata: metadata["labels"].update({"app.kubernetes.io/managed-by": "Helm"}),
        lambda metadata: metadata.update(labels=None),
        lambda metadata: metadata.update(name="copy"),
        lambda metadata: metadata.update(name=f"{metadata['name']}-copy"),
        lambda metadata: metadata.update(ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}]),
    ],
)
def test_what_may_be_a_persons_own_is_no_orphan(change: Callable[[Manifest], None]) -> None:
    """Whatever is missing of what the operator writes on each child: the object is left to whom it belongs."""
    found = edited(ROUTE, lambda found: found["metadata"].pop("ownerReferences"))[ROUTE.ref]
    assert is_child_of(found, KEY)
    change(found["metadata"])
    assert not is_child_of(found, KEY)


@pytest.mark.parametrize(
    "case",
    ["probe-gates", "expose-chain-with-access", "right-to-secrets-by-cluster-role", "pod-template-and-authorizer"],
)
def test_every_child_can_be_known_as_an_orphan(case: str) -> None:
    """None has a name of another form, and each carries the labels and the digest."""
    result = run_named(case)
    for item in result.desired:
        found = {**item.manifest, "metadata": {**item.manifest["metadata"], "ownerReferences": []}}
        assert is_child_of(found, KEY), item.ref
    assert result.desired


@pytest.mark.parametrize(
    ("name", "part", "own"),
    [
        ("partners-egress", "", True),
        ("partners-egress-secrets", "", True),
        ("partners-egress-probes", "", True),
        ("partners-expose", "", True),
        ("partners-shared-0a1b2c3d", "", True),
        ("partners-access-0a1b2c3d-0a1b2c3d", "", True),
        ("partners-api-0a1b2c3d", "api", True),
        ("partners-api-v2-0a1b2c3d", "api-v2", True),
        ("partners-public-0a1b2c3d", "expose.public", True),
        ("partners-api-0a1b2c3d", "", False),
        ("partners-api-0a1b2c3d-copy", "api", False),
        ("partners-api-0a1b2c3d-20261121", "api", False),
        ("partners-egress-20261121", "", False),
        ("partners-0a1b2c3d", "", False),
        ("partners-egress-copy", "", False),
        ("partners", "", False),
        ("partner-egress", "", False),
        ("my-partners-egress", "", False),
    ],
)
def test_childrens_names_are_known(name: str, part: str, *, own: bool) -> None:
    """A copy beside the original has another name, also where that ends in a date."""
    assert is_childs_name(name, KEY, part) == own


def elsewhere(labels: dict[str, str]) -> Manifest:
    """An object in another namespace than `KEY`'s, where no owner reference can point to it."""
    return {"kind": "Role", "metadata": {"namespace": "istio-ingress", "name": "r", "labels": labels}, "rules": []}


def test_a_child_in_another_namespace_is_known_by_its_labels() -> None:
    """All three of them, and only by the key that they name."""
    assert is_child_of(elsewhere(child_labels(KEY)), KEY)
    assert not is_child_of(elsewhere(child_labels(KEY)), Key("lab", KEY.name))
    assert not is_child_of(elsewhere(child_labels(Key("shop", "other"))), KEY)
    for missing in ("egressgateway.dev/gateway", "egressgateway.dev/namespace", "app.kubernetes.io/managed-by"):
        labels = {name: value for name, value in child_labels(KEY).items() if name != missing}
        assert not is_child_of(elsewhere(labels), KEY)


def test_labels_alone_make_no_child_in_the_own_namespace() -> None:
    """There an owner reference is possible, so it is needed."""
    found = elsewhere(child_labels(KEY))
    found["metadata"]["namespace"] = KEY.namespace
    assert not is_child_of(found, KEY)


def role(**fields: Any) -> Manifest:
    metadata = {"namespace": "istio-ingress", "name": "r", "labels": child_labels(KEY)}
    annotated = metadata | {"annotations": {"egressgateway.dev/digest": "d"}}
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["a"]}]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": annotated,
        "rules": rules,
    } | fields


def test_a_right_that_somebody_added_to_a_role_is_taken_back() -> None:
    """A Role has no spec: its rules are compared whole, and a list is one value to server-side apply."""
    desired = Desired(ObjectRef("Role", "istio-ingress", "r"), Stage.FOUNDATION, "", role(), "d")
    live = {desired.ref: deepcopy(role())}
    live[desired.ref]["metadata"] |= {"uid": "u", "resourceVersion": "7"}
    assert changes(live, (desired,)).empty
    live[desired.ref]["rules"].append({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
    [write] = changes(live, (desired,)).writes
    assert (write.mode, write.drift, write.body["rules"]) == (Mode.APPLY, True, role()["rules"])


def test_a_field_that_somebody_added_beside_a_roles_is_reset() -> None:
    """Server-side apply would leave it there."""
    desired = Desired(ObjectRef("Role", "istio-ingress", "r"), Stage.FOUNDATION, "", role(), "d")
    live = {desired.ref: deepcopy(role(extra={"a": 1}))}
    live[desired.ref]["metadata"] |= {"uid": "u", "resourceVersion": "7"}
    [write] = changes(live, (desired,)).writes
    assert (write.mode, write.body["extra"], write.body["rules"]) == (Mode.RESET, None, role()["rules"])
    assert write.body["metadata"]["uid"] == "u"


def test_a_child_of_a_predecessor_is_taken_over() -> None:
    """Same name, another uid: written onto, not fought for with the garbage collector."""
    live = edited(ROUTE, lambda found: found["metadata"]["ownerReferences"][0].update(uid="gone"))
    [write] = changes(live).writes
    assert (write.ref, write.mode) == (ROUTE.ref, Mode.APPLY)


def test_a_child_that_is_being_deleted_is_waited_for() -> None:
    """It cannot be brought back, nor deleted twice; it does not count as in place."""
    live = edited(ROUTE, lambda found: found["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
    found = changes(live)
    assert found.empty
    assert found.going == {ROUTE.ref}
    assert ROUTE.ref not in {delete.ref for delete in changes(live, desired=()).deletes}


def test_what_is_no_longer_wanted_is_deleted_unless_it_is_kept() -> None:
    """Prune is exact: everything of ours that the plan lacks, but for what it keeps."""
    live = stored(*DESIRED)
    others = tuple(item for item in DESIRED if item is not ROUTE)
    [delete] = changes(live, desired=others).deletes
    assert (delete.ref, delete.stage) == (ROUTE.ref, ROUTE.stage)
    assert changes(live, desired=others, plan=Plan(kept=frozenset({ROUTE.ref}))).empty
    assert changes(live, desired=(), plan=Plan(kept=frozenset(live))).empty
    assert {delete.ref for delete in changes(live, desired=()).deletes} == live.keys()


def _annotated(manifest: Manifest, digest: str) -> Manifest:
    changed = deepcopy(manifest)
    changed["metadata"]["annotations"]["egressgateway.dev/digest"] = digest
    return changed
