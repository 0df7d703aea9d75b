"""
References that the operator may not read: what it says of them is what others tell, or that it does not know.

Of Secrets the gateway's own pods tell, once they are asked. Nothing here rejects a section: what is not known is no
reason to withdraw what works, and a destination whose Secret is said to be missing keeps the gateway's side, without
which no pod would wait for the Secret and tell when it comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.facts import Receipt
from egressgateway.plan.checks.bounds import MAX_REFERENCES
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import Advisory, Finding, exposed_section, stored_condition
from egressgateway.plan.gateway.credentials import (
    Credential,
    credentials_of_destination,
    credentials_of_exposed,
    in_doubt,
)
from egressgateway.plan.gateway.references import gateway_ref
from egressgateway.refs import REFERENCE_BY_KIND, ObjectRef

_RESOLVED: Final = ConditionType.RESOLVED_REFS
_GRANTED_BY: Final = {
    "Secret": "the chart's rbac.secrets, or a Role",
    "IngressClass": "the chart's apisix.enabled, or a ClusterRole",
    "GatewayProxy": "the chart's apisix.gatewayProxies, or a Role",
}
"""What gives the operator the right; a Role otherwise."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """An object that may not be read, where a section names it, and what pods say of it."""

    section: str
    field: str
    ref: ObjectRef
    receipt: Receipt


def unread_references(context: PlanContext, wanted: Set[ObjectRef]) -> Iterator[Finding]:
    """What is not known because it may not be read, and what pods say that they lack; `wanted` by the whole object."""
    doubts = tuple(_doubts(context))
    for doubt in doubts:
        yield from _finding(context, doubt)
    # Those of sections are among the doubts, if they matter; what is left is the class's.
    for ref in sorted((context.references.unreadable & wanted) - {doubt.ref for doubt in doubts}):
        if ref.kind != "Secret":
            yield _unknown(Reason.NOT_OBSERVED, _unread(context, ref))
    authorizer = context.class_spec.external_authorization
    if authorizer is not None and context.mesh_config.authorizers is None:
        message = (
            f"authorizer {authorizer.provider} of {context.class_name} is not checked: the mesh's configuration cannot "
            "be read; correct it: an HTTP authorizer does not check TLS and TCP"
        )
        yield _unknown(Reason.NOT_OBSERVED, message)


def received_references(context: PlanContext) -> Iterator[Advisory]:
    """What the gateway's pods have, by their own word, though the operator may not read it."""
    for doubt in _doubts(context):
        if doubt.receipt is Receipt.RECEIVED:
            yield Advisory(_received(doubt.ref), doubt.section, condition=_RESOLVED)


def _finding(context: PlanContext, doubt: _Doubt) -> Iterator[Finding]:
    ref, field = doubt.ref, doubt.field
    match doubt.receipt:
        case Receipt.LACKING:
            message = f"{field}: {_lacking(ref)}"
            yield Finding(_RESOLVED, Reason.SECRET_NOT_FOUND, message, doubt.section, partial=True)
        case Receipt.AWAITED:
            message = f"{field}: {ref}: the operator does not read it, and asks the gateway's pods whether they have it"
            yield _unknown(Reason.PENDING, message, doubt.section)
        case Receipt.UNTOLD:
            yield _unknown(Reason.NOT_OBSERVED, f"{field}: {_unread(context, ref)}", doubt.section)


def _unknown(reason: Reason, message: str, section: str = "") -> Finding:
    return Finding(_RESOLVED, reason, message, section, partial=True, unknown=True)


def _received(ref: ObjectRef) -> str:
    return (
        f"{_begin_received(ref)} by their own word; the operator does not read it, and does not know when its "
        "certificates end"
    )


def _lacking(ref: ObjectRef) -> str:
    return (
        f"{_begin_lacking(ref)}: it does not exist, or holds no certificate, key or CA that can be used; create or "
        "correct it; until then each of the gateway's pods that starts is ready some 16 seconds late"
    )


# The beginnings tell the messages apart in a stored status, in which the rest may be cut off.
def _begin_received(ref: ObjectRef) -> str:
    return f"the gateway's pods have {ref}"


def _begin_lacking(ref: ObjectRef) -> str:
    return f"a gateway pod waits for {ref}"


def _begin_unread(ref: ObjectRef) -> str:
    return f"{ref} is not checked"


def _unread(context: PlanContext, ref: ObjectRef) -> str:
    ends = ", nor when its certificates end" if ref.kind == "Secret" else ""
    if ref in context.references.too_many:
        why = (
            f"the EgressGateways of namespace {context.key.namespace} refer to more than {MAX_REFERENCES} objects; "
            "refer to fewer"
        )
        return f"{_begin_unread(ref)}{ends}: {why}"
    by_pods = ref.kind == "Secret" and context.target.dedicated
    untold = ", and not every gateway pod tells whether it has it" if by_pods else ""
    port = ", or reach port 15090 of the pods" if by_pods else ""
    place = f" in namespace {ref.namespace}" if ref.namespace else ""
    right = f"list and watch {REFERENCE_BY_KIND[ref.kind].plural}{place} ({_GRANTED_BY.get(ref.kind, 'a Role')})"
    return f"{_begin_unread(ref)}{ends}: the operator may not read it{untold}; let it {right}{port}"


def _doubts(context: PlanContext) -> Iterator[_Doubt]:
    for credential in _credentials(context):
        ref = in_doubt(credential, context.references)
        if ref is not None:
            yield _Doubt(credential.section, credential.field, ref, _receipt(context, credential, ref))
    for index, exposed in enumerate(context.spec.expose):
        where, section = f"spec.expose[{index}]", exposed_section(exposed.name)
        attached = gateway_ref(context.key.namespace, exposed)
        if attached in context.references.unreadable:
            yield _Doubt(section, f"{where}.gatewayRef", attached, Receipt.UNTOLD)
        service = exposed.backend.service
        behind = ObjectRef("Service", context.key.namespace, service.name) if service is not None else None
        if behind in context.references.unreadable:
            yield _Doubt(section, f"{where}.backend.service.name", behind, Receipt.UNTOLD)


def _credentials(context: PlanContext) -> Iterator[Credential]:
    """Those of sections that have not expired."""
    place, dedicated = context.key.namespace, context.target.dedicated
    for index, destination in enumerate(context.spec.destinations):
        if destination.expires_at is None or destination.expires_at > context.now:
            yield from credentials_of_destination(
                place, destination, f"spec.destinations[{index}]", dedicated=dedicated
            )
    for index, exposed in enumerate(context.spec.expose):
        yield from credentials_of_exposed(place, exposed, f"spec.expose[{index}]", dedicated=dedicated)


def _receipt(context: PlanContext, credential: Credential, ref: ObjectRef) -> Receipt:
    """
    What the pods say of a credential as a whole.

    While they are asked, and while none is ready, what the status says of it holds: a restart of the operator, or of a
    pod, changes nothing by itself.
    """
    told = [context.acknowledgement.secrets.get(name, Receipt.AWAITED) for name in credential.asked]
    if not told or Receipt.UNTOLD in told:
        return Receipt.UNTOLD
    if Receipt.LACKING in told:
        return Receipt.LACKING
    if Receipt.AWAITED not in told:
        return Receipt.RECEIVED
    said = stored_condition(context.status, credential.section, _RESOLVED)
    message = said.get("message", "")
    if said.get("status") == "True" and f"{_begin_received(ref)} " in message:
        return Receipt.RECEIVED
    if f"{_begin_lacking(ref)}:" in message:
        return Receipt.LACKING
    return Receipt.UNTOLD if _begin_unread(ref) in message else Receipt.AWAITED
