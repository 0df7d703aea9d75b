"""
`python -m demo.node`: README's "Five minutes with it" on a real cluster, with the operator's image by its chart.

Requests of an injected pod go on meanwhile: the operator's leader is killed, a node is drained, the gateway rolled.
Exit code 0 when every fact was observed and no request was lost, 1 otherwise, 130 when interrupted. Nothing is left
running, but for `--keep`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from demo.show import FAILURES, Screen
from docs import walk
from docs.pages import ROOT, Block, commands
from harness.go import GatewayState
from harness.installed import Installed
from harness.load import Load
from harness.node.cluster import NodeCluster, remove
from harness.node.dump import dump
from harness.node.place import clusters, missing, sweep
from harness.node.programs import Programs
from harness.node.real import RealNodes
from harness.node.session import begin
from harness.real import HOST, SYSTEM
from harness.shop import Shop
from harness.tools import ToolsMissing, obtain, obtain_mesh
from harness.wait import eventually

NAME: Final = "demo"
SECTION: Final = "## Five minutes with it"
NAMESPACE: Final = "payments"
RATE: Final = 50.0


def main() -> int:
    """Run the demo; returns its exit code."""
    arguments = _parser().parse_args()
    screen = Screen()
    if lacking := missing():
        screen.text(f"✗ a real cluster cannot be had here: {lacking}")
        return 1
    # A killed demo cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sweep()
    remove(clusters() / NAME)
    try:
        _show_all(screen, arguments.keep)
    except ToolsMissing as error:
        screen.text(f"✗ the cluster cannot be had: {error}")
        return 1
    except KeyboardInterrupt:
        screen.text("\ninterrupted; cleaning up")
        arguments.keep = False
        return 130
    except FAILURES as error:
        if cluster := NodeCluster.load(clusters() / NAME):
            screen.text(f"\n{dump(cluster)}")
        screen.text(f"\n✗ not as it should be, see above: {type(error).__name__}: {error}")
        return 1
    finally:
        if not arguments.keep:
            remove(clusters() / NAME)
    screen.text("\nAll of this was observed, not assumed.")
    return 0


def _show_all(screen: Screen, keep: bool) -> None:
    cluster = _start(screen, keep)
    real = RealNodes(cluster)
    release = _install(screen, real)
    first, last = _blocks()[:-1], _blocks()[-1:]
    screen.step("Five minutes with it", "The commands of the README, and what they print, compared with what it says.")
    _type(screen, cluster, first)
    shop = Shop(real, NAMESPACE)
    _call(screen, shop)
    _trouble(screen, release, shop)
    if keep:
        screen.text(f"\nThe cluster keeps running:\n\n  export KUBECONFIG={cluster.kubeconfig}\n")
        screen.text(f"Stop it with: PYTHONPATH=tests {sys.executable} -m harness.node down --name {NAME}")
        return
    screen.step("The end", "Clients are withdrawn before the gateway goes, and nothing is left.")
    _type(screen, cluster, last)


def _start(screen: Screen, keep: bool) -> NodeCluster:
    screen.step(
        "A real cluster",
        "kubelet, containerd, kube-proxy, NetworkPolicies and Istio, on two nodes that are namespaces here.",
    )
    progress = GatewayState()
    obtain(progress)
    obtain_mesh(progress)
    Programs.obtain(progress)
    cluster = begin(clusters() / NAME, None if keep else os.getpid(), say=screen.text)
    screen.fact(f"nodes {', '.join(sorted(cluster.ready_nodes()))} are Ready, istiod serves")
    return cluster


def _install(screen: Screen, real: RealNodes) -> Installed:
    screen.step("The operator", "Its image, by its chart, in a namespace where PodSecurity `restricted` is enforced.")
    release = Installed(real)
    # As a reader's `make run` has it: the README shows what is said of a Secret that is missing.
    release.install(values={"rbac": {"secrets": {"clusterWide": True}}})
    leader = release.wait_for_leader()
    nodes = {each["spec"]["nodeName"] for each in release.pods()}
    screen.fact(f"{len(release.pods())} replicas on {', '.join(sorted(nodes))}; {leader} leads")
    return release


def _call(screen: Screen, shop: Shop) -> None:
    screen.step("A request", "From a pod with a sidecar that Istio injected, to a server outside of the cluster.")
    shop.open(node="node-1")
    seen = eventually(lambda: shop.ask(f"http://{HOST}/hello"), what="an answer")
    screen.command("kubectl", "exec", "-n", NAMESPACE, "client", "-c", "client", "--", "curl", f"http://{HOST}/hello")
    gateways = {each["status"]["podIP"]: each for each in shop.pods()}
    assert seen["peer"] in gateways, seen
    pod = gateways[seen["peer"]]
    screen.fact(f"the server saw {seen['peer']}: {pod['metadata']['name']} on {pod['spec']['nodeName']}")


def _trouble(screen: Screen, release: Installed, shop: Shop) -> None:
    screen.step("Trouble", f"{RATE:.0f} requests a second each way: on connections of their own, and on kept ones.")
    cluster = release.cluster
    with ExitStack() as stack:
        loads: dict[str, Load] = {}
        for name, keep in (("new connections", False), ("kept connections", True)):
            loads[name] = stack.enter_context(shop.load(rate=RATE, keep=keep))
        every = [each.wait_for for each in loads.values()]
        leader = release.leader()
        cluster.kubectl("delete", "pod", leader, "--namespace", SYSTEM, "--force", "--grace-period=0")
        screen.fact(f"{leader}, which led, was killed; {release.wait_for_leader(other_than=leader)} leads")
        cluster.kubectl(*_DRAIN, timeout=180)
        screen.fact("node-2 was drained: " + ", ".join(_places(shop)))
        cluster.kubectl("uncordon", "node-2")
        for wait_for in every:
            wait_for(int(RATE))
        cluster.kubectl("rollout", "restart", "deployment/partners-egress", "--namespace", NAMESPACE)
        rollout = ("rollout", "status", "deployment/partners-egress", "--namespace", NAMESPACE)
        cluster.kubectl(*rollout, "--timeout=120s", timeout=130)
        screen.fact("node-2 is back, and the gateway was rolled: " + ", ".join(_places(shop)))
        for wait_for in every:
            wait_for(int(RATE))
    for name, load in loads.items():
        screen.text(f"  {name}: {load.report}")
        assert not load.report.lost, name
    screen.fact("no request was lost")


_DRAIN: Final = (
    *("drain", "node-2", "--ignore-daemonsets", "--delete-emptydir-data", "--force"),
    "--timeout=150s",
)


def _places(shop: Shop) -> list[str]:
    return sorted(f"{each['metadata']['name']} on {each['spec'].get('nodeName')}" for each in shop.pods())


def _blocks() -> list[Block]:
    """The blocks of the README's section, in their order."""
    page = ROOT / "README.md"
    text = page.read_text()
    start = text[: text.index(SECTION)].count("\n")
    end = start + text[text.index(SECTION) :].split("\n## ")[0].count("\n") + 1
    return [each for each in commands(page) if start < each.line <= end and not each.not_run]


def _type(screen: Screen, cluster: NodeCluster, blocks: list[Block]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "kubectl").symlink_to(cluster.kubectl_binary)
        environment = {"KUBECONFIG": str(cluster.kubeconfig), "PATH": f"{directory}:{os.environ['PATH']}"}
        for step in walk.run(blocks, environment):
            for line in walk.commands_of(step.block).splitlines():
                screen.command(line)
            screen.text(step.output)
            assert not step.failed, f"{step.block} failed"
            assert walk.unexpected(step) == [], f"{step.block} prints something else"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.node", description="The operator's main job, on real nodes.")
    parser.add_argument("--keep", action="store_true", help="leave everything running, and say how to use it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
