"""One control plane for a file's disturbances: the world, the story, and how it ends when nobody disturbs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.apisix import StandInController
from harness.chaos import world
from harness.chaos.account import Account, Asked
from harness.chaos.endstate import State, ends_like, no_orphans, settled, wipe
from harness.chaos.story import Story
from harness.controlplane import ControlPlane
from harness.operator import OperatorProcess, Within
from harness.release import operator_kubeconfig

ALONE: Final = ("--no-leader-elect", "--push-grace-seconds", "0.2", "--log-level", "DEBUG")
"""Without a Lease, as a killed leader's would hold up its successor."""

ELECTED: Final = ("--lease-seconds", "3", "--push-grace-seconds", "0.2")

KOPF_BEGINS_ANEW: Final = (
    "Watcher for egressgateways.v1alpha1.egressgateway.dev@none has failed: ",
    "Multidimensional multitasker has failed: ",
    "kopf stopped; restarting",
)
"""What becomes of kopf when its watch gets an answer that it does not expect; the process goes on (`cli.run`)."""

EXPECTED_IN_AN_OUTAGE: Final = (
    "Leadership lost",
    "Request attempt #",
    # asyncio, of a connection that the server ended in the midst of a TLS record.
    "Fatal error on SSL protocol",
    *KOPF_BEGINS_ANEW,
)
"""How errors begin that an operator rightly logs while it cannot renew its Lease, and kopf cannot watch."""


@dataclass(frozen=True, slots=True)
class Stage:
    """
    A control plane with the world of a story.

    `expected` is the end of the story, and `undisturbed` what the operator asked for until then.
    """

    plane: ControlPlane
    story: Story
    expected: State
    undisturbed: Asked

    def operator(self, log: Path, *flags: str, within: Within | None = None) -> OperatorProcess:
        """An operator of this control plane, not started."""
        return OperatorProcess(operator_kubeconfig(self.plane, secrets=True), log, *flags, within=within)

    def ends_well(self, *, gone: str = "") -> None:
        """
        Wait until all is as in the undisturbed run and nothing is left of what is gone.

        Args:
            gone: an EgressGateway that is not there any more.

        Raises:
            AssertionError: it never is; says what differs.
        """
        ends_like(self.plane, {name: each for name, each in self.expected.items() if not is_of(name, gone)})
        no_orphans(self.plane)


@contextmanager
def open_stage(plane: ControlPlane, directory: Path, story: Story) -> Iterator[Stage]:
    """
    Build the world, see how the story ends undisturbed, and begin anew.

    Args:
        directory: where the operator of the undisturbed run logs to.
    """
    print(f"the story's seed is {story.seed}")
    world.build(plane)
    with StandInController(plane):
        account = Account(plane)
        kubeconfig = operator_kubeconfig(plane, secrets=True)
        with OperatorProcess(kubeconfig, directory / "undisturbed.log", *ALONE):
            story.play(plane)
            expected = settled(plane)
            undisturbed = account.read()
            wipe(plane)
        world.build(plane)
        yield Stage(plane, story, expected, undisturbed)


def is_of(name: str, gateway: str) -> bool:
    """Whether an object of a `State` is this EgressGateway, or a child of it."""
    last = name.rpartition(" ")[2]
    return bool(gateway) and (last == gateway or last.startswith(f"{gateway}-"))
