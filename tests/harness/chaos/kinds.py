"""
EgressGateways of every kind: each function makes a spec for an object of that name, with hosts and ports of its own.

An object may become one of another kind by an edit: class, gateway, consumers, protocols, everything.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from harness.chaos.world import CREDENTIAL, TENANTS
from harness.gateways import destination, egress_gateway
from harness.rest import Object

# Read once, so that what is said of these moments is the same in each run that this process compares.
_START: Final = datetime.now(UTC)
PAST: Final = (_START - timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
FUTURE: Final = (_START + timedelta(days=300)).strftime("%Y-%m-%dT00:00:00Z")

TLS: Final[Object] = {"mode": "Simple"}
MUTUAL: Final[Object] = {"mode": "Mutual", "credentialName": CREDENTIAL}
PLAIN_HTTP: Final[list[Object]] = [{"port": 80, "protocol": "HTTP"}]
PASSED_ON: Final[list[Object]] = [{"port": 443, "protocol": "TLS"}]

Spec = dict[str, Any]
Maker = Callable[[str, str, int], Object]
"""An EgressGateway of that namespace, name and number."""


def plain(namespace: str, name: str, number: int) -> Object:
    """HTTP and the client's own TLS, for the own namespace."""
    return egress_gateway(namespace, name, destination("api", host(name, "api")), className="chaos-plain")


def widespread(namespace: str, name: str, number: int) -> Object:
    """Two destinations, one of them for every tenant and one for some."""
    access = {"from": [{"namespaces": list(TENANTS), "destinations": ["api"]}, {"namespaces": list(TENANTS[:2])}]}
    parts = destination("api", host(name, "api")), destination("more", host(name, "more"), ports=PASSED_ON)
    return egress_gateway(namespace, name, *parts, className="chaos-open", access=access)


def shared(namespace: str, name: str, number: int) -> Object:
    """Through the platform's gateway, with children in its namespace that tell accounts and methods apart."""
    access = {
        "from": [
            {"namespaces": [namespace], "serviceAccounts": ["default"], "methods": ["GET"], "paths": ["/v1/*"]},
            {"namespaces": [TENANTS[3]]},
        ]
    }
    web = destination("web", host(name, "web"), ports=PLAIN_HTTP)
    return egress_gateway(namespace, name, web, className="chaos-shared", access=access)


def through_apisix(namespace: str, name: str, number: int) -> Object:
    """Through the platform's APISIX."""
    web = destination("web", host(name, "web"), ports=PLAIN_HTTP)
    return egress_gateway(namespace, name, web, className="chaos-apisix")


def originating(namespace: str, name: str, number: int) -> Object:
    """TLS opened by the gateway, and a wildcard that one server serves."""
    opened = [{"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": TLS}]
    wild = destination("wild", f"*.{host(name, 'wild')}", ports=PASSED_ON)
    wild["wildcard"] = {"strategy": "SingleServer", "server": host(name, "front")}
    parts = destination("bank", host(name, "bank"), ports=opened), wild
    return egress_gateway(namespace, name, *parts, className="chaos-plain", gateway={"replicas": 1})


def dynamic(namespace: str, name: str, number: int) -> Object:
    """A wildcard that needs an EnvoyFilter, an autoscaler, and Telemetry."""
    wild = destination("wild", f"*.{host(name, 'wild')}", ports=PASSED_ON)
    wild["wildcard"] = {"strategy": "DynamicResolution"}
    gateway = {"autoscaling": {"minReplicas": 1, "maxReplicas": 2}}
    return egress_gateway(
        namespace, name, wild, className="chaos-plain", gateway=gateway, telemetry={"accessLog": "Enabled"}
    )


def mutual(namespace: str, name: str, number: int) -> Object:
    """Mutual TLS with a Secret, beside a destination that needs none."""
    opened = [{"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": MUTUAL}]
    parts = destination("bank", host(name, "bank"), ports=opened), destination("api", host(name, "api"))
    return egress_gateway(namespace, name, *parts, className="chaos-plain")


def tcp(namespace: str, name: str, number: int) -> Object:
    """TCP, on a port that no other object has."""
    port = {"port": 9000 + number, "protocol": "TCP"}
    return egress_gateway(
        namespace, name, destination("feed", host(name, "feed"), ports=[port]), className="chaos-plain"
    )


def exposing(namespace: str, name: str, number: int) -> Object:
    """A Service of the namespace published through the own gateway, and a destination published through it."""
    api = destination("api", host(name, "api"), ports=PLAIN_HTTP)
    expose = [
        {"name": "web", "hosts": [host(name, "in")], "backend": {"service": {"name": "web", "port": 80}}},
        {"name": "chain", "hosts": [host(name, "chain")], "backend": {"destination": {"name": "api", "port": 80}}},
    ]
    return egress_gateway(namespace, name, api, className="chaos-plain", expose=expose)


def expiring(namespace: str, name: str, number: int) -> Object:
    """One destination that has ended, one that will, and one for ever."""
    ended = destination("ended", host(name, "ended")) | {"expiresAt": PAST}
    ends = destination("ends", host(name, "ends")) | {"expiresAt": FUTURE}
    return egress_gateway(namespace, name, ended, ends, destination("api", host(name, "api")), className="chaos-plain")


KINDS: Final[dict[str, Maker]] = {
    "plain": plain,
    "widespread": widespread,
    "shared": shared,
    "apisix": through_apisix,
    "originating": originating,
    "dynamic": dynamic,
    "mutual": mutual,
    "tcp": tcp,
    "exposing": exposing,
    "expiring": expiring,
}


def host(name: str, part: str) -> str:
    """A host that no other object has: names of objects differ in all of the cluster."""
    return f"{part}.{name}.example.com"
