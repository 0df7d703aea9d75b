"""The objects that are measured: the least that one may be, and one with nearly everything that a team asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from egressgateway.refs import Key
from harness.gateways import destination, egress_gateway
from harness.rest import Object

PLAIN: Final = "plain"
RICH: Final = "rich"
TITLES: Final[Mapping[str, str]] = {
    PLAIN: "one destination each, HTTP and TLS",
    RICH: "six destinations each, with TLS from the gateway, a wildcard, endpoints, traffic and access",
}

_HTTP: Final = {"port": 80, "protocol": "HTTP"}
_TLS: Final = {"port": 443, "protocol": "TLS"}
_TRAFFIC: Final = {
    "timeout": "5s",
    "retries": {"attempts": 2, "retryOn": ["5xx"]},
    "connectionPool": {"maxConnections": 100},
    "outlierDetection": {"consecutive5xxErrors": 5},
}
_WEST_AND_EAST: Final = [
    {"address": "west.example.com", "locality": "eu/west/a"},
    {"address": "east.example.com", "locality": "eu/east/b"},
]


def sample(kind: str, key: Key) -> Object:
    """An EgressGateway of that kind; its hosts are nobody else's."""
    domain = f"{key.name}.{key.namespace}.example.com"
    if kind == PLAIN:
        return egress_gateway(*key, destination("api", domain))
    return egress_gateway(*key, *_rich(domain), **_SURROUNDINGS)


def _rich(domain: str) -> list[Object]:
    originated = {"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Simple"}}
    return [
        destination("api", f"api.{domain}"),
        {**destination("secured", f"secured.{domain}", ports=[originated]), "traffic": _TRAFFIC},
        {**destination("named", f"named.{domain}", ports=[_HTTP]), "aliases": [f"alias.{domain}"]},
        {**destination("near", f"near.{domain}", ports=[_TLS]), "endpoints": _WEST_AND_EAST},
        {
            **destination("any", f"*.any.{domain}", ports=[_TLS]),
            "wildcard": {"strategy": "SingleServer", "server": f"www.any.{domain}"},
        },
        destination("pair", f"one.{domain}", f"two.{domain}", ports=[{"port": 8080, "protocol": "HTTP2"}]),
    ]


_SURROUNDINGS: Final[dict[str, Any]] = {
    "telemetry": {"accessLog": "Enabled"},
    "access": {"from": [{"serviceAccounts": ["web"]}, {"destinations": ["secured"], "methods": ["GET"]}]},
}
