"""
What APISIX's provider cannot do as fields and the world come together, and what its users should know.

Single values are refused by the table of `capabilities`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from egressgateway.api.access import AccessEntry
from egressgateway.api.gateway_class import EgressGatewayClassSpec, MtlsMode, Provider
from egressgateway.api.spec import EgressGatewaySpec, MeshHeadersMode
from egressgateway.contention.consumers import Consumers, entries_of, namespaces_of
from egressgateway.facts import Facts, PodFacts
from egressgateway.live.children import mesh_routes, namespaces_of_export, part_of, ways_of
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.plan.findings import Advisory
from egressgateway.plan.gateway.references import shared_pods
from egressgateway.plan.gateway.target import target_of
from egressgateway.refs import ObjectRef

ADDED_HEADERS: Final = ("x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto")
"""Headers that APISIX's nginx configuration sets on every request; no plugin takes them away again."""


@dataclass(frozen=True, slots=True)
class Grant:
    """An entry of `access` that serves somebody: whom, and on which conditions, each in a stable order."""

    entry: AccessEntry
    namespaces: frozenset[str]

    @property
    def conditions(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Methods and paths; none is every one."""
        return tuple(sorted(self.entry.methods)), tuple(sorted(self.entry.paths))


def grants_of(facts: Facts, destination: str) -> list[Grant]:
    """Who may use a destination, and how. What is granted to nobody, for the class denies it, counts for nothing."""
    spec, class_spec = facts.gateway.spec, facts.class_.spec
    if spec is None or class_spec is None:
        return []
    grants = (
        Grant(entry, namespaces_of(facts.key, entry, class_spec, facts.namespaces))
        for entry in entries_of(spec, destination)
    )
    return [grant for grant in grants if grant.namespaces]


def limits_of_spec(facts: Facts, spec: EgressGatewaySpec) -> Iterator[str]:
    """
    Conditions of `access` that would have to tell callers apart.

    A route of APISIX knows methods and paths, but not whose request it is: what one namespace is granted, another
    would be, too.
    """
    for destination in spec.destinations:
        grants = grants_of(facts, destination.name)
        if len({grant.namespaces for grant in grants}) > 1 and len({grant.conditions for grant in grants}) > 1:
            index, field = _first_conditional(spec, grants)
            yield (
                f"spec.access.from[{index}].{field}: not possible on {facts.class_} (provider APISIX): APISIX does not "
                f"know who calls, so all entries for destination {destination.name} need the same methods and paths; "
                "make them alike, or use a class with provider Istio"
            )


def limits_of_destination(facts: Facts, class_spec: EgressGatewayClassSpec, field: str) -> Iterator[str]:
    """What the pods of APISIX cannot do for any destination."""
    pods, site = gateway_pods(facts), target_of(facts)
    if class_spec.mtls is not MtlsMode.DISABLED and pods and not all(pod.sidecar for pod in pods):
        yield (
            f"{field}: {facts.class_} has mtls Strict, and the pods behind Service {site.namespace}/{site.service} of "
            "its APISIX have no mesh identity; use a class with mtls Disabled, or have their sidecars injected"
        )
    if _lets_nothing_out(facts) and any(pod.intercepted for pod in pods):
        yield (
            f"{field}: the pods of {facts.class_}'s APISIX have sidecars, which let no host out that the mesh does not "
            "know (outboundTrafficPolicy REGISTRY_ONLY); give these pods the annotation "
            'traffic.sidecar.istio.io/includeOutboundIPRanges: "", or no sidecar'
        )


def is_shut_in(facts: Facts) -> bool:
    """
    Whether requests do not leave the class's APISIX: sidecars of pods that take them answer 502, whoever sends them.

    No external host is registered with them: registered there, they would send its requests back to it.
    """
    if facts.class_.spec is None or facts.class_.spec.data_plane is not Provider.APISIX:
        return False
    return _lets_nothing_out(facts) and any(pod.intercepted and pod.ready for pod in gateway_pods(facts))


def lacks_sidecars(facts: Facts, part: str) -> bool:
    """Whether clients of a part ask for mutual TLS at the class's APISIX, and pods have no sidecar to answer it."""
    if facts.class_.spec is None or facts.class_.spec.data_plane is not Provider.APISIX:
        return False
    site = target_of(facts)
    rule = facts.live.get(ObjectRef("DestinationRule", facts.key.namespace, site.object_name), {})
    subsets = {subset["name"] for subset in (rule.get("spec") or {}).get("subsets") or ()}
    ways = {way for route in mesh_routes(facts.live) if part_of(route) == part for way in ways_of(route)}
    return site.strict and bool(subsets & ways) and any(pod.ready and not pod.sidecar for pod in gateway_pods(facts))


def _lets_nothing_out(facts: Facts) -> bool:
    return facts.mesh_config.outbound_policy == "REGISTRY_ONLY"


def excluded_namespaces(facts: Facts) -> frozenset[str]:
    """
    Namespaces whose clients cannot be sent to the gateway: its own, where its pods' own calls pass a sidecar.

    That sidecar would send what leaves APISIX back to it, in a circle without end. While there are no pods to look at,
    it stays as it is: those that come next will be like those that were.
    """
    if facts.class_.spec is None or facts.class_.spec.data_plane is not Provider.APISIX:
        return frozenset()
    pods, own = gateway_pods(facts), target_of(facts).namespace
    if pods:
        return frozenset({own} if any(pod.intercepted for pod in pods) else ())
    seen_by = [namespaces_of_export(route, facts.key.namespace) for route in mesh_routes(facts.live)]
    return frozenset({own} if seen_by and not any({own, EVERY_NAMESPACE} & each for each in seen_by) else ())


def excluded_message(facts: Facts) -> str:
    """Why, and what helps."""
    return (
        f"clients in namespace {target_of(facts).namespace} are not sent to APISIX, which runs there with sidecars: "
        "its own requests would come back to it; give its pods the annotation "
        'traffic.sidecar.istio.io/includeOutboundIPRanges: "", or no sidecar'
    )


def advisories(facts: Facts, spec: EgressGatewaySpec, consumers: Consumers) -> Iterator[Advisory]:
    """What stays as it is although one might think otherwise."""
    class_spec = facts.class_.spec
    if class_spec is None or class_spec.data_plane is not Provider.APISIX or not spec.destinations:
        return
    if spec.telemetry is None or spec.telemetry.mesh_headers is not MeshHeadersMode.KEEP:
        yield Advisory(f"external hosts see the address of the caller's pod: APISIX sets {', '.join(ADDED_HEADERS)}")
    if EVERY_NAMESPACE in consumers.all and excluded_namespaces(facts):
        yield Advisory(excluded_message(facts))


def gateway_pods(facts: Facts) -> Sequence[PodFacts]:
    """The pods of the class's APISIX, as far as they are known."""
    selection = shared_pods(facts)
    return facts.references.pods.get(selection, ()) if selection else ()


def _first_conditional(spec: EgressGatewaySpec, grants: Sequence[Grant]) -> tuple[int, str]:
    """Place of the first entry with a condition, and the field of it."""
    entry = next(grant.entry for grant in grants if grant.entry.methods or grant.entry.paths)
    listed = spec.access.from_ if spec.access else ()
    return listed.index(entry), "methods" if entry.methods else "paths"
