"""The pages speak of what exists: targets, paths, objects that are valid, and the layers as they are checked."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from egressgateway.api.conditions import Reason
from egressgateway.api.objects import parse_gateway
from egressgateway.cli.main import app

ROOT = Path(__file__).parent.parent.parent
PAGES = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)
SAMPLES = sorted((ROOT / "deploy" / "samples").glob("*.yaml"))
TOP = ("operator", "tests", "templates", "crds", "deploy", ".ci", ".github")
"""A word that begins with one of these and a slash is a path."""


def read(page: str) -> str:
    return (ROOT / page).read_text()


def named_targets(page: str) -> set[str]:
    """Targets in commands of a page: after a backtick or four spaces, or at the start of a line of a block."""
    return set(re.findall(r"(?:`| {4}|^)make ([a-z0-9-]+)", read(page), re.MULTILINE))


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE))


def gateways_of(text: str) -> Iterator[dict[str, object]]:
    """Documents of the kind EgressGateway in a text of YAML."""
    for document in yaml.safe_load_all(text):
        if isinstance(document, dict) and document.get("kind") == "EgressGateway":
            yield document


@pytest.mark.parametrize("page", PAGES)
def test_named_make_targets_exist(page: str) -> None:
    """Whoever copies a command from a page has a target for it."""
    assert named_targets(page) <= makefile_targets()


def test_readme_and_contributing_name_targets() -> None:
    """The test above finds what it looks for."""
    assert {"demo", "test", "run", "check"} <= named_targets("README.md")
    assert {"crds", "golden", "cluster-down"} <= named_targets("CONTRIBUTING.md")


def test_help_lists_every_target() -> None:
    """A target without a line in `make help` would be known to its author alone."""
    phony = re.search(r"^\.PHONY: (.*)$", read("Makefile"), re.MULTILINE)
    assert phony is not None
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert set(listed) == set(phony[1].split())
    assert all(listed.values())


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page: str) -> None:
    """Files and directories that a page names are there, and links lead somewhere."""
    text = read(page)
    links = {str(Path(page).parent / link) for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)}
    # `deploy/app` behind a verb is kubectl's short word for a Deployment.
    text = re.sub(r"(?:exec|logs)( -n \S+)? deploy/\S+", "", text)
    spoken = set(re.findall(rf"(?<![\w/.-])((?:{'|'.join(map(re.escape, TOP))})/[\w./-]*)", text))
    missing = sorted(path for path in links | {each.rstrip(".") for each in spoken} if not (ROOT / path).exists())
    assert missing == []


def test_yaml_of_the_readme_is_valid() -> None:
    """The README's object parses by the models, and is the sample that the demo applies."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", read("README.md"), re.MULTILINE | re.DOTALL)
    gateways = [each for block in blocks for each in gateways_of(block)]
    assert gateways
    assert [parse_gateway(each).errors for each in gateways] == [()] * len(gateways)
    assert gateways[0] == yaml.safe_load(read("deploy/samples/egressgateway.yaml"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: str(path.name))
def test_samples_are_valid(sample: Path) -> None:
    """Every sample holds an EgressGateway, and each is valid."""
    gateways = list(gateways_of(sample.read_text()))
    assert gateways
    assert [parse_gateway(each).errors for each in gateways] == [()] * len(gateways)


def test_layers_of_the_page_are_those_that_are_checked() -> None:
    """ARCHITECTURE.md draws the contract that `make lint` enforces."""
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert f"`{' > '.join(layers)}`" in read("ARCHITECTURE.md")


def test_reasons_of_the_readme_are_in_the_catalogue() -> None:
    """A reason that the README explains is one that the operator gives."""
    table = re.search(r"^\| condition .*?\n\n", read("README.md"), re.MULTILINE | re.DOTALL)
    assert table is not None
    rows = [row.split("|")[3] for row in table[0].splitlines()[2:] if row]
    named = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    assert len(named) > 5
    assert named <= {reason.value for reason in Reason}


def test_flags_of_the_pages_exist() -> None:
    """Every flag that `docs/operations.md` names is one of `egressgw run`."""
    section = read("docs/operations.md").split("\n## Configuration\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`(--[a-z-]+)`", section)) - {"--help"}
    assert len(named) > 5
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert sorted(flag for flag in named if flag not in shown) == []
