"""
EgressGateways in which every two choices that the API leaves meet at least once, as far as the API lets them.

A row says one choice for each factor; a greedy search makes rows until every possible pair is in one of them, then
random ones up to the wanted number. The same rows come out every time. What the models refuse is no possible pair.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from apicases.corpus import model_errors

Spec = dict[str, Any]
Row = dict[str, str]
Pair = tuple[tuple[str, str], tuple[str, str]]
"""Two choices, each a factor and a value, in the order of the factors."""

CANDIDATES: Final = 12
"""Rows that are tried for each one that is taken: more make fewer rows, and take longer."""

FACTORS: Final[dict[str, tuple[str, ...]]] = {
    "class": ("built-in", "dedicated", "canary", "template", "authorizer", "plain", "shared", "shared-plain"),
    "protocol": ("HTTP", "HTTP2", "GRPC", "TLS", "TCP", "HTTP+TLS"),
    "target": ("same", "other"),
    "tls": ("none", "Simple", "ca", "names", "insecure", "Mutual"),
    "hosts": ("one", "two"),
    "resolution": ("none", "DNS", "DNSRoundRobin"),
    "endpoints": ("none", "name", "localities", "ip"),
    "wildcard": ("none", "SingleServer", "DynamicResolution"),
    "aliases": ("none", "one"),
    "headers": ("none", "set", "remove"),
    "traffic": ("none", "timeout", "no-timeout", "retries", "pool", "outlier", "balancing"),
    "access": ("none", "own", "other", "accounts", "requests", "selector", "everyone"),
    "expose": ("none", "own", "own-tls", "service", "destination"),
    "telemetry": ("none", "log", "no-log", "tracing", "headers"),
    "gateway": ("none", "replicas", "autoscaling", "resources", "placement", "open", "balancer"),
    "expiry": ("none", "future"),
}
"""The first value of each is what an author leaves out."""


def rows(count: int, seed: int = 1) -> list[Row]:
    """At least `count` rows that together hold every possible pair."""
    dice = random.Random(seed)
    missing = set(possible_pairs())
    found: list[Row] = []
    while missing:
        start = min(missing)
        candidates = [_grow(dict(start), missing, dice) for _ in range(CANDIDATES)]
        best = max(candidates, key=lambda row: len(missing & pairs_of(row)))
        # A candidate holds `start` unless three choices exclude each other: then the pair is left to a row of its own.
        taken = best if set(start) <= set(best.items()) else {**_least(), **dict(start)}
        missing -= pairs_of(taken)
        missing.discard(start)
        found.append(taken)
    while len(found) < count:
        found.append(_grow({}, set(), dice))
    return found


def factor_pairs() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The values of every two factors."""
    return itertools.combinations(FACTORS.values(), 2)


def pairs_of(row: Row) -> set[Pair]:
    """Every pair that a row holds."""
    return set(itertools.combinations(((factor, row[factor]) for factor in FACTORS), 2))


@cache
def possible_pairs() -> frozenset[Pair]:
    """Pairs that the models accept, in an object that is otherwise as small as can be, or exposes something."""
    backgrounds = ({}, {"expose": "own"})
    return frozenset(
        pair
        for one, other in itertools.combinations(FACTORS, 2)
        for pair in itertools.product(
            ((one, value) for value in FACTORS[one]), ((other, value) for value in FACTORS[other])
        )
        if any(_is_valid({**_least(), **background, **dict(pair)}) for background in backgrounds)
    )


