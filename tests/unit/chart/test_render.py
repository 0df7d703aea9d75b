"""What the chart renders, over its values and by both Helms."""

from __future__ import annotations

from typing import Any, Final

import pytest

from egressgateway.engine.cache.meshconfig import config_map_name
from egressgateway.plan.pods.scheduling import NODE_FAILURE_TAINTS
from harness.helm import CHART, RELEASE, Helm, HelmError
from harness.rest import Object

MONITORING: Final = ("--api-versions", "monitoring.coreos.com/v1")
MATRIX: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "one replica": {"replicas": 1},
    "namespaced": {"watchNamespaces": ["a", "b"], "gatewayNamespaces": ["istio-system"]},
    "secrets by namespace": {"rbac": {"secrets": {"namespaces": ["a"]}}},
    "secrets everywhere": {"rbac": {"secrets": {"clusterWide": True}}},
    "no rights": {"rbac": {"create": False}, "serviceAccount": {"create": False, "name": "given"}},
    "no crds": {"crds": {"enabled": False}},
    "crds go": {"crds": {"keep": False}},
    "no mesh": {"rbac": {"mesh": False}, "apisix": {"enabled": True}},
    "class and hosts": {"defaultClass": {"enabled": True}, "hostPolicy": {"enabled": True}},
    "pods monitored": {"metrics": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}},
    "service monitored": {"metrics": {"serviceMonitor": {"enabled": True}, "dashboard": {"enabled": True}}},
    "apisix": {"apisix": {"enabled": True}},
    "apisix by name": {"apisix": {"enabled": True, "gatewayProxies": ["apisix-config"]}},
    "nothing optional": {
        "drain": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
    },
    "pods": {
        "podLabels": {"team": "mesh"},
        "podAnnotations": {"a": "b"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "imagePullSecrets": [{"name": "registry"}],
        "extraEnv": [{"name": "A", "value": "b"}],
        "extraArgs": ["--max-in-flight=8"],
    },
    "more objects": {
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}\n",
        ]
    },
}


def of_kind(rendered: list[Object], kind: str) -> list[Object]:
    return [each for each in rendered if each["kind"] == kind]


def only(rendered: list[Object], kind: str) -> Object:
    [found] = of_kind(rendered, kind)
    return found


@pytest.mark.parametrize("values", MATRIX.values(), ids=list(MATRIX))
def test_matrix_renders(helm: Helm, values: dict[str, Any]) -> None:
    """Every object is whole, no name twice, and lint has no objection."""
    rendered = helm.template(values, *MONITORING)
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in rendered]
    assert len(names) == len(set(names))
    assert all("apiVersion" in each for each in rendered)
    helm.run("lint", "--strict", str(CHART), values=values)


@pytest.mark.parametrize("name", ["short", "x" * 53])
def test_names_fit(newest: Helm, name: str) -> None:
    """With the longest release name that Helm allows as with a short one: names of Services have 63 characters."""
    text = newest.run("template", name, str(CHART), "--namespace", "n" * 63)
    names = [line.split(": ")[1] for line in text.splitlines() if line.startswith("  name: ")]
    assert len(names) > 10
    assert [each for each in names if len(each) > 63] == []


def test_both_helms_render_the_same(newest: Helm, helm: Helm) -> None:
    """What is reviewed with one is what the other installs."""
    values = MATRIX["namespaced"] | MATRIX["class and hosts"]
    assert helm.template(values) == newest.template(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replica": 2}, "replica"),
        ({"image": {"tagg": "1"}}, "tagg"),
        ({"image": {"digest": "sha256:12"}}, "digest"),
        ({"image": {"repository": "registry.example/operator:1.0"}}, "repository"),
        ({"replicas": "two"}, "replicas"),
        ({"mesh": {"revision": "1.30"}}, "revision"),
        ({"watchNamespaces": "payments"}, "watchNamespaces"),
        ({"rbac": {"secrets": {"namespaces": ["kube system"]}}}, "kube system|namespaces"),
        ({"mesh": {"namespace": "istio_system"}}, "namespace"),
        ({"rbac": {"mesh": False}, "mesh": {"revision": "a"}}, "rbac.mesh: must be true with mesh.revision"),
        # A class that says nothing of hosts allows all of them: whoever wrote these meant it to say something.
        ({"defaultClass": {"enabled": True, "spec": {"alowedHosts": ["a.example.com"]}}}, "alowedHosts"),
        ({"defaultClass": {"spec": {"allowedHosts": "a.example.com"}}}, "allowedHosts"),
        ({"defaultClass": {"spec": {"deniedFeatures": ["Wildcard"]}}}, "deniedFeatures"),
        ({"defaultClass": {"spec": {"dedicated": {"replica": 2}}}}, "replica"),
        ({"defaultClass": {"spec": {"dedicated": {"tolerations": [{"kee": "a"}]}}}}, "kee"),
        ({"watchNamespaces": ["Payments"]}, "watchNamespaces"),
        ({"log": {"level": "debug"}}, "'DEBUG'|\"DEBUG\""),
        ({"metrics": {"port": 80}}, "1,?024"),
        ({"crds": {"keep": "yes"}}, "keep"),
        ({"extraArgs": ["log-level=DEBUG"]}, "extraArgs"),
        ({"hostPolicy": {"actions": []}}, "actions"),
        ({"hostPolicy": {"enabled": True, "actions": ["Deny", "Warn"]}}, "Deny and Warn exclude each other"),
        ({"gatewayNamespaces": ["istio-system"]}, "only with watchNamespaces"),
        ({"metrics": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}, "enable one of the two"),
        ({"metrics": {"podMonitor": {"enabled": True}}}, "need the Prometheus operator"),
    ],
    ids=str,
)
def test_mistakes_are_refused_by_name(helm: Helm, values: dict[str, Any], message: str) -> None:
    """A typo installs nothing, and the message says which value it is."""
    with pytest.raises(HelmError, match=message):
        helm.template(values)


