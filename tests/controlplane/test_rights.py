"""
The chart grants what the operator uses: nothing is missing, and nothing is too much.

One story makes the operator do everything that it ever does; the API server's audit log says which rights that took.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest

from egressgateway.refs import APISIX_KINDS, CHILD_BY_KIND, CHILD_RESOURCES, EGRESS_GATEWAY_CLASS, EVENT, ObjectRef
from harness import apisix, istiod, release
from harness.controlplane import ControlPlane
from harness.gateways import Gateways, destination
from harness.granted import CLUSTER, Right, granted, requests_of, table, used
from harness.objects import apply_all, namespace, path_of, pod, service
from harness.operator import OperatorProcess
from harness.recorder import ConditionsRecorder
from harness.rest import ApiError, Object, Rest
from harness.session import Run
from harness.wait import CONVERGE, eventually

pytestmark = pytest.mark.controlplane

USER: Final = f"system:serviceaccount:{release.NAMESPACE}:{release.RELEASE}"
TENANT: Final = "tenant"
APISIX: Final = "apisix.apache.org"
VALUES: Final[dict[str, Any]] = {
    "rbac": {"secrets": {"namespaces": [TENANT]}},
    "apisix": {"enabled": any(resource.group == APISIX for resource in CHILD_RESOURCES)},
}
OWNER_REFERENCES: Final = "OwnerReferencesPermissionEnforcement"
FINALIZERS: Final = Right(CLUSTER, "egressgateway.dev/egressgateways/finalizers", "update")
BIND: Final = Right(CLUSTER, "rbac.authorization.k8s.io/clusterroles", "bind")
WHY: Final = {
    FINALIZERS: f"asked for by the plugin {OWNER_REFERENCES}, on in OpenShift",
    BIND: "asked for with each RoleBinding of a gateway; for one ClusterRole",
}
"""Rights that are looked for while another request is made: no request shows them, `test_each_…_is_needed` does."""

DIGEST: Final = "egressgateway.dev/digest"

EVERYTHING: Final = {
    "gateway": {"autoscaling": {"minReplicas": 2, "maxReplicas": 3}},
    "telemetry": {"accessLog": "Enabled"},
}
MUTUAL: Final = {
    "port": 8080,
    "protocol": "HTTP",
    "targetPort": 8443,
    "tls": {"mode": "Mutual", "credentialName": "client"},
}


@pytest.fixture(scope="module")
def plane(run: Run) -> Iterator[ControlPlane]:
    """With the admission plugin that asks who may set owner references."""
    options = replace(run.options(audit=True), admission=(OWNER_REFERENCES,))
    with run.private(options) as plane, ConditionsRecorder(plane.kubeconfig):
        yield plane


@pytest.fixture(scope="module")
def story(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> ControlPlane:
    """The control plane after the operator has done everything that it ever does."""
    istiod.install(plane, outboundTrafficPolicy={"mode": "REGISTRY_ONLY"})
    apisix.install(plane)
    apply_all(plane, [namespace(TENANT), shared_class(), *shared_gateway(), *apisix_gateway()])
    apply_all(plane, release.rights(VALUES))
    kubeconfig = plane.service_account_kubeconfig(
        release.NAMESPACE, release.RELEASE, plane.directory / "operator.kubeconfig"
    )
    with OperatorProcess(kubeconfig, tmp_path_factory.mktemp("operator") / "log") as operator:
        gateways = Gateways(plane, TENANT)
        write_everything(gateways)
        fight_over_everything(gateways)
        leave_a_role_behind(gateways)
        move_to_the_shared_gateway(gateways)
        with apisix.StandInController(plane):
            go_through_apisix(gateways)
        end(gateways)
        eventually(operator.is_idle, what="an idle operator")
    return plane


def write_everything(gateways: Gateways) -> None:
    """Every kind of child but those of other providers; the Secret is missing, which the operator may see."""
    gateways.apply(
        "partners",
        destination("mutual", ports=[MUTUAL]),
        {
            "name": "saas",
            "hosts": ["*.saas.example"],
            "wildcard": {"strategy": "DynamicResolution"},
            "ports": [{"port": 443, "protocol": "TLS"}],
        },
        **EVERYTHING,
    )
    gateways.wait("partners", "ResolvedRefs", "False", "SecretNotFound", part="mutual")
    eventually(lambda: written_kinds(gateways) >= KINDS, what="a child of each kind")


def written_kinds(gateways: Gateways) -> set[str]:
    return {kind for kind, _ in gateways.children("partners")}


KINDS: Final = {resource.kind for resource in CHILD_RESOURCES if resource.group != APISIX} - {"Role"}


def fight_over_everything(gateways: Gateways, kinds: Set[str] = frozenset()) -> None:
    """
    Somebody changes a child of each kind (of `kinds`, if given) until the operator asks who that is.

    One child after the other, and as often as it takes: a fight is some repairs of a child within a minute
    (`engine.reconcile.drift_backoff`), which a slow machine would not get done for all of them side by side.
    """
    chosen = {
        kind: ObjectRef(kind, gateways.namespace, name)
        for kind, name in sorted(gateways.children("partners"))
        if not kinds or kind in kinds
    }
    for ref in chosen.values():
        eventually(
            partial(is_fought_over, gateways, ref), timeout=3 * CONVERGE, what=f"an event for the fight over {ref}"
        )


def is_fought_over(gateways: Gateways, ref: ObjectRef) -> bool:
    """Whether the operator told of the fight over a child; if not, the child is changed again once it is repaired."""
    if any(f" {ref} " in event["note"] for event in fights_told_of(gateways)):
        return True
    rest, path = gateways.cluster.rest, gateways.child_path((ref.kind, ref.name))
    if rest.get(path)["metadata"]["annotations"][DIGEST] != "foreign":
        rest.merge(path, {"metadata": {"annotations": {DIGEST: "foreign"}}})
    return False


def fights_told_of(gateways: Gateways) -> list[Object]:
    events = gateways.cluster.rest.items(EVENT.path(gateways.namespace))
    return [each for each in events if each["reason"] == "RepairBackOff"]


def leave_a_role_behind(gateways: Gateways) -> None:
    """As an operator that ran without the chart's ClusterRole did."""
    binding = gateways.cluster.rest.get(gateways.child_path(("RoleBinding", "partners-egress-secrets")))
    metadata = {key: binding["metadata"][key] for key in ("namespace", "labels", "ownerReferences")}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {**metadata, "name": "partners-egress"},
        "rules": [],
    }
    apply_all(gateways.cluster, [role])
    eventually(lambda: not gateways.cluster.rest.exists(path_of(role)), what="the end of the Role")


