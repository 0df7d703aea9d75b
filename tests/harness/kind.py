"""What tests in a kind cluster share: where the operator is there, and of which image."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from harness.cluster import Cluster
from harness.helm import Helm
from harness.session import FOREIGN, ROOT

SYSTEM: Final = "egressgateway-system"
IMAGE: Final = "egressgateway-operator"
ISTIO: Final = os.environ.get("EGRESSGATEWAY_KIND_ISTIO", "1.30.0")
"""Release of Istio whose images are installed."""

RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}
SHARED_FILES: Final = ("tests/controlplane/test_ownership.py",)
"""Those that use the cluster of the run, start none of their own, and command no pod to fail."""


@dataclass(frozen=True, slots=True)
class Release:
    """The operator in the cluster."""

    cluster: Cluster
    helm: Helm


def run_files(cluster: Cluster, *files: str) -> subprocess.CompletedProcess[str]:
    """Files of the control-plane tier once more, against this cluster."""
    environment = {**os.environ, FOREIGN: str(cluster.kubeconfig)}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200, check=False)