@pytest.mark.parametrize("names", [[], ["apisix-config"]], ids=["all", "by name"])
def test_gateway_proxies_can_be_read_by_name_alone(newest: Helm, names: list[str]) -> None:
    """They may hold the key of an Admin API: an admin can say which of them the operator may read."""
    rendered = newest.template({"apisix": {"enabled": True, "gatewayProxies": names}})
    rules = [rule for role in of_kind(rendered, "ClusterRole") for rule in role["rules"]]
    [rule] = [rule for rule in rules if "gatewayproxies" in rule["resources"]]
    assert (rule.get("resourceNames", []), rule["verbs"]) == (names, ["list", "watch"])


def test_digest_beats_tag(newest: Helm) -> None:
    """An image by its digest is the one that was looked at, whatever its tag says today."""
    digest = f"sha256:{'0' * 64}"
    by_tag = only(newest.template({"image": {"tag": "9"}}), "Deployment")
    by_digest = only(newest.template({"image": {"tag": "9", "digest": digest}}), "Deployment")
    assert image_of(by_tag).endswith(":9")
    assert image_of(by_digest).endswith(f"@{digest}")


def image_of(workload: Object) -> str:
    return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])


def pod_of(newest: Helm, **values: Any) -> Object:
    """The operator's pod by the chart with these values."""
    found: Object = only(newest.template(values), "Deployment")["spec"]["template"]["spec"]
    return found


def test_replicas_keep_apart_and_leave_dead_nodes_soon(newest: Helm) -> None:
    """As pods of gateways do; where they end up is tried with a real scheduler."""
    spec = pod_of(newest)
    [preferred] = spec["affinity"]["podAntiAffinity"].values()
    assert [term["podAffinityTerm"]["topologyKey"] for term in preferred] == ["topology.kubernetes.io/zone"]
    assert [each["topologyKey"] for each in spec["topologySpreadConstraints"]] == ["kubernetes.io/hostname"]
    assert [(each["key"], each["tolerationSeconds"]) for each in spec["tolerations"]] == [
        (taint, 30) for taint in NODE_FAILURE_TAINTS
    ]


def test_memory_of_a_namespace_can_be_raised(newest: Helm) -> None:
    """As messages and docs/operations.md advise."""
    deployment = only(newest.template({"namespaceMemoryMiB": 256}), "Deployment")
    assert "--namespace-memory-mib=256" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]


