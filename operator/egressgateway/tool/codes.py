"""
The catalogue of codes: what the tool can say of an object, a mesh or an installation, who has to act, and what helps.

A code is for ever: a retired one stays listed, and is given to nothing else. 1xxx: the spec, 2xxx: what it refers to,
3xxx: class and other tenants, 4xxx: mesh and gateway, 5xxx: clients, 6xxx: the operator. Where the status has a reason
for it, who acts and what helps are those of `api.conditions.CATALOGUE`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from egressgateway.api.conditions import CATALOGUE, Actor, Reason
from egressgateway.plan.findings import Notice
from egressgateway.tool.severity import Severity

PAGES: Final = "https://egressgateway.dev/e/"
"""Each code has a page below."""


@dataclass(frozen=True, slots=True)
class Code:
    """One entry. `reason`: of the status, if it has one for it; `notice`: of the advisory that says it."""

    code: str
    title: str
    severity: Severity
    acts: Actor
    fix: str
    reason: Reason | None = None
    notice: Notice | None = None

    @property
    def url(self) -> str:
        return PAGES + self.code


_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
_AUTHOR, _ADMIN = Actor.AUTHOR, Actor.ADMIN


def _by_reason(code: str, reason: Reason, title: str, severity: Severity = _ERROR) -> Code:
    entry = CATALOGUE[reason]
    return Code(code, title, severity, entry.acts, entry.remedy, reason)


def _by_notice(  # noqa: PLR0913, PLR0917  (a row of the table)
    code: str, notice: Notice, title: str, severity: Severity, acts: Actor, fix: str
) -> Code:
    return Code(code, title, severity, acts, fix, notice=notice)


NOT_YAML: Final = Code(
    "EGW1901",
    "not YAML",
    _ERROR,
    _AUTHOR,
    "Correct the line; of a template, validate what it renders: helm template … | egressgw validate -",
)
TWICE: Final = Code(
    "EGW1902",
    "one object twice",
    _ERROR,
    _AUTHOR,
    "Remove one of the two; of overlays, validate what they build: kustomize build … | egressgw validate -",
)
NO_TIMEOUT: Final = Code(
    "EGW1203",
    "no time-out",
    _WARNING,
    _AUTHOR,
    "Set traffic.timeout of the destination; 0s says that there is to be none.",
)

CODES: Final = (
    # The spec
    _by_reason("EGW1001", Reason.INVALID, "invalid"),
    _by_reason("EGW1002", Reason.UNSUPPORTED_VALUE, "not supported"),
    _by_reason("EGW1003", Reason.EXPIRED, "expired", _WARNING),
    _by_reason("EGW1004", Reason.PENDING, "waits for another section"),
    _by_reason("EGW1005", Reason.SUSPENDED, "suspended", _INFO),
    _by_reason("EGW1006", Reason.EXPIRES_SOON, "expires soon", _WARNING),
    _by_notice(
        "EGW1107",
        Notice.PLAIN_TEXT_FIRST,
        "protocol that begins in plain text, and TLS",
        _ERROR,
        _AUTHOR,
        "Use protocol TCP; TLS only if every client begins with it (PostgreSQL 17: sslnegotiation=direct).",
    ),
    _by_notice(
        "EGW1108",
        Notice.WHOLE_PORT,
        "the whole TCP port is taken",
        _INFO,
        _AUTHOR,
        "Set addresses of the destination, or have an admin enable DNS capture in the mesh.",
    ),
    _by_notice(
        "EGW1109",
        Notice.JUDGED_LATE,
        "a server that speaks first is heard",
        _WARNING,
        _AUTHOR,
        "List fewer identities in access, or make several objects.",
    ),
    _by_notice(
        "EGW1110",
        Notice.PRIVATE_ADDRESSES_REFUSED,
        "private addresses are refused",
        _INFO,
        _ADMIN,
        "If such names may lead to private addresses, allow their networks in allowedCIDRs of the class.",
    ),
    _by_notice(
        "EGW1201",
        Notice.INSECURE_SKIP_VERIFY,
        "the server's certificate is not verified",
        _WARNING,
        _AUTHOR,
        CATALOGUE[Reason.INSECURE_SKIP_VERIFY].remedy,
    ),
    _by_notice(
        "EGW1202",
        Notice.ENCODED_SLASH,
        "encoded slashes in paths",
        _WARNING,
        _ADMIN,
        "Set the mesh's pathNormalization to DECODE_AND_MERGE_SLASHES.",
    ),
    NO_TIMEOUT,
    _by_notice(
        "EGW1204",
        Notice.CALLER_ADDRESS_SHOWN,
        "hosts see the caller's address",
        _INFO,
        _AUTHOR,
        "Use a class of provider Istio where external hosts must not see addresses of pods.",
    ),
    NOT_YAML,
    TWICE,
    # What it refers to
    _by_reason("EGW2001", Reason.SECRET_NOT_FOUND, "no such Secret"),
    _by_reason("EGW2002", Reason.SECRET_INVALID, "the Secret cannot be used"),
    _by_reason("EGW2003", Reason.SERVICE_NOT_FOUND, "no such Service"),
    _by_reason("EGW2004", Reason.GATEWAY_NOT_FOUND, "no such gateway"),
    _by_reason("EGW2005", Reason.AUTHORIZER_NOT_FOUND, "no such authorizer"),
    _by_reason("EGW2006", Reason.INGRESS_CLASS_NOT_FOUND, "no such IngressClass"),
    _by_reason("EGW2007", Reason.INGRESS_CLASS_INVALID, "the IngressClass leads nowhere"),
    _by_notice(
        "EGW2008",
        Notice.UNCHECKED,
        "a reference is not checked",
        _INFO,
        _ADMIN,
        "Let the operator read what the message names.",
    ),
    _by_reason("EGW2101", Reason.CERTIFICATE_EXPIRES_SOON, "a certificate expires soon", _WARNING),
    # Class and other tenants
    _by_reason("EGW3001", Reason.HOST_CONFLICT, "host conflict"),
    _by_reason("EGW3002", Reason.PORT_CONFLICT, "port conflict"),
    _by_reason("EGW3003", Reason.HOST_NOT_ALLOWED, "host not allowed"),
    _by_reason("EGW3004", Reason.FEATURE_NOT_ALLOWED, "feature not allowed"),
    _by_reason("EGW3005", Reason.NAMESPACE_NOT_ALLOWED, "namespace not allowed"),
    _by_reason("EGW3006", Reason.CONSUMER_NOT_ALLOWED, "consumer not allowed"),
    _by_reason("EGW3007", Reason.ENDPOINT_NOT_ALLOWED, "address not allowed"),
    _by_reason("EGW3008", Reason.GATEWAY_NOT_ALLOWED, "gateway not allowed"),
    _by_reason("EGW3009", Reason.CLASS_NOT_FOUND, "no such class"),
    _by_reason("EGW3010", Reason.NO_CONSUMERS, "nobody may use it"),
    _by_notice(
        "EGW3011",
        Notice.TRIAL,
        "what the class tries would forbid it",
        _WARNING,
        _AUTHOR,
        "Change what the message names before the trial comes into force, or ask a platform admin.",
    ),
    _by_notice(
        "EGW3012",
        Notice.NAMESPACE_EXCLUDED,
        "a namespace cannot be served",
        _INFO,
        _ADMIN,
        "Give APISIX's pods the annotation that the message names, or remove their sidecars.",
    ),
    _by_notice(
        "EGW3013",
        Notice.NAMES_A_SERVICE,
        "a namespace of the host's name",
        _WARNING,
        _ADMIN,
        "Rename the namespace, or use another host.",
    ),
    # Mesh and gateway
    _by_reason("EGW4001", Reason.PROVIDER_UNAVAILABLE, "the data plane's kinds are missing"),
    _by_reason("EGW4002", Reason.INJECTION_DISABLED, "injection is disabled"),
    _by_notice(
        "EGW4008",
        Notice.OPEN_MESH,
        "the mesh lets out what no gateway has",
        _INFO,
        _ADMIN,
        "Set the mesh's outboundTrafficPolicy to REGISTRY_ONLY once everything that is called has a gateway.",
    ),
    _by_reason("EGW4101", Reason.ROUTE_CONFLICT, "somebody else routes the host"),
    _by_reason("EGW4201", Reason.GATEWAY_NOT_READY, "no pod of the gateway is ready"),
    _by_reason("EGW4202", Reason.POD_NOT_STARTED, "a pod of the gateway does not start"),
    _by_reason("EGW4203", Reason.ROUTE_REJECTED, "the gateway's controller refuses a route"),
    _by_reason("EGW4204", Reason.ROUTE_IGNORED, "no controller takes the routes"),
    _by_reason("EGW4205", Reason.ROUTE_NOT_PUSHED, "the controller cannot push"),
    _by_reason("EGW4301", Reason.DNS_FAILED, "the host's name does not resolve"),
    _by_reason("EGW4302", Reason.CONNECT_FAILED, "the host does not answer"),
    _by_reason("EGW4303", Reason.TLS_NAME_MISMATCH, "the host's certificate is for another name"),
    _by_reason("EGW4304", Reason.TLS_FAILED, "TLS to the host fails"),
    _by_reason("EGW4305", Reason.UNEXPECTED_STATUS, "the host answers with an unexpected status"),
    _by_reason("EGW4306", Reason.NOT_OBSERVED, "not observed", _WARNING),
    # Clients
    _by_reason("EGW5010", Reason.CONSUMERS_NOT_IN_MESH, "clients are not in the mesh"),
    # The operator
    _by_reason("EGW6001", Reason.APPLY_FAILED, "an object cannot be written"),
    _by_reason("EGW6002", Reason.RESOURCE_CONFLICT, "somebody else's object has the name"),
    _by_reason("EGW6003", Reason.INTERNAL_ERROR, "a bug of the operator"),
    _by_reason("EGW6004", Reason.REPAIR_BACK_OFF, "somebody else changes the operator's objects", _WARNING),
    _by_notice(
        "EGW6005",
        Notice.OBJECTS_LEFT_OUT,
        "objects that the operator has no memory for",
        _WARNING,
        _ADMIN,
        "Delete unused objects of the namespace, or raise --namespace-memory-mib.",
    ),
)
"""All of them, in the order of their numbers."""

STATES: Final = frozenset(
    {
        *(reason for reason, entry in CATALOGUE.items() if entry.status == "True"),
        Reason.PARTIALLY_READY,
        Reason.INSECURE_SKIP_VERIFY,
    }
)
"""
Reasons without a code: those of success and of progress, one that only sums up others, and one whose advisory has a
code.
"""

BY_CODE: Final = {each.code: each for each in CODES}
BY_REASON: Final = {each.reason: each for each in CODES if each.reason is not None}
BY_NOTICE: Final = {each.notice: each for each in CODES if each.notice is not None}


def codes_for(word: str) -> Iterator[Code]:
    """The entries that a user means: by code or by reason, in any case."""
    wanted = word.casefold()
    for each in CODES:
        names = (each.code, each.reason) if each.reason is not None else (each.code,)
        if wanted in map(str.casefold, names):
            yield each
