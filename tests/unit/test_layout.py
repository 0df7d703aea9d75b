"""The project as a whole: what must not be there, and a wheel that works where nothing else is."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATOR = ROOT / "operator"
RENDER = """
from importlib.resources import files
import egressgateway
from egressgateway.render.environment import Renderer
from egressgateway.api.conditions import Reason
from egressgateway.cli import main
from egressgateway.tool.explain import section_of
assert {target!r} in egressgateway.__file__, egressgateway.__file__
values = dict(name="x-egress", namespace="shop", labels={{}}, owner_references=[])
assert Renderer().render("workload/serviceaccount.yaml.j2", values)["metadata"]["name"] == "x-egress"
assert section_of(Reason.HOST_CONFLICT)
assert len([path for path in (files("egressgateway") / "crds").iterdir() if path.name.endswith(".yaml")]) == 2
"""


def test_the_source_root_is_no_package() -> None:
    """`operator/__init__.py` would shadow the standard library's `operator` wherever the tree is on the path."""
    assert not (OPERATOR / "__init__.py").exists()


def test_every_package_says_what_it_is_for() -> None:
    """A module begins with its docstring."""
    silent = [path for path in OPERATOR.rglob("*.py") if not path.read_text().lstrip().startswith('"""')]
    assert silent == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built without a network."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    [built] = out.glob("*.whl")
    return built


def test_the_wheel_holds_code_templates_and_crds_and_nothing_else(wheel: Path) -> None:
    """Everything that the program reads comes with it; tests and tools do not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(OPERATOR)) for path in OPERATOR.rglob("*.py")}
    templates = {f"egressgateway/{path.relative_to(ROOT)}" for path in (ROOT / "templates").rglob("*.j2")}
    crds = {f"egressgateway/{path.relative_to(ROOT)}" for path in (ROOT / "crds").glob("*.yaml")}
    pages = {"egressgateway/docs/troubleshooting.md", "egressgateway/py.typed"}
    assert names >= sources | templates | crds | pages
    others = names - sources - templates - crds - pages
    assert all(".dist-info/" in name for name in others), others


def test_the_wheel_works_where_the_tree_is_not(wheel: Path, tmp_path: Path) -> None:
    """Installed elsewhere it finds its templates and CRDs."""
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    program = RENDER.format(target=str(target))
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(target)!r})\n{program}"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
