"""Command line of the benchmark. Exit code 1 where a count is not what it must be."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from bench import first
from bench.hostile import HostileTenant, held
from bench.hostile import show as show_hostile
from bench.report import counts_hold, show
from bench.samples import PLAIN, TITLES
from bench.scale import command as scale
from bench.story import Figures, Story
from harness import tools
from harness.controlplane import ControlPlane, Options
from harness.go import GatewayState
from harness.helm import obtain_helm
from harness.mesh.mesh import WAYS_IN, Mesh
from harness.mesh.place import missing, sweep
from harness.session import definition_files

OTHERS = 500
REPETITIONS = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--objects", type=int, default=200, help="how many EgressGateways (default: 200)")
    parser.add_argument("--kind", choices=tuple(TITLES), default=PLAIN, help="what each asks for (default: plain)")
    parser.add_argument("--hostile", action="store_true", help="what one hostile tenant costs the others, instead")
    parser.add_argument("--scale", action="store_true", help="what grows with the cluster, without a server, instead")
    sizes = f"objects x namespaces of each cluster for --scale (default: {scale.DEFAULT_SIZES})"
    parser.add_argument("--sizes", type=scale.sizes_in, default=scale.DEFAULT_SIZES, help=sizes)
    keep = "directory in which --scale keeps the clusters that it builds, and finds them again"
    parser.add_argument("--keep", type=Path, help=keep)
    text = "from kubectl apply to the first request through the gateway, in a mesh, instead; needs root"
    parser.add_argument("--first", action="store_true", help=text)
    text = f"other objects that are in place for --first, beside none (default: {OTHERS})"
    parser.add_argument("--others", type=int, default=OTHERS, help=text)
    text = f"how often --first measures each (default: {REPETITIONS})"
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help=text)
    arguments = parser.parse_args()
    if arguments.scale:
        return scale.run(arguments.sizes, arguments.keep)
    if arguments.first:
        return measure_first(arguments.others, arguments.repetitions)
    figures = Figures(arguments.objects, arguments.kind)
    say = Console(stderr=True)
    with TemporaryDirectory(prefix="egressgateway-bench-") as temporary:
        obtain_helm()
        plane = ControlPlane(Path(temporary) / "cluster", tools.obtain(GatewayState()))
        try:
            with say.status("starting a control plane") as status:
                plane.start(Options(audit=True, definitions=definition_files(download=True), owner=os.getpid()))
                if arguments.hostile:
                    rows = HostileTenant(plane, Path(temporary), say.log).run()
                else:
                    Story(plane, Path(temporary), figures, status.update).run()
        finally:
            plane.stop()
    if arguments.hostile:
        show_hostile(rows, Console())
        return 0 if held(rows) else 1
    show(figures, Console())
    return 0 if counts_hold(figures) else 1


def measure_first(others: int, repetitions: int) -> int:
    """In a mesh of its own; 2 where this machine can have none."""
    say = Console(stderr=True)
    if lacking := missing():
        say.log(lacking)
        return 2
    sweep()
    with TemporaryDirectory(prefix="egressgateway-bench-") as temporary:
        # Proxies are not root, and have their files in there.
        Path(temporary).chmod(WAYS_IN)
        obtain_helm()
        mesh = Mesh(Path(temporary) / "mesh", tools.obtain(GatewayState()), tools.obtain_mesh(GatewayState()))
        mesh.start(definitions=definition_files(download=True), owner=os.getpid(), say=say.log)
        try:
            rows = first.First(mesh, Path(temporary), say.log).run(sorted({0, others}), repetitions)
        finally:
            mesh.stop()
    first.show(rows, Console())
    return 0 if first.held(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
