"""
What APISIX's provider cannot do with fields and cluster taken together, and what its users should know.

The table of `capabilities` rejects single values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from egressgateway.api.access import AccessEntry
from egressgateway.api.spec import EgressGatewaySpec, MeshHeadersMode
from egressgateway.contention.consumers import Consumers, entries_of, namespaces_of
from egressgateway.facts import PodFacts
from egressgateway.live.children import namespaces_of_export, section_of, ways_of
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import Advisory, Notice, exposed_section
from egressgateway.plan.gateway.references import shared_pods

ADDED_HEADERS: Final = ("x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto")
"""Headers that APISIX's nginx configuration sets on every request; no plugin can remove them."""


_SHUT_IN: Final = (
    "clients are still sent to APISIX and get errors: the sidecars of its pods block their requests "
    "(outboundTrafficPolicy REGISTRY_ONLY)"
)
_WITHOUT_SIDECARS: Final = (
    "clients are still sent to APISIX with mutual TLS and get errors: some of its pods have no sidecar to terminate "
    "it; inject sidecars into them, or use a class with mtls Disabled"
)


@dataclass(frozen=True, slots=True)
class Grant:
    """An entry of `access` that serves some consumer: which ones, and on which conditions, each in a stable order."""

    entry: AccessEntry
    namespaces: frozenset[str]

    @property
    def conditions(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Methods and paths; none is every one."""
        return tuple(sorted(self.entry.methods)), tuple(sorted(self.entry.paths))


def grants_of(context: PlanContext, destination: str) -> list[Grant]:
    """
    Which consumers may use a destination, and how. A grant counts for nothing if the class denies all of its consumers.
    """
    grants = (
        Grant(entry, namespaces_of(context.key, entry, context.class_spec, context.namespaces))
        for entry in entries_of(context.spec, destination)
    )
    return [grant for grant in grants if grant.namespaces]


def limits_of_spec(context: PlanContext) -> Iterator[str]:
    """
    Conditions of `access` that would have to distinguish callers.

    A route of APISIX knows methods and paths, but not the caller: a grant to one namespace would hold for all others,
    too.
    """
    for destination in context.spec.destinations:
        grants = grants_of(context, destination.name)
        if len({grant.namespaces for grant in grants}) > 1 and len({grant.conditions for grant in grants}) > 1:
            index, field = _first_conditional(context.spec, grants)
            yield (
                f"spec.access.from[{index}].{field}: not supported by {context.class_name} (provider APISIX): APISIX "
                f"does not know the caller, so all entries for destination {destination.name} need the same methods "
                "and paths; make them the same, or use a class with provider Istio"
            )


def limits_of_destination(context: PlanContext, field: str) -> Iterator[str]:
    """What the pods of APISIX cannot do for any destination."""
    pods, target = gateway_pods(context), context.target
    if target.strict and pods and not all(pod.sidecar for pod in pods):
        yield (
            f"{field}: {context.class_name} has mtls Strict, and the pods behind Service "
            f"{target.namespace}/{target.service} of its APISIX have no mesh identity; use a class with mtls Disabled, "
            "or inject sidecars into them"
        )
    if _lets_nothing_out(context) and any(pod.intercepted for pod in pods):
        yield (
            f"{field}: the pods of {context.class_name}'s APISIX have sidecars, which block hosts that the mesh "
            "does not know (outboundTrafficPolicy REGISTRY_ONLY); give these pods the annotation "
            'traffic.sidecar.istio.io/includeOutboundIPRanges: "", or remove their sidecars'
        )


def why_unserved(context: PlanContext, section: str, *, by_this_gateway: bool) -> str:
    """Why APISIX answers requests for a section with errors, although all of it still runs."""
    if by_this_gateway and _is_shut_in(context) and _leads_out(context, section):
        return _SHUT_IN
    return _WITHOUT_SIDECARS if _lacks_sidecars(context, section) else ""


def _leads_out(context: PlanContext, section: str) -> bool:
    """Whether requests for it leave the mesh; for exposed hosts, those of a chain do, once APISIX has a route."""
    if not section.startswith(exposed_section("")):
        return True
    chained = any(
        exposed.backend.destination is not None
        for exposed in context.spec.expose
        if exposed_section(exposed.name) == section
    )
    live = context.live.objects.items()
    return chained and any(ref.kind == "ApisixRoute" and section_of(found) == section for ref, found in live)


def _is_shut_in(context: PlanContext) -> bool:
    """
    Whether egress of the class's APISIX is blocked: the sidecars of its pods answer 502, whichever client calls.

    No external host is registered with these sidecars: a registered host would have its requests sent back to APISIX.
    """
    return _lets_nothing_out(context) and any(pod.intercepted and pod.ready for pod in gateway_pods(context))


def _lacks_sidecars(context: PlanContext, section: str) -> bool:
    """
    Whether clients of a section require mutual TLS at the class's APISIX, and its pods have no sidecar to terminate it.
    """
    subsets = {item["name"] for item in context.live.items_of("DestinationRule", context.target.object_name, "subsets")}
    ways = {way for route in context.live.mesh_routes if section_of(route) == section for way in ways_of(route)}
    without = any(pod.ready and not pod.sidecar for pod in gateway_pods(context))
    return context.target.strict and bool(subsets & ways) and without


def _lets_nothing_out(context: PlanContext) -> bool:
    return context.mesh_config.outbound_policy == "REGISTRY_ONLY"


def excluded_namespaces(context: PlanContext) -> frozenset[str]:
    """
    Namespaces whose clients cannot be sent to the gateway: its own, where its pods' own calls pass a sidecar.

    That sidecar would send what leaves APISIX back to it, in an endless loop. While there are no pods to look at,
    nothing changes: the next pods will be like the last ones.
    """
    pods, own = gateway_pods(context), context.target.namespace
    if pods:
        return frozenset({own} if any(pod.intercepted for pod in pods) else ())
    seen_by = [namespaces_of_export(route, context.key.namespace) for route in context.live.mesh_routes]
    return frozenset({own} if seen_by and not any({own, EVERY_NAMESPACE} & each for each in seen_by) else ())


def excluded_message(context: PlanContext) -> str:
    """Why they are excluded, and the remedy."""
    return (
        f"clients in namespace {context.target.namespace} are not sent to APISIX, which runs there with sidecars: "
        "its own requests would come back to it; give its pods the annotation "
        'traffic.sidecar.istio.io/includeOutboundIPRanges: "", or remove their sidecars'
    )


def advisories(context: PlanContext, consumers: Consumers) -> Iterator[Advisory]:
    """Behaviour that differs from what a user may expect."""
    spec = context.spec
    if not spec.destinations:
        return
    if spec.telemetry is None or spec.telemetry.mesh_headers is not MeshHeadersMode.KEEP:
        message = f"external hosts see the address of the caller's pod: APISIX sets {', '.join(ADDED_HEADERS)}"
        yield Advisory(message, notice=Notice.CALLER_ADDRESS_SHOWN)
    if EVERY_NAMESPACE in consumers.all and excluded_namespaces(context):
        yield Advisory(excluded_message(context), notice=Notice.NAMESPACE_EXCLUDED)


def gateway_pods(context: PlanContext) -> Sequence[PodFacts]:
    """The pods of the class's APISIX, as far as they are known."""
    selection = shared_pods(context.class_spec)
    return context.references.pods.get(selection, ()) if selection else ()


def _first_conditional(spec: EgressGatewaySpec, grants: Sequence[Grant]) -> tuple[int, str]:
    """Index of the first entry with a condition, and its field."""
    entry = next(grant.entry for grant in grants if grant.entry.methods or grant.entry.paths)
    listed = spec.access.from_ if spec.access else ()
    return listed.index(entry), "methods" if entry.methods else "paths"
