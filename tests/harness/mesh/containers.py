"""
What a container's specification says about its process: command, environment, identity. Pure; `sandbox` starts it.

By the rules of the real kubelet where a proxy depends on them: variables that name others, fields of the pod, resources
in units of a divisor (kubernetes.io, "Define Dependent Environment Variables", "Downward API").
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from harness.mesh.layout import NODE_IP, PROXY_UID

Object = dict[str, Any]

PROXY = "istio-proxy"
"""Containers of this name run for real; all others sleep."""

SLEEP = ("sleep", "infinity")
STAND_INS = {
    "openpolicyagent/opa": (sys.executable, "-m", "harness.mesh", "authorizer"),
    "apache/apisix": (sys.executable, "-m", "harness.mesh", "apisix"),
}
"""Programs of ours that run for an image, where a proxy needs somebody to answer."""

NODE_RESOURCES = {"limits.cpu": "2", "limits.memory": "4Gi", "requests.cpu": "0", "requests.memory": "0"}
"""What a container without limits is told: all that the node has."""

_REFERENCE = re.compile(r"\$(\$?)\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")
_KEYED = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")
_SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


@dataclass(frozen=True, slots=True)
class Container:
    """
    One container of a pod. `sidecar`: started before the others and left running, an init container that restarts.
    """

    name: str
    spec: Object
    sidecar: bool = False

    @property
    def real(self) -> bool:
        return self.name == PROXY

    @property
    def stand_in(self) -> tuple[str, ...]:
        """The command of every container that is not real; by most nothing is done."""
        image = self.spec.get("image", "").partition(":")[0]
        return STAND_INS.get(image, SLEEP)


def init_containers(pod: Object) -> list[Container]:
    """Those that come first, in their order; sidecars among them."""
    listed = pod["spec"].get("initContainers") or []
    return [Container(each["name"], each, each.get("restartPolicy") == "Always") for each in listed]


def main_containers(pod: Object) -> list[Container]:
    return [Container(each["name"], each) for each in pod["spec"]["containers"]]


def user_of(pod: Object, container: Container) -> int:
    """User id of the process: the container's, the pod's, or the one that injected proxies have."""
    own, shared = (each.get("securityContext") or {} for each in (container.spec, pod["spec"]))
    return int(own.get("runAsUser", shared.get("runAsUser", PROXY_UID)))


def arguments(container: Container, environment: Mapping[str, str]) -> list[str]:
    """`args`, with references to variables replaced."""
    return [_expand(each, environment) for each in container.spec.get("args") or ()]


def environment(pod: Object, container: Container, address: str) -> dict[str, str]:
    """The container's variables. `address` is the pod's, which its status may not have yet."""
    values: dict[str, str] = {}
    for variable in container.spec.get("env") or ():
        values[variable["name"]] = _value(variable, values, pod, container, address)
    return values


def field_of(pod: Object, path: str, address: str) -> str:
    """
    A field of the pod, as `fieldRef` names it; maps are written a line a key.

    Raises:
        LookupError: a field that the downward API does not have.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    if keyed := _KEYED.match(path):
        return str((metadata.get(keyed[1]) or {}).get(keyed[2], ""))
    fields = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "metadata.labels": _lines(metadata.get("labels") or {}),
        "metadata.annotations": _lines(metadata.get("annotations") or {}),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": address,
        "status.podIPs": address,
        "status.hostIP": NODE_IP,
        "status.hostIPs": NODE_IP,
    }
    return str(fields[path])


def resource_of(container: Container, reference: Object) -> str:
    """A resource as `resourceFieldRef` names it, in units of its divisor, rounded up."""
    kind, _, name = reference["resource"].partition(".")
    listed = (container.spec.get("resources") or {}).get(kind) or {}
    amount = _quantity(listed.get(name, NODE_RESOURCES[reference["resource"]]))
    divisor = _quantity(reference.get("divisor") or "1") or Decimal(1)
    return str((amount / divisor).to_integral_value(ROUND_CEILING))


def _value(variable: Object, known: Mapping[str, str], pod: Object, container: Container, address: str) -> str:
    source = variable.get("valueFrom") or {}
    if "fieldRef" in source:
        return field_of(pod, source["fieldRef"]["fieldPath"], address)
    if "resourceFieldRef" in source:
        return resource_of(container, source["resourceFieldRef"])
    return _expand(variable.get("value", ""), known)


def _expand(text: str, values: Mapping[str, str]) -> str:
    def replaced(found: re.Match[str]) -> str:
        if found[1]:
            return f"$({found[2]})"
        return values.get(found[2], found[0])

    return _REFERENCE.sub(replaced, text)


def _lines(values: Mapping[str, str]) -> str:
    return "".join(_quoted(values))


def _quoted(values: Mapping[str, str]) -> Iterator[str]:
    for key, value in sorted(values.items()):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        yield f'{key}="{escaped}"\n'


def _quantity(text: str) -> Decimal:
    found = re.match(r"^([0-9.]+)(m|[kMG]|[KMG]i)?$", str(text))
    if not found:
        raise LookupError(f"not a quantity that is known here: {text!r}")
    if found[2] == "m":
        return Decimal(found[1]) / 1000
    return Decimal(found[1]) * _SUFFIXES[found[2] or ""]
