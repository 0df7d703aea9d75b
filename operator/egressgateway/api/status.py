"""
`status` of both kinds: what the operator writes and reads back.

Unknown fields are dropped instead of rejected: another version of the operator may have written them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.model import ApiModel
from egressgateway.api.rules import ATOMIC, list_map
from egressgateway.api.scalars import Integer, Port, Text, Timestamp

MESSAGE_LIMIT = 512
"""Characters to which the operator cuts a condition's message."""

MOST_TRIAL_FINDINGS = 64
"""Findings of a trial that the status of a class lists."""

TRIAL_MESSAGE_LIMIT = 256

MOST_EXPIRATIONS = 16
"""Ends that a status lists, the earliest ones."""

REQUEST_LIMIT = 128
"""Characters of a request for a pass that the operator repeats in its answer."""

Generation = Annotated[Integer, Field(ge=-1, json_schema_extra={"format": "int64"})]
Count = Annotated[Integer, Field(ge=0, le=100_000)]
Name = Annotated[Text, Field(max_length=253)]
_NamespaceName = Annotated[Text, Field(min_length=1, max_length=63)]
_HostName = Annotated[Text, Field(min_length=1, max_length=253)]


class StatusModel(ApiModel):
    """A section of a status."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )


class Condition(StatusModel):
    """One aspect of the state, as metav1.Condition."""

    type: Annotated[Text, Field(min_length=1, max_length=64)]
    """What the condition is about, such as `Ready`."""

    status: Literal["True", "False", "Unknown"]
    """`True`, `False` or `Unknown`."""

    reason: Annotated[Text, Field(min_length=1, max_length=64)]
    """Why, in one CamelCase word of the documented reasons."""

    message: Annotated[Text, Field(max_length=2 * MESSAGE_LIMIT)]
    """The problem, its field, and the remedy, as text."""

    last_transition_time: Timestamp
    """When `status` changed last."""

    observed_generation: Generation | None = None
    """The object's generation that the condition is about."""


Conditions = Annotated[tuple[Condition, ...], Field(max_length=8), list_map("type")]


class GatewayStatus(StatusModel):
    """The gateway that serves the object."""

    namespace: Name
    """Namespace of the gateway."""

    service: Name
    """Service that mesh clients are sent to."""

    replicas: Count | None = None
    """Gateway pods that should run."""

    ready_replicas: Count | None = None
    """Gateway pods that are ready."""


class AddressType(StrEnum):
    """Form of an address."""

    IP_ADDRESS = "IPAddress"
    HOSTNAME = "Hostname"


class AddressStatus(StatusModel):
    """An address of the exposed ports."""

    type: AddressType
    """`IPAddress` or `Hostname`."""

    value: Annotated[Text, Field(min_length=1, max_length=253)]
    """The address."""


class PartStatus(StatusModel):
    """State of one destination or exposed host."""

    name: Annotated[Text, Field(min_length=1, max_length=40)]
    """Name of the entry in `spec`."""

    conditions: Conditions = ()
    """
    `Accepted`, `ResolvedRefs`, `Programmed` and `Steered` (mesh clients are sent through the gateway); with a probe
    also `Reachable`.
    """


class Summary(StatusModel):
    """Texts for printer columns."""

    destinations: Annotated[Text, Field(max_length=32)] | None = None
    """Destinations whose clients are sent through the gateway, of those that are wanted, such as `2/3`."""

    hosts: Annotated[Text, Field(max_length=256)] | None = None
    """The first hosts, such as `api.example.com, +2`."""


class Claim(StatusModel):
    """A host that the object has claimed; the earliest claim in a consumer's namespace wins."""

    host: Annotated[Text, Field(min_length=1, max_length=253)]
    """The host or alias."""

    claimed_at: Timestamp
    """When it was claimed."""

    gateway: Annotated[Text, Field(max_length=317)] | None = None
    """For an exposed host: `namespace/name` of the gateway on which it is claimed. Absent for destinations."""


class Consumer(StatusModel):
    """A namespace that the object serves."""

    namespace: Annotated[Text, Field(min_length=1, max_length=63)]
    """Name of the namespace; `*` for every one."""

    since: Timestamp
    """Since when it is served."""


class PortClaim(StatusModel):
    """A port that the object has claimed for its clients."""

    port: Port
    """The number that clients dial."""

    tcp: bool | None = None
    """Whether clients speak TCP there, which names no host: then no other object can use the port beside it."""

    claimed_at: Timestamp
    """When it was claimed."""


class ScopedPort(StatusModel):
    """A port of a scoped claim."""

    port: Port
    """As in `portClaims`."""

    tcp: bool | None = None
    """As in `portClaims`."""


class ScopedClaim(StatusModel):
    """Hosts and ports that are not claimed in all of `consumers`, or not since the later of both times."""

    since: Timestamp
    """Since when they are claimed in these namespaces."""

    namespaces: Annotated[tuple[_NamespaceName, ...], Field(max_length=1024), ATOMIC] = ()
    """Consumer namespaces; `*` for every one."""

    except_: Annotated[tuple[_NamespaceName, ...], Field(max_length=16384, alias="except"), ATOMIC] = ()
    """Namespaces that `*` does not stand for: another object has a better right there."""

    hosts: Annotated[tuple[_HostName, ...], Field(max_length=2048), ATOMIC] = ()
    """Hosts and aliases."""

    ports: Annotated[tuple[ScopedPort, ...], Field(max_length=1024), ATOMIC] = ()
    """Ports."""


class ClientsStatus(StatusModel):
    """Pods of the consumers' namespaces, at most 100 of each; counted when the status was written last."""

    in_mesh: Count
    """Pods whose calls a sidecar takes: it sends those to steered hosts through the gateway."""

    outside: Count
    """Pods whose calls nothing takes: without a sidecar, in their node's network, or excluded by an annotation."""

    ambient: Count | None = None
    """Pods in ambient mode. Their calls do not pass the gateway."""


