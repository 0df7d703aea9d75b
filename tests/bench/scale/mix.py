"""
The objects and namespaces of a cluster, by numbers: the same cluster for the same size.

Namespaces belong to teams of ten. Of twenty objects nine serve their own namespace, four do and have TCP port 5432 in
common, three serve the namespaces of a team by a selector, two are on gateways that objects share, one opens TLS with a
Secret, and one serves everybody. One in a hundred has a true rival: another object wants the same host for the same
consumers.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.scale.internals import EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, Key, Manifest

TEAM_SIZE: Final = 10
"""Namespaces."""

SHARING: Final = 50
"""Objects on one shared gateway, about."""

CROWD: Final = 6
"""An object for everybody with many destinations, and five that have some of its hosts in their own namespaces."""

_HTTP: Final = {"port": 80, "protocol": "HTTP"}
_TLS: Final = {"port": 443, "protocol": "TLS"}
_TCP: Final = {"port": 5432, "protocol": "TCP"}


class Kind(StrEnum):
    """What an object is like."""

    OWN = "own namespace only"
    TCP = "own namespace, TCP port in common"
    TEAM = "a team's namespaces by selector"
    SHARED = "on a shared gateway"
    SECRET = "TLS with a Secret"
    EVERYBODY = "everybody"
    RIVAL = "true rivals"
    CROWD = "everybody, with 20 destinations and 5 rivals"


_TURNS: Final = (
    *(Kind.OWN, Kind.TCP, Kind.OWN, Kind.TEAM, Kind.OWN, Kind.SHARED, Kind.OWN, Kind.TCP, Kind.SECRET, Kind.OWN),
    *(Kind.TEAM, Kind.OWN, Kind.TCP, Kind.OWN, Kind.SHARED, Kind.OWN, Kind.EVERYBODY, Kind.TCP, Kind.TEAM, Kind.OWN),
)


@dataclass(frozen=True, slots=True)
class Size:
    """How many objects and namespaces."""

    objects: int
    namespaces: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """From `1000x1000`."""
        objects, _, namespaces = text.partition("x")
        return cls(int(objects), int(namespaces))

    def __str__(self) -> str:
        return f"{self.objects:,} × {self.namespaces:,}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One EgressGateway to create; `late` ones come when the others are served."""

    kind: Kind
    manifest: Manifest
    late: bool = False

    @property
    def key(self) -> Key:
        return Key(self.manifest["metadata"]["namespace"], self.manifest["metadata"]["name"])


