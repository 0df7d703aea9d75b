"""
Scalars of the API: what a host, a port, a duration may be.

Bounds stand in `Field`, everything that needs words in a `Rule`. Python's `$` accepts a trailing newline,
therefore every form is matched as a whole (`rules.form`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, StrictBool, StrictInt, StrictStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from egressgateway.api.rules import Offence, Rule, form, keys_form, without

_QUALIFIED = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = f"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_QUALIFIED}"

# -- numbers and texts


def _whole(value: Any) -> Any:
    """80.0 in a YAML file is an integer to kubectl, which sends 80; "80" and true are not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def without_nulls(raw: Any) -> Any:
    """The API server takes a field or an entry of a map that is null for one that is absent."""
    if isinstance(raw, dict) and None in raw.values():
        return {name: value for name, value in raw.items() if value is not None}
    return raw


Integer = Annotated[StrictInt, BeforeValidator(_whole)]
Boolean = StrictBool
Text = StrictStr

Port = Annotated[Integer, Field(ge=1, le=65535)]
Percentage = Annotated[Integer, Field(ge=1, le=100)]

# 15001, 15006, 15020, 15021, 15090: the ports of Istio's proxies lie in this hundred (istio.io, "Ports used by Istio").
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
    without("[^a-z0-9-]", f"must be a Kubernetes name: {_NAME_WORDS}", edges="-"),
]
"""Name of a namespace or Service."""

ObjectName = Annotated[
    Text,
    Field(min_length=1, max_length=253),
    without("[^a-z0-9.-]", f"must be a Kubernetes name, dots allowed: {_NAME_WORDS}", edges="-."),
]
"""Name of any other object: Secret, service account, class."""

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
# timestamp() fails on 30 February, which the pattern lets through; the server prints its complaint and this message.
INSTANT_FORM: Rule[str] = Rule(
    cel=f"self.matches('^({_RFC3339})$') && timestamp(self) > timestamp('0001-01-01T00:00:00Z')",
    message="must be a time of RFC 3339, such as 2027-01-31T00:00:00Z",
)


# Each pass reads the times of the same claims and objects again.
@lru_cache(maxsize=4096)
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
def is_label(key: str, value: str) -> bool:
    """
    Whether a pod may have this label: a selector in a kind of another project may contain one that no API server
    accepts.
    """
    return bool(re.fullmatch(_KEY, key) and re.fullmatch(f"({_QUALIFIED})?", value))


_KEY_WORDS = "letters, digits, '-', '_' and '.', at most 63, after an optional DNS prefix and '/'"
_KEYS_FORM = keys_form(_KEY, f"keys must be Kubernetes names: {_KEY_WORDS}")

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
Labels = Annotated[dict[str, LabelValue], Field(max_length=32), BeforeValidator(without_nulls), _KEYS_FORM]
SomeLabels = Annotated[
    dict[str, LabelValue], Field(min_length=1, max_length=32), BeforeValidator(without_nulls), _KEYS_FORM
]
SelectorLabels = Annotated[dict[str, SelectorValue], Field(max_length=16), BeforeValidator(without_nulls), _KEYS_FORM]
Annotations = Annotated[
    dict[str, Annotated[Text, Field(max_length=4096)]],
    Field(max_length=32),
    BeforeValidator(without_nulls),
    _KEYS_FORM,
]

_RESERVED_PREFIX = re.compile("([a-z0-9.-]+[.])?(istio[.]io|kubernetes[.]io|k8s[.]io|egressgateway[.]dev)/.*")
NO_RESERVED_KEYS: Rule[dict[str, str]] = Rule(
    cel=(
        "self.all(key, key != 'istio' && "
        "!key.matches('^([a-z0-9.-]+[.])?(istio[.]io|kubernetes[.]io|k8s[.]io|egressgateway[.]dev)/'))"
    ),
    message=(
        "keys of Istio, Kubernetes and this API are reserved, because they can change image, volumes and routing: only "
        "a class can set them"
    ),
    offences=lambda entries: (Offence("", key) for key in entries if key == "istio" or _RESERVED_PREFIX.fullmatch(key)),
    reason="FieldValueForbidden",
)

Opaque = Annotated[
    dict[str, Any],
    Field(max_length=64),
    WithJsonSchema({"type": "object", "maxProperties": 64, "x-kubernetes-preserve-unknown-fields": True}),
]
"""A part of Kubernetes' own API, passed on; the API server checks it when the gateway's Deployment is written."""
