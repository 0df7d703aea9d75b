"""The generated CustomResourceDefinitions: structural, bounded, documented, and what is committed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apicases.corpus import ROOT, full_objects
from apicases.mutations import field_paths, spec_schemas, used_paths
from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd, structural
from egressgateway.api.model import ApiModel
from egressgateway.cli.crds import write_crds

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in (egress_gateway_crd(), egress_gateway_class_crd())}
KEYWORDS = {
    "string": {"maxLength", "minLength", "enum", "format"},
    "integer": {"minimum", "maximum", "format"},
    "boolean": set(),
    "array": {"items", "maxItems", "minItems", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"},
    "object": {
        "properties", "required", "additionalProperties", "maxProperties", "minProperties",
        "x-kubernetes-preserve-unknown-fields",
    },
    "int-or-string": {"x-kubernetes-int-or-string", "anyOf", "maxLength"},
}  # fmt: skip


def version(kind: str) -> dict[str, Any]:
    return CRDS[kind]["spec"]["versions"][0]


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in `schema`, itself first."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def type_of(schema: dict[str, Any]) -> str:
    return "int-or-string" if "x-kubernetes-int-or-string" in schema else schema["type"]


def all_nodes(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in spec and status, with its path."""
    properties = version(kind)["schema"]["openAPIV3Schema"]["properties"]
    for part in ("spec", "status"):
        yield from nodes(properties[part], f".{part}")


def test_crds_committed_equals_generated(tmp_path: Path) -> None:
    """What is in crds/ is what the models say; `make crds` writes it."""
    for path in write_crds(tmp_path):
        assert (ROOT / "crds" / path.name).read_text() == path.read_text()


@pytest.mark.parametrize("kind", CRDS)
def test_schema_keywords_fit_the_type(kind: str) -> None:
    """Every node has a type and only keywords that this type knows: a stray minLength on a map would bound nothing."""
    common = {"type", "description", "x-kubernetes-validations", "default"}
    for path, schema in all_nodes(kind):
        assert set(schema) <= common | KEYWORDS[type_of(schema)], path
        assert not ("properties" in schema and "additionalProperties" in schema), path


@pytest.mark.parametrize("kind", CRDS)
def test_schema_everything_is_bounded(kind: str) -> None:
    """Strings, lists, maps and numbers have limits: the API server prices rules by them, and etcd has one too."""
    bounds = {
        "string": {"maxLength", "enum"},
        "array": {"maxItems"},
        "integer": {"minimum"},
        "int-or-string": {"maxLength"},
        "object": {"properties", "maxProperties"},
        "boolean": {"type"},
    }
    unbounded = [path for path, schema in all_nodes(kind) if not bounds[type_of(schema)] & set(schema)]
    times = [path for path in unbounded if path.endswith((".lastTransitionTime", ".claimedAt", ".since", "[].at"))]
    assert unbounded == times


@pytest.mark.parametrize("kind", CRDS)
def test_schema_rules_speak_in_words(kind: str) -> None:
    """No bare pattern, and no regular expression or line break in a message."""
    for path, schema in all_nodes(kind):
        assert "pattern" not in schema, path
        for rule in schema.get("x-kubernetes-validations", []):
            assert not re.search(r"\n|\[a-z|\\|\^|\$", rule["message"]), path
            assert rule.get("reason") != "FieldValueDuplicate", f"{path}: the API server prints no message with it"


@pytest.mark.parametrize("kind", CRDS)
def test_schema_fields_are_documented_in_three_sentences(kind: str) -> None:
    """Every field says what it means: its description is what kubectl explain prints."""
    for path, schema in all_nodes(kind):
        if path.endswith(("[]", "{}")):
            continue
        assert schema["description"].endswith("."), path
        assert len(re.findall(r"[.](?:\s|$)", schema["description"])) <= 3, f"{path}: {schema['description']}"


