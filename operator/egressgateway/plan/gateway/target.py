"""
The gateway that an object uses: its own pods, or a shared gateway that the platform runs.

Everything that differs between the two, and between a hop with and without mutual TLS, is decided here once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from egressgateway.api.gateway_class import EgressGatewayClassSpec, MtlsMode, SharedGateway, UpgradeMode
from egressgateway.facts import Facts, PodFacts, WorkloadFacts
from egressgateway.live.obstacles import common_obstacle
from egressgateway.names import selector_labels, short_hash, workload_name
from egressgateway.plan.gateway.references import shared_pods
from egressgateway.refs import ObjectRef

LISTENER_PORT: Final = 15443
"""
Port of the hop's Service and of the gateway's Envoy, for everything under mutual TLS. It never changes when
destinations do, and leaves 80 and 443 to exposed hosts.
"""

PLAIN_PORT: Final = 15080
"""The same for requests without mutual TLS."""

_WITH_MTLS, _PLAIN = "", "plain"
_FIRST_UNPRIVILEGED: Final = 1024
_PRIVILEGED_OFFSET: Final = 18000
_DEFAULT_HTTP: Final = 80
_DEFAULT_TLS: Final = 443


@dataclass(frozen=True, slots=True)
class GatewayTarget:
    """
    The gateway as clients and routes see it.

    Attributes:
        id: distinguishes hops through different gateways of one object, while its class changes; empty for the own one.
        object_name: of the Gateway, the hop's DestinationRule and of every other child that exists once.
        identities: SPIFFE identities that the gateway's pods may have.
        strict: the hop is under mutual TLS.
        hop_port: of the Service, for everything under mutual TLS.
        plain_port: of the Service, for requests without mutual TLS.
        upgrade_policy: whether sidecars speak HTTP/2 on the hop whatever their clients do, in Istio's words.
        upgrades: by which means a WebSocket takes a hop of HTTP/2; None where the hop is HTTP/1.1.
    """

    id: str
    namespace: str
    service: str
    service_host: str
    object_name: str
    selector: Mapping[str, str]
    identities: list[str]
    dedicated: bool
    strict: bool
    hop_port: int = LISTENER_PORT
    plain_port: int = PLAIN_PORT
    upgrade_policy: str = "UPGRADE"
    upgrades: UpgradeMode | None = UpgradeMode.ENVOY_FILTER

    @property
    def upgrade_subsets(self) -> bool:
        """WebSockets have subsets of their own, which speak HTTP/1.1 with the gateway."""
        return self.upgrades is UpgradeMode.SUBSET

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids that hops under `object_name` may have: those of the own gateway with mutual TLS, and without."""
        return (_WITH_MTLS, _PLAIN) if self.dedicated else (self.id,)

    @property
    def export_to(self) -> list[str]:
        """`exportTo` of objects that only the gateway needs."""
        return ["."] if self.dedicated else [self.namespace]


def target_of(facts: Facts) -> GatewayTarget:
    """The gateway that the object's class gives it."""
    class_spec = facts.class_.spec or EgressGatewayClassSpec()
    strict = class_spec.mtls is not MtlsMode.DISABLED
    if class_spec.shared is not None:
        return _shared(facts, class_spec.shared, class_spec, strict=strict)
    service = workload_name(facts.key)
    return GatewayTarget(
        id=_WITH_MTLS if strict else _PLAIN,
        namespace=facts.key.namespace,
        service=service,
        service_host=_service_host(facts.mesh.cluster_domain, facts.key.namespace, service),
        object_name=service,
        selector=selector_labels(facts.key),
        identities=[_identity(facts.mesh.trust_domain, facts.key.namespace, service)],
        dedicated=True,
        strict=strict,
        upgrades=class_spec.upgrades or UpgradeMode.ENVOY_FILTER,
    )


def workload_of(facts: Facts) -> WorkloadFacts:
    """Pods of the gateway that the object's class gives it."""
    selection = shared_pods(facts.class_.spec)
    if selection is None:
        return facts.workload
    pods = facts.references.pods.get(selection, ())
    ready = sum(pod.ready for pod in pods)
    return WorkloadFacts(len(pods), ready, complete=ready > 0, obstacle=common_obstacle(pods))


