"""
The picture of the world that planning may look at: frozen, complete, without a connection.

`engine.reconcile.observe` takes it from the informers' caches; tests write it down by hand.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

from egressgateway.api.conditions import ConditionStatus, Reason
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.api.validation import SpecError
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.settings import MeshSettings


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """
    One EgressGateway as the API server stores it. `spec` is absent when `errors` say why it cannot be read, and when it
    was `left_out` of the caches, because its namespace's objects take too much memory.
    """

    key: Key
    uid: str
    generation: int
    created: datetime
    spec: EgressGatewaySpec | None
    errors: tuple[SpecError, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)
    deleting: bool = False
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """
    The class that an object asks for. `name` is empty for the built-in one.

    `spec` is absent when there is no such class, or when `errors` say why it cannot be read.
    """

    name: str
    spec: EgressGatewayClassSpec | None
    errors: tuple[SpecError, ...] = ()

    def __str__(self) -> str:
        return f"EgressGatewayClass {self.name}" if self.name else "the built-in class"


@dataclass(frozen=True, slots=True)
class Claimed:
    """
    A claim as a status records it. `gateway`: `namespace/name` on which a host is exposed; empty for destinations.
    """

    host: str
    gateway: str = ""


class ClaimedPort(NamedTuple):
    """A port as clients dial it. `tcp`: they speak TCP there, which carries no host name; other protocols carry one."""

    number: int
    tcp: bool


NEVER: Final = datetime.max.replace(tzinfo=UTC)
"""In place of a time: not claimed."""

Since = Mapping[str, datetime]
"""
For each consumer namespace, when something was claimed there.

