"""Hosts and addresses of the API: what may stand for an external server, and what never may."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import Field

from egressgateway.api.reserved import IN_SCHEMA, ReservedNames
from egressgateway.api.rules import Mistake, Mistakes, Rule, form, without
from egressgateway.api.scalars import Text

# Two or more labels, each with a dot or the end behind it (a dot at the very end is refused as an edge).
# A word boundary on both sides: a label neither begins nor ends with '-'.
_FQDN = r"(\b[a-z0-9-]{1,63}\b(\.|$)){2,}"


def _not_reserved(names: ReservedNames) -> Rule[str]:
    return Rule(cel=names.cel, message=names.message, holds=lambda host: not names.hold(host), harmful=True)


OUTSIDE_CLUSTER, NO_PRIVATE_NAME, NO_METADATA_NAME = map(_not_reserved, IN_SCHEMA)

# inet_aton, and with it many a resolver, takes 127.1 and 1.0x7f for addresses; no top-level domain begins with a digit.
NOT_AN_ADDRESS = without(r"\.\d\w*$", "must be a host name: a name that ends in a number is read as an IP address")

_NO_HOST = "no IP address, no single label, no trailing dot; international names in punycode"
_A_HOST = "must be a lower-case fully qualified host name such as api.example.com"


def _mistakes(*more: Mistake) -> Mistakes:
    """What people write in place of a host, such as a URL or an address with its port."""
    known = (
        Mistake("://", ": no scheme and no path, the host alone"),
        Mistake(r"^[\da-fA-F.:]+/\d+$", ": no network (CIDR), name the hosts in it"),
        Mistake("/", ": no path, the host alone"),
        Mistake(":.*:", ": no IP address, name the host; its address may be set in endpoints"),
        Mistake(":", ": no port, set it in ports"),
        Mistake("[^ -~]", ": only ASCII; international names in punycode, such as xn--bcher-kva.example"),
        Mistake(" ", ": no spaces"),
        *more,
        Mistake("_", ": '_' is not allowed in host names; use a wildcard that covers the name"),
        Mistake("[A-Z]", ": no capitals, write it in lower case"),
        Mistake(r"\.$", ": no dot at the end"),
        Mistake(r"^[^.]*$", ": no single label, write the whole name"),
    )
    return Mistakes(_A_HOST, known)


Fqdn = Annotated[
    Text,
    Field(min_length=1, max_length=253),
    form(
        _FQDN,
        f"{_A_HOST}: {_NO_HOST}",
        edges=".",
        mistakes=_mistakes(Mistake("[*]", ": no '*' here, one host alone")),
    ),
    NOT_AN_ADDRESS,
    OUTSIDE_CLUSTER,
    NO_PRIVATE_NAME,
    NO_METADATA_NAME,
]
"""One host outside the cluster."""

Host = Annotated[
    Text,
    Field(min_length=1, max_length=253),
    form(
        rf"(\*\.)?{_FQDN}",
        f"{_A_HOST}, or a wildcard such as *.example.com with two or more labels after '*.': {_NO_HOST}",
        edges=".",
        mistakes=_mistakes(
            Mistake("^[*]$", ": not every host at once, name them or wildcards such as *.example.com"),
            Mistake(".[*]|^[*][^.]", ": '*' only as the whole first label, as in *.example.com"),
            Mistake(r"^[*]\.[^.]*$", ": a wildcard has two or more labels after '*.'"),
        ),
    ),
    NOT_AN_ADDRESS,
    OUTSIDE_CLUSTER,
    NO_PRIVATE_NAME,
    NO_METADATA_NAME,
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
_AN_ADDRESS = "must be an IP address, or a lower-case fully qualified host name such as api.example.com"
_ENDPOINT_HOST = form(r"([a-z0-9-]+\.)+[a-z][a-z0-9-]*", "", edges="-")

Address = Annotated[
    Text,
    Field(min_length=1, max_length=128),
    Rule[str](
        cel=f"isIP(self) || ({_ENDPOINT_HOST.cel})",
        message=_AN_ADDRESS,
        holds=lambda text: is_ip(text) or not any(_ENDPOINT_HOST.find(text)),
        mistakes=Mistakes(
            _AN_ADDRESS,
            (
                Mistake("://", ": no scheme and no path"),
                Mistake("/", ": no network (CIDR), name each address in it; no path"),
                Mistake("^[^:]+:[^:]+$", ": no port, set it in ports, as port or targetPort"),
                Mistake("[*]", ": no '*' here, one host alone"),
                Mistake("_", ": '_' is not allowed in host names"),
                Mistake("[A-Z]", ": no capitals, write it in lower case"),
            ),
        ),
    ),
    OUTSIDE_CLUSTER,
    NO_PRIVATE_NAME,
    NO_METADATA_NAME,
]
"""Where a destination really is: an IP address, or one host."""

IpAddress = Annotated[
    Text,
    Field(min_length=2, max_length=45),
    Rule[str](cel="isIP(self)", message="must be an IP address such as 192.0.2.7", holds=is_ip),
]
"""One address of a host."""

Cidr = Annotated[
    Text,
    Field(min_length=1, max_length=49),
    Rule[str](cel="isCIDR(self)", message="must be a network such as 192.0.2.0/24 or 2001:db8::/32", holds=is_cidr),
]
