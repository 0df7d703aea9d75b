"""The world as those who start it see it: its directory, its authorities, what its servers saw, and what is healed."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path

from harness.mesh.world.certificates import Certificates
from harness.mesh.world.journal import Journal
from harness.mesh.world.names import HEALED


class Outside:
    """The world of a directory, running or not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @cached_property
    def journal(self) -> Journal:
        """What the world's servers saw."""
        return Journal(self.directory)

    @cached_property
    def certificates(self) -> Certificates:
        """The world's authorities."""
        return Certificates(self.directory)

    def command(self) -> list[str]:
        """The command that is the world, in a network that has the world's addresses."""
        return [sys.executable, "-m", "harness.mesh", "world", str(self.directory)]

    def heal(self, name: str) -> None:
        """From now on nothing is wrong with a name; see `names`."""
        place = self.directory / HEALED
        place.mkdir(exist_ok=True)
        (place / name).touch()

    def unheal(self, name: str) -> None:
        """What its beginning says is wrong with a name, again."""
        (self.directory / HEALED / name).unlink()