`EVERY_NAMESPACE` stands for all that are not listed; `NEVER` marks a namespace where another object holds the claim.
"""


def since_in(since: Since, namespace: str) -> datetime:
    """When something was claimed in a namespace; `NEVER` where it is not."""
    return since.get(namespace, since.get(EVERY_NAMESPACE, NEVER))


def places_of(since: Since) -> frozenset[str]:
    """Namespaces in which something is claimed; `EVERY_NAMESPACE` is among them where it stands for the rest."""
    return frozenset(namespace for namespace, moment in since.items() if moment != NEVER)


@dataclass(frozen=True, slots=True)
class Rights:
    """
    What an EgressGateway has claimed, by its own status. Other objects respect no other evidence of a right.

    The operator records a claim before it writes the first object that relies on it, and removes the claim after the
    last such object is gone. Tenants cannot write a status (see docs/security.md).

    Attributes:
        names: by host or alias, where its clients are steered.
        ports: likewise by port.
        exposed: names on gateways that objects share, and since when.
    """

    names: Mapping[str, Since] = field(default_factory=dict)
    ports: Mapping[ClaimedPort, Since] = field(default_factory=dict)
    exposed: Mapping[Claimed, datetime] = field(default_factory=dict)

    @property
    def is_blank(self) -> bool:
        """Whether no host or port is claimed: the object is new, or its status was lost."""
        return not (self.names or self.ports)

    @property
    def places(self) -> frozenset[str]:
        """Namespaces in which something is claimed."""
        return frozenset(place for since in (*self.names.values(), *self.ports.values()) for place in places_of(since))

    @property
    def first(self) -> datetime:
        """The earliest claim of a name; `NEVER` without any."""
        moments = (moment for since in self.names.values() for moment in since.values())
        return min((*moments, *self.exposed.values()), default=NEVER)

    def joined(self, other: Rights) -> Rights:
        """The claims of both, each with the earlier time."""
        exposed = {
            claimed: min(self.exposed.get(claimed, NEVER), other.exposed.get(claimed, NEVER))
            for claimed in self.exposed.keys() | other.exposed.keys()
        }
        return Rights(_joined(self.names, other.names), _joined(self.ports, other.ports), exposed)


_Item = TypeVar("_Item", bound=Hashable)


def _joined(one: Mapping[_Item, Since], other: Mapping[_Item, Since]) -> dict[_Item, Since]:
    return {
        item: {
            place: min(one.get(item, {}).get(place, NEVER), other.get(item, {}).get(place, NEVER))
            for place in one.get(item, {}).keys() | other.get(item, {}).keys()
        }
        for item in one.keys() | other.keys()
    }


@dataclass(frozen=True, slots=True)
class Ports:
    """
    Consumer namespaces by number of the port that their clients dial.

    Attributes:
        tcp: where they speak TCP, which carries no host name, so that one object takes the whole port.
        named: where they speak any other protocol.
    """

    tcp: Mapping[int, frozenset[str]] = field(default_factory=dict)
    named: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def speaking(self, *, tcp: bool) -> Mapping[int, frozenset[str]]:
        return self.tcp if tcp else self.named


@dataclass(frozen=True, slots=True)
class Contender:
    """
    Another EgressGateway that asks for the same name or port, or for a name that a wildcard covers.

    Attributes:
        serves: by name, the consumer namespaces for which it wants the name; `*` stands for every namespace.
        exposes: names that it wants on a gateway that it shares with others.
        ports: that it wants; `held_ports` those that it has claimed.
        rights: what it has claimed, by its status.
        steers: by name, the namespaces whose clients its live routes send to it. Only for an object whose status was
            lost, and only where its class allows it to serve: tenants can write such routes in their own namespaces.
        lets_go: names that it has claimed and does not ask for any more, and that this object may take over. Like the
            next two it is known only of an object of the same namespace (`contention.succession`).
        takes_over: by name, the namespaces for which it takes the name over from this object, if this one lets go.
        routed: by name that both have claimed, the namespaces whose clients it serves now.
    """

    key: Key
    created: datetime
    serves: Mapping[str, frozenset[str]] = field(default_factory=dict)
    exposes: frozenset[Claimed] = frozenset()
    ports: Ports = field(default_factory=Ports)
    held_ports: Ports = field(default_factory=Ports)
    rights: Rights = field(default_factory=Rights)
    steers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lets_go: frozenset[str] = frozenset()
    takes_over: Mapping[str, frozenset[str]] = field(default_factory=dict)
    routed: Mapping[str, frozenset[str]] = field(default_factory=dict)


class Handover(StrEnum):
    """How far a name is that an object steers, and that another one of its namespace has or may take over."""

    LINGERS = "Lingers"
    """Seen a moment ago: the edit by which another object asks for it may be on its way."""

    WAITS = "Waits"
    """The other object's way does not stand yet, or proxies may not have learned of it."""

    TAKEN = "Taken"
    """It does, for as long as proxies may take."""

    OVERDUE = "Overdue"
    """It does not, although there was time enough."""

    UNWANTED = "Unwanted"
    """Nobody else asks for the name, or has claimed it."""


@dataclass(frozen=True, slots=True)
class UnmanagedRoute:
    """
    A VirtualService for sidecars, a ServiceEntry, or a Service of type ExternalName, that is not a child of this
    operator.

    `visible_in`: namespaces that it is exported to; `*` stands for every namespace. `tcp_ports`: of a ServiceEntry
    without addresses, those on which sidecars send every connection to its hosts; of a Service, those on which its
    clients connect to an address of its host, which sidecars do not tell from others.
    """

    ref: ObjectRef
    hosts: frozenset[str]
    visible_in: frozenset[str]
    created: datetime
    tcp_ports: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """
    What the mesh's own configuration says (ConfigMap `istio` of the root namespace, key `mesh`), as far as it could be
    read.

    Attributes:
        outbound_policy: `ALLOW_ANY` or `REGISTRY_ONLY`; None when it is not known.
        authorizers: external authorizers by name, and whether they see connections (`grpc`) or only requests (`http`);
            None when they are not known.
        dns_capture: sidecars answer DNS and give addresses of their own to hosts without one.
        scopes_gateways: a Gateway selects pods of its own namespace only (PILOT_SCOPE_GATEWAY_TO_NAMESPACE).
        context_propagation: the mesh can switch off trace context without switching off spans (Istio 1.30 and later).
        normalizes_slashes: encoded slashes in paths are decoded or refused before policies look at them.
        trust_domain_aliases: other trust domains whose identities Istio takes for those of its own.
    """

    outbound_policy: str | None = None
    authorizers: Mapping[str, str] | None = None
    dns_capture: bool = False
    scopes_gateways: bool = False
    context_propagation: bool = False
    normalizes_slashes: bool = False
    trust_domain_aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PodSelection:
    """Pods that an object depends on: of one namespace (empty: of all), by labels."""

    namespace: str
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PodFacts:
    """
    One pod of a gateway. `address` is empty while it has none, and when it is about to end.

    `sidecar`: the mesh's proxy runs beside its containers; `intercepted`: the containers' own calls pass through it.
    `obstacle`: why it does not start, in the cluster's words (`live.obstacles`).
    """

    namespace: str
    name: str
    service_account: str
    ready: bool
    address: str = ""
    sidecar: bool = False
    intercepted: bool = False
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class ClientPods:
    """
    Pods of a consumer namespace that run, without Istio's gateways.

    Attributes:
        in_mesh: a sidecar takes their calls.
        ambient: ztunnel takes their calls, which no gateway of ours serves.
        outside: nothing takes their calls.
    """

    in_mesh: int = 0
    ambient: int = 0
    outside: int = 0