class RemoteChild(StatusModel):
    """An object outside the own namespace that belongs to this one, which garbage collection cannot find."""

    api_version: Name
    """API version of the object."""

    kind: Name
    """Kind of the object."""

    namespace: Name
    """Namespace of the object."""

    name: Name
    """Name of the object."""


class Expiration(StatusModel):
    """Something that ends by itself: a certificate in a Secret, or a destination with `expiresAt`."""

    at: Timestamp
    """When it ends."""

    secret: Name | None = None
    """The Secret with the certificate, in the object's namespace."""

    key: Annotated[Text, Field(max_length=63)] | None = None
    """The key of the Secret. Of several authorities in one key, the last one to end counts."""

    destination: Annotated[Text, Field(max_length=40)] | None = None
    """The destination."""

    notice: Annotated[Integer, Field(ge=1, le=30)] | None = None
    """The last event about it: how many days before the end (30, 7 or 1)."""


class EgressGatewayStatus(StatusModel):
    """What the operator found out and did. Tenants must have no write access to it."""

    observed_generation: Generation | None = None
    """The generation of `spec` that the status is about; -1 until the operator has seen the object."""

    conditions: Conditions = ()
    """`Accepted`, `ResolvedRefs`, `Programmed` and `Ready`; `Reconciling` and `Stalled` only while they hold."""

    last_handled_reconcile_at: Annotated[Text, Field(max_length=REQUEST_LIMIT)] | None = None
    """The value of the annotation `egressgateway.dev/reconcile-requested-at` that was obeyed last."""

    class_name: Name | None = None
    """The class that serves the object; empty for the built-in one."""

    provider: Annotated[Text, Field(max_length=63)] | None = None
    """The data plane: `Istio` or `APISIX`."""

    gateway: GatewayStatus | None = None
    """The gateway that serves the object."""

    addresses: Annotated[tuple[AddressStatus, ...], Field(max_length=16), ATOMIC] = ()
    """Addresses of the exposed ports."""

    destinations: Annotated[tuple[PartStatus, ...], Field(max_length=128), ATOMIC] = ()
    """State of each destination."""

    expose: Annotated[tuple[PartStatus, ...], Field(max_length=64), ATOMIC] = ()
    """State of each entry in `expose`."""

    expirations: Annotated[tuple[Expiration, ...], Field(max_length=MOST_EXPIRATIONS), ATOMIC] = ()
    """
    What ends by itself, the earliest first: certificates in Secrets that the operator may read, and destinations.
    """

    summary: Summary | None = None
    """Texts for printer columns."""

    claims: Annotated[tuple[Claim, ...], Field(max_length=2048), ATOMIC] = ()
    """Hosts that the object has claimed, and when."""

    consumers: Annotated[tuple[Consumer, ...], Field(max_length=1024), ATOMIC] = ()
    """Namespaces that the object serves, and since when."""

    port_claims: Annotated[tuple[PortClaim, ...], Field(max_length=2048), ATOMIC] = ()
    """
    Ports that the object has claimed, and when. A claim holds in each of `consumers`, since the later of both times; so
    does one of a host. `scopedClaims` has those that differ.
    """

    scoped_claims: Annotated[tuple[ScopedClaim, ...], Field(max_length=8192), ATOMIC] = ()
    """Claims that do not hold in all of `consumers`, or only since a later time."""

    clients: ClientsStatus | None = None
    """Who may be steered, as far as `access` names namespaces and the operator may list pods there."""

    remote_children: Annotated[tuple[RemoteChild, ...], Field(max_length=1024), ATOMIC] = ()
    """Objects outside the own namespace that belong to this one."""


class TrialFinding(StatusModel):
    """Something that the trial of a class would forbid."""

    namespace: Name
    """Namespace of the EgressGateway."""

    name: Name
    """Name of the EgressGateway."""

    reason: Annotated[Text, Field(min_length=1, max_length=64)]
    """The reason that `Accepted` would give."""

    message: Annotated[Text, Field(max_length=TRIAL_MESSAGE_LIMIT)]
    """The field, and what the trial does not allow there."""


class TrialStatus(StatusModel):
    """What the class's trial would forbid if it were in force."""

    affected_gateways: Count
    """Number of EgressGateways of which something would be withdrawn or rejected."""

    findings: Annotated[tuple[TrialFinding, ...], Field(max_length=MOST_TRIAL_FINDINGS), ATOMIC] = ()
    """The first of them, by namespace and name: some findings of each EgressGateway."""


class EgressGatewayClassStatus(StatusModel):
    """What the operator found out about the class."""

    observed_generation: Generation | None = None
    """The generation of `spec` that the status is about; -1 until the operator has seen the class."""

    conditions: Conditions = ()
    """`Accepted`: whether the class can be used; `Stalled` only while it cannot."""

    provider: Annotated[Text, Field(max_length=63)] | None = None
    """The data plane: `Istio` or `APISIX`. Absent while the class cannot be used."""

    attached_gateways: Count | None = None
    """Number of EgressGateways that use the class."""

    trial: TrialStatus | None = None
    """What `spec.trial` would forbid. Absent without a trial."""


def initial_status(*conditions: ConditionType) -> dict[str, Any]:
    """
    What the API server itself writes into a new object, so that nobody takes an object for ready
    that the operator has not seen: kstatus calls one without conditions current.
    """
    return {
        "observedGeneration": -1,
        "conditions": [
            {
                "type": condition.value,
                "status": "Unknown",
                "reason": Reason.PENDING.value,
                "message": "Waiting for the operator",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            }
            for condition in conditions
        ],
    }
