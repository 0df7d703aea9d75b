"""Control groups of both versions, on trees that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

from harness.node import cgroups


def test_groups_of_version_1_get_processors_and_memory_of_their_parents(tmp_path: Path) -> None:
    """In each hierarchy, but not twice where one has a second name."""
    for name in ("cpuset", "memory"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "other").symlink_to("cpuset")
    for file in ("cpuset.cpus", "cpuset.mems"):
        (tmp_path / "cpuset" / file).write_text("0-1")
        # The kernel makes them, empty, with the directory.
        for place in ("egn-1", "egn-1/node-1"):
            (tmp_path / "cpuset" / place).mkdir(parents=True, exist_ok=True)
            (tmp_path / "cpuset" / place / file).touch()
    cgroups.create("egn-1/node-1", tmp_path)
    assert (tmp_path / "cpuset/egn-1/node-1/cpuset.cpus").read_text() == "0-1"
    assert cgroups.found("egn-1", tmp_path) == [tmp_path / "cpuset/egn-1", tmp_path / "memory/egn-1"]


def test_groups_of_version_2_pass_controllers_on(tmp_path: Path) -> None:
    """At every level: below one that does not, there are none."""
    for place in ("", "egn-1", "egn-1/node-1"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "cgroup.controllers").write_text("cpu memory")
    cgroups.create("egn-1/node-1", tmp_path)
    for place in ("", "egn-1", "egn-1/node-1"):
        assert (tmp_path / place / "cgroup.subtree_control").read_text() == "+cpu +memory"


def test_groups_are_removed_innermost_first(tmp_path: Path) -> None:
    """The kernel removes none that has another in it."""
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "egn-1/node-1/kubepods/pod").mkdir(parents=True)
    cgroups.remove("egn-1", tmp_path)
    assert cgroups.found("egn-1", tmp_path) == []
