"""
One mesh for a whole test run, however many processes pytest-xdist makes of it. As `harness.session` does for the
control plane.
"""

from __future__ import annotations

import fcntl

from harness import tools
from harness.mesh.mesh import WAYS_IN, Mesh
from harness.session import Run, definition_files


def mesh_of(run: Run) -> Mesh:
    """
    The mesh of a run: the first process that asks starts it, `Run.end` stops it, a guard if that process is killed.
    """
    directory = run.directory / "mesh"
    run.directory.chmod(WAYS_IN)
    with (run.directory / "mesh-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if running := Mesh.load(directory):
            return running
        mesh = Mesh(directory, tools.find(), tools.find_mesh())
        mesh.start(definitions=definition_files(download=False), owner=run.owner)
        return mesh
