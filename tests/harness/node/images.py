"""
The images of a cluster, made of this machine's own programs: those that Kubernetes' nodes need, and Istio's as its
charts name them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.node.oci import Image, Layer
from harness.node.programs import Programs
from harness.tools import MeshTools

HUB: Final = "egressgateway.test"
"""Where the images would be pulled from, were they not on every node: nobody answers there."""

PAUSE: Final = f"{HUB}/pause:1"
POD: Final = f"{HUB}/pod:1"
"""A shell, curl, and the program of tests/tools/pod as /pod."""

COREDNS: Final = f"{HUB}/coredns:1"
PROXY: Final = f"{HUB}/proxyv2:1"
PILOT: Final = f"{HUB}/pilot:1"
TAG: Final = "1"

_PATH: Final = {"Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/bin"]}
_PROXY_USER: Final = {**_PATH, "User": "1337:1337"}
_ROOTS: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_SHELL: Final = ("dash", "curl", "sleep", "cat", "ls", "env", "id")
_RESOLVERS: Final = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")
_TABLES: Final = tuple(
    f"{family}{suffix}" for family in ("iptables", "ip6tables") for suffix in ("", "-save", "-restore")
)


def node_images(programs: Programs) -> dict[str, Image]:
    """What Kubernetes' nodes need, and a client for tests."""
    pod, dns = Layer(), Layer()
    pod.add_program(programs.pod, "/pod")
    dns.add_program(programs.coredns, "/coredns")
    base, shell = _base(), _shell()
    return {
        PAUSE: Image((pod,), {"Entrypoint": ["/pod", "pause"]}),
        POD: Image((base, shell, pod), {**_PATH, "Entrypoint": ["/pod"]}),
        COREDNS: Image((base, dns), {"Entrypoint": ["/coredns"]}),
    }


def mesh_images(mesh: MeshTools) -> dict[str, Image]:
    """Istio's, with the programs that the mesh tier has."""
    base, tables = _base(), _packet_filters()
    proxy = Layer(files={"/var/lib/istio/envoy/envoy_bootstrap_tmpl.json": mesh.bootstrap})
    proxy.add_program(mesh.envoy, "/usr/local/bin/envoy")
    proxy.add_program(mesh.agent, "/usr/local/bin/pilot-agent")
    pilot = Layer()
    pilot.add_program(mesh.discovery, "/usr/local/bin/pilot-discovery")
    return {
        PROXY: Image((base, tables, proxy), {**_PROXY_USER, "Entrypoint": ["/usr/local/bin/pilot-agent"]}),
        PILOT: Image((base, pilot), {**_PROXY_USER, "Entrypoint": ["/usr/local/bin/pilot-discovery"]}),
    }


def _base() -> Layer:
    """What every program may look for."""
    return Layer(
        files={str(_ROOTS): _ROOTS.resolve()},
        texts={
            "/etc/passwd": "root:x:0:0:root:/:/bin/false\nistio-proxy:x:1337:1337::/:/bin/false\n",
            "/etc/group": "root:x:0:\nistio-proxy:x:1337:\n",
            "/etc/nsswitch.conf": "hosts: files dns\n",
        },
        directories={"/tmp": 0o1777, "/run": 0o755, "/root": 0o700},
    )


def _shell() -> Layer:
    layer = Layer(links={"/bin/sh": "/usr/bin/dash"})
    for name in _SHELL:
        layer.add_program(_where(name), f"/usr/bin/{name}")
    # glibc loads these by name, so that ldd does not see them.
    for library in _RESOLVERS:
        layer.files[f"/lib/{library}"] = _library(library)
    return layer


def _packet_filters() -> Layer:
    """iptables over nftables, by which istio-init sends a pod's connections to its proxy."""
    layer = Layer()
    layer.add_program(Path("/usr/sbin/xtables-nft-multi"), "/usr/sbin/xtables-nft-multi")
    layer.add_program(_where("nft"), "/usr/sbin/nft")
    for name in _TABLES:
        for alias in (name, name.replace("tables", "tables-nft", 1)):
            layer.links[f"/usr/sbin/{alias}"] = "xtables-nft-multi"
    for extension in _library("xtables").glob("lib*.so"):
        layer.files[str(extension)] = extension.resolve()
    return layer


def _where(name: str) -> Path:
    return next(place / name for place in map(Path, ("/usr/bin", "/bin", "/usr/sbin")) if (place / name).exists())


def _library(name: str) -> Path:
    """A file or directory of the directory that the loader looks into, which Debian names after the machine."""
    return next(iter(sorted(Path("/usr/lib").glob(f"*-linux-gnu/{name}"))))
