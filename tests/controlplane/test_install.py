"""The chart on a real API server, by real Helm: install, upgrade, uninstall, and again over what an uninstall keeps."""

from __future__ import annotations

import secrets
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from egressgateway.names import FINALIZER
from egressgateway.refs import EGRESS_GATEWAY_CLASS, LEASE
from harness.controlplane import ControlPlane, Options
from harness.gateways import NAMESPACES, Gateways, destination
from harness.helm import CHART, MAJORS, RELEASE, Helm, HelmError, find_helm
from harness.jobs import JobRunner
from harness.kinds import DEFINITIONS, install_definitions, read_definitions
from harness.objects import namespace
from harness.operator import OperatorProcess
from harness.rest import ApiError, Object
from harness.session import ROOT, Run, definition_files
from harness.wait import CONVERGE, eventually

pytestmark = pytest.mark.controlplane

SYSTEM: Final = "egressgateway-system"
RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}
OWN: Final = sorted((ROOT / "crds").glob("*.yaml"))
LEASE_PATH: Final = LEASE.path(SYSTEM, RELEASE)
DEPLOYMENT: Final = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/{RELEASE}"
CLASS: Final = EGRESS_GATEWAY_CLASS.path(None, "default")
VALUES: Final[dict[str, Any]] = {
    "defaultClass": {"enabled": True, "spec": {"deniedHosts": ["*.internal.example.com"]}},
    "hostPolicy": {"enabled": True},
    "leaderElection": {"leaseSeconds": 3},
    "mesh": {"pushGraceSeconds": 0.3},
}


@pytest.fixture(scope="module")
def plane(run: Run) -> Iterator[ControlPlane]:
    """With Istio's kinds and none of ours: those come with the chart."""
    foreign = tuple(path for path in definition_files(download=False) if path not in OWN)
    with run.private(Options(definitions=foreign, owner=run.owner)) as plane:
        plane.rest.create(NAMESPACES, namespace("istio-system"))
        plane.rest.create(NAMESPACES, namespace(SYSTEM, **RESTRICTED))
        yield plane


@pytest.fixture(params=MAJORS, ids=lambda major: f"helm{major}")
def helm(plane: ControlPlane, request: pytest.FixtureRequest) -> Helm:
    return Helm(find_helm(request.param), plane.kubeconfig)


@pytest.fixture(scope="module")
def newest(plane: ControlPlane) -> Helm:
    """For what is no different in an older Helm."""
    return Helm(find_helm(max(MAJORS)), plane.kubeconfig)


@pytest.fixture
def gateways(plane: ControlPlane) -> Gateways:
    """A tenant whose namespace may use the hosts of one partner."""
    name = f"tenant-{secrets.token_hex(3)}"
    tenant = namespace(name)
    tenant["metadata"]["annotations"] = {"egressgateway.dev/allowed-hosts": "*.partner.example"}
    plane.rest.create(NAMESPACES, tenant)
    return Gateways(plane, name)


def install(helm: Helm, values: dict[str, Any], verb: str = "install") -> None:
    """Install or upgrade and wait until every pod is ready: under PodSecurity `restricted` there are none otherwise."""
    wait = ("--namespace", SYSTEM, "--wait", "--timeout", "120s")
    helm.run(verb, RELEASE, str(CHART), *wait, values=values)


@contextmanager
def running(plane: ControlPlane, directory: Path, *, pod: str = "") -> Iterator[OperatorProcess]:
    """The operator as its Deployment says, for as long as that is there; as a `pod` of it, or not."""
    [container] = plane.rest.get(DEPLOYMENT)["spec"]["template"]["spec"]["containers"]
    flags = [each for each in container["args"][1:] if not each.startswith("--metrics-port")]
    account = plane.service_account_kubeconfig(SYSTEM, RELEASE, directory / "operator.kubeconfig")
    flags += ["--lease-namespace", SYSTEM, *(["--identity", pod] if pod else [])]
    with OperatorProcess(account, directory / "log", *flags) as operator:
        over = threading.Event()

        def end_with_the_deployment() -> None:
            while not over.wait(0.2):
                if not plane.rest.exists(DEPLOYMENT):
                    operator.stop()
                    return

        watcher = threading.Thread(target=end_with_the_deployment, daemon=True)
        watcher.start()
        try:
            yield operator
        finally:
            over.set()
            watcher.join()