def listen_port(service_port: int) -> int:
    """Port in the pod for a port of a Service: processes of the gateway may not bind those below 1024."""
    return service_port if service_port >= _FIRST_UNPRIVILEGED else service_port + _PRIVILEGED_OFFSET


def identities_of(trust_domain: str, pods: Iterable[PodFacts]) -> list[str]:
    """SPIFFE identities of `pods`, in a stable order."""
    return sorted({_identity(trust_domain, pod.namespace, pod.service_account) for pod in pods})


def _shared(facts: Facts, shared: SharedGateway, class_spec: EgressGatewayClassSpec, *, strict: bool) -> GatewayTarget:
    ingress_class = class_spec.ingress_class
    selection = shared_pods(facts.class_.spec)
    pods = facts.references.pods.get(selection, ()) if selection else ()
    # The owner is included: Istio joins the rules of several objects for one Service, and the older subset wins.
    mode = "strict" if strict else "plain"
    ports = shared.ports
    http_port = (ports.http if ports else None) or _DEFAULT_HTTP
    tls_port = (ports.tls if ports else None) or _DEFAULT_TLS
    # Another port is another hop: clients use the old one until the new one works.
    moved = () if (http_port, tls_port) == (_DEFAULT_HTTP, _DEFAULT_TLS) else (str(http_port), str(tls_port))
    id_ = short_hash(*facts.key, shared.namespace, shared.service, mode, *moved)
    if ingress_class:
        # A sidecar in front of APISIX terminates the mutual TLS, so requests are plain where APISIX listens. Two more
        # changes make another hop: of the object's uid, from which the mark of requests is made, and of the ingress
        # class, because one controller drops a route at once while another has yet to take it.
        id_ = short_hash(*facts.key, facts.gateway.uid, shared.namespace, shared.service, mode, ingress_class, *moved)
        tls_port = http_port
    object_name = f"{facts.key.name}-shared-{id_}"
    return GatewayTarget(
        id=id_,
        namespace=shared.namespace,
        service=shared.service,
        service_host=_service_host(facts.mesh.cluster_domain, shared.namespace, shared.service),
        object_name=object_name,
        selector=shared.selector,
        identities=identities_of(facts.mesh.trust_domain, pods) or _pinned(facts, object_name),
        dedicated=False,
        strict=strict,
        hop_port=tls_port,
        plain_port=http_port,
        # The installation decides whether APISIX takes HTTP/2 on its plain port; the operator cannot see it.
        upgrade_policy="DO_NOT_UPGRADE" if ingress_class else "UPGRADE",
        upgrades=None if ingress_class else _shared_upgrades(class_spec, strict=strict),
    )


def _shared_upgrades(class_spec: EgressGatewayClassSpec, *, strict: bool) -> UpgradeMode:
    """An EnvoyFilter finds the object's filter chains by their server names, which only mutual TLS has."""
    return (class_spec.upgrades or UpgradeMode.ENVOY_FILTER) if strict else UpgradeMode.SUBSET


def _pinned(facts: Facts, object_name: str) -> list[str]:
    """
    Identities that clients already require.

    While a shared gateway has no pods, its identities are unknown, and clients that require none would trust any
    server.
    """
    rule = facts.live.get(ObjectRef("DestinationRule", facts.key.namespace, object_name), {})
    pinned = {
        name
        for subset in (rule.get("spec") or {}).get("subsets") or ()
        for level in (subset.get("trafficPolicy") or {}).get("portLevelSettings") or ()
        for name in (level.get("tls") or {}).get("subjectAltNames") or ()
    }
    return sorted(pinned)


def _service_host(cluster_domain: str, namespace: str, service: str) -> str:
    return f"{service}.{namespace}.svc.{cluster_domain}"


def _identity(trust_domain: str, namespace: str, service_account: str) -> str:
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"
