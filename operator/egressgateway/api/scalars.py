"""
Scalars of the API: what a host, a port, a duration may be.

Bounds stand in `Field`, everything that needs words in a `Rule`. Python's `$` accepts a trailing newline,
therefore every form is matched as a whole (`rules.form`).
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, StrictBool, StrictInt, StrictStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from egressgateway.api.rules import Offence, Rule, form, keys_form, without

# Two or more labels, each with a dot or the end behind it (a dot at the very end is refused as an edge).
# A word boundary on both sides: a label neither begins nor ends with '-'.
_FQDN = r"(\b[a-z0-9-]{1,63}\b(\.|$)){2,}"
_QUALIFIED = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = f"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_QUALIFIED}"

# -- numbers and texts


def _whole(value: Any) -> Any:
    """1.0 is an integer to the API server, "1" and true are not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[StrictInt, BeforeValidator(_whole)]
Boolean = StrictBool
Text = StrictStr

Port = Annotated[Integer, Field(ge=1, le=65535)]
Percentage = Annotated[Integer, Field(ge=1, le=100)]

# 15001, 15006, 15020, 15021, 15090 … : every port of Istio's proxies lies in this hundred (istio.io, "Ports used by Istio").
NOT_A_MESH_PORT: Rule[int] = Rule(
    cel="self < 15000 || self > 15099",
    message="ports 15000-15099 belong to the mesh's proxies: choose another port",
    holds=lambda port: not 15000 <= port <= 15099,
)
ClientPort = Annotated[Port, NOT_A_MESH_PORT]
"""A port on which the gateway or a sidecar listens."""

# -- names

_NAME_WORDS = "lower-case letters, digits and '-', with a letter or digit at both ends"

PartName = Annotated[
    Text, Field(min_length=1, max_length=40), without("[^a-z0-9-]", f"must be a DNS label: {_NAME_WORDS}", edges="-")
]
"""Name of a destination or of an exposed host."""

PartReference = Annotated[Text, Field(min_length=1, max_length=40)]
"""A `PartName` that must exist, so that its form needs no check of its own."""

LabelName = Annotated[
    Text,
    Field(min_length=1, max_length=63),
    without("[^a-z0-9-]", f"must be a name of Kubernetes: {_NAME_WORDS}", edges="-"),
]
"""Name of a namespace or Service."""

ObjectName = Annotated[
    Text,
    Field(min_length=1, max_length=253),
    without("[^a-z0-9.-]", f"must be a name of Kubernetes, dots allowed: {_NAME_WORDS}", edges="-."),
]
"""Name of any other object: Secret, service account, class."""

# -- hosts

_CLUSTER_NAMES = (".svc", ".cluster.local", ".localhost")
# Whoever reaches these gets the credentials of the cloud's machine. A wildcard that covers one counts as it.
_METADATA_NAMES = (
    "metadata.google.internal",
    "*.google.internal",
    "metadata.goog",
    "instance-data.ec2.internal",
    "*.ec2.internal",
)


def _is_outside_the_cluster(host: str) -> bool:
    return not host.endswith(_CLUSTER_NAMES) and ".svc." not in host and host not in _METADATA_NAMES


OUTSIDE_CLUSTER: Rule[str] = Rule(
    cel="!self.contains('.svc.') && "
    + " && ".join(f"!self.endsWith('{suffix}')" for suffix in _CLUSTER_NAMES)
    + " && !(self in ["
    + ", ".join(f"'{name}'" for name in _METADATA_NAMES)
    + "])",
    message="must be a host outside the cluster: no *.svc, *.svc.*, *.cluster.local, *.localhost, no cloud metadata name",
    holds=_is_outside_the_cluster,
)
_NO_HOST = "no IP address, no single label, no trailing dot; international names in punycode"
# inet_aton, and with it many a resolver, takes 127.1 and 1.0x7f for addresses; no top-level domain begins with a digit.
NOT_AN_ADDRESS = without(r"\.\d\w*$", "must be a host name: what ends in a number is read as an IP address")

Fqdn = Annotated[
    Text,
    Field(min_length=1, max_length=253),
    form(_FQDN, f"must be a lower-case fully qualified host name such as api.example.com: {_NO_HOST}", edges="."),
    NOT_AN_ADDRESS,
    OUTSIDE_CLUSTER,
]
"""One host outside the cluster."""

Host = Annotated[
    Text,
    Field(min_length=1, max_length=253),
    form(
        rf"(\*\.)?{_FQDN}",
        "must be a lower-case fully qualified host name such as api.example.com, "
        f"or a wildcard such as *.example.com with two or more labels after '*.': {_NO_HOST}",
        edges=".",
    ),
    NOT_AN_ADDRESS,
    OUTSIDE_CLUSTER,
]
"""One host outside the cluster, or every subdomain of one."""