def uninstall(helm: Helm, plane: ControlPlane, directory: Path) -> str:
    """Uninstall; returns what the drain said."""
    with JobRunner(plane, SYSTEM, directory) as jobs:
        helm.run("uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout", "120s")
    return "".join(jobs.said.values())


def definitions(plane: ControlPlane) -> list[str]:
    return [name for path in OWN if plane.rest.exists(f"{DEFINITIONS}/{(name := definition_name(path))}")]


def definition_name(path: Path) -> str:
    group, plural = path.stem.split("_")
    return f"{plural}.{group}"


def test_objects_survive_an_uninstall_and_nothing_hangs(
    plane: ControlPlane, helm: Helm, gateways: Gateways, tmp_path: Path
) -> None:
    """
    Installed, upgraded and uninstalled, a gateway stays as it is: its objects, its children, no pod restarted.

    Without an operator it can be deleted at once; a second installation takes over what the first one kept.
    """
    install(helm, VALUES)
    with running(plane, tmp_path):
        gateways.apply("partners", destination("api", "api.partner.example"))
        gateways.wait_ready("partners")
        before, children = gateways.get("partners"), set(gateways.children("partners"))
        assert before["status"]["className"] == "default"
        assert FINALIZER in before["metadata"]["finalizers"]

        install(helm, {**VALUES, "replicas": 3}, verb="upgrade")
        assert plane.rest.get(DEPLOYMENT)["status"]["readyReplicas"] == 3
        assert "helm.sh/hook" not in plane.rest.get(CLASS)["metadata"]["annotations"]
        said = uninstall(helm, plane, tmp_path)

    assert "1 EgressGateways released" in said
    assert definitions(plane) == [definition_name(path) for path in OWN]
    after = gateways.get("partners")
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    assert FINALIZER not in after["metadata"].get("finalizers", [])
    assert set(gateways.children("partners")) == children
    assert not plane.rest.exists(CLASS)
    assert left_of_the_release(plane) == []
    # The operator's own right to give it back went before its process did.
    assert not plane.rest.exists(LEASE_PATH)

    plane.rest.delete(f"{NAMESPACES}/{gateways.namespace}")
    eventually(
        lambda: not plane.rest.exists(f"{NAMESPACES}/{gateways.namespace}"),
        timeout=2 * CONVERGE,
        what="the end of the tenant's namespace",
    )


