"""
What connects APISIX's ingress controller to APISIX: an IngressClass, and the GatewayProxy that its parameters name.

Version 2 of the controller takes the address of the Admin API from the GatewayProxy. Without parameters it accepts
objects and pushes none; without the class it removes all that APISIX has of it (both seen with version 2.2.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.facts import Facts
from egressgateway.refs import GATEWAY_PROXY, INGRESS_CLASS, Manifest, ObjectRef

CONTROLLER_NAME: Final = "apisix.apache.org/apisix-ingress-controller"
"""`spec.controller` of its IngressClasses; its configuration can have another one (`controller_name`)."""


def ingress_class_ref(class_spec: EgressGatewayClassSpec | None) -> ObjectRef | None:
    """The IngressClass of a class; None with another provider than APISIX."""
    return (
        ObjectRef(INGRESS_CLASS.kind, "", class_spec.ingress_class) if class_spec and class_spec.ingress_class else None
    )


def gateway_proxy_ref(ingress_class: Manifest, namespace: str) -> ObjectRef | None:
    """
    The GatewayProxy that an IngressClass names to the routes of `namespace`; None where it names none.

    Parameters without a namespace mean the one of the route.
    """
    parameters = parameters_of(ingress_class)
    if parameters.get("kind") != GATEWAY_PROXY.kind or parameters.get("apiGroup") != GATEWAY_PROXY.group:
        return None
    name = parameters.get("name")
    return ObjectRef(GATEWAY_PROXY.kind, parameters.get("namespace") or namespace, name) if name else None


def parameters_of(ingress_class: Manifest) -> Mapping[str, Any]:
    """What an IngressClass gives its controller; empty where it gives nothing."""
    return (ingress_class.get("spec") or {}).get("parameters") or {}


def foreign_controller(ingress_class: Manifest) -> str:
    """`spec.controller` of an IngressClass, if it is not what APISIX's ingress controller has by default."""
    name = str((ingress_class.get("spec") or {}).get("controller") or "")
    return "" if name == CONTROLLER_NAME else name


def connecting_refs(facts: Facts) -> Iterator[ObjectRef]:
    """IngressClass and GatewayProxy of the object's class; the latter once the former has been read."""
    ref = ingress_class_ref(facts.class_.spec)
    if ref is None:
        return
    yield ref
    found = facts.references.objects.get(ref)
    proxy = gateway_proxy_ref(found, facts.key.namespace) if found else None
    if proxy is not None:
        yield proxy


def connections(facts: Facts) -> Iterator[Manifest]:
    """The objects behind the class's `connecting_refs`, as far as they were read and exist."""
    for ref in connecting_refs(facts):
        found = facts.references.objects.get(ref)
        if found is not None:
            yield found
