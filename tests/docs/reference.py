"""
Writes the field reference from the models: `python -m docs.reference docs/reference`.

Words are those of the models' docstrings, by way of the schemas; examples are cut out of whole, valid objects in
`docs/reference/examples`, so that none of them is made up for the page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from docs.codes import codes_page
from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd
from egressgateway.api.rules import VALIDATIONS

Schema = Mapping[str, Any]
Path_ = tuple[str, ...]

DIRECTORY = Path(__file__).parent.parent.parent / "docs" / "reference"
EXAMPLES = DIRECTORY / "examples"

AS_IN_KUBERNETES = ("affinity", "podTemplate", "resources", "tolerations", "topologySpreadConstraints")
"""Parts of Kubernetes' own API, shown as a whole; so are label selectors and conditions."""

INTRODUCTION = """<!-- Written by `make docs` from the models in operator/egressgateway/api: do not edit. -->
# {kind}

`{api_version}`, {scope}, short name `{short}`. {description}

{about} On a cluster: `kubectl explain {singular}.spec --recursive`. The examples are cut out of the whole objects in
[examples](examples/).
"""

ABOUT = {
    "EgressGateway": "Fields that are left out get the default that is named here; the operator never writes `spec`.",
    "EgressGatewayClass": "Whoever writes one decides for all objects that use it: keep it with the platform's admins.",
}


@dataclass(frozen=True, slots=True)
class Section:
    """One object of the schema: its path from the root, and its schema without the list around it."""

    path: Path_
    title: str
    schema: Schema

    @property
    def anchor(self) -> str:
        """As GitHub makes it of the heading."""
        return re.sub(r"[^\w-]", "", self.title.lower())


def sections(schema: Schema, path: Path_, title: str) -> Iterator[Section]:
    """`schema` and every object below it that has a section of its own, in the order of the API."""
    yield Section(path, title, schema)
    for name, child in schema.get("properties", {}).items():
        below = child.get("items", child)
        if is_section(name, below):
            yield from sections(below, (*path, name), f"{title}.{name}{'[]' if 'items' in child else ''}")


def is_section(name: str, schema: Schema) -> bool:
    """Whether a field has fields of ours."""
    if name in AS_IN_KUBERNETES or name == "conditions" or "matchLabels" in schema.get("properties", {}):
        return False
    return "properties" in schema


def fields(found: Iterable[Section]) -> Iterator[str]:
    """Every field of the sections, as `spec.destinations.name`."""
    for section in found:
        for name in section.schema.get("properties", {}):
            yield ".".join((*section.path, name))


def used(value: Any, path: Path_ = ()) -> Iterator[str]:
    """Every field that an object uses, named as in `fields`."""
    if isinstance(value, list):
        for item in value:
            yield from used(item, path)
    elif isinstance(value, dict):
        for name, child in value.items():
            yield ".".join((*path, name))
            yield from used(child, (*path, name))


def read_examples(kind: str) -> list[dict[str, Any]]:
    """The example objects of a kind, in the order of their files."""
    documents = [each for path in sorted(EXAMPLES.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]
    return [each for each in documents if each["kind"] == kind]


def reference(crd: Schema) -> str:
    """The page of one kind."""
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    examples = read_examples(names["kind"])
    head = INTRODUCTION.format(
        kind=names["kind"],
        api_version=f"{crd['spec']['group']}/{version['name']}",
        scope="namespaced" if crd["spec"]["scope"] == "Namespaced" else "for the whole cluster",
        short=names["shortNames"][0],
        description=schema["description"],
        about=ABOUT[names["kind"]],
        singular=names["singular"],
    )
    return "\n".join([head, *(_section_text(section, examples) for section in all_sections(crd))])


def all_sections(crd: Schema) -> list[Section]:
    """The sections of `spec` and `status` of a kind."""
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return [each for part in ("spec", "status") for each in sections(properties[part], (part,), part)]


def _section_text(section: Section, examples: list[dict[str, Any]]) -> str:
    lines = [f"## {section.title}", "", _words(section.schema.get("description", "")), ""]
    lines += ["| field | type | |", "|---|---|---|"]
    lines += [_row(section, name, schema) for name, schema in section.schema.get("properties", {}).items()]
    rules = [rule["message"] for rule in section.schema.get(VALIDATIONS, ())]
    if rules:
        lines += ["", "The API server refuses what breaks a rule:", "", *(f"- {_words(rule)}" for rule in rules)]
    for fragment in fragments(section, examples):
        lines += ["", "```yaml", fragment.rstrip(), "```"]
    return "\n".join([*lines, ""])


def _row(section: Section, name: str, schema: Schema) -> str:
    below = schema.get("items", schema)
    shown = f"`{name}`"
    if is_section(name, below):
        inner = Section((), f"{section.title}.{name}{'[]' if 'items' in schema else ''}", below)
        shown = f"[{shown}](#{inner.anchor})"
    required = " **required**" if name in section.schema.get("required", ()) else ""
    return f"| {shown} | {type_name(schema)}{required} | {_words(schema.get('description', ''))} |"


def type_name(schema: Schema) -> str:
    """What a value looks like, in a word or two."""
    if "items" in schema:
        return f"list of {type_name(schema['items'])}s".replace("ys ", "ies ")
    if "additionalProperties" in schema:
        return "map"
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if schema.get("format") == "date-time":
        return "time"
    return str(schema.get("type", "quantity"))


def _words(text: str) -> str:
    return text.replace("|", "\\|")


def fragments(section: Section, examples: list[dict[str, Any]]) -> Iterator[str]:
    """The fewest parts of examples, taken in order, that together show every field that only this section has."""
    own = {name for name, child in section.schema.get("properties", {}).items() if not _is_below(name, child)}
    missing = set(own)
    for example in examples:
        for found in _instances({part: example.get(part) for part in ("spec", "status")}, section.path):
            value, skeleton = found
            if shown := missing & value.keys():
                missing -= shown
                fragment = {name: each for name, each in value.items() if name in own}
                yield yaml.safe_dump(skeleton(fragment), sort_keys=False, width=110, default_flow_style=None)


def _is_below(name: str, schema: Schema) -> bool:
    return is_section(name, schema.get("items", schema))


def _instances(value: Any, path: Path_) -> Iterator[tuple[dict[str, Any], Any]]:
    """Values at `path`, each with a function that wraps a value into what stands around it."""
    if isinstance(value, list):
        for item in value:
            for found, inner in _instances(item, path):
                kept = {"name": item["name"]} if path and "name" in item else {}
                yield found, lambda each, inner=inner, kept=kept: [{**kept, **inner(each)}]
    elif not path:
        if isinstance(value, dict):
            yield value, lambda each: each
    elif isinstance(value, dict) and path[0] in value:
        name = path[0]
        for found, inner in _instances(value[name], path[1:]):
            yield found, lambda each, inner=inner, name=name: {name: inner(each)}


def pages() -> dict[str, str]:
    """File names and texts of the reference."""
    crds = (egress_gateway_crd(), egress_gateway_class_crd())
    return {**{f"{crd['spec']['names']['singular']}.md": reference(crd) for crd in crds}, "codes.md": codes_page()}


def main() -> int:
    """Writes all pages into the directory that the one argument names."""
    if len(sys.argv) != 2:
        print("usage: python -m docs.reference DIRECTORY", file=sys.stderr)
        return 2
    for name, text in pages().items():
        path = Path(sys.argv[1]) / name
        path.write_text(text, encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