def test_own_scheduling_replaces_the_default(newest: Helm) -> None:
    """Constraints are the whole spread, an affinity the whole affinity, and a taint's own time its time."""
    own = {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    spread = pod_of(newest, topologySpreadConstraints=[own])
    assert (spread["topologySpreadConstraints"], "affinity" in spread) == ([own], False)
    pool = pod_of(newest, affinity={"nodeAffinity": {"a": "b"}})
    assert pool["affinity"] == {"nodeAffinity": {"a": "b"}}
    assert [each["topologyKey"] for each in pool["topologySpreadConstraints"]] == ["kubernetes.io/hostname"]


@pytest.mark.parametrize(
    ("own", "added"),
    [
        ({"key": "pool", "operator": "Exists"}, list(NODE_FAILURE_TAINTS)),
        ({"key": NODE_FAILURE_TAINTS[0], "operator": "Exists", "effect": "NoExecute"}, [NODE_FAILURE_TAINTS[1]]),
        ({"key": NODE_FAILURE_TAINTS[0], "operator": "Exists", "effect": "NoSchedule"}, list(NODE_FAILURE_TAINTS)),
        ({"operator": "Exists"}, []),
    ],
    ids=["a pool", "one of them", "another effect", "every taint"],
)
def test_dead_nodes_are_left_soon_unless_their_taints_are_named(
    newest: Helm, own: dict[str, Any], added: list[str]
) -> None:
    """To tolerate a pool's taint is not to wait for 300 seconds, which the API server would add."""
    found = pod_of(newest, tolerations=[own])["tolerations"]
    assert found[0] == own
    assert [each["key"] for each in found[1:]] == added


def test_definitions_are_kept_by_default(newest: Helm) -> None:
    """Whoever uninstalls does not lose every EgressGateway."""
    kept = of_kind(newest.template(), "CustomResourceDefinition")
    lost = of_kind(newest.template({"crds": {"keep": False}}), "CustomResourceDefinition")
    assert [each["metadata"]["annotations"]["helm.sh/resource-policy"] for each in kept] == ["keep", "keep"]
    assert len(lost) == 2
    assert all("helm.sh/resource-policy" not in each["metadata"].get("annotations", {}) for each in lost)


def test_one_replica_has_no_disruption_budget(newest: Helm) -> None:
    """It would keep its node from ever being drained."""
    assert of_kind(newest.template({"replicas": 1}), "PodDisruptionBudget") == []
    assert only(newest.template(), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


LOOKED_AT = ("customresourcedefinitions", "egressgatewayclasses", "namespaces")


def test_namespaced_operator_has_no_rights_elsewhere(newest: Helm) -> None:
    """The cluster as a whole is only looked at, and beside a shared gateway no workload is written."""
    rendered = newest.template(MATRIX["namespaced"])
    name = only(rendered, "ClusterRoleBinding")["roleRef"]["name"]
    [wide] = [each for each in of_kind(rendered, "ClusterRole") if each["metadata"]["name"] == name]
    verbs = {(resource, verb) for rule in wide["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert verbs == {
        *((resource, verb) for resource in LOOKED_AT for verb in ("list", "watch")),
        ("egressgatewayclasses/status", "patch"),
    }
    [beside] = [each for each in of_kind(rendered, "Role") if each["metadata"]["name"] == f"{RELEASE}-gateways"]
    workloads = [rule["verbs"] for rule in beside["rules"] if "deployments" in rule["resources"]]
    assert workloads == [["list", "watch"]]
    assert {each["metadata"]["namespace"] for each in of_kind(rendered, "Role")} == {
        *("a", "b", "istio-system", "egressgateway-system")
    }


@pytest.mark.parametrize(
    ("revision", "config", "flags"),
    [
        ("", "istio", []),
        (None, "istio", []),
        ("default", "istio", ["--mesh-revision=default"]),
        ("a-1", "istio-a-1", ["--mesh-revision=a-1"]),
    ],
)
def test_right_to_the_meshs_configuration_follows_its_revision(
    newest: Helm, revision: str | None, config: str, flags: list[str]
) -> None:
    """
    The operator watches the ConfigMap of that name, and no other may be read but its own records, in its namespace.

    None: the values of an older chart.
    """
    rendered = newest.template({"mesh": {"revision": revision}})
    roles = [role for role in of_kind(rendered, "Role") if role["metadata"]["namespace"] != "egressgateway-system"]
    rules = [rule for role in roles for rule in role["rules"] if "configmaps" in rule["resources"]]
    assert [rule["resourceNames"] for rule in rules] == [[config]]
    arguments = only(rendered, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [each for each in arguments if each.startswith("--mesh-revision")] == flags
    assert config_map_name(revision or "") == config


def test_classes_can_be_shown_to_people_without_the_rest_of_the_cluster(newest: Helm) -> None:
    """They are in no namespace: bound by a RoleBinding, the cluster's `view` does not show them."""
    roles = {each["metadata"]["name"]: each for each in of_kind(newest.template(), "ClusterRole")}
    [shown] = [role for name, role in roles.items() if name.endswith("-classes")]
    rules = [(rule["resources"], rule["verbs"]) for rule in shown["rules"]]
    assert rules == [(["egressgatewayclasses"], ["get", "list", "watch"])]
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in shown["metadata"]["labels"]


@pytest.mark.parametrize("values", [MATRIX["default"], MATRIX["namespaced"], MATRIX["secrets by namespace"]])
def test_no_dangerous_right_is_granted(newest: Helm, values: dict[str, Any]) -> None:
    """No wildcard, no Secret everywhere, no way to more rights, into pods, or into admission."""
    for role in [*of_kind(newest.template(values), "ClusterRole"), *of_kind(newest.template(values), "Role")]:
        for rule in role["rules"]:
            resources, verbs = set(rule["resources"]), set(rule["verbs"])
            assert not {"*"} & (resources | verbs | set(rule["apiGroups"])), role["metadata"]["name"]
            assert not {"escalate", "impersonate"} & verbs
            assert "bind" not in verbs or rule["resourceNames"] == [next(iter(rule["resourceNames"]))]
            forbidden = {"pods/exec", "pods/attach", "nodes/proxy", "validatingwebhookconfigurations"}
            assert not (forbidden | {"mutatingwebhookconfigurations", "serviceaccounts/token"}) & resources
            if "secrets" in resources:
                assert role["kind"] == "Role" or role["metadata"]["name"].endswith("-gateway")
            if {"roles", "clusterroles"} & resources:
                assert not {"create", "update", "patch"} & verbs


def test_two_releases_share_nothing_of_the_cluster(newest: Helm) -> None:
    """The same release name in two namespaces: cluster-wide objects have different names."""
    first, second = (
        {
            (each["kind"], each["metadata"]["name"])
            for each in newest.template({"crds": {"enabled": False}, "hostPolicy": {"enabled": True}}, namespace=place)
            if "namespace" not in each["metadata"]
        }
        for place in ("one", "two")
    )
    assert first
    assert first & second == set()
