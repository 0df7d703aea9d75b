"""What a cluster's programs are configured with: containerd, kubelet, kube-proxy, plugins; and CoreDNS's objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from harness.mesh.layout import WORLD_DNS_IP
from harness.node.images import COREDNS, PAUSE
from harness.node.layout import CLUSTER_DOMAIN, DNS_IP, POD_NETWORK
from harness.rest import Object

CONTAINERD: Final = "/run/containerd/containerd.sock"
_NOT_NEEDED: Final = (
    "io.containerd.internal.v1.opt",
    "io.containerd.nri.v1.nri",
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("btrfs", "zfs", "devmapper", "blockfile", "erofs")),
)
_PODS: Final = ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images")
_RBAC: Final = "rbac.authorization.k8s.io"


def containerd_config(root: Path, state: Path, *, pods: bool = True) -> str:
    """containerd's, in TOML. Without `pods` it keeps images and runs nothing."""
    disabled = json.dumps([*_NOT_NEEDED, *(() if pods else _PODS)])
    head = f"""\
version = 3
root = "{root}"
state = "{state}"
disabled_plugins = {disabled}

[grpc]
address = "{state / "containerd.sock"}"
"""
    return head + (_CRI if pods else "")


_CRI: Final = f"""
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"

[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
# Where root may not lower a score (no CAP_SYS_RESOURCE), runc ends without a word about it.
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/var/lib/cni/bin"]
conf_dir = "/var/lib/cni/conf"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def cni_config(pods: str) -> Object:
    """
    The network of a node's pods. `ptp`: each is behind a route of its own, and what it sends to a Service passes the
    node's rules; behind a bridge it would do so only with a setting of the whole machine. Nothing is masqueraded: the
    world sees which pod asks.
    """
    ipam = {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}


def kubelet_config(cgroup: str, authority: Path, resolv_conf: Path) -> Object:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        # Since 1.35 the kubelet starts on cgroup v1 only where it is told to.
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS_IP],
        "clusterDomain": CLUSTER_DOMAIN,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
        "resolvConf": str(resolv_conf),
        "volumePluginDir": "/var/lib/kubelet/plugins",
        # The machine's disk is not the cluster's affair, and nobody brings back an image that was collected.
        "evictionHard": {
            "memory.available": "100Mi",
            **dict.fromkeys(("nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"),
        },
        "imageGCHighThresholdPercent": 100,
        # It reads the kernel's settings, which `init` has covered, and writes none.
        "protectKernelDefaults": True,
    }


def kube_proxy_config(kubeconfig: Path, node: str) -> Object:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": POD_NETWORK,
        "hostnameOverride": node,
        # 0: as it is. The table of connections is the whole machine's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"minSyncPeriod": "0.1s", "syncPeriod": "30s"},
    }


COREFILE: Final = f""".:53 {{
  errors
  ready
  cache 5
  kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
    pods insecure
    fallthrough in-addr.arpa
  }}
  forward . {WORLD_DNS_IP}
}}
"""


def coredns(node: str) -> list[Object]:
    """CoreDNS on a node. Every name that is not the cluster's is the world's."""
    name = {"name": "coredns"}
    here: dict[str, Any] = {**name, "namespace": "kube-system"}
    labels = {"k8s-app": "kube-dns"}
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    container = {
        **name,
        "image": COREDNS,
        "args": ["-conf", "/etc/coredns/Corefile"],
        # Once it is ready it stays so, however late it answers: a busy machine must not take the names from everybody.
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1, "failureThreshold": 600},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        # Where nobody drains it.
        "nodeName": node,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": name}],
    }
    ports = [{"name": f"dns-{each.lower()}", "port": 53, "protocol": each} for each in ("UDP", "TCP")]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": here},
        {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": name, "rules": rules},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": name,
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", **name},
            "subjects": [{"kind": "ServiceAccount", **here}],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": here, "data": {"Corefile": COREFILE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"selector": labels, "clusterIP": DNS_IP, "ports": ports},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": here,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]
