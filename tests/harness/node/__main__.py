"""
Command line of the node tier's harness: what the Makefile, and a cluster's guard, need of it.

Standard output carries results only: the last line of `up` is the path of a kubeconfig.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Final

from egressgateway import __version__
from harness import tools
from harness.go import GatewayState
from harness.mesh.netns import NetworkError
from harness.node import operator_image, sbom, session
from harness.node.cluster import NodeCluster, remove
from harness.node.contents import Contents
from harness.node.place import clusters, missing, sweep
from harness.node.programs import Programs
from harness.node.stock import stock
from harness.node.store import StoreError
from harness.processes import wait_for_exit
from harness.session import ROOT

NAME: Final = "main"
"""Of the cluster of `make node`."""

_BEGUN: Final = time.monotonic()


def main() -> int:
    """Run one command; the exit code is 1 where the cluster is not to be had."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except (
        tools.ToolsMissing,
        operator_image.ImageError,
        StoreError,
        NetworkError,
        AssertionError,
        RuntimeError,
        TimeoutError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def build_tools(arguments: argparse.Namespace) -> None:
    """Build what is missing, programs and images, and print where it lies."""
    if arguments.where_possible and (lacking := missing()):
        _say(f"without the node tier: {lacking}")
        return
    tools.obtain(GatewayState())
    mesh = tools.obtain_mesh(GatewayState())
    programs = Programs.obtain(GatewayState())
    _say("building the operator's image, and unpacking all images")
    images = stock(programs, mesh, {__version__: ROOT})
    for path in (*programs.paths(), images):
        print(path)


def bill_of_materials(arguments: argparse.Namespace) -> None:
    """Write that of the operator's image, which is built unless it is there."""
    if lacking := missing():
        raise RuntimeError(lacking)
    document = sbom.bill(Contents(operator_image.archive(ROOT, __version__)))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, indent=1))
    print(arguments.output)


def up(arguments: argparse.Namespace) -> None:
    """Start the background cluster unless it runs, and print its kubeconfig's path."""
    if lacking := missing():
        raise RuntimeError(lacking)
    sweep()
    directory = clusters() / arguments.name
    cluster = NodeCluster.load(directory)
    if cluster and cluster.running():
        _say("the cluster is running")
    else:
        remove(directory)
        cluster = session.begin(directory, None, nodes=arguments.nodes, say=_say)
    print(cluster.kubeconfig)


def down(arguments: argparse.Namespace) -> None:
    """Stop the background cluster; its objects are gone."""
    _say("the cluster is stopped" if remove(clusters() / arguments.name) else "no cluster is running")
    sweep()


def guard(arguments: argparse.Namespace) -> None:
    """Wait for the end of a process, however it ends, then stop the cluster that it started."""
    wait_for_exit(arguments.owner)
    remove(arguments.directory)


def _say(text: str) -> None:
    print(f"{time.monotonic() - _BEGUN:6.1f} s  {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.node", description="Real nodes for tests.")
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("tools", help="build and cache the nodes' programs and images")
    command.add_argument("--where-possible", action="store_true", help="do nothing on a machine that cannot run nodes")
    command.set_defaults(run=build_tools)

    command = commands.add_parser("up", help="start a cluster in the background; prints its kubeconfig")
    command.add_argument("--name", default=NAME, help="clusters of several names may run side by side")
    command.add_argument("--nodes", type=int, default=2)
    command.set_defaults(run=up)

    command = commands.add_parser("down", help="stop it")
    command.add_argument("--name", default=NAME)
    command.set_defaults(run=down)

    command = commands.add_parser("sbom", help="write the bill of materials of the operator's image")
    command.add_argument("output", type=Path)
    command.set_defaults(run=bill_of_materials)

    command = commands.add_parser("guard", help="stop a cluster when the process that started it ends")
    command.add_argument("--owner", type=int, required=True, help="process id")
    command.add_argument("directory", type=Path)
    command.set_defaults(run=guard)
    return parser


if __name__ == "__main__":
    sys.exit(main())
