"""
Every small change of a full object that its schema suggests: bounds, types, missing and unknown fields, odd texts.

Each has to get the same verdict from the models and from the API server. Where the schema itself says that a
change must be refused, `want` is a part of the message.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from apicases.corpus import Document
from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd

Schema = dict[str, Any]
Path = tuple[str | int, ...]
_ABSENT = object()

ODD_TEXTS = (
    *(
        "",
        " ",
        "\n",
        "a\n",
        "\0",
        "A",
        "a",
        "0",
        "-",
        "*",
        "/",
        "a-",
        "a..b",
        "a b",
        "a/b",
        "a_b",
        "ä.b",
        "*.a.b",
        "{{ 1 }}",
    ),
    *("1.2.3.4", "::ffff:1.2.3.4", "10.0.0.0/8", "0s", "/a/*", "/a*", "503", "istio", "a.svc"),
)


@dataclass(frozen=True)
class Mutation:
    """`manifest` is the full object after one change, which `label` describes."""

    label: str
    manifest: dict[str, Any]
    want: str | None


def spec_schemas() -> dict[str, Schema]:
    """The schema of `spec`, by kind."""
    crds = (egress_gateway_crd(), egress_gateway_class_crd())
    return {
        crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for crd in crds
    }


def mutations(document: Document) -> Iterator[Mutation]:
    """Every change of `document`, but once what a class and an EgressGateway say alike about gateways."""
    schemas = spec_schemas()
    schema = schemas[document.manifest["kind"]]
    of_gateway = schemas["EgressGateway"]["properties"]["gateway"]["properties"]
    of_class = schemas["EgressGatewayClass"]["properties"]["dedicated"]["properties"]
    known = {("spec", "dedicated", name) for name in of_gateway if of_gateway[name] == of_class[name]}
    for path, value, want in _changes(schema, document.manifest["spec"], ("spec",)):
        if path[:3] in known:
            continue
        manifest = copy.deepcopy(document.manifest)
        _put(manifest, path, value)
        shown = "nothing" if value is _ABSENT else repr(value)[:80]
        yield Mutation(f"{document.label} {'.'.join(map(str, path))} = {shown}", manifest, want)


def field_paths(schema: Schema, path: str = "") -> Iterator[str]:
    """Every field below `schema`; lists and maps add no step."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from field_paths(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from field_paths(schema[key], path)


def used_paths(value: Any, schema: Schema, path: str = "") -> Iterator[str]:
    """The fields of `schema` that `value` uses."""
    if isinstance(value, dict) and "properties" in schema:
        for name, child in value.items():
            yield f"{path}.{name}"
            yield from used_paths(child, schema["properties"][name], f"{path}.{name}")
    elif isinstance(value, dict):
        for child in value.values():
            yield from used_paths(child, schema.get("additionalProperties", {}), path)
    elif isinstance(value, list) and "items" in schema:
        for child in value:
            yield from used_paths(child, schema["items"], path)


Change = tuple[Path, Any, str | None]


def _changes(schema: Schema, value: Any, path: Path) -> Iterator[Change]:
    yield path, None, None
    if "x-kubernetes-int-or-string" in schema:
        odd_values: tuple[Any, ...] = (*ODD_TEXTS, -1, 0, 1.5, True, [], "9" * 33)
        yield from ((path, odd, None) for odd in odd_values)
        return
    kind = schema["type"]
    for other, wrong in {"string": 7, "integer": "7", "boolean": "true", "array": "a", "object": []}.items():
        if other == kind:
            yield path, wrong, None if "enum" in schema else "must be of type"
    yield from _OF_TYPE[kind](schema, value, path)


def _of_object(schema: Schema, value: Any, path: Path) -> Iterator[Change]:
    if "additionalProperties" in schema:
        yield from _of_map(schema, value, path)
    for name, child in schema.get("properties", {}).items():
        if name in value:
            yield from _changes(child, value[name], (*path, name))
            yield (*path, name), _ABSENT, "Required value" if name in schema.get("required", ()) else None
    if "properties" in schema:
        yield (*path, "unknownField"), 1, "unknown field"


def _of_map(schema: Schema, value: Any, path: Path) -> Iterator[Change]:
    most, some = schema["maxProperties"], next(iter(value.values()))
    yield path, {f"k{number}": some for number in range(most + 1)}, f"must have at most {most} items"
    yield path, {f"k{number}": some for number in range(most)}, None
    yield path, {}, None
    yield from (
        (path, {odd: some}, None) for odd in (*ODD_TEXTS, "x" * 63, "x" * 64, "a.b/" + "x" * 63, "a" * 300 + "/b")
    )
    yield from _changes(schema["additionalProperties"], some, (*path, next(iter(value))))


def _of_array(schema: Schema, value: Any, path: Path) -> Iterator[Change]:
    most, least = schema["maxItems"], schema.get("minItems", 0)
    yield path, [value[0]] * (most + 1), f"must have at most {most} items"
    yield path, [value[0], value[0]], "Duplicate value" if schema["x-kubernetes-list-type"] != "atomic" else None
    yield path, [], f"should have at least {least} items" if least else None
    yield from _changes(schema["items"], value[0], (*path, 0))


def _of_string(schema: Schema, value: Any, path: Path) -> Iterator[Change]:
    if "enum" in schema:
        yield from ((path, item, None) for item in schema["enum"])
        yield path, str(value).swapcase(), "Unsupported value"
        return
    most = schema["maxLength"]
    for filler in ("a", "é"):
        yield path, (filler * (most + 1))[: most + 1], "Too long"
        yield path, (filler * most)[:most], None
    labels = ".".join(["a" * 63] * 8)
    yield from ((path, labels[-length:], None) for length in (most, 64))
    yield from ((path, odd, None) for odd in ODD_TEXTS)


def _of_integer(schema: Schema, value: Any, path: Path) -> Iterator[Change]:
    least, most = schema["minimum"], schema["maximum"]
    yield path, least - 1, f"should be greater than or equal to {least}"
    yield path, most + 1, f"should be less than or equal to {most}"
    # No whole floats: kubectl sends 80.0 as 80, and to 80.0 itself the API server's answer depends on its rules.
    yield from ((path, other, None) for other in (least, most, value + 0.5, 2**40, -(2**40)))


def _of_boolean(_: Schema, value: Any, path: Path) -> Iterator[Change]:
    yield path, not value, None
    yield path, 1, "must be of type"


_OF_TYPE = {
    "object": _of_object,
    "array": _of_array,
    "string": _of_string,
    "integer": _of_integer,
    "boolean": _of_boolean,
}


def _put(manifest: Any, path: Path, value: Any) -> None:
    for step in path[:-1]:
        manifest = manifest[step]
    if value is _ABSENT:
        del manifest[path[-1]]
    else:
        manifest[path[-1]] = value
