"""What an author may not expect of Istio, and that rejects nothing: said in `Accepted`."""

from __future__ import annotations

from collections.abc import Iterator

from egressgateway.api.destination import PLAIN_TEXT_FIRST, Destination, Protocol
from egressgateway.api.server import WildcardStrategy
from egressgateway.facts import MeshConfig
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import Advisory, Notice
from egressgateway.plan.istio.callers import MAX_CALLERS, are_judged_first
from egressgateway.plan.istio.inner import opened_networks


def advisories(context: PlanContext) -> Iterator[Advisory]:
    """Notices about each destination."""
    judged_late = _judged_late(context) if any(each.has_tcp for each in context.spec.destinations) else ""
    for index, destination in enumerate(context.spec.destinations):
        field = f"spec.destinations[{index}]"
        yield from _plain_text_first(context, destination, field)
        yield from _private_names(context, destination, field)
        if judged_late and destination.has_tcp:
            yield Advisory(f"{field}.ports: {judged_late}", destination.name, notice=Notice.JUDGED_LATE)
        yield from _whole_port(context, destination, field)


def _plain_text_first(context: PlanContext, destination: Destination, field: str) -> Iterator[Advisory]:
    for index, port in enumerate(destination.ports):
        known = PLAIN_TEXT_FIRST.get(port.port)
        if port.protocol is Protocol.TLS and known:
            fate = _fate_of_plain_text(context.mesh_config, destination)
            yield Advisory(
                f"{field}.ports[{index}]: {known} on port {port.port} usually begins in plain text, and a client that "
                f"does so {fate}; use protocol TCP, unless clients begin with TLS",
                destination.name,
                notice=Notice.PLAIN_TEXT_FIRST,
            )


def _fate_of_plain_text(mesh: MeshConfig, destination: Destination) -> str:
    """
    What sidecars do with bytes that are not TLS: no name says where they belong.

    They go where the client dialled. That is an address that leads nowhere, if sidecars answer DNS for a host without
    addresses, and otherwise the destination's own.
    """
    if (mesh.dns_capture and not destination.addresses) or mesh.outbound_policy == "REGISTRY_ONLY":
        return "is refused"
    return "goes past the gateway" if mesh.outbound_policy == "ALLOW_ANY" else "does not reach the gateway"


def _private_names(context: PlanContext, destination: Destination, field: str) -> Iterator[Advisory]:
    wildcard = destination.wildcard
    if wildcard is not None and wildcard.strategy is WildcardStrategy.DYNAMIC_RESOLUTION:
        opened = ", ".join(map(str, opened_networks(context.class_spec)))
        allowed = f" but for {opened}" if opened else f"; {context.class_name} may allow some in allowedCIDRs"
        message = f"{field}.wildcard: names that lead to private addresses are refused{allowed}"
        yield Advisory(message, destination.name, notice=Notice.PRIVATE_ADDRESSES_REFUSED)


def _whole_port(context: PlanContext, destination: Destination, field: str) -> Iterator[Advisory]:
    """TCP names no host: without addresses to tell them by, sidecars take a port whole (notes "istio-recipes" §12)."""
    ports = [port.port for port in destination.contended_ports if port.protocol is Protocol.TCP]
    if ports and not context.mesh_config.dns_capture:
        yield Advisory(
            f"{field}.ports: clients reach {destination.hosts[0]} whatever address they dial on TCP port {ports[0]}; "
            "set addresses, or enable DNS capture in the mesh, to leave other addresses alone",
            destination.name,
            notice=Notice.WHOLE_PORT,
        )


def _judged_late(context: PlanContext) -> str:
    """
    Who hears a server that speaks first without being allowed to; empty for nobody.

    What judges a connection by its first bytes does so after the gateway has connected to the destination.
    """
    if not context.target.strict:
        return ""
    if context.class_spec.external_authorization is not None:
        return (
            "where the server speaks first, clients that the external authorizer refuses still see its first message; "
            "their own bytes do not reach it"
        )
    if not are_judged_first(context):
        return (
            "where the server speaks first, workloads of the mesh that access refuses still see its first message, "
            f"because access lists more than {MAX_CALLERS} identities over all TCP ports; list fewer, or make several "
            "objects"
        )
    return ""
