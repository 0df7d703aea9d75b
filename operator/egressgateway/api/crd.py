"""
Turns the models into CustomResourceDefinitions: structural schemas with bounds, list types, CEL rules and descriptions.

Pure: `cli.crds` writes the files. `spec` gets no defaults, for stored defaults are drift to GitOps tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from egressgateway.api.conditions import OBJECT_CONDITIONS, ConditionType
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.model import ApiModel
from egressgateway.api.objects import CLASS_NAME, GATEWAY_NAME, NameForm
from egressgateway.api.rules import VALIDATIONS
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.api.status import EgressGatewayClassStatus, EgressGatewayStatus, initial_status
from egressgateway.refs import EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, Manifest, Resource

# Keywords of JSON Schema that mean nothing to the API server, or that it expresses otherwise.
_DROPPED = ("title", "default", "additionalProperties")
# pydantic leaves the names of its own constraints where a validator of ours runs before them.
_RENAMED = {"ge": "minimum", "le": "maximum"}

# The schema of metadata may only bound the name, so the rule stands on the whole object. The API server has let
# only lower-case letters, digits, '-' and '.' pass before; a pattern over metadata.name, which it takes for
# unbounded, would cost a quarter of the limit.
_GATEWAY_NAME_RULE = {
    "rule": "self.metadata.name >= 'a' && !self.metadata.name.contains('.')",
    "message": GATEWAY_NAME.message,
    "fieldPath": ".metadata.name",
}

_GATEWAY_COLUMNS = (
    ("Class", ".status.className", "The class that serves the object; empty for the built-in one", 0),
    ("Gateway", ".status.gateway.service", "The Service that mesh clients are sent to", 0),
    ("Destinations", ".status.summary.destinations", "Destinations that serve, out of those in the spec", 0),
    ("Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether the whole object serves", 0),
    ("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why", 0),
    ("Age", ".metadata.creationTimestamp", "", 0),
    ("Provider", ".status.provider", "The data plane", 1),
    ("Address", ".status.addresses[0].value", "An address of the exposed ports", 1),
    ("Hosts", ".status.summary.hosts", "The first hosts", 1),
    ("Message", '.status.conditions[?(@.type=="Ready")].message', "The reason, in a sentence", 1),
)
_CLASS_COLUMNS = (
    ("Provider", ".status.provider", "The data plane", 0),
    ("Accepted", '.status.conditions[?(@.type=="Accepted")].status', "Whether the class can be used", 0),
    ("Attached", ".status.attachedGateways", "EgressGateways that use the class", 0),
    ("Age", ".metadata.creationTimestamp", "", 0),
)


def egress_gateway_crd() -> Manifest:
    """The CustomResourceDefinition of EgressGateway."""
    schema = _object_schema(
        "An exit from the mesh to external hosts, and an entrance for hosts published through the same gateway.",
        GATEWAY_NAME,
        EgressGatewaySpec,
        structural(EgressGatewayStatus) | {"default": initial_status(*OBJECT_CONDITIONS)},
    )
    return _crd(EGRESS_GATEWAY, "egressgw", schema | {VALIDATIONS: [_GATEWAY_NAME_RULE]}, _GATEWAY_COLUMNS)


def egress_gateway_class_crd() -> Manifest:
    """The CustomResourceDefinition of EgressGatewayClass."""
    schema = _object_schema(
        "What the platform offers to EgressGateways: a data plane, where gateways run, and what may be asked for.",
        CLASS_NAME,
        EgressGatewayClassSpec,
        structural(EgressGatewayClassStatus) | {"default": initial_status(ConditionType.ACCEPTED)},
    )
    return _crd(EGRESS_GATEWAY_CLASS, "egressgwc", schema, _CLASS_COLUMNS)


def structural(model: type[ApiModel]) -> dict[str, Any]:
    """
    The structural schema of `model`: references inlined, optional fields without a null arm.

    Raises:
        ValueError: the model has a field that such a schema cannot express.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _inline(raw, raw.get("$defs", {}), ())


def _inline(node: Mapping[str, Any], defs: Mapping[str, Any], inside: tuple[str, ...]) -> dict[str, Any]:
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name in inside:
            raise ValueError(f"{name} contains itself, which no structural schema can express")
        # What stands beside the reference describes the field, and wins over what describes the type.
        return _inline({**defs[name], **_without(node, "$ref")}, defs, (*inside, name))
    if "anyOf" in node:
        arms = [arm for arm in node["anyOf"] if arm.get("type") != "null"]
        if len(arms) != 1:
            raise ValueError(f"a union is not structural: {node['anyOf']}")
        return _inline({**arms[0], **_without(node, "anyOf")}, defs, inside)
    result = {_RENAMED.get(key, key): value for key, value in _without(node, "$defs", *_DROPPED).items()}
    result |= _children(node, defs, inside)
    if "description" in node:
        result["description"] = " ".join(node["description"].split())
    if "const" in node:
        result["enum"] = [result.pop("const")]
    if result.get("type") == "integer":
        result.setdefault("format", "int32")
    return _int_or_string(result)


def _children(node: Mapping[str, Any], defs: Mapping[str, Any], inside: tuple[str, ...]) -> dict[str, Any]:
    children: dict[str, Any] = {}
    if "properties" in node:
        children["properties"] = {key: _inline(value, defs, inside) for key, value in node["properties"].items()}
    if "items" in node:
        children["items"] = _inline(node["items"], defs, inside)
    if isinstance(node.get("additionalProperties"), Mapping):
        children["additionalProperties"] = _inline(node["additionalProperties"], defs, inside)
    return children


def _int_or_string(node: dict[str, Any]) -> dict[str, Any]:
    if node.get("x-kubernetes-int-or-string"):
        node["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return node


def _without(node: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in keys}


def _object_schema(description: str, name: NameForm, spec: type[ApiModel], status: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the API, `egressgateway.dev/v1alpha1`."},
            "kind": {"type": "string", "description": "Kind of the object."},
            "metadata": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": name.max_length}},
            },
            "spec": structural(spec),
            "status": status,
        },
    }


def _crd(
    resource: Resource, short_name: str, schema: dict[str, Any], columns: tuple[tuple[str, str, str, int], ...]
) -> Manifest:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [short_name],
                "categories": ["egress"],
            },
            "versions": [
                {
                    "name": resource.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*column) for column in columns],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _column(name: str, path: str, description: str, priority: int) -> dict[str, Any]:
    kind = {"Age": "date", "Attached": "integer"}.get(name, "string")
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    if description:
        column["description"] = description
    if priority:
        column["priority"] = priority
    return column
