"""
Istio in the cluster, as its charts install it: CRDs, istiod as a pod, webhooks that inject sidecars and gateways.

Changed is only what Envoy as its project builds it does not have; `harness.mesh.istio` says what.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from harness.cluster import Cluster
from harness.mesh import istio
from harness.node.images import HUB, TAG
from harness.objects import namespace
from harness.rest import Object
from harness.tools import cache_directory

SECONDS: Final = 180
_OF_THE_POD: Final = {"POD_NAME", "POD_NAMESPACE", "CLUSTER_ID", "REVISION"}
"""Variables of istiod that its chart gives it."""

SETTINGS: Final = (
    *istio.SETTINGS,
    f"hub={HUB}",
    f"tag={TAG}",
    "values.pilot.autoscaleEnabled=false",
    # Little is asked for, so that the nodes of one machine have room.
    "values.pilot.resources.requests.cpu=10m",
    "values.pilot.resources.requests.memory=128Mi",
    "values.global.proxy.resources.requests.cpu=10m",
    "values.global.proxy.resources.requests.memory=64Mi",
    *(f"values.pilot.env.{name}={value}" for name, value in istio.ENVIRONMENT.items() if name not in _OF_THE_POD),
)

PROXY: Final[Object] = {
    "concurrency": 1,
    "drainDuration": "5s",
    # A client's first request waits for its proxy.
    "holdApplicationUntilProxyStarts": True,
    # Else the agent looks for a cloud's metadata server.
    "proxyMetadata": {"CLOUD_PLATFORM": "none"},
}


def install(cluster: Cluster, istioctl: Path, node: str) -> None:
    """
    Install Istio, and return when istiod is ready; it stays on `node`.

    Raises:
        AssertionError: the API server refuses, or istiod is not ready in time.
    """
    objects = _generated(istioctl)
    for each in objects:
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "istio":
            config = istio.mesh_config(each["data"]["mesh"], PROXY)
            each["data"] |= {"mesh": config, istio.INSTALLED: config}
        elif each["kind"] == "Deployment":
            each["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    first = [each for each in objects if each["kind"] == "CustomResourceDefinition"]
    rest = [each for each in objects if each["kind"] != "CustomResourceDefinition"]
    for part in ([namespace(istio.NAMESPACE), *first], rest):
        documents = "\n---\n".join(map(json.dumps, part))
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=documents)
    rollout = ("rollout", "status", "deployment/istiod", "--namespace", istio.NAMESPACE)
    cluster.kubectl(*rollout, f"--timeout={SECONDS}s", timeout=SECONDS + 10)


def _generated(istioctl: Path) -> list[Object]:
    """What `istioctl manifest generate` says, kept in the cache: it takes seconds of both cores."""
    stat = istioctl.stat()
    key = f"{istioctl} {stat.st_size} {stat.st_mtime_ns} {SETTINGS}"
    kept = cache_directory() / f"istio-install-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not kept.exists():
        flags = [part for each in SETTINGS for part in ("--set", each)]
        done = subprocess.run([istioctl, "manifest", "generate", *flags], capture_output=True, text=True, check=True)
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps([each for each in yaml.load_all(done.stdout, Loader=loader) if each]))
        new.replace(kept)
    objects: list[Object] = json.loads(kept.read_text())
    return objects
