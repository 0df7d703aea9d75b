"""
Names and labels of children (api.md "Names of children").

Every name that is cut or composed ends in a hash over the unambiguous tuple of its parts, so that two children never
meet: `a-b` + `c` and `a` + `b-c` read alike and hash differently.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from typing import Final

from egressgateway.api.reserved import PRIVATE_DOMAIN
from egressgateway.refs import GROUP, Key

MANAGED_BY: Final = "egressgateway-operator"
LABEL_GATEWAY: Final = f"{GROUP}/gateway"
LABEL_NAMESPACE: Final = f"{GROUP}/namespace"
LABEL_STAGE: Final = f"{GROUP}/stage"
LABEL_PART: Final = f"{GROUP}/part"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
DESTINATIONS: Final = "destinations"
"""The list of a spec that most sections are in."""

WAY_OUT: Final = "upstream"
"""Suffix of the children that say where a gateway sends traffic, and how."""

WITHOUT_ADDRESS: Final = {"networking.istio.io/enable-autoallocate-ip": "false"}
"""
Label of a ServiceEntry for which Istio makes up no address (istio.io, "ServiceEntry Addresses").

Every ztunnel learns of an entry with an address, whatever its exportTo says, and answers the name with that address: so
one object would take a name from all pods in ambient mode, which the gateway does not serve.
"""

ANNOTATION_DIGEST: Final = f"{GROUP}/digest"
FINALIZER: Final = f"{GROUP}/withdraw"

CHILD_SELECTOR: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
"""What the informers of children ask the API server for."""

_HASH = "[0-9a-f]{8}"
_SHARED_ENDING = re.compile(
    rf"(egress|expose|shared-{_HASH})(-authorizer|-callers|-probes|-secrets|-upgrades)?"
    rf"|(access|authorizer|callers|headers|hop|upgrades)-{_HASH}-{_HASH}"
)
_MAX_LABEL = 63
_REQUESTS, _UPGRADES = "http", "ws"
"""How names of hops of the HTTP family begin, and names of the subsets of their WebSockets."""

_MAX_HOST = 253


def short_hash(*parts: str) -> str:
    """8 hex digits of SHA-256 over `parts`; NUL, which no name contains, separates them."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def envoy_cluster(port: int, subset: str, host: str) -> str:
    """Name that istiod gives to the Envoy cluster of a host's port; without a subset it is empty."""
    return f"outbound|{port}|{subset}|{host}"


def selector_labels(key: Key) -> dict[str, str]:
    """The two labels that only this object's pods carry: a gateway of the same name elsewhere is another gateway."""
    return {LABEL_GATEWAY: key.name, LABEL_NAMESPACE: key.namespace}


def child_labels(key: Key) -> dict[str, str]:
    """
    Labels of every child and of the gateway's pods.

    Never the object's own labels, and never `app.kubernetes.io/instance`: Argo CD would take the child for one of its
    own and prune it (argocd-operator #414, ClusterSecret #146).
    """
    return {
        **selector_labels(key),
        LABEL_MANAGED_BY: MANAGED_BY,
        "app.kubernetes.io/part-of": "egressgateway",
    }


def workload_name(key: Key) -> str:
    """
    Name of the Deployment, its ServiceAccount, the hop Service, and every other child that exists once per gateway.
    """
    return f"{key.name}-egress"


def section_name(key: Key, kind: str, section: str, *within: str) -> str:
    """
    Name of a child that belongs to one destination or exposed host.

    Args:
        kind: the list that `section` is in, `destinations` or `expose`.
        within: what else distinguishes children of one section and kind: leg, host, port.
    """
    return f"{key.name}-{section}-{short_hash(key.namespace, key.name, kind, section, *within)}"


def way_out_name(key: Key, section: str, host: str, way: str) -> str:
    """
    Name of the children with which a gateway reaches `host` of a destination; `way` is the hop's name from `hop_name`.
    """
    return section_name(key, DESTINATIONS, section, WAY_OUT, host, way)


def remote_name(key: Key, what: str) -> str:
    """Name of a child in another namespace. `what` distinguishes those of one object."""
    return f"{key.name}-{what}-{short_hash(key.namespace, key.name, what)}"


def access_part(site: str) -> str:
    """Name part of the denials for the hop through the shared gateway `site`, beside the object's name."""
    return f"access-{site}"


