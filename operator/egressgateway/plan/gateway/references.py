"""Objects that a spec or its class refers to: what the engine must read for a plan."""

from __future__ import annotations

from collections.abc import Iterator

from egressgateway.api.expose import ExposedHost
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.scalars import is_label
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.facts import Facts, MeshConfig, PodSelection
from egressgateway.live.ingress_class import connecting_refs
from egressgateway.names import selector_labels
from egressgateway.refs import Key, Manifest, ObjectRef

CA_SUFFIX = "-cacert"
"""Istio also looks for a CA in a Secret of this name beside the one in `credentialName`."""


def wanted_references(facts: Facts) -> frozenset[ObjectRef]:
    """
    Secrets, Services, Gateways and an IngressClass that decide whether the object can be served.

    What the IngressClass refers to is known once that has been read.
    """
    return frozenset(_wanted(facts))


def wanted_pods(facts: Facts) -> frozenset[PodSelection]:
    """Pods of gateways that the platform runs, whose readiness and identity matter; and the own ones with probes."""
    return frozenset(_wanted_pods(facts))


def gateway_ref(own: str, exposed: ExposedHost) -> ObjectRef | None:
    """The Istio Gateway that an exposed host of the namespace `own` is attached to; None for the object's own."""
    if exposed.gateway_ref is None:
        return None
    return ObjectRef("Gateway", exposed.gateway_ref.namespace or own, exposed.gateway_ref.name)


def exposed_on(facts: Facts, exposed: ExposedHost) -> str:
    """
    Gateway on which hosts of several objects are exposed, as claims name it; empty for the object's own.

    On APISIX it is the ingress class: every controller that serves it has all of its routes, whichever Service requests
    come through. No namespace has such a name, so no Gateway of Istio's has it.
    """
    reference = gateway_ref(facts.key.namespace, exposed)
    if reference is not None:
        return f"{reference.namespace}/{reference.name}"
    return apisix_gateway(facts.class_.spec)


def apisix_gateway(class_spec: EgressGatewayClassSpec | None) -> str:
    """Where hosts are exposed with a class of provider APISIX; empty with another."""
    return f"IngressClass/{class_spec.ingress_class}" if class_spec and class_spec.ingress_class else ""


def reads_own_secrets(class_spec: EgressGatewayClassSpec | None) -> bool:
    """
    Whether Secrets of the object's namespace reach the gateway: by the rights of its pods, or of its ingress
    controller.
    """
    return class_spec is None or class_spec.shared is None or bool(class_spec.ingress_class)


def shared_service(class_spec: EgressGatewayClassSpec | None) -> ObjectRef | None:
    """The Service of the class's shared gateway."""
    shared = class_spec.shared if class_spec else None
    return ObjectRef("Service", shared.namespace, shared.service) if shared else None


def shared_pods(class_spec: EgressGatewayClassSpec | None) -> PodSelection | None:
    """The pods of the class's shared gateway."""
    shared = class_spec.shared if class_spec else None
    return PodSelection(shared.namespace, tuple(sorted(shared.selector.items()))) if shared else None


def own_pods(
    key: Key, spec: EgressGatewaySpec | None, class_spec: EgressGatewayClassSpec | None
) -> PodSelection | None:
    """The pods of the object's own gateway, where they report results of probes; None where there are none."""
    if spec is None or class_spec is None or class_spec.shared is not None:
        return None
    if not any(destination.probe is not None for destination in spec.destinations):
        return None
    return pods_of_gateway(key)


def pods_of_gateway(key: Key) -> PodSelection:
    """The pods of an object's own gateway."""
    return PodSelection(key.namespace, tuple(sorted(selector_labels(key).items())))


def ingress_pods(own: str, ref: ObjectRef, gateway: Manifest, mesh_config: MeshConfig) -> PodSelection | None:
    """
    Pods that the Istio Gateway `ref` configures, for an object of the namespace `own`: by its selector, in every
    namespace (Istio's default).

    For a Gateway in the object's own namespace only pods there count: every tenant may write one, and a pod in another
    namespace would become a consumer without the class's consent.
    """
    selector = (gateway.get("spec") or {}).get("selector") or {}
    within = ref.namespace if ref.namespace == own or mesh_config.scopes_gateways else ""
    selectable = selector and all(is_label(key, str(value)) for key, value in selector.items())
    return PodSelection(within, tuple(sorted(selector.items()))) if selectable else None


def _wanted(facts: Facts) -> Iterator[ObjectRef]:
    spec, namespace = facts.gateway.spec, facts.key.namespace
    shared = shared_service(facts.class_.spec)
    if shared is not None:
        yield shared
    yield from connecting_refs(facts)
    if spec is None:
        return
    for destination in spec.destinations if reads_own_secrets(facts.class_.spec) else ():
        for port in destination.ports:
            if port.tls is not None and port.tls.credential_name is not None:
                yield ObjectRef("Secret", namespace, port.tls.credential_name)
                yield ObjectRef("Secret", namespace, port.tls.credential_name + CA_SUFFIX)
    for exposed in spec.expose:
        gateway = gateway_ref(facts.key.namespace, exposed)
        if gateway is not None:
            yield gateway
        if exposed.tls is not None and shared is None:
            yield ObjectRef("Secret", namespace, exposed.tls.credential_name)
        if exposed.backend.service is not None:
            yield ObjectRef("Service", namespace, exposed.backend.service.name)


def _wanted_pods(facts: Facts) -> Iterator[PodSelection]:
    shared = shared_pods(facts.class_.spec)
    if shared is not None:
        yield shared
    own = own_pods(facts.key, facts.gateway.spec, facts.class_.spec)
    if own is not None:
        yield own
    for exposed in facts.gateway.spec.expose if facts.gateway.spec else ():
        ref = gateway_ref(facts.key.namespace, exposed)
        gateway = facts.references.objects.get(ref) if ref else None
        selection = ingress_pods(facts.key.namespace, ref, gateway, facts.mesh_config) if ref and gateway else None
        if selection is not None:
            yield selection
