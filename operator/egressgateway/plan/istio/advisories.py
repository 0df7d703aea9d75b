"""What an author may not expect of Istio, and that rejects nothing: said in `Accepted`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from egressgateway.api.destination import Destination, Protocol
from egressgateway.api.server import WildcardStrategy
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import Advisory
from egressgateway.plan.istio.callers import MAX_CALLERS, are_judged_first
from egressgateway.plan.istio.inner import opened_networks

_PLAIN_FIRST: Final = {
    21: "FTP",
    25: "SMTP",
    110: "POP3",
    119: "NNTP",
    143: "IMAP",
    389: "LDAP",
    587: "SMTP",
    1433: "SQL Server",
    3306: "MySQL",
    5222: "XMPP",
    5432: "PostgreSQL",
}
"""Ports whose protocol usually begins in plain text and goes on with TLS later (STARTTLS, PostgreSQL's SSLRequest)."""


def advisories(context: PlanContext) -> Iterator[Advisory]:
    """Notices about each destination."""
    judged_late = _judged_late(context) if any(each.has_tcp for each in context.spec.destinations) else ""
    for index, destination in enumerate(context.spec.destinations):
        field = f"spec.destinations[{index}]"
        yield from _plain_text_first(destination, field)
        yield from _private_names(context, destination, field)
        if judged_late and destination.has_tcp:
            yield Advisory(f"{field}.ports: {judged_late}", destination.name)
        yield from _whole_port(context, destination, field)


def _plain_text_first(destination: Destination, field: str) -> Iterator[Advisory]:
    for index, port in enumerate(destination.ports):
        known = _PLAIN_FIRST.get(port.port)
        if port.protocol is Protocol.TLS and known:
            yield Advisory(
                f"{field}.ports[{index}]: {known} on port {port.port} usually begins in plain text, and a client that "
                "does so does not reach the gateway; use protocol TCP, unless clients begin with TLS",
                destination.name,
            )


def _private_names(context: PlanContext, destination: Destination, field: str) -> Iterator[Advisory]:
    wildcard = destination.wildcard
    if wildcard is not None and wildcard.strategy is WildcardStrategy.DYNAMIC_RESOLUTION:
        opened = ", ".join(map(str, opened_networks(context.class_spec)))
        allowed = f" but for {opened}" if opened else f"; {context.class_name} may allow some in allowedCIDRs"
        yield Advisory(f"{field}.wildcard: names that lead to private addresses are refused{allowed}", destination.name)


def _whole_port(context: PlanContext, destination: Destination, field: str) -> Iterator[Advisory]:
    """TCP names no host: without addresses to tell them by, sidecars take a port whole (notes "istio-recipes" §12)."""
    ports = [port.port for port in destination.contended_ports if port.protocol is Protocol.TCP]
    if ports and not context.mesh_config.dns_capture:
        yield Advisory(
            f"{field}.ports: clients reach {destination.hosts[0]} whatever address they dial on TCP port {ports[0]}; "
            "set addresses, or enable DNS capture in the mesh, to leave other addresses alone",
            destination.name,
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