@dataclass(frozen=True, slots=True)
class EgressListener:
    """
    What a Sidecar resource lets its proxies learn of for calls to one port; None: to those without a listener.

    `hosts`: by host, which may be a wildcard, the namespaces whose objects for it count; `*` stands for all, `.` for
    the proxy's own.
    """

    port: int | None
    hosts: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class SidecarScope:
    """
    A Sidecar resource.

    Attributes:
        created: when, as the API server writes it.
        selects: it applies to some pods of its namespace.
        unread: it has more hosts than `listeners`, or they are not known.
    """

    ref: ObjectRef
    listeners: tuple[EgressListener, ...]
    created: str = ""
    selects: bool = False
    unread: bool = False


@dataclass(frozen=True, slots=True)
class HopRule:
    """
    A DestinationRule that may apply to the Service of a gateway.

    Attributes:
        private: it is for its own namespace alone.
        unread: to which Services it applies is not known.
    """

    ref: ObjectRef
    host: str
    private: bool = False
    unread: bool = False


@dataclass(frozen=True, slots=True)
class ClientScope:
    """
    What objects of other people tell the proxies of a consumer namespace.

    Attributes:
        sidecar: the Sidecar resource for all of its pods, or else that of the mesh's root namespace.
        sidecars: those for some of its pods.
        rule: the DestinationRule of the namespace that applies to the gateway's Service.
    """

    sidecar: SidecarScope | None = None
    sidecars: tuple[SidecarScope, ...] = ()
    rule: HopRule | None = None


class KeyVerdict(StrEnum):
    """What is wrong with the private key of a Secret."""

    UNREADABLE = "Unreadable"
    ENCRYPTED = "Encrypted"
    MISMATCH = "Mismatch"


KEY_VERDICTS: Final = "keyVerdicts"
"""Field of a Secret as it is kept: verdicts on its private keys, by their names; keys in order are not listed."""


@dataclass(frozen=True, slots=True)
class References:
    """
    Objects that a spec or its class names, as last read.

    `objects` holds None for what does not exist; what is absent has not been read yet. The operator may not read those
    in `unreadable`, so nothing is known of them; it does not watch those in `too_many`, a subset, because the
    namespace's objects refer to too many. Of a Secret, only certificates (`tls.crt`, `ca.crt` and Istio's other names
    for them) keep their values: a private key is replaced by an empty string, and `KEY_VERDICTS` says what was wrong
    with it.
    """

    objects: Mapping[ObjectRef, Manifest | None] = field(default_factory=dict)
    pods: Mapping[PodSelection, tuple[PodFacts, ...]] = field(default_factory=dict)
    unreadable: frozenset[ObjectRef] = frozenset()
    too_many: frozenset[ObjectRef] = frozenset()


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """
    The gateway's Deployment as last seen: how many pods are wanted, and how many are ready.

    `complete`: all of them are ready, or one has been for so long that it should serve alone. `rolling`: pods are
    missing, or of an older template. `obstacle`: why they do not start, in the cluster's words.
    """

    replicas: int = 0
    ready: int = 0
    complete: bool = False
    rolling: bool = False
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class Reached:
    """What the gateway's pods found when they probed a destination: status, reason and message of `Reachable`."""

    status: ConditionStatus
    reason: Reason
    message: str