ServerName = Annotated[
    Text,
    Field(min_length=1, max_length=253),
    without("[^a-z0-9.-]", "must be a host name in lower case, such as api.example.com", edges="-."),
]
"""A name in a TLS handshake (SNI); it is never resolved."""

SubjectAltName = Annotated[Text, Field(min_length=1, max_length=253)]
"""A name as a certificate holds it, a DNS name or a URI: compared as it is, so that it needs no form."""

HostPattern = Annotated[
    Text,
    Field(min_length=1, max_length=253),
    form(
        rf"\*|\*\.[a-z][a-z0-9-]{{0,62}}|(\*\.)?{_FQDN}",
        "must be a host pattern in lower case: api.example.com, *.example.com (every subdomain) or * (every host)",
        edges=".",
    ),
]
"""A pattern over hosts in a class."""

# -- addresses


def is_ip(text: str) -> bool:
    """Whether `text` is an IP address as Kubernetes' CEL `isIP` sees it: no zone, no IPv4 mapped into IPv6."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.version == 4 or (address.ipv4_mapped is None and address.scope_id is None)


def is_cidr(text: str) -> bool:
    """Whether `text` is a network as Kubernetes' CEL `isCIDR` sees it; host bits may be set."""
    address, slash, length = text.partition("/")
    if not slash or not re.fullmatch("0|[1-9][0-9]{0,2}", length) or not is_ip(address):
        return False
    return int(length) <= ipaddress.ip_address(address).max_prefixlen


# Shorter than Fqdn, in text and in pattern: with 2048 endpoints it would cost a quarter of all that the rules may cost.
_ENDPOINT_HOST = form(r"[a-z0-9.-]+\.[a-z][a-z0-9-]*", "", edges="-.")

Address = Annotated[
    Text,
    Field(min_length=1, max_length=128),
    Rule[str](
        cel=f"isIP(self) || ({_ENDPOINT_HOST.cel})",
        message="must be an IP address, or a lower-case fully qualified host name such as api.example.com",
        holds=lambda text: is_ip(text) or not any(_ENDPOINT_HOST.find(text)),
    ),
    OUTSIDE_CLUSTER,
]
"""Where a destination really is: an IP address, or one host."""

Cidr = Annotated[
    Text,
    Field(min_length=1, max_length=49),
    Rule[str](cel="isCIDR(self)", message="must be a network such as 192.0.2.0/24 or 2001:db8::/32", holds=is_cidr),
]

# -- time

_UNITS = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_DURATION = "([0-9]{1,5}(h|m|s|ms)){1,4}"
_DURATION_COMPILED = re.compile(_DURATION)

DURATION_FORM = form(_DURATION, "must be a duration in h, m, s or ms, such as 10s, 500ms or 1h30m")
MORE_THAN_ZERO: Rule[timedelta] = Rule(
    cel="self.matches('[1-9]')", message="must be more than zero", holds=lambda span: span > timedelta(0)
)


def parse_duration(text: str) -> timedelta:
    """
    The length of `10s`, `500ms` or `1h30m`.

    Raises:
        ValueError: `text` has another form.
    """
    if not _DURATION_COMPILED.fullmatch(text):
        raise ValueError(DURATION_FORM.message)
    parts = re.findall("([0-9]+)(ms|[hms])", text)
    return sum((int(number) * _UNITS[unit] for number, unit in parts), timedelta(0))


def format_duration(span: timedelta) -> str:
    """`span` in the form that `parse_duration` reads, with its two largest units or fewer: `90s` becomes `1m30s`."""
    rest = span // timedelta(milliseconds=1)
    text = ""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "must be a text such as 10s, 500ms or 1h30m")
    if len(value) > 32:
        raise PydanticCustomError("string_too_long", "may not be longer than 32", {"max_length": 32})
    try:
        return parse_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{words}", {"words": str(error)}) from error


# Its form is checked while it is parsed: a timedelta cannot hold what is no duration.
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": 32, "x-kubernetes-validations": [DURATION_FORM.as_cel()]}
    ),
]
"""A span of time, zero included."""

PositiveDuration = Annotated[Duration, MORE_THAN_ZERO]

