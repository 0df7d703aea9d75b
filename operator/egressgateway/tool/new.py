"""Writes the EgressGateway for what a program calls: from URLs to a file with the reasons beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

import yaml

from egressgateway.errors import EgressGatewayError
from egressgateway.refs import EGRESS_GATEWAY


class UrlError(EgressGatewayError):
    """A URL for which nothing can be written. The message names it, and what would do."""


@dataclass(frozen=True, slots=True)
class _Scheme:
    """How clients of a scheme speak; `port` is None where nothing stands for it. `why` is said beside it."""

    protocol: str
    port: int | None
    why: str = ""
    tls: str = ""
    """Mode of the TLS that the gateway opens."""


_PASSED: Final = "your client's own TLS, passed through"
_PLAIN_FIRST: Final = "{name} starts in plain text, so TLS would hang: EGW1107"
_SCHEMES: Final = {
    "https": _Scheme("TLS", 443, _PASSED),
    "wss": _Scheme("TLS", 443, _PASSED),
    "grpcs": _Scheme("TLS", 443, _PASSED),
    "tls": _Scheme("TLS", None, _PASSED),
    "amqps": _Scheme("TLS", 5671, _PASSED),
    "ldaps": _Scheme("TLS", 636, _PASSED),
    "mqtts": _Scheme("TLS", 8883, _PASSED),
    "rediss": _Scheme("TLS", 6380, _PASSED),
    "smtps": _Scheme("TLS", 465, _PASSED),
    "http": _Scheme("HTTP", 80, "in plain text, also from the gateway to the host"),
    "ws": _Scheme("HTTP", 80, "in plain text, also from the gateway to the host"),
    "grpc": _Scheme("GRPC", 80, "in plain text, also from the gateway to the host"),
    "https+tls": _Scheme("HTTP", 80, "call http://{host}; the gateway opens TLS", "Simple"),
    "https+mtls": _Scheme("HTTP", 80, "call http://{host}; the gateway shows the certificate", "Mutual"),
    "tcp": _Scheme("TCP", None),
    "amqp": _Scheme("TCP", 5672),
    "ftp": _Scheme("TCP", 21, _PLAIN_FIRST.format(name="FTP")),
    "kafka": _Scheme("TCP", 9092),
    "ldap": _Scheme("TCP", 389, _PLAIN_FIRST.format(name="LDAP")),
    "mongodb": _Scheme("TCP", 27017),
    "mqtt": _Scheme("TCP", 1883),
    "mysql": _Scheme("TCP", 3306, _PLAIN_FIRST.format(name="MySQL")),
    "nats": _Scheme("TCP", 4222),
    "postgres": _Scheme("TCP", 5432, _PLAIN_FIRST.format(name="PostgreSQL")),
    "postgresql": _Scheme("TCP", 5432, _PLAIN_FIRST.format(name="PostgreSQL")),
    "redis": _Scheme("TCP", 6379),
    "sftp": _Scheme("TCP", 22),
    "smtp": _Scheme("TCP", 587, _PLAIN_FIRST.format(name="SMTP")),
    "sqlserver": _Scheme("TCP", 1433, _PLAIN_FIRST.format(name="SQL Server")),
    "ssh": _Scheme("TCP", 22),
}
_PLAIN_WORD: Final = re.compile(r"[a-z0-9][a-z0-9.-]*")
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
"""Names of Kubernetes (RFC 1123); nothing of them has to be escaped in YAML or in a shell."""

_GENERIC: Final = frozenset({"api", "www", "gw", "gateway", "rest", "app", "prod", "*"})
"""First labels that say nothing of a host."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a URL says: `target` is the host's port where the client dials another one."""

    host: str
    port: int
    scheme: _Scheme
    target: int | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What is asked for beside the URLs.

    Attributes:
        secret: name of the Secret with client certificates; empty for one that is named after its destination.
        consumers: other namespaces that may use it.
        class_name: empty for the default class.
    """

    namespace: str
    secret: str = ""
    consumers: tuple[str, ...] = ()
    class_name: str = ""


def parse_url(text: str) -> Call:
    """
    The call that a URL stands for.

    Raises:
        UrlError: it has no scheme that is known, no host, or no port where the scheme has none.
    """
    try:
        parts = urlsplit(text)
        number = parts.port
    except ValueError as error:
        raise UrlError(f"{_without_user(text)!r}: {error}") from error
    text = _without_user(text)
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        raise UrlError(f"{text!r}: the scheme is none of {', '.join(_SCHEMES)}; as in https://api.example.com")
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise UrlError(f"{text!r}: there is no host; as in {parts.scheme}://api.example.com")
    return _call(text, parts, scheme, host, number)


def _without_user(url: str) -> str:
    """A URL without the user and the password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", url)


