"""
Hosts published to clients outside of the mesh: the other direction of the same gateway.

On the own gateway they have a Gateway object and ports of their own: a wildcard server in the hop's Gateway would be an
open proxy (notes "istio-recipes" §4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from egressgateway.api.expose import ExposedHost
from egressgateway.facts import PodFacts
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import exposed_section
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.gateway.references import gateway_ref, ingress_pods
from egressgateway.plan.gateway.target import identities_of
from egressgateway.plan.ir import Child
from egressgateway.plan.istio.access import Visitor
from egressgateway.plan.istio.routes import http_options, request_headers
from egressgateway.plan.istio.upstream import subset_of
from egressgateway.plan.routing.children import section_child, shared_child
from egressgateway.plan.routing.upstreams import Upstream
from egressgateway.refs import ObjectRef
from egressgateway.stages import Stage

_REDIRECT_PORT: Final = 80
_UPGRADE: Final = MappingProxyType({"headers": {"upgrade": {"regex": "(?i)websocket"}}})


@dataclass(frozen=True, slots=True)
class Attachment:
    """An Istio Gateway that hosts are attached to, and the pods behind it."""

    gateway: ObjectRef
    pods: tuple[PodFacts, ...]

    @property
    def namespaces(self) -> list[str]:
        return sorted({pod.namespace for pod in self.pods})

    def as_seen_from(self, namespace: str) -> str:
        """The name of the Gateway in a VirtualService of `namespace`."""
        own = self.gateway.namespace == namespace
        return self.gateway.name if own else f"{self.gateway.namespace}/{self.gateway.name}"


def attachment_of(context: PlanContext, exposed: ExposedHost) -> Attachment | None:
    """The Gateway of `gatewayRef`; None on the own gateway."""
    ref = gateway_ref(context.key.namespace, exposed)
    if ref is None:
        return None
    found = context.references.objects.get(ref)
    selection = ingress_pods(context.key.namespace, ref, found, context.mesh_config) if found else None
    return Attachment(ref, context.references.pods.get(selection, ()) if selection else ())


def exposed_ports(exposed: Sequence[ExposedHost]) -> tuple[tuple[int, str], ...]:
    """Ports of the own gateway on which hosts are exposed, and their protocol: `http` or `https`."""
    own = [entry for entry in exposed if entry.gateway_ref is None]
    ports = {entry.listens_on: "http" if entry.tls is None else "https" for entry in own}
    if any(entry.tls is not None and entry.tls.https_redirect for entry in own):
        ports[_REDIRECT_PORT] = "http"
    return tuple(sorted(ports.items()))


def visitors_of(context: PlanContext, exposed: Sequence[ExposedHost], hops: Sequence[Hop]) -> Iterator[Visitor]:
    """Ingress gateways that a chain lets use one hop, and no other client of their namespaces."""
    for entry in exposed:
        attachment, hop = attachment_of(context, entry), _hop_behind(entry, hops)
        if attachment is not None and hop is not None and attachment.pods:
            identities = identities_of(context.mesh.trust_domain, attachment.pods)
            yield Visitor(tuple(identity.removeprefix("spiffe://") for identity in identities), hop.sni)


def visiting_namespaces(context: PlanContext, exposed: Sequence[ExposedHost]) -> frozenset[str]:
    """Namespaces of ingress gateways that send requests on to a destination."""
    chained = [entry for entry in exposed if entry.backend.destination is not None]
    attachments = [attachment_of(context, entry) for entry in chained]
    return frozenset(namespace for found in attachments if found is not None for namespace in found.namespaces)


def plan_exposed(
    context: PlanContext, exposed: Sequence[ExposedHost], upstreams: Sequence[Upstream]
) -> Iterator[Child]:
    """Gateway and routes of the own ports, and routes on other Gateways."""
    own = [entry for entry in exposed if entry.gateway_ref is None]
    if own:
        values = {
            "site": context.target,
            "servers": [server for entry in own for server in _servers(entry)] + _redirects(own),
        }
        name = f"{context.key.name}-expose"
        yield shared_child(context.owner, name, "Gateway", Stage.GATEWAY, values, "gateway-expose")
    for entry in exposed:
        attachment = attachment_of(context, entry)
        if attachment is None:
            yield _own_route(context, entry, upstreams)
        else:
            yield _attached_route(context, entry, attachment, [upstream.hop for upstream in upstreams])


def _servers(entry: ExposedHost) -> Iterator[dict[str, Any]]:
    yield {
        "name": f"{'http' if entry.tls is None else 'https'}-{entry.name}",
        "number": entry.listens_on,
        "protocol": "HTTP" if entry.tls is None else "HTTPS",
        "hosts": [f"./{host}" for host in sorted(entry.hosts)],
        "credential_name": entry.tls.credential_name if entry.tls else None,
        "redirect": False,
    }


def _redirects(own: Sequence[ExposedHost]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"redirect-{entry.name}",
            "number": _REDIRECT_PORT,
            "protocol": "HTTP",
            "hosts": [f"./{host}" for host in sorted(entry.hosts)],
            "credential_name": None,
            "redirect": True,
        }
        for entry in own
        if entry.tls is not None and entry.tls.https_redirect
    ]


def _own_route(context: PlanContext, entry: ExposedHost, upstreams: Sequence[Upstream]) -> Child:
    """On the own gateway a chain needs no hop: the request is already at the gateway."""
    behind = next((upstream for upstream in upstreams if _is_behind(entry, upstream.hop)), None)
    values = {
        "hosts": sorted(entry.hosts),
        "gateways": [f"{context.key.name}-expose"],
        "export_to": ["."],
        "ways": [_way(entry, subset_of(behind) if behind else "")],
        "authority": behind.hop.authority if behind else None,
        "headers": request_headers(context, behind) if behind else None,
        "options": http_options(behind),
        "destination": _behind(context, entry, behind),
    }
    return _child(context, entry, values, Stage.GATEWAY)


def _attached_route(context: PlanContext, entry: ExposedHost, attachment: Attachment, hops: Sequence[Hop]) -> Child:
    hop = _hop_behind(entry, hops)
    values = {
        "hosts": sorted(entry.hosts),
        "gateways": [attachment.as_seen_from(context.key.namespace)],
        "export_to": ["." if name == context.key.namespace else name for name in attachment.namespaces],
        "ways": _ways_over(context, entry, hop) if hop else [_way(entry, "")],
        "authority": hop.sni if hop else None,
        "headers": None,
        "options": http_options(None),
        "destination": (
            {"host": context.target.service_host, "port": hop.hop_port} if hop else _behind(context, entry, None)
        ),
    }
    return _child(context, entry, values, Stage.CLIENTS)


def _ways_over(context: PlanContext, entry: ExposedHost, hop: Hop) -> list[dict[str, Any]]:
    """The hop's subset; before it that of WebSockets, where these have one."""
    own = [_way(entry, hop.upgrade_name, _UPGRADE)] if context.target.upgrade_subsets and hop.upgradable else []
    return [*own, _way(entry, hop.name)]


