"""
EgressGateways in which every two choices that the API leaves meet at least once, as far as the API lets them.

A row says one choice for each factor. Pairs that the models refuse are not possible. Pairs that the operator refuses
(`REFUSED`) stand in a row of their own each, so that they take nothing else out. For the rest a greedy search makes
rows until every pair is in one of them, then random ones up to the wanted number. The same rows come out every time.
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
    "traffic": ("none", "timeout", "no-timeout", "retries", "pool", "requests", "outlier", "balancing"),
    "access": ("none", "own", "other", "accounts", "requests", "selector", "everyone"),
    "expose": ("none", "own", "own-tls", "service", "destination"),
    "telemetry": ("none", "log", "no-log", "tracing", "headers"),
    "gateway": ("none", "replicas", "autoscaling", "resources", "placement", "open", "balancer"),
    "expiry": ("none", "future"),
}
"""The first value of each is what an author leaves out."""


_SHARED: Final = ("shared", "shared-plain")
_OPAQUE: Final = ("TLS", "TCP", "HTTP+TLS")
_NO_CONSENT: Final = ("other", "accounts", "selector", "everyone")
Choices = tuple[str, tuple[str, ...]]

REFUSED: Final[tuple[tuple[Choices, Choices], ...]] = (
    # A shared gateway, its Secrets, its log and its ports are other people's.
    (("class", _SHARED), ("gateway", FACTORS["gateway"][1:])),
    (("class", _SHARED), ("telemetry", ("log", "no-log"))),
    (("class", _SHARED), ("expose", ("own", "own-tls"))),
    (("class", _SHARED), ("tls", ("ca", "Mutual"))),
    (("class", _SHARED), ("wildcard", ("DynamicResolution",))),
    (("class", ("shared-plain",)), ("protocol", ("TCP",))),
    # Without mutual TLS nobody knows who calls.
    (("class", ("plain", "shared-plain")), ("access", ("accounts", "requests"))),
    (("class", ("plain",)), ("wildcard", ("DynamicResolution",))),
    # The built-in class allows nothing that an admin has to allow.
    (("class", ("built-in",)), ("access", _NO_CONSENT)),
    (("class", ("built-in",)), ("endpoints", ("ip",))),
    (("class", ("built-in",)), ("expose", ("service", "destination"))),
    # The name that is asked for decides where a connection goes, and nothing else does.
    (("wildcard", ("DynamicResolution",)), ("target", ("other",))),
    (("wildcard", ("DynamicResolution",)), ("tls", ("names",))),
    (("wildcard", ("DynamicResolution",)), ("traffic", ("outlier", "balancing"))),
    # Connections have neither a duration nor a second try.
    (("protocol", _OPAQUE), ("traffic", ("timeout", "no-timeout", "retries", "requests"))),
)
"""What the models let pass and the operator refuses: each of some choices with each of others."""


def rows(count: int, seed: int = 1) -> list[Row]:
    """At least `count` rows that together hold every possible pair."""
    dice = random.Random(seed)
    alone = [_lonely(pair) for pair in sorted(refused_pairs() & possible_pairs())]
    missing = set(possible_pairs() - refused_pairs())
    found: list[Row] = []
    while missing:
        start = min(missing)
        # A candidate holds `start` unless a third choice was in the way: then the pair gets a row of its own.
        candidates = [_grow(dict(start), missing, dice) for _ in range(CANDIDATES)] + [_lonely(start)]
        taken = max(
            (row for row in candidates if start in pairs_of(row) and not is_refused(row)),
            key=lambda row: len(missing & pairs_of(row)),
        )
        missing -= pairs_of(taken)
        found.append(taken)
    while len(alone) + len(found) < count:
        found += [row for row in (_grow({}, set(), dice),) if not is_refused(row)]
    return [*alone, *found]


@cache
def refused_pairs() -> frozenset[Pair]:
    """`REFUSED`, pair by pair."""
    found = (
        ((one, value), (other, beside))
        for (one, values), (other, besides) in REFUSED
        for value, beside in itertools.product(values, besides)
    )
    order = list(FACTORS)
    return frozenset(
        (one, other) if order.index(one[0]) < order.index(other[0]) else (other, one) for one, other in found
    )


def is_refused(row: Row) -> bool:
    """Whether the operator refuses something of what a row describes: a pair, or the one case that takes three."""
    # Its real host would stand in a server of a gateway that others configure, too.
    plain_wildcard = row["class"] in _SHARED and row["wildcard"] == "SingleServer" and row["protocol"] != "TLS"
    return plain_wildcard or not refused_pairs().isdisjoint(pairs_of(row))


def factor_pairs() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The values of every two factors."""
    return itertools.combinations(FACTORS.values(), 2)


def pairs_of(row: Row) -> set[Pair]:
    """Every pair that a row holds."""
    return set(itertools.combinations(((factor, row[factor]) for factor in FACTORS), 2))