def left_of_the_release(plane: ControlPlane) -> list[str]:
    """Cluster-wide objects that an uninstall should have taken along."""
    kinds = {
        "rbac.authorization.k8s.io": ("clusterroles", "clusterrolebindings"),
        "admissionregistration.k8s.io": ("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
    }
    return [
        f"{plural}/{each['metadata']['name']}"
        for group, plurals in kinds.items()
        for plural in plurals
        for each in plane.rest.items(
            f"/apis/{group}/v1/{plural}", labelSelector=f"app.kubernetes.io/instance={RELEASE}"
        )
    ]


def test_definitions_that_go_take_objects_with_them_in_order(
    plane: ControlPlane, newest: Helm, gateways: Gateways, tmp_path: Path
) -> None:
    """With `crds.keep: false` the operator withdraws every client before it goes itself."""
    # Without the class: Helm 4 waits for it to be accepted, and the operator begins only then here.
    install(newest, {**VALUES, "defaultClass": {"enabled": False}, "crds": {"keep": False}})
    with running(plane, tmp_path):
        gateways.apply("partners", destination("api", "api.partner.example"))
        gateways.wait_ready("partners")
        said = uninstall(newest, plane, tmp_path)
        assert "all of them are gone" in said
    eventually(lambda: definitions(plane) == [], what="the end of the CRDs")
    assert gateways.children("partners") == {}
    assert not plane.rest.exists(LEASE_PATH)
    assert left_of_the_release(plane) == []


def test_next_installation_leads_at_once(plane: ControlPlane, helm: Helm, tmp_path: Path) -> None:
    """
    The Lease of an operator that was uninstalled would hold its successor up for as long as it lasts, here longer than
    Helm waits: rights go before pods do, so it could not be given back. It goes as soon as the pod has gone, and the
    next leader takes over from nobody.
    """
    values = {**VALUES, "defaultClass": {"enabled": False}, "leaderElection": {"leaseSeconds": 600}}
    for number in ("first", "second"):
        (tmp_path / number).mkdir()
        install(helm, values)
        pod = plane.rest.items(f"/api/v1/namespaces/{SYSTEM}/pods", labelSelector=f"app.kubernetes.io/name={RELEASE}")[
            0
        ]
        with running(plane, tmp_path / number, pod=pod["metadata"]["name"]) as operator:
            eventually(lambda: operator.leads, what=f"a leader after the {number} installation")
            assert plane.rest.get(LEASE_PATH)["spec"]["leaseTransitions"] == 0
            uninstall(helm, plane, tmp_path / number)
        assert not plane.rest.exists(LEASE_PATH)


def test_definitions_that_were_applied_by_hand_are_handed_over(plane: ControlPlane, helm: Helm) -> None:
    """Helm refuses them by itself; the way that the install page names is the one that works."""
    without_definitions(plane)
    install_definitions(plane.rest, read_definitions(OWN))
    place = ("--namespace", SYSTEM)
    with pytest.raises(HelmError, match="cannot be imported into the current release"):
        helm.run("upgrade", "--install", RELEASE, str(CHART), *place)
    helm.run("upgrade", "--install", RELEASE, str(CHART), *place, "--take-ownership")
    try:
        owners = {
            plane.rest.get(f"{DEFINITIONS}/{name}")["metadata"]["annotations"]["meta.helm.sh/release-name"]
            for name in definitions(plane)
        }
        assert owners == {RELEASE}
    finally:
        helm.run("uninstall", RELEASE, *place, "--no-hooks")


def without_definitions(plane: ControlPlane) -> None:
    """Take away the CRDs that other tests' releases left: those carry the release's name."""
    for name in definitions(plane):
        plane.rest.delete(f"{DEFINITIONS}/{name}")
    eventually(lambda: definitions(plane) == [], what="the end of the CRDs")


def test_without_a_mesh_no_namespace_of_it_is_needed(plane: ControlPlane, newest: Helm) -> None:
    """For APISIX alone; with the role, which is the default, the missing namespace is an error."""
    values = {"mesh": {"namespace": "no-such-mesh"}}
    with pytest.raises(HelmError, match="no-such-mesh"):
        newest.run("install", RELEASE, str(CHART), "--namespace", SYSTEM, values=values)
    newest.run("uninstall", RELEASE, "--namespace", SYSTEM, "--no-hooks")
    newest.run("install", RELEASE, str(CHART), "--namespace", SYSTEM, values={**values, "rbac": {"mesh": False}})
    newest.run("uninstall", RELEASE, "--namespace", SYSTEM, "--no-hooks")


def test_upgrade_from_the_last_release(plane: ControlPlane, newest: Helm, tmp_path: Path) -> None:
    """What the last tag installs, this chart takes over: CRDs, rights and Deployment. Skipped until there is a tag."""
    git = ["git", "-C", str(ROOT)]
    described = subprocess.run([*git, "describe", "--tags", "--abbrev=0"], capture_output=True, text=True, check=False)
    if described.returncode:
        pytest.skip("nothing was released yet: no tag")
    archive = subprocess.run(
        [*git, "archive", described.stdout.strip(), str(CHART.relative_to(ROOT))], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=archive.stdout, check=True)
    newest.run("install", RELEASE, str(tmp_path / CHART.relative_to(ROOT)), "--namespace", SYSTEM)
    try:
        install(newest, {}, verb="upgrade")
        found = plane.rest.get(DEPLOYMENT)["metadata"]["labels"]["helm.sh/chart"]
        assert found == f"{RELEASE}-{yaml.safe_load((CHART / 'Chart.yaml').read_text())['version']}"
    finally:
        newest.run("uninstall", RELEASE, "--namespace", SYSTEM, "--no-hooks")


def test_host_policy_asks_the_namespace(plane: ControlPlane, newest: Helm, gateways: Gateways) -> None:
    """A host that the annotation does not allow is refused by name; looks alike is not the same."""
    install(newest, {"hostPolicy": VALUES["hostPolicy"]})
    try:
        eventually(lambda: policy_refuses(gateways, "www.other.example"), what="the policy in force")
        for host in ("partner.example", "evilpartner.example", "partner.example.evil.example"):
            assert policy_refuses(gateways, host), host
        assert not policy_refuses(gateways, "api.partner.example")
        assert not policy_refuses(gateways, "*.partner.example", wildcard={"strategy": "DynamicResolution"})
        # Nor does an allowed name lead somewhere else, and who only exposes something is not asked.
        elsewhere = {"endpoints": [{"address": "evil.example"}]}
        assert policy_refuses(gateways, "api.partner.example", "evil.example", **elsewhere)
        server = {"wildcard": {"strategy": "SingleServer", "server": "evil.example"}}
        assert policy_refuses(gateways, "*.partner.example", "evil.example", **server)
        exposed = {"name": "web", "hosts": ["web.example"], "backend": {"service": {"name": "web", "port": 80}}}
        gateways.cluster.rest.create(f"{gateways.path()}?dryRun=All", asking(gateways, expose=[exposed]))
        plane.rest.merge(
            f"{NAMESPACES}/{gateways.namespace}",
            {"metadata": {"annotations": {"egressgateway.dev/allowed-hosts": None}}},
        )
        eventually(lambda: policy_refuses(gateways, "api.partner.example"), what="a namespace that may use nothing")
    finally:
        newest.run("uninstall", RELEASE, "--namespace", SYSTEM, "--no-hooks")


def policy_refuses(gateways: Gateways, host: str, named: str = "", **more: Any) -> bool:
    """Whether the policy is against a destination, for its host or for what is `named`."""
    body = asking(gateways, destinations=[{**destination("api", host), **more}])
    try:
        gateways.cluster.rest.create(f"{gateways.path()}?dryRun=All", body)
    except ApiError as error:
        return f"namespace {gateways.namespace} may not use {named or host}" in error.message
    return False


def asking(gateways: Gateways, **spec: Any) -> Object:
    head = {"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGateway"}
    return {**head, "metadata": {"name": "asks", "namespace": gateways.namespace}, "spec": spec}


def test_every_pod_of_the_chart_may_run_under_restricted(plane: ControlPlane, newest: Helm) -> None:
    """Those of hooks and tests as well, which no controller makes here."""
    for rendered in newest.template():
        spec = (
            rendered["spec"]["template"]["spec"] if rendered["kind"] in ("Deployment", "Job") else rendered.get("spec")
        )
        if rendered["kind"] in ("Deployment", "Job", "Pod"):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": SYSTEM}}
            body = {**pod, "spec": {**spec, "serviceAccountName": "default"}}
            plane.rest.create(f"/api/v1/namespaces/{SYSTEM}/pods?dryRun=All", body)


def test_restricted_refuses_what_is_less(plane: ControlPlane) -> None:
    """The test above can fail."""
    body = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "any", "image": "any"}]}}
    with pytest.raises(ApiError, match="PodSecurity"):
        plane.rest.create(f"/api/v1/namespaces/{SYSTEM}/pods?dryRun=All", body)


def test_second_release_is_refused_the_definitions(plane: ControlPlane, newest: Helm) -> None:
    """Two releases cannot own the CRDs: Helm says so, and `crds.enabled: false` is the way."""
    install(newest, {})
    try:
        with pytest.raises(HelmError, match="cannot be imported into the current release"):
            newest.run("install", "other", str(CHART), "--namespace", "default")
        newest.run("install", "other", str(CHART), "--namespace", "default", values={"crds": {"enabled": False}})
        newest.run("uninstall", "other", "--namespace", "default", "--no-hooks")
    finally:
        newest.run("uninstall", RELEASE, "--namespace", SYSTEM, "--no-hooks")