@pytest.mark.parametrize("kind", CRDS)
def test_spec_has_no_defaults(kind: str) -> None:
    """Stored defaults are drift to GitOps tools."""
    spec = version(kind)["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert [path for path, schema in nodes(spec, ".spec") if "default" in schema] == []


@pytest.mark.parametrize("kind", CRDS)
def test_lists_merge_by_key_or_value(kind: str) -> None:
    """Lists of objects are maps by required scalars, lists of scalars sets; access.from and pods' lists are atomic."""
    spec = version(kind)["schema"]["openAPIV3Schema"]["properties"]["spec"]
    atomic = {"from", "tolerations", "topologySpreadConstraints", "matchExpressions", "values"}
    for path, schema in nodes(spec, ".spec"):
        if type_of(schema) != "array":
            continue
        kind_of_list, items = schema["x-kubernetes-list-type"], schema["items"]
        if path.rpartition(".")[2] in atomic:
            assert kind_of_list == "atomic", path
        elif items["type"] == "object":
            assert kind_of_list == "map", path
            assert set(schema["x-kubernetes-list-map-keys"]) <= set(items["required"]), path
        else:
            assert kind_of_list == "set", path


def test_status_lists_are_atomic_but_for_conditions() -> None:
    """Conditions merge by type; every other list of the status is written whole."""
    status = version("EgressGateway")["schema"]["openAPIV3Schema"]["properties"]["status"]
    for path, schema in nodes(status, ".status"):
        if type_of(schema) == "array":
            wanted = "map" if path.endswith(".conditions") else "atomic"
            assert schema["x-kubernetes-list-type"] == wanted, path


def test_status_default_is_not_current() -> None:
    """A new object waits for the operator, to kstatus too, which calls an object without conditions current."""
    status = version("EgressGateway")["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert status["default"]["observedGeneration"] == -1
    conditions = {item["type"]: (item["status"], item["reason"]) for item in status["default"]["conditions"]}
    assert conditions == dict.fromkeys(("Accepted", "ResolvedRefs", "Programmed", "Ready"), ("Unknown", "Pending"))


def test_printer_columns() -> None:
    """kubectl get shows what the contract names, and with -o wide four columns more."""
    columns = version("EgressGateway")["additionalPrinterColumns"]
    narrow = [column["name"] for column in columns if not column.get("priority")]
    assert narrow == ["Class", "Gateway", "Destinations", "Ready", "Reason", "Age"]
    wide = [column["name"] for column in columns if column.get("priority")]
    assert wide == ["Provider", "Address", "Hosts", "Message"]
    class_columns = [column["name"] for column in version("EgressGatewayClass")["additionalPrinterColumns"]]
    assert class_columns == ["Provider", "Accepted", "Attached", "Age"]


@pytest.mark.parametrize(
    ("kind", "short_name", "scope"),
    [("EgressGateway", "egressgw", "Namespaced"), ("EgressGatewayClass", "egressgwc", "Cluster")],
)
def test_names_of_kinds(kind: str, short_name: str, scope: str) -> None:
    """Short names, category and scope are those of the contract, and the status is a subresource."""
    spec = CRDS[kind]["spec"]
    assert spec["names"]["shortNames"] == [short_name]
    assert spec["names"]["categories"] == ["egress"]
    assert spec["scope"] == scope
    assert version(kind)["subresources"] == {"status": {}}


@pytest.mark.parametrize("kind", CRDS)
def test_full_objects_use_every_field(kind: str) -> None:
    """What the mutations start from leaves no field out, so that each one is compared with the API server."""
    schema = spec_schemas()[kind]
    objects = [document.manifest["spec"] for document in full_objects() if document.manifest["kind"] == kind]
    used = {path for spec in objects for path in used_paths(spec, schema)}
    assert set(field_paths(schema)) - used == set()


class Recursive(ApiModel):
    inner: Recursive | None = None


class Union(ApiModel):
    either: int | bool


@pytest.mark.parametrize("model", [Recursive, Union])
def test_structural_refuses_what_a_schema_cannot_express(model: type[ApiModel]) -> None:
    """A model that no structural schema can hold fails when the CRDs are generated, not when they are installed."""
    with pytest.raises(ValueError, match=r"contains itself|not structural"):
        structural(model)
