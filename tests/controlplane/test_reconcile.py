"""One EgressGateway, from the first apply to a working gateway, and through everything that its owner does with it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from egressgateway.names import FINALIZER
from harness.cluster import Cluster
from harness.gateways import CLIENTS, NAMESPACES, ChildName, Gateways, destination
from harness.rest import Object
from harness.wait import eventually

if TYPE_CHECKING:
    from conftest import Kubectl

COLUMNS = "NAME CLASS GATEWAY DESTINATIONS READY REASON AGE"
WIDE = "PROVIDER ADDRESS HOSTS MESSAGE"
KINDS = {
    "ServiceAccount",
    "Service",
    "Deployment",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "AuthorizationPolicy",
    "DestinationRule",
    "EnvoyFilter",
    "Gateway",
    "ServiceEntry",
    "Telemetry",
    "VirtualService",
}


class TestFirstApply:
    """What `kubectl apply` of one object leads to."""

    def test_kubectl_shows_a_working_gateway(self, gateways: Gateways, kubectl: Kubectl) -> None:
        """`kubectl wait` ends, `get` has the columns of the API page, `describe` tells in words."""
        gateways.apply("partners", destination("httpbin", "httpbin.org"))
        kubectl("wait", "--for=condition=Ready", "egressgateway/partners", "--timeout=60s")

        header, row = kubectl("get", "egressgw").stdout.splitlines()
        assert header.split() == COLUMNS.split()
        assert row.split()[:-1] == ["partners", "partners-egress", "1/1", "True", "Ready"]
        wide = kubectl("get", "egressgateways", "-o", "wide").stdout.splitlines()
        assert wide[0].split() == [*COLUMNS.split(), *WIDE.split()]
        assert wide[1].endswith("2/2 gateway pods ready, 1 destination routed")
        assert "httpbin.org" in wide[1].split()

        def told() -> bool:
            return any(
                line.split()[:2] == ["Normal", "Ready"]
                and line.endswith("2/2 gateway pods ready, 1 destination routed")
                for line in kubectl("describe", "egressgw", "partners").stdout.splitlines()
            )

        eventually(told, what="an event that says that the gateway works")

    def test_children_are_owned_and_labelled(self, gateways: Gateways, kubectl: Kubectl) -> None:
        """Every child has the labels of the API page and an owner, and none of the object's own labels."""
        gateways.apply("partners")
        kubectl("label", "egressgw/partners", "app.kubernetes.io/instance=argo", "team=payments")
        gateways.wait_ready("partners")

        owner = gateways.get("partners")["metadata"]
        children = gateways.children("partners")
        assert {kind for kind, _ in children} == KINDS
        for child in children.values():
            metadata = child["metadata"]
            labels = metadata["labels"]
            assert labels["egressgateway.dev/namespace"] == gateways.namespace
            assert labels["app.kubernetes.io/managed-by"] == "egressgateway-operator"
            assert labels["app.kubernetes.io/part-of"] == "egressgateway"
            assert not {"app.kubernetes.io/instance", "team"} & labels.keys()
            assert [(each["uid"], each["controller"]) for each in metadata["ownerReferences"]] == [(owner["uid"], True)]
        assert owner["finalizers"] == [FINALIZER]

    def test_second_object_in_the_namespace_is_its_neighbour(self, gateways: Gateways) -> None:
        """Two objects of a namespace have gateways of their own, and share nothing."""
        gateways.apply("a-b", destination("c"))
        gateways.apply("a", destination("b-c"))
        gateways.wait_ready("a", "a-b")
        assert not gateways.children("a").keys() & gateways.children("a-b").keys()


class TestMakeBeforeBreak:
    """Clients are sent through the gateway only when it serves, and stay there."""

    def test_clients_hear_of_a_host_only_once_a_pod_is_ready(self, gateways: Gateways, cluster: Cluster) -> None:
        """Without a ready pod everything else is written, and the status says what is waited for."""
        cluster.set_ready(False, gateways.namespace)
        gateways.apply("partners")
        gateways.wait("partners", "Ready", "False", "GatewayNotReady")
        gateways.wait("partners", "Steered", "False", "GatewayNotReady", part="api")
        eventually(lambda: ("Gateway", "partners-egress") in gateways.children("partners"))
        assert not gateways.clients("partners")

        cluster.set_ready(True, gateways.namespace)
        gateways.wait_ready("partners")
        assert Counter(kind for kind, _ in gateways.clients("partners")) == {"ServiceEntry": 1, "VirtualService": 1}

    def test_outage_of_all_pods_keeps_the_steer(self, gateways: Gateways, cluster: Cluster) -> None:
        """When all pods are unready, the status says so and no child changes: blocked is safer than direct."""
        gateways.apply("partners")
        gateways.wait_ready("partners")
        before = versions(gateways.children("partners"))

        cluster.set_ready(False, gateways.namespace)
        gateways.wait("partners", "Ready", "False", "GatewayNotReady")
        gateways.wait("partners", "Programmed", "True", "Programmed")
        cluster.set_ready(True, gateways.namespace)
        gateways.wait_ready("partners")
        assert versions(gateways.children("partners")) == before


