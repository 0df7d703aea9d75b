"""
Fields of the status beside its conditions: counts, claims, addresses of the gateway, children in other namespaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from egressgateway.api.conditions import Reason
from egressgateway.contention.rights import rights_fields
from egressgateway.facts import Facts
from egressgateway.plan.acceptance import Acceptance, named_consumers
from egressgateway.plan.gateway.references import shared_service
from egressgateway.plan.gateway.target import target_of, workload_of
from egressgateway.plan.ir import Plan
from egressgateway.plan.pods.workload import desired_replicas, effective_settings, exposed_service_name
from egressgateway.refs import CHILD_BY_KIND, Manifest, ObjectRef
from egressgateway.status.clients import clients_fields
from egressgateway.status.condition import Section, serves
from egressgateway.status.expirations import expirations_field
from egressgateway.status.messages import shortened


def status_fields(facts: Facts, acceptance: Acceptance, plan: Plan, sections: Sequence[Section]) -> dict[str, Any]:
    counted = [conditions for name, conditions in sections if not is_expired(acceptance, name)]
    serving = sum(serves(conditions) for conditions in counted)
    spec = facts.gateway.spec
    hosts = sorted({host for found in (spec.destinations if spec else ()) for host in found.hosts})
    hosts = hosts or sorted({host for found in (spec.expose if spec else ()) for host in found.hosts})
    fields: dict[str, Any] = {
        "className": _class_name(facts),
        "provider": str(facts.class_.spec.data_plane) if facts.class_.spec is not None else None,
        "summary": {"destinations": f"{serving}/{len(counted)}", "hosts": shortened(hosts)},
        **rights_fields(acceptance.claims.rights),
        "gateway": _gateway(facts, acceptance),
        "addresses": _addresses(facts, acceptance),
        "clients": clients_fields(
            named_consumers(acceptance), facts.client_pods, facts.gateway.status.get("clients") or {}
        ),
        "expirations": expirations_field(facts),
        "remoteChildren": remote_children(facts, plan),
    }
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _class_name(facts: Facts) -> str | None:
    """The class that serves the object; while the class that it names cannot be read, the last one."""
    last = facts.gateway.status.get("className") if facts.class_.spec is None else None
    return str(last or facts.class_.name) or None


def remote_children(facts: Facts, plan: Plan) -> list[dict[str, str]]:
    """Children outside the own namespace, including those that are about to be written."""
    return [
        {
            "apiVersion": CHILD_BY_KIND[ref.kind].api_version,
            "kind": ref.kind,
            "namespace": ref.namespace,
            "name": ref.name,
        }
        for ref in sorted(remote_refs(facts, plan))
    ]


def remote_refs(facts: Facts, plan: Plan) -> frozenset[ObjectRef]:
    """Those children by their names."""
    refs = {child.ref for child in plan.children} | facts.live.keys()
    return frozenset(ref for ref in refs if ref.namespace != facts.key.namespace)


def _gateway(facts: Facts, acceptance: Acceptance) -> dict[str, Any] | None:
    if not has_gateway(acceptance) and not facts.live:
        return None
    site, workload = target_of(facts), workload_of(facts)
    return {
        "namespace": site.namespace,
        "service": site.service,
        "replicas": replicas(facts),
        "readyReplicas": workload.ready,
    }


def _addresses(facts: Facts, acceptance: Acceptance) -> list[dict[str, str]]:
    """Where clients reach the exposed ports: at the load balancer, otherwise inside the cluster."""
    if not any(entry.gateway_ref is None for entry in acceptance.exposed):
        return []
    service = _exposed_service(facts)
    spec, status = service.get("spec") or {}, service.get("status") or {}
    balanced = (status.get("loadBalancer") or {}).get("ingress") or ()
    if spec.get("type") == "LoadBalancer":
        return [_address(entry) for entry in balanced if entry.get("ip") or entry.get("hostname")]
    return [_address({"ip": spec["clusterIP"]})] if spec.get("clusterIP") not in (None, "", "None") else []


def _exposed_service(facts: Facts) -> Manifest:
    """The Service of the exposed ports: the object's own, or that of the class's shared gateway."""
    shared = shared_service(facts.class_.spec)
    if shared is not None:
        return facts.references.objects.get(shared) or {}
    return facts.live.get(ObjectRef("Service", facts.key.namespace, exposed_service_name(facts.key)), {})


def _address(entry: Mapping[str, Any]) -> dict[str, str]:
    if entry.get("ip"):
        return {"type": "IPAddress", "value": entry["ip"]}
    return {"type": "Hostname", "value": entry["hostname"]}


def replicas(facts: Facts) -> int:
    workload = workload_of(facts)
    return workload.replicas or (
        desired_replicas(effective_settings(facts.gateway.spec, facts.class_.spec)) if target_of(facts).dedicated else 0
    )


def has_gateway(acceptance: Acceptance) -> bool:
    """Whether some section uses a gateway of the class; hosts on other Gateways need none."""
    return bool(acceptance.served) or any(entry.gateway_ref is None for entry in acceptance.exposed)


def is_expired(acceptance: Acceptance, section: str) -> bool:
    return any(finding.reason is Reason.EXPIRED for finding in acceptance.of_section(section))
