"""The operator's image as it is built: what is in it, what is not, and what a change of the code makes anew."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final

import pytest

from egressgateway import __version__
from harness.node import operator_image
from harness.node.cluster import NodeCluster
from harness.node.contents import Contents, File
from harness.node.sbom import STATUS, bill
from harness.session import ROOT

pytestmark = [pytest.mark.node, pytest.mark.timeout(900)]

PYTHON: Final = re.compile(r"/(?:usr(?:/local)?|app)/bin/python(?:3(?:\.\d+)?)?")
OURS: Final = {"/app/bin/egressgw", "/app/bin/kubectl-egressgw", "/app/bin/kubectl_complete-egressgw"}
GONE: Final = re.compile(
    r"/(?:ensurepip|pip|python-wheels|perl-base|idlelib)/|/(?:lib|etc|cache)/(?:apt|dpkg/info)/|\.whl$"
)
MEGABYTES: Final = 175
"""It was 302 before classes that nobody imports, and Debian's programs, were left out."""


@pytest.fixture(scope="module")
def image(nodes: NodeCluster) -> Contents:
    """That of the nodes; on kind docker builds another."""
    assert nodes
    return Contents(operator_image.archive(ROOT, __version__))


@pytest.fixture(scope="module")
def files(image: Contents) -> dict[str, File]:
    return image.files()


def test_no_program_but_python_is_in_the_image(files: dict[str, File]) -> None:
    """No shell, no package manager, no pip, and nothing that could fetch something."""
    started = {place for place, file in files.items() if file.is_program or Path(place).parent.name in ("bin", "sbin")}
    programs = {each for each in started if not PYTHON.fullmatch(each)}
    assert programs - {each for each in programs if "/ld-linux" in each} == OURS
    assert [place for place in files if GONE.search(place)] == []


def test_links_lead_somewhere(files: dict[str, File]) -> None:
    """What was removed is not pointed at: a link to nothing in PATH would be somebody's puzzle."""
    places = {each for place in files for each in (place, *map(str, Path(place).parents))}
    paths = [each for each in files.values() if re.match(r"/(?:app/|usr/(?:local/)?)bin/", each.place) and each.target]
    ends = {each.place: os.path.normpath(Path(each.place).parent / each.target) for each in paths}
    assert [place for place, end in ends.items() if end not in places] == []
    assert paths


def test_packages_of_debian_are_still_named(image: Contents) -> None:
    """Scanners learn from it which libraries are there."""
    [status] = image.texts(STATUS).values()
    assert "Package: libssl3" in status


def test_bill_of_materials_is_of_the_image(image: Contents) -> None:
    """Every locked package that is installed on Linux, in its version, the operator, and Debian's libraries."""
    found = {each["purl"] for each in bill(image)["components"]}
    locked = re.findall(
        r"^([a-z0-9-]+)==([^ ]+) *(?:; ([^\\\n]*))?", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    everywhere = {f"pkg:pypi/{name}@{version}" for name, version, marker in locked if not marker}
    assert len(everywhere) > 20
    assert found >= everywhere | {f"pkg:pypi/egressgateway@{__version__}"}
    assert any(each.startswith("pkg:deb/debian/libc6@") for each in found)


def test_image_is_run_by_nobody(image: Contents) -> None:
    """By number, with the operator as its program."""
    config = image.config()["config"]
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("65532:65532", ["egressgw"], ["run"])
    assert config["Labels"]["org.opencontainers.image.title"] == "egressgateway-operator"


def test_image_is_no_larger_than_it_has_to_be(files: dict[str, File]) -> None:
    assert sum(each.size for each in files.values()) < MEGABYTES * 1024 * 1024


def test_change_of_the_code_makes_one_layer_anew(nodes: NodeCluster, image: Contents, tmp_path: Path) -> None:
    """A node that has the last version pulls the last layer."""
    for each in (*(ROOT / ".dockerignore").read_text().splitlines(), "!Dockerfile", "!.dockerignore"):
        source, target = ROOT / each.removeprefix("!"), tmp_path / each.removeprefix("!")
        target.parent.mkdir(parents=True, exist_ok=True)
        if each.startswith("!") and source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif each.startswith("!"):
            shutil.copy2(source, target)
    changed = tmp_path / "operator/egressgateway/__init__.py"
    changed.write_text(f"{changed.read_text()}\n# Another version.\n")
    other = Contents(operator_image.archive(tmp_path, f"{__version__}-changed"))
    assert other.layers()[:-1] == image.layers()[:-1]
    assert other.layers()[-1] != image.layers()[-1]
