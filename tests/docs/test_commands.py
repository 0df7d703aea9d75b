"""What the pages tell a reader to type works as it stands, and prints what they say."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import walk
from docs.pages import OFFLINE, Block, commands, name_of, pages
from harness.controlplane import ControlPlane
from harness.operator import OperatorProcess
from harness.release import operator_kubeconfig
from harness.rest import Object
from harness.session import Run
from harness.wait import eventually

GATEWAYS = "/apis/egressgateway.dev/v1alpha1/egressgateways"
CLASSES = "/apis/egressgateway.dev/v1alpha1/egressgatewayclasses"
NAMESPACES = "/api/v1/namespaces"
ALL = [block for page in pages() for block in commands(page)]
TRIED = [
    page for page in pages() if any(not block.not_run for block in commands(page)) and name_of(page) not in OFFLINE
]


@pytest.fixture(scope="module")
def shell(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlPlane, dict[str, str]]]:
    """A control plane and an operator that nobody else uses, as a reader has them; and the environment of a shell."""
    directory = tmp_path_factory.mktemp("shell")
    with run.private(run.options()) as plane:
        (directory / "kubectl").symlink_to(plane.kubectl_binary)
        environment = {"KUBECONFIG": str(plane.kubeconfig), "PATH": f"{directory}:{os.environ['PATH']}"}
        # A reader's `make run` has the rights of his kubeconfig, and the recipes say which value gives the chart's
        # operator the right to Secrets; by default it has none.
        with OperatorProcess(operator_kubeconfig(plane, secrets=True), directory / "operator.log"):
            yield plane, environment


@pytest.fixture
def cleaned(shell: tuple[ControlPlane, dict[str, str]]) -> Iterator[dict[str, str]]:
    """The shell's environment; what a page leaves behind is gone before the next one begins."""
    plane, environment = shell
    before = {each["metadata"]["name"] for each in plane.rest.items(NAMESPACES)}
    yield environment
    for gateway in plane.rest.items(GATEWAYS):
        plane.rest.delete(f"{GATEWAYS.removesuffix('/egressgateways')}/{path_below(gateway)}")
    eventually(lambda: not plane.rest.items(GATEWAYS), what="the end of the page's objects")
    for each in plane.rest.items(CLASSES):
        plane.rest.delete(f"{CLASSES}/{each['metadata']['name']}")
    made = {each["metadata"]["name"] for each in plane.rest.items(NAMESPACES)} - before
    for name in made:
        plane.rest.delete(f"{NAMESPACES}/{name}")
    for name in made:
        eventually(
            lambda name=name: not plane.rest.exists(f"{NAMESPACES}/{name}"), timeout=60, what=f"the end of {name}"
        )


def path_below(gateway: Object) -> str:
    """Path of an EgressGateway below its API's."""
    metadata = gateway["metadata"]
    return f"namespaces/{metadata['namespace']}/egressgateways/{metadata['name']}"


@pytest.mark.parametrize("page", TRIED, ids=name_of)
@pytest.mark.controlplane
def test_commands_of_a_page_do_what_it_says(page: Path, cleaned: dict[str, str]) -> None:
    """Typed in the page's order, every command succeeds, and prints what stands below it."""
    blocks = [block for block in commands(page) if not block.not_run]
    for step in walk.run(blocks, cleaned):
        assert not step.failed, f"{step.block}:\n{step.block.text}\nprinted:\n{step.output}"
        assert walk.unexpected(step) == [], f"{step.block} printed:\n{step.output}"


@pytest.mark.parametrize("block", ALL, ids=str)
def test_commands_can_be_read_by_a_shell(block: Block) -> None:
    """Those that cannot be run here, too: no quote is left open, and a block of `console` has commands."""
    text = walk.commands_of(block)
    assert text.strip()
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_most_commands_are_tried() -> None:
    """To say why a command is not run is easier than to make it run."""
    skipped = [block for block in ALL if block.not_run]
    assert len(skipped) < len(ALL) / 2, [f"{block}: {block.not_run}" for block in skipped]
