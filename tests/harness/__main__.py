"""
Command line of the harness: what the Makefile, and a person at a shell, need of it.

Standard output carries results only: the last line of `cluster` is the path of a kubeconfig.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from harness import alltiers, chartfiles, tools
from harness.controlplane import ControlPlane, Options
from harness.go import GatewayState
from harness.helm import CHART, Helm, obtain_helm
from harness.processes import wait_for_exit
from harness.session import ROOT, definition_files

CLUSTER = ROOT / ".cluster"


def main() -> int:
    """Run one command; the exit code is 1 where a tool or the control plane is not to be had."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except (tools.ToolsMissing, RuntimeError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def build_tools(_: argparse.Namespace) -> None:
    """Build what is missing and print where everything lies."""
    found = tools.obtain(GatewayState())
    scheduler, crds = tools.obtain_scheduler(GatewayState()), tools.istio_crds()
    programs = (found.etcd, found.apiserver, found.controller_manager, found.kubectl, scheduler)
    for path in (*programs, crds, *obtain_helm()):
        print(path)


def start_cluster(arguments: argparse.Namespace) -> None:
    """Start the background control plane unless it runs, and print its kubeconfig's path."""
    directory: Path = arguments.directory
    plane = ControlPlane.load(directory)
    if plane and plane.running():
        _say("the control plane is running")
    else:
        if plane:
            plane.stop()
        plane = ControlPlane(directory, tools.obtain(GatewayState()))
        plane.start(Options(audit=arguments.audit, definitions=definition_files(download=True)), _say)
    print(plane.kubeconfig)


def stop_cluster(arguments: argparse.Namespace) -> None:
    """Stop the background control plane; its objects are gone."""
    plane = ControlPlane.load(arguments.directory)
    if plane:
        plane.stop()
    _say("the control plane is stopped" if plane else "no control plane is running")


def write_chart_files(_: argparse.Namespace) -> None:
    """Write the chart's copies of the CRDs, and the table of values in its README."""
    chartfiles.write()


def package_chart(_: argparse.Namespace) -> None:
    """Package the chart into dist/ and print the archive's path."""
    helm = Helm(obtain_helm()[0])
    print(helm.run("package", str(CHART), "--destination", str(ROOT / "dist")).rpartition(": ")[2].strip())


def audit_packages(arguments: argparse.Namespace) -> None:
    """Tell known vulnerabilities of the locked packages; with `--require` it is an error that nobody could be asked."""
    from harness.audit import AuditError, audit  # noqa: PLC0415

    try:
        found = audit(ROOT / "requirements.lock")
    except AuditError as error:
        if arguments.require:
            raise RuntimeError(str(error)) from error
        _say(f"nothing is checked: {error}")
        return
    _say(f"{len(found.asked)} packages checked, {len(found.unknown)} unknown")
    if found.vulnerable:
        raise RuntimeError("\n".join(["known vulnerabilities:", *found.vulnerable]))
    if arguments.require and found.unknown:
        raise RuntimeError(f"nobody could be asked about {', '.join(found.unknown)}")


def test(arguments: argparse.Namespace) -> None:
    """Run every tier, with further arguments of pytest's."""
    if not alltiers.run_all(tuple(alltiers.tiers(arguments.arguments)), _say):
        raise RuntimeError("a tier failed")


def kubelet(arguments: argparse.Namespace) -> None:
    """Be the fake kubelet until told to stop."""
    # Imported here, as aiohttp takes longer to load than the other commands take to run.
    from harness.kubelet import run_kubelet  # noqa: PLC0415

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    asyncio.run(run_kubelet(arguments.kubeconfig))


def guard(arguments: argparse.Namespace) -> None:
    """Wait for the end of a process, however it ends, then stop the control plane that it started."""
    wait_for_exit(arguments.owner)
    if plane := ControlPlane.load(arguments.directory):
        plane.stop()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness", description="Real control plane for tests, on loopback.")
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("tools", help="build and cache the test binaries")
    command.set_defaults(run=build_tools)

    command = commands.add_parser("cluster", help="start a control plane in the background; prints its kubeconfig")
    command.add_argument("--directory", type=Path, default=CLUSTER)
    command.add_argument("--audit", action="store_true", help="log every request to audit.log in the directory")
    command.set_defaults(run=start_cluster)

    command = commands.add_parser("cluster-down", help="stop it")
    command.add_argument("--directory", type=Path, default=CLUSTER)
    command.set_defaults(run=stop_cluster)

    command = commands.add_parser("chart", help="write those files of the chart that are made from others")
    command.set_defaults(run=write_chart_files)

    command = commands.add_parser("package", help="package the chart into dist/")
    command.set_defaults(run=package_chart)

    command = commands.add_parser("audit", help="known vulnerabilities of the locked packages")
    command.add_argument("--require", action="store_true", help="fail where it cannot be known")
    command.set_defaults(run=audit_packages)

    command = commands.add_parser("test", help="run every tier of the tests that can run here")
    command.add_argument("arguments", nargs="*", help="pytest's, after `--`")
    command.set_defaults(run=test)

    command = commands.add_parser("kubelet", help="run the fake kubelet for a cluster, in the foreground")
    command.add_argument("--kubeconfig", type=Path, required=True)
    command.set_defaults(run=kubelet)

    command = commands.add_parser("guard", help="stop a control plane when the process that started it ends")
    command.add_argument("--owner", type=int, required=True, help="process id")
    command.add_argument("directory", type=Path)
    command.set_defaults(run=guard)
    return parser


if __name__ == "__main__":
    sys.exit(main())
