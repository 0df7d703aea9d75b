"""
One cluster for a whole test run, however many processes pytest-xdist makes of it.

The first process that needs the control plane starts it under a lock, the others find it in the run's
directory, and pytest's own process stops it at the end. A guard stops it if that process is killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import tools
from harness.cluster import Cluster
from harness.controlplane import ControlPlane, Options
from harness.kinds import install_definitions, read_definitions

ROOT = Path(__file__).resolve().parent.parent.parent
FOREIGN = "EGRESSGATEWAY_TEST_KUBECONFIG"


@dataclass(frozen=True, slots=True)
class Run:
    """A test run: a directory that its processes share, and the process that lives as long as the run."""

    directory: Path
    owner: int

    @classmethod
    def begin(cls) -> Run:
        return cls(Path(tempfile.mkdtemp(prefix="egressgateway-test-")), os.getpid())

    def end(self) -> None:
        """Stop what was started and remove the directory."""
        if plane := ControlPlane.load(self.directory / "cluster"):
            plane.stop()
        if (self.directory / "mesh").exists():
            # Imported here: most runs have no mesh, and it knows this module.
            from harness.mesh.mesh import Mesh  # noqa: PLC0415

            if mesh := Mesh.load(self.directory / "mesh"):
                mesh.stop()
        if (self.directory / "node-lock").exists():
            from harness.node.cluster import remove  # noqa: PLC0415
            from harness.node.session import directory_of  # noqa: PLC0415

            remove(directory_of(self))
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextmanager
    def cluster(self) -> Iterator[Cluster]:
        """The cluster of the run: that of `$EGRESSGATEWAY_TEST_KUBECONFIG`, or a control plane of its own."""
        foreign = os.environ.get(FOREIGN)
        cluster = adopt(Path(foreign)) if foreign else self._control_plane()
        try:
            yield cluster
        finally:
            cluster.rest.close()

    @contextmanager
    def private(self, options: Options) -> Iterator[ControlPlane]:
        """A control plane for a test that stops it, or looks at all that happens in it."""
        directory = Path(tempfile.mkdtemp(prefix="private-", dir=self.directory))
        plane = ControlPlane(directory, tools.find())
        try:
            plane.start(options)
            yield plane
        finally:
            plane.stop()

    def options(self, *, audit: bool = False) -> Options:
        """Options with all kinds that the tests know, and an end together with the run."""
        return Options(audit=audit, definitions=definition_files(download=False), owner=self.owner)

    def _control_plane(self) -> ControlPlane:
        directory = self.directory / "cluster"
        with (self.directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if running := ControlPlane.load(directory):
                return running
            plane = ControlPlane(directory, tools.find())
            plane.start(self.options())
            return plane


def adopt(kubeconfig: Path) -> Cluster:
    """A cluster that somebody else runs, with the kinds applied to it; `make cluster`'s is known as what it is."""
    if plane := ControlPlane.load(kubeconfig.parent):
        return plane
    cluster = Cluster(kubeconfig, tools.find_kubectl())
    install_definitions(cluster.rest, read_definitions(definition_files(download=False)))
    return cluster


def definition_files(*, download: bool) -> tuple[Path, ...]:
    """Files with the CRDs of the project, as far as they are generated, and of Istio."""
    return (*sorted((ROOT / "crds").glob("*.yaml")), tools.istio_crds(download=download))