def move_to_the_shared_gateway(gateways: Gateways) -> None:
    """All that was the gateway's own goes, by the operator's hand."""
    gateways.apply("partners", destination("plain", ports=[{"port": 80, "protocol": "HTTP"}]), className="shared")
    gone = KINDS - {"DestinationRule", "Gateway", "ServiceEntry", "VirtualService", "EnvoyFilter"}
    gone -= {"AuthorizationPolicy", "Telemetry"}
    eventually(lambda: not written_kinds(gateways) & gone, timeout=3 * CONVERGE, what="the end of the own gateway")


def go_through_apisix(gateways: Gateways) -> None:
    """To a gateway of the other provider and back: objects come, are fought over, and go by the operator's hand."""
    plain = destination("plain", ports=[{"port": 80, "protocol": "HTTP"}])
    gateways.apply("partners", plain, className="apisix")
    eventually(lambda: written_kinds(gateways) >= APISIX_KINDS, what="a child of each of APISIX's kinds")
    fight_over_everything(gateways, APISIX_KINDS)
    gateways.apply("partners", plain, className="shared")
    eventually(lambda: not written_kinds(gateways) & APISIX_KINDS, timeout=3 * CONVERGE, what="the way back")


def end(gateways: Gateways) -> None:
    gateways.delete("partners")
    gateways.wait_gone("partners", timeout=2 * CONVERGE)


def apisix_gateway() -> list[Object]:
    """An APISIX, and the class for it."""
    labels = {"app.kubernetes.io/name": "apisix"}
    shared = {"namespace": "ingress-apisix", "service": "apisix-gateway", "selector": labels}
    spec = {"provider": "APISIX", "mtls": "Disabled", "shared": shared, "apisix": {"pushTimeout": "2s"}}
    head = {"apiVersion": EGRESS_GATEWAY_CLASS.api_version, "kind": EGRESS_GATEWAY_CLASS.kind}
    return [
        namespace("ingress-apisix"),
        service("ingress-apisix", "apisix-gateway", {"name": "http", "port": 80}, selector=labels),
        pod("ingress-apisix", "apisix-0", {"name": "apisix", "image": "apache/apisix"}, **labels),
        {**head, "metadata": {"name": "apisix"}, "spec": spec},
    ]


def shared_class() -> Object:
    spec = {"shared": {"namespace": "istio-system", "service": "egress", "selector": {"istio": "egress"}}}
    head = {"apiVersion": EGRESS_GATEWAY_CLASS.api_version, "kind": EGRESS_GATEWAY_CLASS.kind}
    return {**head, "metadata": {"name": "shared"}, "spec": spec}