def _way(entry: ExposedHost, subset: str, conditions: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """A subset of the destination, and which requests it gets: those with one of the paths that meet `conditions`."""
    paths = [{"uri": path} for path in _paths(entry)] or ([{}] if conditions else [])
    return {"subset": subset, "matches": [{**path, **conditions} for path in paths]}


def _behind(context: PlanContext, entry: ExposedHost, upstream: Upstream | None) -> dict[str, Any]:
    if upstream is not None:
        return {"host": upstream.hop.upstream, "port": upstream.hop.port}
    service = entry.backend.service
    assert service is not None  # noqa: S101  (the schema has exactly one of the two)
    host = f"{service.name}.{context.key.namespace}.svc.{context.mesh.cluster_domain}"
    return {"host": host, "port": service.port}


def _child(context: PlanContext, entry: ExposedHost, values: dict[str, Any], stage: Stage) -> Child:
    section = exposed_section(entry.name)
    return section_child(context.owner, "VirtualService", stage, section, ("expose",), values, "virtualservice-expose")


def _paths(entry: ExposedHost) -> list[dict[str, str]]:
    """`/v1/*` is everything below `/v1/`; without paths everything."""
    if "/*" in entry.paths:
        return []
    return [{"prefix": path[:-1]} if path.endswith("*") else {"exact": path} for path in entry.paths]


def _hop_behind(entry: ExposedHost, hops: Sequence[Hop]) -> Hop | None:
    return next((hop for hop in hops if _is_behind(entry, hop)), None)


def _is_behind(entry: ExposedHost, hop: Hop) -> bool:
    behind = entry.backend.destination
    return behind is not None and (hop.destination, hop.port) == (behind.name, behind.port)