def upgrades_part(site: str) -> str:
    """The same for the child by which WebSockets pass a shared gateway."""
    return f"upgrades-{site}"


def callers_name(gateway: str) -> str:
    """Name of the child that names who may open a connection through the own gateway `gateway`."""
    return f"{gateway}-callers"


def callers_part(site: str) -> str:
    """Name part of the same child for the hop through the shared gateway `site`, beside the object's name."""
    return f"callers-{site}"


def headers_part(site: str) -> str:
    """The same for the child that keeps private names from leaving the mesh."""
    return f"headers-{site}"


def is_childs_name(name: str, key: Key, section: str) -> bool:
    """
    Whether the name has the form of the names of `key`'s children: a copy in the same namespace has another one.

    `section`: the section in its label; empty for children of all sections. A date looks like a hash, so that only the
    text before it distinguishes them.
    """
    rest = name.removeprefix(f"{key.name}-")
    if rest == name:
        return False
    if not section:
        return _SHARED_ENDING.fullmatch(rest) is not None
    return re.fullmatch(rf"{re.escape(section.rpartition('.')[2])}-{_HASH}", rest) is not None


def hop_name(host: str, family: str, port: int, site: str = "") -> str:
    """
    Name of the hop of one (host, port) through the gateway: subset of the hop and port name at the Gateway.

    Stable for as long as the pair exists: an index would rename its neighbours on every edit, and Envoy drains a
    listener's filter chain when its name changes. `family` (http, tls, tcp) is included, so that a port that changes
    from one to another gets a new hop before the old one is removed; so is `site`, for an object that moves from one
    gateway to another.
    """
    digest = short_hash(host, family, str(port), *_named(site))
    readable = f"{family}-{port}-{host.removeprefix('*.').replace('.', '-')}"
    return f"{readable[: _MAX_LABEL - 9].rstrip('-')}-{digest}"


def upgrade_name(hop: str) -> str:
    """
    Name of the subset in which the WebSockets of a hop of the HTTP family have connections of their own.

    Shorter than the hop's name: that one may have the length to which Istio limits names of subsets.
    """
    return hop.replace(_REQUESTS, _UPGRADES, 1)


def hop_of_subset(subset: str) -> str:
    """Name of the hop that a subset belongs to."""
    return subset.replace(_UPGRADES, _REQUESTS, 1) if subset.startswith(_UPGRADES) else subset


def sni_name(key: Key, host: str, family: str, port: int, site: str = "") -> str:
    """
    Private server name of one (host, port) of one gateway: selects the filter chain at the gateway's one hop port.

    It contains the owner, so that two gateways never share an upstream cluster (notes "istio-recipes" §11). A name that
    would be too long for DNS has a hash in the host's place.
    """
    way = f"{family}-{port}"
    owner = _private_domain(key, site)
    name = f"{way}.{host}.{owner}"
    if len(name) <= _MAX_HOST and not host.startswith("*."):
        return name
    return f"{way}.{hashlib.sha256(host.encode()).hexdigest()[:32]}.{owner}"


def private_names(key: Key, site: str = "") -> str:
    """Wildcard over all private server names of one gateway of one object."""
    return f"*.{_private_domain(key, site)}"


def is_private(name: str) -> bool:
    """Whether the name is internal to a gateway, which distinguishes hops by it: no client asks for it."""
    return name.endswith(f".{PRIVATE_DOMAIN}")


def private_address(name: str, taken: Collection[str] = ()) -> str:
    """
    An address to which no packet is sent, with which sidecars distinguish a private TCP entry from all others.

    From 240.241.0.0 to 240.255.255.255: reserved (RFC 1112, class E), and beside what Istio hands out itself
    (240.240.0.0/16). The next free address that is not in `taken`.
    """
    span = 15 << 16
    offset = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % span
    while (address := _address(offset)) in taken:
        offset = (offset + 1) % span
    return address


def _address(offset: int) -> str:
    return f"240.{241 + (offset >> 16)}.{offset >> 8 & 255}.{offset & 255}"


def _private_domain(key: Key, site: str) -> str:
    return ".".join((key.name, key.namespace, *_named(site), PRIVATE_DOMAIN))


def _named(site: str) -> tuple[str, ...]:
    return (site,) if site else ()