class Answers(StrEnum):
    """How far the gateway's ready pods say which ways out their proxies have."""

    NOT_ASKED = "NotAsked"
    AWAITED = "Awaited"
    """They are being asked."""

    MISSING = "Missing"
    """Some pods do not say: the operator may not reach their port, or their proxies keep no such counters."""

    COMPLETE = "Complete"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """
    Whether the proxies of the gateway's ready pods have taken the ways out that were written for them.

    `lacking`: by section, the name of a pod whose proxy lacks a way out.
    """

    answers: Answers = Answers.NOT_ASKED
    lacking: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """
    All that one reconcile may know.

    `gateway_pushed`: istiod has had the time to push what the gateway side holds. `clients_pushed`: likewise for the
    last change on the clients' side; until then a hop that was withdrawn must go on working.
    """

    now: datetime
    gateway: GatewayFacts
    class_: ClassFacts
    mesh: MeshSettings
    last_class: ClassFacts | None = None
    """
    Where `class_` cannot be read: the class that served the object last, by its status, if that class can be read.
    """

    namespace_labels: Mapping[str, str] | None = field(default_factory=dict)
    """None while the namespace has not been seen: then nothing is concluded from its labels."""

    left_out: int = 0
    """
    Objects of the namespace of which the caches keep only the names, as all of them together take too much memory.
    """

    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict, compare=False)
    """Labels of every namespace that is known, by name; without those that are being deleted."""

    reach: Hashable = ()
    """
    What of `namespaces` the object depends on (`contention.consumers.reach_of`): facts that agree in it are equal,
    whatever else changed in the cluster.
    """

    namespaces_created: Mapping[str, datetime] = field(default_factory=dict)
    """When namespaces were created: those of `namespaces` that a host of the object may mean by its last label."""

    mesh_config: MeshConfig = field(default_factory=MeshConfig)
    references: References = field(default_factory=References)
    unmanaged_routes: tuple[UnmanagedRoute, ...] = ()
    """Routes for a host of the object, or for a host that one of its wildcards covers."""

    foreign_ports: tuple[UnmanagedRoute, ...] = ()
    """ServiceEntries and Services of others on a TCP port of the object."""

    contenders: tuple[Contender, ...] = ()
    handovers: Mapping[str, Handover] = field(default_factory=dict)
    """Names that the object steers, and that it lets go, or another object of its namespace has claimed as well."""

    live: Mapping[ObjectRef, Manifest] = field(default_factory=dict)
    others: Mapping[ObjectRef, Manifest] = field(default_factory=dict)
    """
    Objects that carry the labels of children and have no owner, or another owner, or are in another namespace and in no
    status.

    They matter only under a name that the plan gives to a child: there such an object blocks the child, or is a child
    that a restore brought back without the status.
    """

    workload: WorkloadFacts = field(default_factory=WorkloadFacts)
    reached: Mapping[str, Reached] = field(default_factory=dict)
    """The result of each destination's probe; no entry for a destination that has not been probed."""

    client_pods: Mapping[str, ClientPods] | None = None
    """
    By consumer namespace, the pods there as last counted; no entry where they may not be read. None while some of the
    namespaces have not been looked at: then the status repeats what it said of them.
    """

    client_scopes: Mapping[str, ClientScope] = field(default_factory=dict)
    """By consumer namespace, what others tell the proxies there; no entry where that is nothing."""

    unserved: frozenset[str] = field(default_factory=frozenset)
    """Kinds of children that the API server does not serve: their CRD is missing."""

    gateway_pushed: bool = True
    clients_pushed: bool = True
    acknowledgement: Acknowledgement = field(default_factory=Acknowledgement)
    pushing: frozenset[str] = field(default_factory=frozenset)
    """Sections whose clients are sent another way since a moment ago: istiod may not have told their proxies yet."""

    @property
    def key(self) -> Key:
        return self.gateway.key