def manifest_of(row: Row, name: str, namespace: str, number: int) -> Spec:
    """The EgressGateway that a row describes. `number` tells its hosts and its ports from those of all others."""
    spec: Spec = {"destinations": [_destination(row, name, number)]}
    if row["class"] != "built-in":
        spec["className"] = row["class"]
    spec |= {
        field: value
        for field, value in (
            ("gateway", _GATEWAY[row["gateway"]]),
            ("access", _access(row["access"], namespace)),
            ("telemetry", _TELEMETRY[row["telemetry"]]),
            ("expose", _expose(row, name, number)),
        )
        if value
    }
    return {
        "apiVersion": "egressgateway.dev/v1alpha1",
        "kind": "EgressGateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _least() -> Row:
    return {factor: values[0] for factor, values in FACTORS.items()}


def _is_valid(row: Row) -> bool:
    return not model_errors(manifest_of(row, "x", "pairs", 0))


def _grow(row: Row, missing: set[Pair], dice: random.Random) -> Row:
    """Choose what `row` leaves open, so that it holds many of the missing pairs and none that is impossible."""
    possible = possible_pairs()
    for factor in dice.sample([each for each in FACTORS if each not in row], len(FACTORS) - len(row)):
        values = dice.sample(FACTORS[factor], len(FACTORS[factor]))
        allowed = [value for value in values if all(pair in possible for pair in _with(row, factor, value))]
        # The least value of each factor gets along with everything but what asks for another one.
        row[factor] = max(
            allowed or FACTORS[factor][:1], key=lambda value: sum(pair in missing for pair in _with(row, factor, value))
        )
    ordered = {factor: row[factor] for factor in FACTORS}
    return ordered if _is_valid(ordered) else _mended(ordered)


def _mended(row: Row) -> Row:
    """`row` with as few choices as it takes set back, last ones first."""
    for factor in reversed(FACTORS):
        row = {**row, factor: FACTORS[factor][0]}
        if _is_valid(row):
            return row
    return row


def _with(row: Row, factor: str, value: str) -> Iterator[Pair]:
    order = list(FACTORS)
    for other, chosen in row.items():
        pair = ((other, chosen), (factor, value))
        yield pair if order.index(other) < order.index(factor) else (pair[1], pair[0])


def _destination(row: Row, name: str, number: int) -> Spec:
    prefix = "*." if row["wildcard"] != "none" else ""
    bases = ("a", "b") if row["hosts"] == "two" else ("a",)
    destination: Spec = {
        "name": "part",
        "hosts": [f"{prefix}{base}.{name}.example.com" for base in bases],
        "ports": list(_ports(row, number)),
    }
    optional = {
        "resolution": None if row["resolution"] == "none" else row["resolution"],
        "endpoints": _ENDPOINTS[row["endpoints"]],
        "wildcard": _WILDCARD[row["wildcard"]],
        "aliases": [f"alias.{name}.example.com"] if row["aliases"] == "one" else None,
        "requestHeaders": _HEADERS[row["headers"]],
        "traffic": _TRAFFIC[row["traffic"]],
        "expiresAt": "2100-01-01T00:00:00Z" if row["expiry"] == "future" else None,
    }
    return {**destination, **{field: value for field, value in optional.items() if value}}


def _ports(row: Row, number: int) -> Iterator[Spec]:
    # Ports of TCP are nobody else's: a second object there would be a conflict of its own kind.
    for protocol in row["protocol"].split("+"):
        port = {"TLS": 443, "TCP": 20000 + number}.get(protocol, 80)
        tls = _TLS[row["tls"]] if protocol != "TLS" or row["protocol"] == "TLS" else None
        # By the name that is asked for nothing but the usual port can be found.
        other = {"targetPort": 443 if tls else 8443} if row["target"] == "other" else {}
        same = {"targetPort": port} if tls and not other else {}
        yield {"port": port, "protocol": protocol, **other, **same, **({"tls": tls} if tls else {})}


def _access(choice: str, namespace: str) -> Spec | None:
    entry = _ACCESS[choice]
    if entry is None:
        return None
    return {"from": [{"namespaces": [namespace]}, entry] if choice in ("other", "selector") else [entry]}


def _expose(row: Row, name: str, number: int) -> list[Spec]:
    choice, entry = row["expose"], {"name": "public", "hosts": [f"public.{name}.example.org"]}
    service = {"service": {"name": "web", "port": 80}}
    reference = {"name": "public-ingress", "namespace": "istio-system"}
    return {
        "none": [],
        "own": [{**entry, "port": 8000 + number, "paths": ["/v1/*"], "backend": service}],
        "own-tls": [{**entry, "tls": {"credentialName": "web", "httpsRedirect": True}, "backend": service}],
        "service": [{**entry, "gatewayRef": reference, "backend": service}],
        "destination": [{**entry, "gatewayRef": reference, "backend": {"destination": {"name": "part", "port": 80}}}],
    }[choice]


_TLS: Final[dict[str, Spec | None]] = {
    "none": None,
    "Simple": {"mode": "Simple"},
    "ca": {"mode": "Simple", "credentialName": "ca"},
    "names": {"mode": "Simple", "sni": "tls.example.com", "subjectAltNames": ["tls.example.com", "example.com"]},
    "insecure": {"mode": "Simple", "insecureSkipVerify": True},
    "Mutual": {"mode": "Mutual", "credentialName": "client"},
}
_ENDPOINTS: Final[dict[str, list[Spec] | None]] = {
    "none": None,
    "name": [{"address": "real.example.com"}],
    "localities": [
        {"address": "west.example.com", "weight": 3, "locality": "eu/west/a"},
        {"address": "east.example.com", "locality": "eu/east/b"},
    ],
    "ip": [{"address": "192.0.2.10"}],
}
_WILDCARD: Final[dict[str, Spec | None]] = {
    "none": None,
    "SingleServer": {"strategy": "SingleServer", "server": "www.example.com"},
    "DynamicResolution": {"strategy": "DynamicResolution"},
}
_HEADERS: Final[dict[str, Spec | None]] = {
    "none": None,
    "set": {"set": [{"name": "x-client", "value": "%payments% {{ 1 }}"}]},
    "remove": {"remove": ["x-debug", "cookie"]},
}
_TRAFFIC: Final[dict[str, Spec | None]] = {
    "none": None,
    "timeout": {"timeout": "5s"},
    "no-timeout": {"timeout": "0s"},
    "retries": {"retries": {"attempts": 2, "perTryTimeout": "1s", "retryOn": ["5xx", "reset"]}},
    "pool": {
        "connectionPool": {
            "maxConnections": 100,
            "connectTimeout": "1s",
            "idleTimeout": "1m",
            "tcpKeepalive": {"time": "1m", "interval": "10s", "probes": 3},
        }
    },
    "outlier": {"outlierDetection": {"consecutive5xxErrors": 5, "interval": "10s", "maxEjectionPercent": 50}},
    "balancing": {"loadBalancing": {"algorithm": "RoundRobin"}},
}
_ACCESS: Final[dict[str, Spec | None]] = {
    "none": None,
    "own": {},
    "other": {"namespaces": ["consumer"]},
    "accounts": {"namespaces": ["consumer"], "serviceAccounts": ["web"], "destinations": ["part"]},
    "requests": {"methods": ["GET"], "paths": ["/v1/*", "/health"]},
    "selector": {"namespaceSelector": {"matchLabels": {"egress": "consumer"}}},
    "everyone": {"namespaceSelector": {}},
}
_TELEMETRY: Final[dict[str, Spec | None]] = {
    "none": None,
    "log": {"accessLog": "Enabled"},
    "no-log": {"accessLog": "Disabled"},
    "tracing": {"tracing": "Propagate"},
    "headers": {"meshHeaders": "Keep"},
}
_GATEWAY: Final[dict[str, Spec | None]] = {
    "none": None,
    "replicas": {"replicas": 1},
    "autoscaling": {"autoscaling": {"minReplicas": 1, "maxReplicas": 3}},
    "resources": {"resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "1Gi"}}},
    "placement": {
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "pool", "operator": "Exists"}],
        "podLabels": {"team": "payments"},
        "podAnnotations": {"note": "yes: no"},
        "terminationGracePeriodSeconds": 10,
    },
    "open": {"networkPolicy": {"mode": "Disabled"}},
    "balancer": {"service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"]}},
}