def _quoted(text: str) -> str:
    """A scalar of YAML that is this text, and no number or other word that YAML knows."""
    return text if _PLAIN_WORD.fullmatch(text) and yaml.safe_load(text) == text else f"'{text}'"


def _call(text: str, parts: SplitResult, scheme: _Scheme, host: str, number: int | None) -> Call:
    if scheme.tls:
        return Call(host, scheme.port or 80, scheme, number or 443)
    port = number or scheme.port
    if port is None:
        raise UrlError(f"{text!r}: {parts.scheme} has no port of its own; as in {parts.scheme}://{host}:9000")
    return Call(host, port, scheme)


def write(calls: Sequence[Call], wish: Wish) -> Iterator[str]:
    """The lines of the file."""
    yield f"apiVersion: {EGRESS_GATEWAY.api_version}"
    yield f"kind: {EGRESS_GATEWAY.kind}"
    own = _quoted(wish.namespace)
    yield f"metadata: {{name: {own}, namespace: {own}}}"
    yield "spec:"
    if wish.class_name:
        yield f"  className: {_quoted(wish.class_name)}"
    if wish.consumers:
        # Naming others leaves the own namespace out, unless it is named, too.
        names = ", ".join(map(_quoted, dict.fromkeys((wish.namespace, *wish.consumers))))
        yield f"  access: {{from: [{{namespaces: [{names}]}}]}}"
    yield "  destinations:"
    for name, group in _named(calls):
        yield from _destination(name, group, wish)


def secrets_of(calls: Sequence[Call], wish: Wish) -> list[str]:
    """Names of the Secrets with client certificates that the file refers to."""
    found = (
        wish.secret or f"{name}-client" for name, group in _named(calls) if any(e.scheme.tls == "Mutual" for e in group)
    )
    return list(dict.fromkeys(found))


def _destination(name: str, calls: Sequence[Call], wish: Wish) -> Iterator[str]:
    host = calls[0].host
    yield f"  - name: {_quoted(name)}"
    yield f"    hosts: [{_quoted(host)}]"
    if host.startswith("*."):
        yield "    wildcard: {strategy: DynamicResolution}"
    yield "    ports:"
    for call in calls:
        why = call.scheme.why.format(host=host)
        yield f"    - {_port(call, wish.secret or f'{name}-client')}" + (f"   # {why}" if why else "")
    if all(call.scheme.protocol in ("HTTP", "GRPC") for call in calls):
        yield "    traffic: {timeout: 30s}   # without one, a request may wait for ever"


def _port(call: Call, secret: str) -> str:
    fields = [f"port: {call.port}", f"protocol: {call.scheme.protocol}"]
    if call.target is not None:
        credential = f", credentialName: {_quoted(secret)}" if call.scheme.tls == "Mutual" else ""
        fields += [f"targetPort: {call.target}", f"tls: {{mode: {call.scheme.tls}{credential}}}"]
    return f"{{{', '.join(fields)}}}"


def _named(calls: Iterable[Call]) -> Iterator[tuple[str, list[Call]]]:
    """Calls by host, each host with a name of its own: a host is one destination, however many ports it has."""
    by_host: dict[str, dict[int, Call]] = {}
    for call in calls:
        by_host.setdefault(call.host, {}).setdefault(call.port, call)
    taken: set[str] = set()
    for host, ports in by_host.items():
        base = _name_of(host)
        name = next(each for each in (base, *(f"{base}-{n}" for n in range(2, len(by_host) + 2))) if each not in taken)
        taken.add(name)
        yield name, list(ports.values())


def _name_of(host: str) -> str:
    """The first label that says something, as an author would choose it."""
    labels = host.split(".")
    telling = next((each for each in labels[:-1] if each not in _GENERIC), labels[0])
    name = re.sub(r"[^a-z0-9-]", "-", telling.lower()).strip("-")[:40].rstrip("-")
    return name if re.match("[a-z]", name) else f"host-{name}".rstrip("-")
