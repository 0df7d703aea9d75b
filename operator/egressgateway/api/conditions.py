"""
The catalogue of conditions and reasons: the meaning of a reason, who has to act, and the remedy.

Reasons in conditions, events and metric labels all come from here; a reason that is retired stays listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

ConditionStatus = Literal["True", "False", "Unknown"]


class ConditionType(StrEnum):
    """Aspects of an object's state."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    STEERED = "Steered"
    """Mesh clients are sent through the gateway; only on destinations and exposed hosts."""
    REACHABLE = "Reachable"
    """The gateway's pods reach the destination; only on destinations with a probe."""
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


OBJECT_CONDITIONS = (
    ConditionType.ACCEPTED,
    ConditionType.RESOLVED_REFS,
    ConditionType.PROGRAMMED,
    ConditionType.READY,
)
"""The conditions that every EgressGateway always has, in order; a new one has them as Unknown/Pending."""

SECTION_CONDITIONS = (
    ConditionType.ACCEPTED,
    ConditionType.RESOLVED_REFS,
    ConditionType.PROGRAMMED,
    ConditionType.STEERED,
)
"""The conditions of a destination or exposed host; a destination with a probe also has `Reachable`."""


class Reason(StrEnum):
    """Every reason that a condition or an event may give."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    STEERED = "Steered"
    READY = "Ready"
    REACHABLE = "Reachable"

    INVALID = "Invalid"
    CLASS_NOT_FOUND = "ClassNotFound"
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"
    HOST_NOT_ALLOWED = "HostNotAllowed"
    ENDPOINT_NOT_ALLOWED = "EndpointNotAllowed"
    CONSUMER_NOT_ALLOWED = "ConsumerNotAllowed"
    GATEWAY_NOT_ALLOWED = "GatewayNotAllowed"
    FEATURE_NOT_ALLOWED = "FeatureNotAllowed"
    HOST_CONFLICT = "HostConflict"
    PORT_CONFLICT = "PortConflict"
    EXPIRED = "Expired"
    UNSUPPORTED_VALUE = "UnsupportedValue"

    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, no secret
    SECRET_INVALID = "SecretInvalid"  # noqa: S105 - a reason, no secret
    SERVICE_NOT_FOUND = "ServiceNotFound"
    GATEWAY_NOT_FOUND = "GatewayNotFound"
    AUTHORIZER_NOT_FOUND = "AuthorizerNotFound"
    PROVIDER_UNAVAILABLE = "ProviderUnavailable"
    INJECTION_DISABLED = "InjectionDisabled"
    INGRESS_CLASS_NOT_FOUND = "IngressClassNotFound"
    INGRESS_CLASS_INVALID = "IngressClassInvalid"

    APPLY_FAILED = "ApplyFailed"
    RESOURCE_CONFLICT = "ResourceConflict"
    PENDING = "Pending"
    ROUTE_REJECTED = "RouteRejected"
    ROUTE_IGNORED = "RouteIgnored"
    ROUTE_NOT_PUSHED = "RouteNotPushed"

    GATEWAY_NOT_READY = "GatewayNotReady"
    ROUTE_CONFLICT = "RouteConflict"
    NO_CONSUMERS = "NoConsumers"
    CONSUMERS_NOT_IN_MESH = "ConsumersNotInMesh"

    DNS_FAILED = "DnsFailed"
    CONNECT_FAILED = "ConnectFailed"
    TLS_NAME_MISMATCH = "TlsNameMismatch"
    TLS_FAILED = "TlsFailed"
    UNEXPECTED_STATUS = "UnexpectedStatus"
    NOT_OBSERVED = "NotObserved"

    PARTIALLY_READY = "PartiallyReady"
    SUSPENDED = "Suspended"
    PROGRESSING = "Progressing"
    INTERNAL_ERROR = "InternalError"
    EXPIRES_SOON = "ExpiresSoon"
    CERTIFICATE_EXPIRES_SOON = "CertificateExpiresSoon"
    POD_NOT_STARTED = "PodNotStarted"
    INSECURE_SKIP_VERIFY = "InsecureSkipVerify"
    REPAIR_BACK_OFF = "RepairBackOff"


class Actor(StrEnum):
    """Who has to act so that a reason goes away."""

    AUTHOR = "author"
    """The authors of the EgressGateway."""
    ADMIN = "admin"
    """The operators of the platform: classes, mesh, namespaces."""
    OPERATOR = "operator"
    """Nobody but this program, or its developers."""
    NOBODY = "nobody"
    """All is well, or time alone helps."""


@dataclass(frozen=True, slots=True)
class ReasonEntry:
    """What the catalogue knows about a reason."""

    conditions: tuple[ConditionType, ...]
    """The conditions that may give it; none for a reason of events only."""

    status: ConditionStatus | None
    """The status that it stands for; None when the condition keeps the status that it has."""

    acts: Actor
    remedy: str
    """The remedy, in a sentence; empty when nothing has to be done."""

    needs_edit: bool = False
    """Only an edit of the object helps: waiting is in vain, so it sets Stalled."""


_ACCEPTED = (ConditionType.ACCEPTED, ConditionType.READY)
_RESOLVED = (ConditionType.RESOLVED_REFS, ConditionType.READY)
_PROGRAMMED = (ConditionType.PROGRAMMED, ConditionType.READY)
_STEERED = (ConditionType.STEERED, ConditionType.READY)
_REACHABLE = (ConditionType.REACHABLE,)


def _success(condition: ConditionType) -> ReasonEntry:
    return ReasonEntry((condition,), "True", Actor.NOBODY, "")


def _edit(remedy: str) -> ReasonEntry:
    """A spec that its author has to change."""
    return ReasonEntry(_ACCEPTED, "False", Actor.AUTHOR, remedy, needs_edit=True)


def _fails(conditions: tuple[ConditionType, ...], acts: Actor, remedy: str) -> ReasonEntry:
    """A failure that ends once something outside the object changes."""
    return ReasonEntry(conditions, "False", acts, remedy)


CATALOGUE: Mapping[Reason, ReasonEntry] = MappingProxyType(
    {
        Reason.ACCEPTED: _success(ConditionType.ACCEPTED),
        Reason.RESOLVED_REFS: _success(ConditionType.RESOLVED_REFS),
        Reason.PROGRAMMED: _success(ConditionType.PROGRAMMED),
        Reason.STEERED: _success(ConditionType.STEERED),
        Reason.READY: _success(ConditionType.READY),
        # Accepted
        Reason.INVALID: _edit("Correct the field that the message names."),
        Reason.CLASS_NOT_FOUND: _fails(
            _ACCEPTED, Actor.ADMIN, "Create the class, mark one as default, or name one that exists in spec.className."
        ),
        Reason.NAMESPACE_NOT_ALLOWED: _edit(
            "Name another class in spec.className, or ask a platform admin to allow this namespace in the class's "
            "allowedNamespaces."
        ),
        Reason.HOST_NOT_ALLOWED: _edit(
            "Remove the host, or ask a platform admin to add it to the class's allowedHosts."
        ),
        Reason.ENDPOINT_NOT_ALLOWED: _edit(
            "Remove the endpoint, or ask a platform admin to add its network to the class's allowedCIDRs; link-local "
            "is never allowed."
        ),
        Reason.CONSUMER_NOT_ALLOWED: _edit(
            "Remove the namespace from spec.access, or ask a platform admin to add it to the class's allowedConsumers."
        ),
        Reason.GATEWAY_NOT_ALLOWED: _edit(
            "Use another gatewayRef, or ask a platform admin to add it to the class's allowedGateways."
        ),
        Reason.FEATURE_NOT_ALLOWED: _edit(
            "Remove the field, or ask a platform admin to remove the feature from the class's deniedFeatures."
        ),
        Reason.HOST_CONFLICT: _fails(
            _ACCEPTED,
            Actor.ADMIN,
            "Remove the host or the consumer here or in the object that the message names, which claimed it first.",
        ),
        Reason.PORT_CONFLICT: _fails(
            _ACCEPTED,
            Actor.AUTHOR,
            "Use another port; if the message names another object, this one gets the port once that one releases it.",
        ),
        Reason.EXPIRED: ReasonEntry(
            (ConditionType.ACCEPTED,),
            "False",
            Actor.NOBODY,
            "Remove the destination, or set a later expiresAt to use it again.",
        ),
        Reason.UNSUPPORTED_VALUE: ReasonEntry(
            (ConditionType.ACCEPTED, *_STEERED),
            "False",
            Actor.AUTHOR,
            "Remove the field that the message names, which the data plane does not support, or use another class.",
            needs_edit=True,
        ),
        # ResolvedRefs
        Reason.SECRET_NOT_FOUND: _fails(
            _RESOLVED,
            Actor.AUTHOR,
            "Create the Secret in the object's namespace, correct it, or correct credentialName.",
        ),
        Reason.SECRET_INVALID: _fails(
            _RESOLVED, Actor.AUTHOR, "Give the Secret the keys that the message names, with valid PEM."
        ),
        Reason.SERVICE_NOT_FOUND: _fails(
            _RESOLVED,
            Actor.AUTHOR,
            "Create the Service with that port in the object's namespace, or correct the backend.",
        ),
        Reason.GATEWAY_NOT_FOUND: _fails(
            (ConditionType.RESOLVED_REFS, *_STEERED),
            Actor.AUTHOR,
            "Create the Istio Gateway, or correct gatewayRef; for a class, its shared Service.",
        ),
        Reason.AUTHORIZER_NOT_FOUND: _fails(
            (ConditionType.RESOLVED_REFS, *_STEERED),
            Actor.ADMIN,
            "Add the provider to the mesh's extensionProviders, or correct the class.",
        ),
        Reason.PROVIDER_UNAVAILABLE: _fails(_RESOLVED, Actor.ADMIN, "Install the data plane's custom resources."),
        Reason.INJECTION_DISABLED: _fails(
            _RESOLVED, Actor.ADMIN, "Enable the mesh's injection for the namespace of the gateway."
        ),
        Reason.INGRESS_CLASS_NOT_FOUND: _fails(
            (*_RESOLVED, ConditionType.STEERED),
            Actor.ADMIN,
            "Create the IngressClass that the message names, or correct apisix.ingressClassName of the class.",
        ),
        Reason.INGRESS_CLASS_INVALID: ReasonEntry(
            (*_RESOLVED, ConditionType.STEERED),
            None,
            Actor.ADMIN,
            "Have the parameters of the IngressClass name a GatewayProxy that exists: without it, APISIX's ingress "
            "controller does not know where APISIX is.",
        ),
        # Programmed
        Reason.APPLY_FAILED: _fails(
            _PROGRAMMED,
            Actor.ADMIN,
            "Read the server's error in the message: a missing right, a quota or a policy prevents the write.",
        ),
        Reason.RESOURCE_CONFLICT: _fails(
            _PROGRAMMED, Actor.AUTHOR, "Delete or rename the object that the message names, or rename this one."
        ),
        Reason.ROUTE_REJECTED: _fails(
            _PROGRAMMED,
            Actor.ADMIN,
            "Read the error of the gateway's own controller in the message; APISIX's log may have more.",
        ),
        Reason.ROUTE_IGNORED: _fails(
            _PROGRAMMED,
            Actor.ADMIN,
            "Run a controller for the class's ingressClassName, of the version that the message names or later, or "
            "correct that field; clients are not sent through the gateway until it answers.",
        ),
        Reason.ROUTE_NOT_PUSHED: ReasonEntry(
            _PROGRAMMED,
            None,
            Actor.ADMIN,
            "Read the controller's error in the message and its log: APISIX's Admin API may not answer, or an object "
            "of APISIX, of whichever namespace, may be invalid; APISIX continues with the routes that it has.",
        ),
        Reason.PENDING: ReasonEntry(
            (*OBJECT_CONDITIONS, ConditionType.STEERED, ConditionType.REACHABLE),
            None,
            Actor.NOBODY,
            "Wait: an earlier step has not finished.",
        ),
        # Steered
        Reason.GATEWAY_NOT_READY: _fails(
            _STEERED, Actor.ADMIN, "Check the gateway's pods: clients are sent to it once one is ready."
        ),
        Reason.ROUTE_CONFLICT: _fails(
            _STEERED,
            Actor.ADMIN,
            "Change the object that the message names, or delete it: it takes the host, or keeps consumers from the "
            "route.",
        ),
        Reason.NO_CONSUMERS: _fails(
            _STEERED,
            Actor.AUTHOR,
            "Label a namespace so that spec.access selects it, or name consumers there that exist; no further action "
            "is needed.",
        ),
        Reason.CONSUMERS_NOT_IN_MESH: _fails(
            _STEERED,
            Actor.ADMIN,
            "Enable Istio's sidecar injection for the consumers' pods, and restart them; pods in ambient mode, or in "
            "their node's network, cannot be sent through a gateway.",
        ),
        # Reachable
        Reason.REACHABLE: _success(ConditionType.REACHABLE),
        Reason.DNS_FAILED: _fails(
            _REACHABLE, Actor.AUTHOR, "Check the host's name, and the DNS server of the gateway's pods."
        ),
        Reason.CONNECT_FAILED: _fails(
            _REACHABLE,
            Actor.AUTHOR,
            "Check the destination's port, and firewalls and NetworkPolicies between the gateway and it.",
        ),
        Reason.TLS_NAME_MISMATCH: _fails(
            _REACHABLE,
            Actor.AUTHOR,
            "Correct tls.sni and tls.subjectAltNames, or have the destination's certificate name the host.",
        ),
        Reason.TLS_FAILED: _fails(
            _REACHABLE,
            Actor.AUTHOR,
            "Check the destination's certificate and its issuer, and the client certificate of credentialName.",
        ),
        Reason.UNEXPECTED_STATUS: _fails(
            _REACHABLE, Actor.AUTHOR, "Ask the destination's owner, or correct probe.path and probe.statuses."
        ),
        Reason.NOT_OBSERVED: ReasonEntry(
            (*_REACHABLE, ConditionType.RESOLVED_REFS, *_STEERED),
            "Unknown",
            Actor.ADMIN,
            "Let the operator see what the message names: port 15090 of the gateway's pods, an object that it may not "
            "read, or one that is too large to be read.",
        ),
        # Ready and the abnormal ones
        Reason.PARTIALLY_READY: _fails(
            (ConditionType.READY,),
            Actor.AUTHOR,
            "Check the conditions of the parts that the message names; the others serve.",
        ),
        Reason.SUSPENDED: ReasonEntry(
            (ConditionType.READY,),
            None,
            Actor.AUTHOR,
            "Remove spec.suspend to let the operator work on the object again.",
        ),
        Reason.PROGRESSING: ReasonEntry(
            (ConditionType.RECONCILING,), "True", Actor.NOBODY, "Wait: the operator is at work."
        ),
        Reason.INTERNAL_ERROR: _fails(
            _PROGRAMMED,
            Actor.OPERATOR,
            "Report it with the operator's log, which has the trace; the operator retries.",
        ),
        Reason.POD_NOT_STARTED: ReasonEntry(
            (),
            None,
            Actor.ADMIN,
            "Remove what the message names: a quota, a limit, a policy, a missing image, or a lack of room; Kubernetes "
            "then tries again by itself.",
        ),
        Reason.INSECURE_SKIP_VERIFY: ReasonEntry(
            (), None, Actor.AUTHOR, "Name the CA of the destination in credentialName, and remove insecureSkipVerify."
        ),
        Reason.EXPIRES_SOON: ReasonEntry(
            (), None, Actor.AUTHOR, "Set a later expiresAt if the destination is still needed."
        ),
        Reason.CERTIFICATE_EXPIRES_SOON: ReasonEntry(
            (), None, Actor.AUTHOR, "Renew the certificate in the Secret that the message names."
        ),
        Reason.REPAIR_BACK_OFF: ReasonEntry(
            (), None, Actor.ADMIN, "Keep the controller that the message names from changing the operator's objects."
        ),
    }
)
"""Every reason, in the order in which a message or a page should list them."""


def stalls(reason: Reason) -> bool:
    """
    Whether only an edit of the object can resolve `reason`, wherever it is given, so that Stalled is set (kstatus:
    failed, not in progress).
    """
    return CATALOGUE[reason].needs_edit
