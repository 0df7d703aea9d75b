"""
Files of the chart that are made from others: its copies of the CRDs, the schema of the default class in that of the
values, and the table of values in its README.

`make chart` writes them, a test compares. A value's line of documentation is the comment `# -- …` above it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from harness.helm import CHART
from harness.jsonschema import draft7
from harness.session import ROOT

BEGIN: Final = "<!-- values: written by `make chart` from values.yaml -->\n"
END: Final = "<!-- end of values -->\n"
_DOCUMENTED: Final = re.compile(r"^( *)([A-Za-z]+):(.*)$")


def files() -> dict[Path, str]:
    """What the files should hold, by path."""
    copies = {CHART / "files" / "crds" / path.name: path.read_text() for path in sorted((ROOT / "crds").glob("*.yaml"))}
    readme, schema = CHART / "README.md", CHART / "values.schema.json"
    return {
        **copies,
        readme: with_table(readme.read_text(), table()),
        schema: with_class(json.loads(schema.read_text())),
    }


def write() -> None:
    for path, text in files().items():
        path.write_text(text)


def with_class(schema: dict[str, Any]) -> str:
    """The schema of values with that of an EgressGatewayClass for `defaultClass.spec`, as its CRD has it."""
    [crd] = (yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*_egressgatewayclasses.yaml"))
    [version] = crd["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    schema["properties"]["defaultClass"]["properties"]["spec"] = draft7(spec)
    return json.dumps(schema, indent=1) + "\n"


def with_table(page: str, rows: str) -> str:
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{rows}\n{END}{rest.split(END)[1]}"


def table() -> str:
    """Every value with its default and what it does, as a table in Markdown."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    lines = ["| value | default | |", "|---|---|---|"]
    for path, text in documented():
        default = json.dumps(_at(values, path), separators=(", ", ": "))
        lines.append(f"| `{'.'.join(path)}` | `{default}` | {text} |")
    return "\n".join(lines) + "\n"


def documented() -> Iterator[tuple[tuple[str, ...], str]]:
    """Path and documentation of each value that has a comment `# -- …`."""
    path: list[str] = []
    text = ""
    for line in (CHART / "values.yaml").read_text().splitlines():
        if line.lstrip().startswith("# -- "):
            text = line.split("# -- ", 1)[1]
        elif found := _DOCUMENTED.match(line):
            path[len(found[1]) // 2 :] = [found[2]]
            if text:
                yield tuple(path), text
            text = ""


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values
