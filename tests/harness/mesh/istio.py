"""
istiod: what its installation puts into the cluster, its process, and whether every proxy has what it was sent.

The objects are those of `istioctl manifest generate`. Changed is only what a process outside of a pod needs, and what
Envoy as its project builds it does not have: Istio's own filters for metrics (notes "mesh-harness" §3).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from harness.cluster import Cluster
from harness.mesh.layout import DNS_IP, NODE_IP
from harness.mesh.netns import Netns
from harness.rest import Object
from harness.tools import cache_directory

NAMESPACE: Final = "istio-system"
INJECTOR: Final = "istio-sidecar-injector"
XDS_PORT: Final = 15012
WEBHOOK_PORT: Final = 15017
MONITORING_PORT: Final = 15014
HTTP_PORT: Final = 8080
VERSION: Final = "1.32.0"
"""What the installation is labelled with. The build is of the development branch, whose charts say 1.0.0."""

SETTINGS: Final = (
    "profile=minimal",
    "values.defaultRevision=default",
    # As often as a test looks.
    "values.global.proxy.readinessPeriodSeconds=1",
    "values.global.proxy.resources.limits.memory=2Gi",
)

ENVIRONMENT: Final = {
    "POD_NAME": "istiod-0",
    "POD_NAMESPACE": NAMESPACE,
    "CLUSTER_ID": "Kubernetes",
    "REVISION": "default",
    "ENABLE_LEADER_ELECTION": "false",
    # Filters that only Istio's build of Envoy has.
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
    "PILOT_DISABLE_MX_ALPN": "true",
    "PILOT_ENABLE_AMBIENT": "true",
    "PILOT_ENABLE_GATEWAY_API": "false",
}

OWN: Final[Object] = {
    "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
    "accessLogFile": "/dev/stdout",
    "accessLogEncoding": "JSON",
    "enablePrometheusMerge": False,
}
"""Settings of the mesh that differ from Istio's defaults."""

CONFIGURATION: Final = f"/api/v1/namespaces/{NAMESPACE}/configmaps/istio"
INSTALLED: Final = "mesh-as-installed"
"""Key of that ConfigMap, which nobody reads but `restore`."""

_KINDS: Final = {
    "ServiceAccount",
    "ConfigMap",
    "Service",
    "Deployment",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
}


def generate(istioctl: Path, host: str) -> list[Object]:
    """
    The installation's objects for an istiod whose webhooks kube-apiserver reaches at `host`.

    They are kept in the cache: istioctl takes seconds of both cores, while the control plane starts.

    Raises:
        subprocess.CalledProcessError: istioctl refuses.
    """
    stat = istioctl.stat()
    key = f"{istioctl} {stat.st_size} {stat.st_mtime_ns} {SETTINGS}"
    kept = cache_directory() / f"istio-manifests-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not kept.exists():
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(_generate(istioctl)))
        new.replace(kept)
    return [_fitted(each, host) for each in json.loads(kept.read_text())]


def _generate(istioctl: Path) -> list[Object]:
    flags = [part for each in SETTINGS for part in ("--set", each)]
    done = subprocess.run([istioctl, "manifest", "generate", *flags], capture_output=True, text=True, check=True)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [each for each in yaml.load_all(done.stdout, Loader=loader) if each and each["kind"] in _KINDS]


def mesh_config(found: str, proxy: Object) -> str:
    """
    The mesh's configuration, with `proxy` in its `defaultConfig`: as generated, but for what this tier's Envoy does not
    have.
    """
    config = yaml.safe_load(found)
    # It names `istio.stats`.
    config.pop("defaultProviders", None)
    config |= OWN
    config["defaultConfig"] = {**config.get("defaultConfig", {}), **proxy}
    return yaml.safe_dump(config)