_RFC3339 = (
    "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?"
    "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
_RFC3339_COMPILED = re.compile(_RFC3339)
# timestamp() fails on 30 February, which the pattern lets through; the server then prints its complaint and this message.
INSTANT_FORM: Rule[str] = Rule(
    cel=f"self.matches('^({_RFC3339})$') && timestamp(self) > timestamp('0001-01-01T00:00:00Z')",
    message="must be a time of RFC 3339, such as 2027-01-31T00:00:00Z",
)


def parse_instant(text: str) -> datetime:
    """
    The moment that RFC 3339 `text` names, in UTC; digits beyond microseconds are dropped.

    Raises:
        ValueError: `text` has another form, or names a day that does not exist.
    """
    if not _RFC3339_COMPILED.fullmatch(text):
        raise ValueError(INSTANT_FORM.message)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{INSTANT_FORM.message} ({error})") from error


def format_instant(moment: datetime) -> str:
    """RFC 3339 in UTC as metav1.Time has it; with microseconds, as metav1.MicroTime, where `moment` has some."""
    precision = "microseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def _instant(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "must be a text such as 2027-01-31T00:00:00Z")
    if len(value) > 64:
        raise PydanticCustomError("string_too_long", "may not be longer than 64", {"max_length": 64})
    try:
        return parse_instant(value)
    except ValueError as error:
        raise PydanticCustomError("instant", "{words}", {"words": str(error)}) from error


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    PlainSerializer(format_instant, return_type=str),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": 64, "x-kubernetes-validations": [INSTANT_FORM.as_cel()]}
    ),
]
"""A moment that an author names, in UTC."""

Timestamp = Annotated[
    datetime,
    BeforeValidator(_instant),
    PlainSerializer(format_instant, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment in a status, as metav1.Time or MicroTime."""

# -- HTTP

# Istio gives '*' and braces a meaning of their own in paths.
_NOT_IN_PATHS = re.compile(r"[^!-~]|[?#{}]|\*.")
HttpPath = Annotated[
    Text,
    Field(min_length=1, max_length=256),
    Rule[str](
        cel=(
            f"self.startsWith('/') && !self.matches(r'{_NOT_IN_PATHS.pattern}') && "
            "(!self.endsWith('*') || self.endsWith('/*'))"
        ),
        message="must be a path such as /v1/a, or a prefix such as /v1/*; no query, '#', braces or spaces",
        holds=lambda path: (
            path.startswith("/") and not _NOT_IN_PATHS.search(path) and (not path.endswith("*") or path.endswith("/*"))
        ),
    ),
]
HttpMethod = Annotated[
    Text,
    Field(min_length=1, max_length=32),
    form("[A-Z]+(-[A-Z]+)*", "must be an HTTP method in capitals, such as GET"),
]

# -- labels, annotations, selectors

_KEY_WORDS = "letters, digits, '-', '_' and '.', at most 63, after an optional DNS prefix and '/'"
_KEYS_FORM = keys_form(_KEY, f"keys must be names of Kubernetes: {_KEY_WORDS}")

LabelKey = Annotated[
    Text,
    Field(min_length=1, max_length=317),
    without(r"[^\w./-]", f"must be a label's key: {_KEY_WORDS}", edges="-._/"),
]
LabelValue = Annotated[
    Text,
    Field(max_length=63),
    form(
        f"({_QUALIFIED})?",
        "must be a label's value: letters, digits, '-', '_' and '.', with a letter or digit at both ends",
    ),
]
SelectorValue = Annotated[Text, Field(max_length=63)]
"""A value that labels are compared with; one that no label can have selects nothing."""
Labels = Annotated[dict[str, LabelValue], Field(max_length=32), _KEYS_FORM]
SelectorLabels = Annotated[dict[str, SelectorValue], Field(max_length=16), _KEYS_FORM]
Annotations = Annotated[dict[str, Annotated[Text, Field(max_length=4096)]], Field(max_length=32), _KEYS_FORM]

_RESERVED_PREFIX = re.compile("([a-z0-9.-]+[.])?(istio[.]io|kubernetes[.]io|k8s[.]io|egressgateway[.]dev)/.*")
NO_RESERVED_KEYS: Rule[dict[str, str]] = Rule(
    cel="self.all(key, key != 'istio' && !key.matches('^([a-z0-9.-]+[.])?(istio[.]io|kubernetes[.]io|k8s[.]io|egressgateway[.]dev)/'))",
    message="keys of Istio, Kubernetes and this API are reserved, they can change image, volumes and routing: only a class can set them",
    offences=lambda entries: (Offence("", key) for key in entries if key == "istio" or _RESERVED_PREFIX.fullmatch(key)),
    reason="FieldValueForbidden",
)

Opaque = Annotated[
    dict[str, Any],
    Field(max_length=64),
    WithJsonSchema({"type": "object", "maxProperties": 64, "x-kubernetes-preserve-unknown-fields": True}),
]
"""A part of Kubernetes' own API, passed on; the API server checks it when the gateway's Deployment is written."""