def shared_gateway() -> list[Object]:
    ports = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    return [
        service("istio-system", "egress", *ports, selector={"istio": "egress"}),
        pod("istio-system", "egress-0", {"name": "istio-proxy", "image": "proxyv2"}, istio="egress"),
    ]


def test_granted_is_used(story: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    """Right for right: what the roles of the chart grant is what the operator asked for, and no more."""
    roles = [each for each in release.rights(VALUES) if is_the_operators(each)]
    rights = granted(roles)
    asked = list(requests_of(story.audit_events(), USER))
    in_use = used(asked, rights)
    with capsys.disabled():
        print(f"\n{table(rights, in_use, WHY)}")
    assert sorted({each for each in asked if each.code == 403}) == [], "missing: the API server refused these"
    assert sorted(rights - in_use - WHY.keys()) == [], "too much: granted and not used"
    assert sorted(in_use - rights) == []


@pytest.fixture(scope="module")
def owner(story: ControlPlane) -> Object:
    """An EgressGateway that no operator serves."""
    return Gateways(story, TENANT).apply("owner")


@pytest.mark.parametrize(
    ("right", "kind", "message"),
    [(BIND, "RoleBinding", "attempting to grant RBAC permissions"), (FINALIZERS, "Service", "cannot set blockOwner")],
    ids=["bind", "finalizers"],
)
def test_each_right_without_a_request_is_needed(
    story: ControlPlane, owner: Object, right: Right, kind: str, message: str
) -> None:
    """Without `bind` there is no RoleBinding for a gateway, and without `finalizers` no child with an owner."""
    child = role_binding(owner, release.GATEWAY_ROLE) if kind == "RoleBinding" else child_service(owner)
    try_to_create(as_account(story, "whole", without=None), child)
    with pytest.raises(ApiError, match=message):
        try_to_create(as_account(story, kind.lower(), without=right), child)


@pytest.mark.parametrize("role", ["cluster-admin", "view", "system:node"])
def test_the_right_to_bind_is_for_one_role(story: ControlPlane, owner: Object, role: str) -> None:
    """The operator hands out no other right than that of gateways."""
    with pytest.raises(ApiError, match="attempting to grant RBAC permissions"):
        try_to_create(as_account(story, "whole", without=None), role_binding(owner, role))


def as_account(plane: ControlPlane, name: str, *, without: Right | None) -> Rest:
    """A client with the operator's rights in the cluster but one, as an account of its own."""
    [operators] = [each for each in release.rights(VALUES) if each["kind"] == "ClusterRole" and is_the_operators(each)]
    rules = [rule for rule in operators["rules"] if without not in granted([{**operators, "rules": [rule]}])]
    metadata = {"name": f"probe-{name}"}
    account = {"kind": "ServiceAccount", "name": metadata["name"], "namespace": TENANT}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": metadata["name"]}
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata}
    objects = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**metadata, "namespace": TENANT}},
        {**rbac, "kind": "ClusterRole", "rules": rules},
        {**rbac, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [account]},
    ]
    apply_all(plane, objects)
    path = plane.service_account_kubeconfig(TENANT, metadata["name"], plane.directory / f"kubeconfig-{name}")
    return Rest(path)


def try_to_create(rest: Rest, child: Object) -> None:
    """
    Ask whether a child may be created.

    Raises:
        ApiError: it may not.
    """
    collection = CHILD_BY_KIND[child["kind"]].path(child["metadata"]["namespace"])
    with closing(rest):
        rest.create(f"{collection}?dryRun=All", child)


def role_binding(owner: Object, role: str) -> Object:
    role_ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    subject = {"kind": "ServiceAccount", "name": "owner-egress", "namespace": TENANT}
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": owned_by(owner)}
    return {**head, "roleRef": role_ref, "subjects": [subject]}


def child_service(owner: Object) -> Object:
    return {"apiVersion": "v1", "kind": "Service", "metadata": owned_by(owner), "spec": {"ports": [{"port": 80}]}}


def owned_by(owner: Object) -> Object:
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
    return {
        "namespace": TENANT,
        "name": "probe",
        "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}],
    }


def is_the_operators(role: Object) -> bool:
    """Whether the operator's account has it: not the roles of people, of gateways, and of the drain."""
    suffix = role["metadata"]["name"].rpartition("-")[2]
    return role["kind"] in ("Role", "ClusterRole") and suffix not in ("view", "edit", "classes", "gateway")
