"""
The picture of the world that planning may look at: frozen, complete, without a connection.

`engine.observe` takes it from the informers' caches; tests write it down by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.api.validation import SpecError
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.settings import MeshSettings


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """One EgressGateway as it stands in the API server. `spec` is absent when `errors` say why it cannot be read."""

    key: Key
    uid: str
    generation: int
    created: datetime
    spec: EgressGatewaySpec | None
    errors: tuple[SpecError, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """
    The class that an object asks for. `name` is empty for the built-in one.

    `spec` is absent when there is no such class, or when `errors` say why it cannot be read.
    """

    name: str
    spec: EgressGatewayClassSpec | None
    errors: tuple[SpecError, ...] = ()


@dataclass(frozen=True, slots=True)
class Rival:
    """Another EgressGateway that wants, claims or steers a name, seen from one consumer namespace that both serve."""

    key: Key
    created: datetime
    wants: frozenset[str]
    claimed: Mapping[str, datetime]
    steers: frozenset[str]


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """
    The gateway's Deployment as last seen: pods wanted, pods ready.

    `complete`: all of them are ready, or one has been for so long that it should serve alone.
    """

    replicas: int = 0
    ready: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """
    All that one reconcile may know.

    `gateway_settled`: istiod has had the time to push what the gateway side holds. `clients_settled`: likewise for
    what clients were last told; until then a way that was withdrawn must go on working.
    """

    now: datetime
    gateway: GatewayFacts
    class_: ClassFacts
    mesh: MeshSettings
    namespace_labels: Mapping[str, str] | None = field(default_factory=dict)
    """None while the namespace has not been seen: then nothing is concluded from its labels."""

    rivals: tuple[Rival, ...] = ()
    live: Mapping[ObjectRef, Manifest] = field(default_factory=dict)
    others: Mapping[ObjectRef, Manifest] = field(default_factory=dict)
    """Objects that carry the labels of children and have no owner, or another one: they decide nothing."""

    workload: WorkloadFacts = field(default_factory=WorkloadFacts)
    unserved: frozenset[str] = field(default_factory=frozenset)
    """Kinds of children that the API server does not serve: their CRD is missing."""

    gateway_settled: bool = True
    clients_settled: bool = True

    @property
    def key(self) -> Key:
        return self.gateway.key