def install(cluster: Cluster, objects: list[Object], proxy: Object) -> None:
    """Apply the installation; `proxy` is what every proxy is configured with."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    for each in objects:
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "istio":
            config = mesh_config(each["data"]["mesh"], proxy)
            each["data"] |= {"mesh": config, INSTALLED: config}
    documents = "\n---\n".join(json.dumps(each) for each in (namespace, *objects, *_endpoints(objects), *_dns()))
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=documents)


def configure(cluster: Cluster, settings: Object) -> None:
    """
    Change settings of the mesh's configuration; maps are merged, and None takes a setting out (RFC 7386).

    istiod hears of it by itself, and so does an operator. Pods that are there keep the proxy's settings.
    """
    config = yaml.safe_load(cluster.rest.get(CONFIGURATION)["data"]["mesh"])
    cluster.rest.merge(CONFIGURATION, {"data": {"mesh": yaml.safe_dump(merged(config, settings))}})


def restore(cluster: Cluster) -> None:
    """Give the mesh the configuration with which it was installed."""
    data = cluster.rest.get(CONFIGURATION)["data"]
    if data["mesh"] != data[INSTALLED]:
        cluster.rest.merge(CONFIGURATION, {"data": {"mesh": data[INSTALLED]}})


def merged(config: Object, change: Object) -> Object:
    """`config` with a change, as a merge patch says it."""
    found = dict(config)
    for name, value in change.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name) or {}, value) if isinstance(value, dict) else value
    return found


def command(binary: Path, kubeconfig: Path) -> list[str]:
    """How istiod is started."""
    return [
        *(str(binary), "discovery", "--kubeconfig", str(kubeconfig)),
        *("--httpAddr", f":{HTTP_PORT}", "--grpcAddr", ":15010"),
        *("--secureGRPCAddr", f":{XDS_PORT}", "--httpsAddr", f":{WEBHOOK_PORT}"),
        *("--monitoringAddr", f"127.0.0.1:{MONITORING_PORT}", "--ctrlz_port", "0"),
    ]


def environment(home: Path, host: str) -> dict[str, str]:
    """istiod's variables; its certificate is also good for `host`, at which kube-apiserver finds the webhooks."""
    return {**ENVIRONMENT, "HOME": str(home), "ISTIOD_CUSTOM_HOST": f"istiod.{NAMESPACE}.svc,{host},{NODE_IP}"}


def ask(node: Netns, path: str, port: int = MONITORING_PORT) -> str:
    """
    What istiod's own HTTP server answers on its node.

    Raises:
        LookupError: nothing, or an error.
    """
    argv = node.enter("curl", "--silent", "--fail", "--max-time", "5", f"http://127.0.0.1:{port}{path}")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LookupError(f"istiod does not answer {path}")
    return done.stdout


def rejects(node: Netns) -> dict[str, int]:
    """Updates that proxies refused since istiod started, by its own count and by kind; nothing is what is wanted."""
    found = re.findall(r"^pilot_total_xds_rejects(?:\{([^}]*)\})? (\d+)", ask(node, "/metrics"), re.MULTILINE)
    return {labels: int(count) for labels, count in found if int(count)}


def sync_states(node: Netns, alive: Collection[str]) -> list[Object]:
    """
    What istiod has sent to each proxy and what it knows to be acknowledged, a nonce for each type.

    Only proxies that are `alive` count (`pod.namespace`): istiod remembers for half a minute those that went without a
    word.
    """
    return [each for each in json.loads(ask(node, "/debug/syncz")) if each["proxy"] in alive]


def push_all(node: Netns) -> None:
    """
    Let istiod push everything to every proxy.

    Raises:
        LookupError: istiod does not answer.
    """
    ask(node, "/debug/adsz?push=true")


def _fitted(manifest: Object, host: str) -> Object:
    """An object for a cluster whose istiod is no pod."""
    kind = manifest["kind"]
    if kind.endswith("WebhookConfiguration"):
        for webhook in manifest["webhooks"]:
            path = (webhook["clientConfig"].get("service") or {}).get("path", "/validate")
            webhook["clientConfig"] = {"url": f"https://{host}:{WEBHOOK_PORT}{path}"}
    elif kind == "Service":
        # Without a selector its endpoints are those that are written beside it.
        del manifest["spec"]["selector"]
    elif kind == "Deployment":
        # For those who look at the control plane; its process is not this Deployment's.
        manifest["spec"]["replicas"] = 0
        for labels in (manifest["metadata"]["labels"], manifest["spec"]["template"]["metadata"]["labels"]):
            labels["app.kubernetes.io/version"] = VERSION
            labels.pop("helm.sh/chart", None)
    return manifest


def _endpoints(objects: list[Object]) -> Iterator[Object]:
    for each in objects:
        if each["kind"] == "Service":
            ports = [
                {"name": port["name"], "protocol": "TCP", "port": int(port.get("targetPort", port["port"]))}
                for port in each["spec"]["ports"]
            ]
            name = each["metadata"]["name"]
            yield {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [NODE_IP]}],
                "ports": ports,
            }


def admits_pods(cluster: Cluster) -> bool:
    """
    Whether istiod has put its authority into its webhooks, without which kube-apiserver refuses every pod of the mesh.
    """
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{INJECTOR}"
    return all(each["clientConfig"].get("caBundle") for each in cluster.rest.get(path)["webhooks"])


def _dns() -> Iterator[Object]:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    metadata = {"name": "kube-dns", "namespace": "kube-system"}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"clusterIP": DNS_IP, "ports": ports}}
