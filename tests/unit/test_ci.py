"""`.ci/run` on a fresh machine: it installs what the tests call, and nothing where that is there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from harness.mesh import place

ROOT = Path(__file__).parents[2]
PREPARE = ROOT / ".ci" / "prepare"
LINES = (ROOT / ".ci" / "packages").read_text().splitlines()
LISTED: dict[str, str] = dict(line.split() for line in LINES if line and line[0] != "#")
NOTED = '#!/bin/sh\necho "$(basename "$0") $*" >> "$LOG"\n'


def prepared(directory: Path, *, without: set[str], user: int = 0) -> tuple[list[str], str]:
    """Calls of apt on a machine that lacks these programs, and what is said."""
    programs = directory / "bin"
    programs.mkdir()
    for name in {"bash", "sh", "dirname", "basename"} | LISTED.keys() - without:
        (programs / name).symlink_to(shutil.which(name) or "/bin/true")
    for name, text in {
        "id": f"#!/bin/sh\necho {user}\n",
        "python3": "#!/bin/sh\n",
        "make": "#!/bin/sh\necho /usr/bin/python3.13\n",
        "apt-get": NOTED,
        "apt-cache": NOTED,
    }.items():
        if name not in without:
            (programs / name).unlink(missing_ok=True)
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
    log = directory / "log"
    log.touch()
    done = subprocess.run(
        [PREPARE], env={"PATH": str(programs), "LOG": str(log)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return log.read_text().splitlines(), done.stderr


def test_every_program_of_the_mesh_tier_has_a_package() -> None:
    """And what a process like in a pod is started by (`harness/image.py`)."""
    assert set(place.PROGRAMS) | {"unshare", "setpriv", "mount"} <= LISTED.keys()


def test_missing_programs_are_installed(tmp_path: Path) -> None:
    """From lists that were fetched before: a fresh machine has none."""
    calls, _ = prepared(tmp_path, without={"nft", "ip"})
    update, install = [each for each in calls if each.startswith("apt-get")]
    assert update == "apt-get update -q"
    assert install.startswith("apt-get install")
    assert set(install.split()[-2:]) == {"nftables", "iproute2"}


def test_nothing_is_installed_where_all_is_there(tmp_path: Path) -> None:
    """Nor are lists fetched."""
    calls, _ = prepared(tmp_path, without=set())
    assert [each for each in calls if each.startswith("apt-get")] == []


def test_without_root_the_packages_are_named(tmp_path: Path) -> None:
    """Nothing is tried that would be refused."""
    calls, said = prepared(tmp_path, without={"nft"}, user=1000)
    assert calls == []
    assert "nftables" in said
