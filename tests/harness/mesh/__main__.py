"""
Command line of the mesh tier's harness: what the Makefile, and the processes of a mesh, need of it.

Standard output carries results only: the last line of `up` is the path of a kubeconfig.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
from pathlib import Path

from harness import tools
from harness.go import GatewayState
from harness.mesh.mesh import Mesh
from harness.mesh.netns import NetworkError
from harness.mesh.place import DIRECTORY, missing, sweep
from harness.processes import wait_for_exit
from harness.session import definition_files


def main() -> int:
    """Run one command; the exit code is 1 where the mesh is not to be had."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except (tools.ToolsMissing, NetworkError, RuntimeError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def build_tools(arguments: argparse.Namespace) -> None:
    """Build what is missing and print where it lies."""
    if arguments.where_possible and (lacking := missing()):
        _say(f"without the mesh tier: {lacking}")
        return
    tools.obtain(GatewayState())
    found = tools.obtain_mesh(GatewayState())
    for path in (found.istioctl, found.discovery, found.agent, found.bootstrap, found.envoy):
        print(path)


def up(arguments: argparse.Namespace) -> None:
    """Start the background mesh unless it runs, and print its kubeconfig's path."""
    if lacking := missing():
        raise RuntimeError(lacking)
    directory: Path = arguments.directory
    mesh = Mesh.load(directory)
    if mesh and mesh.running():
        _say("the mesh is running")
    else:
        if mesh:
            mesh.stop()
        sweep()
        shutil.rmtree(directory, ignore_errors=True)
        mesh = Mesh(directory, tools.obtain(GatewayState()), tools.obtain_mesh(GatewayState()))
        mesh.start(definitions=definition_files(download=True), owner=None, say=_say)
        if not mesh.route_pods():
            _say("another mesh has the way to pods: an operator outside of this one cannot read probes")
    print(mesh.kubeconfig)


def down(arguments: argparse.Namespace) -> None:
    """Stop the background mesh; its objects are gone."""
    mesh = Mesh.load(arguments.directory)
    if mesh:
        mesh.stop()
    sweep()
    _say("the mesh is stopped" if mesh else "no mesh is running")


def node(arguments: argparse.Namespace) -> None:
    """Be the node."""
    from harness.mesh.node import run_node  # noqa: PLC0415
    from harness.mesh.sandbox import Programs  # noqa: PLC0415

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    directory: Path = arguments.directory
    programs = Programs(directory / "programs", directory / "world" / "trusted" / "ca.crt")
    asyncio.run(run_node(directory / "cluster" / "kubeconfig", arguments.prefix, directory, programs))


def world(arguments: argparse.Namespace) -> None:
    """Be the world."""
    from harness.mesh.world.server import run_world  # noqa: PLC0415

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    asyncio.run(run_world(arguments.directory))


def authorizer(_: argparse.Namespace) -> None:
    """Be the authorizer of a pod."""
    from harness.mesh.authorizer import run_authorizer  # noqa: PLC0415

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    asyncio.run(run_authorizer())


def apisix(_: argparse.Namespace) -> None:
    """Be the APISIX of a pod."""
    from harness.mesh.apisix import run_proxy  # noqa: PLC0415

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    asyncio.run(run_proxy())


def guard(arguments: argparse.Namespace) -> None:
    """Wait for the end of a process, however it ends, then stop the mesh that it started."""
    wait_for_exit(arguments.owner)
    if mesh := Mesh.load(arguments.directory):
        mesh.stop()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.mesh", description="Real istiod and Envoys for tests.")
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("tools", help="build and cache istiod, its agent and istioctl")
    command.add_argument("--where-possible", action="store_true", help="do nothing on a machine that cannot run a mesh")
    command.set_defaults(run=build_tools)

    for name, run, text in (
        ("up", up, "start a mesh in the background; prints its kubeconfig"),
        ("down", down, "stop it"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--directory", type=Path, default=DIRECTORY)
        command.set_defaults(run=run)

    command = commands.add_parser("node", help="be the node of a mesh")
    command.add_argument("directory", type=Path)
    command.add_argument("prefix")
    command.set_defaults(run=node)

    command = commands.add_parser("world", help="be what is outside of the cluster")
    command.add_argument("directory", type=Path)
    command.set_defaults(run=world)

    command = commands.add_parser("authorizer", help="be an external authorizer within a pod")
    command.set_defaults(run=authorizer)

    command = commands.add_parser("apisix", help="be an APISIX within a pod")
    command.set_defaults(run=apisix)

    command = commands.add_parser("guard-mesh", help="stop a mesh when the process that started it ends")
    command.add_argument("--owner", type=int, required=True, help="process id")
    command.add_argument("directory", type=Path)
    command.set_defaults(run=guard)
    return parser


if __name__ == "__main__":
    sys.exit(main())