class TestEdit:
    """What an edit changes, and what it leaves alone."""

    def test_new_destination_leaves_the_others_alone(self, gateways: Gateways) -> None:
        """A second destination adds its own children; those of the first are not written again."""
        gateways.apply("partners", destination("one"))
        gateways.wait_ready("partners")
        before = versions(gateways.children("partners", **{"egressgateway.dev/part": "one"}))
        gateways.apply("partners", destination("one"), destination("two"))
        gateways.wait_ready("partners")

        assert versions(gateways.children("partners", **{"egressgateway.dev/part": "one"})) == before
        assert len(gateways.children("partners", **{"egressgateway.dev/part": "two"})) == len(before)
        assert gateways.get("partners")["status"]["summary"]["destinations"] == "2/2"

    def test_removed_destination_is_pruned(self, gateways: Gateways) -> None:
        """A destination that leaves the spec takes all of its children with it, and its ways leave the Gateway."""
        gateways.apply("partners", destination("one"), destination("two"))
        gateways.wait_ready("partners")
        gateways.apply("partners", destination("one"))
        eventually(lambda: not gateways.children("partners", **{"egressgateway.dev/part": "two"}), what="the prune")

        def ways() -> list[str]:
            gateway = gateways.children("partners")["Gateway", "partners-egress"]
            return [host for server in gateway["spec"]["servers"] for host in server["hosts"]]

        eventually(lambda: not any("two.example.com" in host for host in ways()), what="a Gateway without its ways")
        gateways.wait_ready("partners")

        def claimed() -> list[str]:
            return [claim["host"] for claim in gateways.get("partners")["status"]["claims"]]

        eventually(lambda: claimed() == ["one.example.com"], what="a claim that ended with its last route")

    def test_settings_of_the_gateway_reach_its_deployment(self, gateways: Gateways) -> None:
        """`spec.gateway.replicas` is the Deployment's."""
        gateways.apply("partners", gateway={"replicas": 1})
        gateways.wait_ready("partners")
        gateways.apply("partners", gateway={"replicas": 3})
        gateways.wait("partners", "Ready", "True", "Ready")
        eventually(lambda: gateways.children("partners")["Deployment", "partners-egress"]["spec"]["replicas"] == 3)
        eventually(lambda: gateways.get("partners")["status"]["gateway"]["readyReplicas"] == 3)

    def test_refused_edit_keeps_what_runs(self, gateways: Gateways) -> None:
        """An edit that is not accepted is told with its field, and the gateway goes on as before."""
        gateways.apply("partners")
        gateways.wait_ready("partners")
        before = versions(gateways.children("partners"))
        gateways.apply("partners", className="no-such-class")
        found = gateways.wait("partners", "Accepted", "False", "ClassNotFound")
        assert "spec.className" in found["message"]
        assert versions(gateways.children("partners")) == before


class TestSuspend:
    """`spec.suspend` stops the operator's hand and nothing else."""

    def test_suspended_object_is_left_alone_until_it_resumes(self, gateways: Gateways) -> None:
        """While suspended neither an edit nor drift leads to a write; afterwards both are made good."""
        gateways.apply("partners", destination("one"))
        gateways.wait_ready("partners")
        service = ("Service", "partners-egress")
        gateways.apply("partners", destination("one"), destination("two"), suspend=True)
        gateways.wait("partners", "Ready", "True", "Suspended")
        gateways.cluster.rest.delete(gateways.child_path(service))
        # Another object that gets all the way to Ready meanwhile: the operator was not just slow.
        gateways.apply("neighbour")
        gateways.wait_ready("neighbour")
        assert service not in gateways.children("partners")
        assert not gateways.children("partners", **{"egressgateway.dev/part": "two"})

        gateways.apply("partners", destination("one"), destination("two"), suspend=False)
        gateways.wait_ready("partners")
        assert service in gateways.children("partners")
        assert gateways.children("partners", **{"egressgateway.dev/part": "two", **CLIENTS})

    def test_suspended_object_can_be_deleted(self, gateways: Gateways) -> None:
        """Suspension does not hold an object back that its owner deletes."""
        gateways.apply("partners")
        gateways.wait_ready("partners")
        gateways.apply("partners", suspend=True)
        gateways.wait("partners", "Ready", "True", "Suspended")
        gateways.delete("partners")
        gateways.wait_gone("partners")


class TestSurroundings:
    """Namespace labels are facts like any other."""

    def test_namespace_without_injection_is_reported(self, gateways: Gateways) -> None:
        """Where the mesh's injection is disabled nothing is written, and the label's removal heals it."""
        namespace = f"{NAMESPACES}/{gateways.namespace}"
        gateways.cluster.rest.merge(namespace, {"metadata": {"labels": {"istio-injection": "disabled"}}})
        gateways.apply("partners")
        found = gateways.wait("partners", "ResolvedRefs", "False", "InjectionDisabled")
        assert "istio-injection=disabled" in found["message"]
        assert not gateways.children("partners")

        gateways.cluster.rest.merge(namespace, {"metadata": {"labels": {"istio-injection": None}}})
        gateways.wait_ready("partners")


def versions(children: dict[ChildName, Object]) -> dict[ChildName, tuple[str, str, int]]:
    """What changes when somebody writes to a child; its status aside."""
    return {
        name: (child["metadata"]["uid"], child["metadata"]["annotations"]["egressgateway.dev/digest"], applied(child))
        for name, child in children.items()
    }


def applied(child: Object) -> int:
    """Times at which somebody wrote metadata or spec, as far as `managedFields` still tells."""
    entries = [each for each in child["metadata"]["managedFields"] if each.get("subresource") != "status"]
    return hash(tuple(sorted((each["manager"], each["operation"], each["time"]) for each in entries)))