@cache
def possible_pairs() -> frozenset[Pair]:
    """Pairs that the models accept, in an object that is otherwise as small as can be, or exposes something."""
    return frozenset(
        pair
        for one, other in itertools.combinations(FACTORS, 2)
        for pair in itertools.product(
            ((one, value) for value in FACTORS[one]), ((other, value) for value in FACTORS[other])
        )
        if _lonely(pair)
    )


def manifest_of(row: Row, name: str, namespace: str, number: int) -> Spec:
    """The EgressGateway that a row describes. `number` tells its hosts and its ports from those of all others."""
    spec: Spec = {"destinations": [_destination(row, name, number)]}
    if row["class"] != "built-in":
        spec["className"] = row["class"]
    spec |= _given(
        {
            "gateway": _GATEWAY[row["gateway"]],
            "access": _access(row["access"], namespace),
            "telemetry": _TELEMETRY[row["telemetry"]],
            "expose": _expose(row, name, number),
        }
    )
    return {
        "apiVersion": "egressgateway.dev/v1alpha1",
        "kind": "EgressGateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _least() -> Row:
    return {factor: values[0] for factor, values in FACTORS.items()}


def _lonely(pair: Pair) -> Row:
    """A row with this pair and as little else as can be; empty where no object has it."""
    classes: tuple[Row, ...] = ({}, {"class": "dedicated"})
    others: tuple[Row, ...] = ({}, {"protocol": "TLS"}, {"expose": "own"})
    tried = ({**_least(), **one, **other, **dict(pair)} for one, other in itertools.product(classes, others))
    right = (row for row in tried if is_refused(row) == (pair in refused_pairs()) and _is_valid(row))
    return next(right, {})


def _is_valid(row: Row) -> bool:
    return not model_errors(manifest_of(row, "x", "pairs", 0))


def _grow(row: Row, missing: set[Pair], dice: random.Random) -> Row:
    """Choose what `row` leaves open, so that it holds many of the missing pairs and none that is impossible."""
    possible = possible_pairs() - refused_pairs()
    for factor in dice.sample([each for each in FACTORS if each not in row], len(FACTORS) - len(row)):
        values = dice.sample(FACTORS[factor], len(FACTORS[factor]))
        allowed = [value for value in values if all(pair in possible for pair in _with(row, factor, value))]
        # The least value of a factor gets along with everything but what asks for another one.
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
    return destination | _given(optional)


def _given(fields: Spec) -> Spec:
    """Fields without those that an author leaves out."""
    return {name: value for name, value in fields.items() if value}


def _ports(row: Row, number: int) -> Iterator[Spec]:
    # Ports of TCP are nobody else's: a second object there would be a conflict of its own kind.
    for protocol in row["protocol"].split("+"):
        port = {"TLS": 443, "TCP": 20000 + number}.get(protocol, 80)
        tls = _TLS[row["tls"]] if protocol != "TLS" or row["protocol"] == "TLS" else None
        # With TLS the port has to be said; where a name is resolved as it comes, it can only be the usual one.
        target = (443 if tls else 8443) if row["target"] == "other" else (port if tls else None)
        if tls and row["wildcard"] == "DynamicResolution":
            target = 443
        yield {"port": port, "protocol": protocol} | _given({"targetPort": target, "tls": tls})


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
    "requests": {"connectionPool": {"maxPendingRequests": 10, "maxRequestsPerConnection": 100}},
    "outlier": {
        "outlierDetection": {
            "consecutive5xxErrors": 5,
            "interval": "10s",
            "baseEjectionTime": "30s",
            "maxEjectionPercent": 50,
        }
    },
    "balancing": {"loadBalancing": {"algorithm": "RoundRobin"}},
}
_ACCESS: Final[dict[str, Spec | None]] = {
    "none": None,
    "own": {},
    "other": {"namespaces": ["consumer"]},
    "accounts": {"namespaces": ["consumer"], "serviceAccounts": ["web"], "destinations": ["part"]},
    "requests": {"methods": ["GET"], "paths": ["/v1/*", "/health"]},
    "selector": {
        "namespaceSelector": {
            "matchLabels": {"egress": "consumer"},
            "matchExpressions": [{"key": "egress", "operator": "In", "values": ["consumer"]}],
        }
    },
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
    "autoscaling": {"autoscaling": {"minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 70}},
    "resources": {"resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "1Gi"}}},
    "placement": {
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "pool", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "system-cluster-critical",
        "trafficDistribution": "PreferClose",
        "podLabels": {"team": "payments"},
        "podAnnotations": {"note": "yes: no"},
        "terminationGracePeriodSeconds": 10,
    },
    "open": {"networkPolicy": {"mode": "Disabled"}},
    "balancer": {
        "service": {
            "type": "LoadBalancer",
            "annotations": {"example.com/tier": "public"},
            "externalTrafficPolicy": "Local",
            "loadBalancerClass": "example.com/public",
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
        }
    },
}