@dataclass(frozen=True)
class Mix:
    """
    A cluster of one size. `rivals`: whether some objects want the same hosts for the same consumers; `crowd_class` is
    the class of the one that has five rivals.
    """

    size: Size
    rivals: bool = True
    crowd_class: str = "standard"

    @property
    def shared_gateways(self) -> int:
        return max(1, self.size.objects // 10 // SHARING)

    def namespace_of(self, number: int) -> str:
        return f"n-{number % self.size.namespaces:05d}"

    def team_of(self, number: int) -> str:
        """Team of the namespace with that number."""
        return f"t-{self._team(number)}"

    def _team(self, number: int) -> int:
        return number % self.size.namespaces // TEAM_SIZE

    def _is_prod(self, number: int) -> bool:
        return self._team(number) % 2 == 0

    def surroundings(self) -> Iterator[tuple[str, Manifest]]:
        """Namespaces, classes, gateways that objects share, and Secrets, each with the plural of its kind."""
        for number in range(self.size.namespaces):
            yield "namespaces", namespace(self.namespace_of(number), self.team_of(number), prod=self._is_prod(number))
        yield "egressgatewayclasses", class_("standard", {"allowedConsumers": {"from": "All"}}, default=True)
        prod = {"matchLabels": {"env": "prod"}}
        yield "egressgatewayclasses", class_("guarded", {"allowedConsumers": {"from": "Selector", "selector": prod}})
        for number in range(self.shared_gateways):
            yield from _shared_gateway(f"edge-{number}")
        for wanted in self.objects:
            if wanted.kind is Kind.SECRET:
                yield "secrets", secret(wanted.key.namespace, _secret_name(wanted.key.name), "first")

    @cached_property
    def objects(self) -> tuple[Wanted, ...]:
        """Every EgressGateway; those that are rivals stand side by side, at the end."""
        conflicted = max(CROWD, self.size.objects // 100) if self.rivals else 0
        peaceful = self.size.objects - conflicted
        found = [self.object(number, self._kind_of(number)) for number in range(peaceful)]
        if conflicted:
            found.extend(self._crowd(peaceful))
            found.extend(self._rivals(range(peaceful + CROWD, self.size.objects)))
        return tuple(found)

    def _kind_of(self, number: int) -> Kind:
        kind = _TURNS[number % len(_TURNS)]
        # Two of them in one namespace would be rivals.
        return Kind.OWN if kind is Kind.TCP and number >= self.size.namespaces else kind

    def fresh(self, kind: Kind) -> Wanted:
        """An object that is not there yet, in a namespace whose object has no port in common with it."""
        layers = -(-self.size.objects // self.size.namespaces)
        return self.object(layers * self.size.namespaces + tuple(Kind).index(kind) * len(_TURNS), kind)

    def object(self, number: int, kind: Kind) -> Wanted:
        """An object that wants no host of another one's."""
        spec: Manifest = {"destinations": [_destination("api", f"api.o{number}.example.com")]}
        if kind is Kind.TCP:
            spec["destinations"] = [_destination("db", f"db.o{number}.example.com", ports=[_TCP])]
        elif kind is Kind.TEAM:
            spec["access"] = {"from": [_team(self.team_of(number))]}
            # Some have a class that decides by labels, too.
            spec |= {"className": "guarded"} if self._is_prod(number) and number % 2 == 1 else {}
        elif kind is Kind.SHARED:
            spec["className"] = f"edge-{number // len(_TURNS) % self.shared_gateways}"
        elif kind is Kind.SECRET:
            tls = {"mode": "Mutual", "credentialName": _secret_name(self._name_of(number))}
            port = {"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": tls}
            spec["destinations"] = [_destination("api", f"api.o{number}.example.com", ports=[port])]
        elif kind is Kind.EVERYBODY:
            spec["access"] = {"from": [{"namespaceSelector": {}}]}
        return self._wanted(number, kind, spec)

    def _crowd(self, first: int) -> Iterator[Wanted]:
        """The rivals come first, so that the object for everybody serves everybody but them."""
        hosts = [f"api.d{number}.crowd.example.com" for number in range(20)]
        for number in range(CROWD - 1):
            mine = _destination("api", *hosts[number * 4 : number * 4 + 4])
            yield self._wanted(first + number, Kind.RIVAL, {"destinations": [mine]})
        spec = {
            "destinations": [_destination(f"d{number}", host) for number, host in enumerate(hosts)],
            "access": {"from": [{"namespaceSelector": {}}]},
            "className": self.crowd_class,
        }
        yield self._wanted(first + CROWD - 1, Kind.CROWD, spec, late=True)

    def _rivals(self, numbers: range) -> Iterator[Wanted]:
        """By twos: one for its team, and one in a namespace of that team."""
        for number in numbers:
            pair = (number - numbers.start) // 2
            spec: Manifest = {"destinations": [_destination("api", f"api.pair{pair}.example.com")]}
            if (number - numbers.start) % 2 == 0:
                spec["access"] = {"from": [_team(self.team_of(number)), _team(self.team_of(number + 1))]}
            yield self._wanted(number, Kind.RIVAL, spec)

    def _wanted(self, number: int, kind: Kind, spec: Manifest, *, late: bool = False) -> Wanted:
        metadata = {"namespace": self.namespace_of(number), "name": self._name_of(number)}
        head = {"apiVersion": EGRESS_GATEWAY.api_version, "kind": EGRESS_GATEWAY.kind}
        return Wanted(kind, {**head, "metadata": metadata, "spec": spec}, late)

    def _name_of(self, number: int) -> str:
        return f"o{number}"


def namespace(name: str, team: str, *, prod: bool = True) -> Manifest:
    labels = {"kubernetes.io/metadata.name": name, "team": team, "env": "prod" if prod else "dev"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def class_(name: str, spec: Manifest, *, default: bool = False) -> Manifest:
    annotations = {"egressgateway.dev/is-default-class": "true"} if default else {}
    return {
        "apiVersion": EGRESS_GATEWAY_CLASS.api_version,
        "kind": EGRESS_GATEWAY_CLASS.kind,
        "metadata": {"name": name, "annotations": annotations},
        "spec": spec,
    }


def secret(namespace: str, name: str, subject: str) -> Manifest:
    """With a certificate of that subject, and its key."""
    (certificate, key), (authority, _) = _pair(subject), _pair("authority")
    data = {"tls.crt": certificate, "ca.crt": authority, "tls.key": key}
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "data": data}


@cache
def _pair(subject: str) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    begin, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, end).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return b64encode(built.public_bytes(serialization.Encoding.PEM)).decode(), b64encode(private).decode()


def _secret_name(name: str) -> str:
    return f"{name}-client"


def _team(team: str) -> Manifest:
    return {"namespaceSelector": {"matchLabels": {"team": team}}}


def _destination(name: str, *hosts: str, ports: list[Any] | None = None) -> Manifest:
    return {"name": name, "hosts": list(hosts), "ports": ports or [_HTTP, _TLS]}


def _shared_gateway(name: str) -> Iterator[tuple[str, Manifest]]:
    """A class, and the gateway that its objects share: its namespace, its Service, a pod."""
    selector = {"istio": name}
    shared = {"namespace": name, "service": "egress", "selector": selector}
    yield "namespaces", namespace(name, "platform")
    yield "egressgatewayclasses", class_(name, {"allowedConsumers": {"from": "All"}, "shared": shared})
    ports = [{"name": "http", "port": 80}, {"name": "tls", "port": 443}]
    metadata = {"namespace": name, "name": "egress"}
    yield "services", {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}
    yield (
        "pods",
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": name, "name": "egress-1", "labels": selector},
            "spec": {"serviceAccountName": "egress", "containers": [{"name": "istio-proxy"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        },
    )
