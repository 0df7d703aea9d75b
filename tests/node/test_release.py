"""The operator as its users have it: image and chart in a real cluster, real Istio, and calls from real pods."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

from egressgateway.refs import EGRESS_GATEWAY
from harness.helm import MAJORS, RELEASE
from harness.installed import LEASE_PATH, SECONDS, Installed
from harness.real import HOST, SYSTEM, RealCluster
from harness.session import FOREIGN, ROOT
from harness.shop import Shop
from harness.wait import eventually

pytestmark = pytest.mark.node

SHARED_FILES: Final = ("tests/controlplane/test_ownership.py",)
"""Those that use the cluster of the run, start none of their own, and command no pod to fail."""

SHARED_TESTS: Final = "not test_changed_field_is_put_back"
"""Ten fields, each with a gateway of its own, whose pods take seconds to start here; what is put back is no pod."""


def test_helm_test_passes(release: Installed) -> None:
    """The pod of `helm test` reaches the operator, which has read everything."""
    release.helm.run("test", RELEASE, "--namespace", SYSTEM, "--timeout", "2m", timeout=180)


def test_request_leaves_by_the_gateway(shop: Shop) -> None:
    """
    A call of a client's pod arrives at the partner from a gateway pod's address, and is in that gateway's access log.
    """
    shop.apply(telemetry={"accessLog": "Enabled"})

    path = f"/{shop.namespace}"
    asked = lambda: shop.curl(f"http://{HOST}{path}").returncode == 0  # noqa: E731
    eventually(asked, what="the partner's answer")
    peers = eventually(lambda: shop.real.peers(path), what="the call at the partner's")
    assert peers <= shop.addresses()
    log = ("logs", "deployment/partners-egress", "--namespace", shop.namespace, "--all-pods", "-c", "istio-proxy")
    eventually(lambda: path in shop.cluster.kubectl(*log).stdout, what="the call in the gateway's log")

    shop.gateways.delete("partners")
    shop.gateways.wait_gone("partners", timeout=SECONDS)


@pytest.mark.timeout(900)
def test_files_of_the_control_plane_tier_hold_here(release: Installed) -> None:
    """An operator of the tests' own, on this cluster: what is true on the embedded control plane is true here."""
    # The release would serve the same objects: it rests meanwhile.
    scale = ("scale", "deployment", RELEASE, "--namespace", SYSTEM)
    release.cluster.kubectl(*scale, "--replicas=0")
    try:
        environment = {**os.environ, FOREIGN: str(release.cluster.kubeconfig)}
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", SHARED_TESTS, *SHARED_FILES]
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=870, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        release.cluster.kubectl(*scale, "--replicas=2")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("major", MAJORS, ids=lambda major: f"helm{major}")
def test_uninstalled_release_hands_over_to_the_next(real: RealCluster, major: int) -> None:
    """
    An uninstall leaves no Lease, for the end of which a reinstall would wait, however long it lasts; and what it keeps
    is served again.
    """
    lasting = {"leaderElection": {"leaseSeconds": 600}}
    release = Installed(real, major)
    if release.exists():
        release.uninstall()
    release.install(values=lasting)
    release.wait_for_leader()

    release.uninstall()
    assert real.cluster.rest.exists(EGRESS_GATEWAY.path(None))
    assert not real.cluster.rest.exists(LEASE_PATH)

    release.install()
    release.wait_for_leader()
    release.helm.run("test", RELEASE, "--namespace", SYSTEM, "--timeout", "2m", timeout=180)


@pytest.mark.timeout(900)
def test_uninstall_with_crds_leaves_nothing(real: RealCluster) -> None:
    """With `crds.keep: false` the CRDs go, every EgressGateway with them, and what they made; so does the namespace."""
    release = Installed(real)
    release.install(values={"crds": {"keep": False}})
    release.wait_for_leader()
    release.uninstall()
    gone = lambda: not real.cluster.rest.exists(EGRESS_GATEWAY.path(None))  # noqa: E731
    eventually(gone, timeout=SECONDS, what="the end of the CRDs")
    release.remove_namespace()
    release.install()
