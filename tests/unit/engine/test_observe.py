"""From caches to facts, and from a change in them to the keys that must be looked at again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from egressgateway.cluster.request import Request
from egressgateway.cluster.store import Change
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.process.client_census import ClientCensus
from egressgateway.engine.reconcile.observe import PATIENCE, Observer
from egressgateway.engine.reconcile.state import GatewayState, StateStore
from egressgateway.facts import (
    Acknowledgement,
    Answers,
    Claimed,
    ClaimedPort,
    Contender,
    Facts,
    PodFacts,
    PodSelection,
    Ports,
    Receipt,
    References,
    Rights,
)
from egressgateway.names import child_labels
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.settings import Settings
from unit import objects

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ME, OTHER, FAR = Key("shop", "me"), Key("shop", "other"), Key("lab", "far")
HOST = "a.example.com"


def gateway(
    key: Key = ME, *, version: int = 1, status: Manifest | None = None, host: str = HOST, **spec: Any
) -> Manifest:
    wanted = {**objects.spec(objects.destination("d", host)), **spec}
    return objects.gateway(key, wanted, status, version=version, uid=f"{key}")


def egress_class(
    name: str, *, default: bool = False, created: str = "2026-01-01T00:00:00Z", version: int = 1
) -> Manifest:
    annotations = {"egressgateway.dev/is-default-class": "true"} if default else {}
    metadata = {"name": name, "creationTimestamp": created, "resourceVersion": f"{version}", "annotations": annotations}
    return {"metadata": metadata, "spec": {"deniedHosts": [f"{name}.example"]}}


def deployment(ready: int, replicas: int = 2, version: int = 1) -> Manifest:
    metadata = {"namespace": "shop", "name": "me-egress", "labels": child_labels(ME), "resourceVersion": f"{version}"}
    return {"metadata": metadata, "spec": {"replicas": replicas}, "status": {"readyReplicas": ready}}


def facts(
    caches: Caches,
    *,
    key: Key = ME,
    clock: float = 1000.0,
    state: GatewayState | None = None,
    settings: Settings | None = None,
) -> Facts:
    found = Observer(caches, settings or Settings()).observe(key, state or GatewayState(0.0, 0.0), NOW, clock)
    assert found is not None
    return found


def caches_of(*gateways: Manifest, classes: tuple[Manifest, ...] = ()) -> Caches:
    caches = Caches()
    for manifest in gateways:
        caches.put_gateway(manifest)
    for manifest in classes:
        caches.classes.put(manifest)
    return caches


def test_observe_is_none_without_the_object() -> None:
    """It was deleted, or never was."""
    assert Observer(Caches(), Settings()).observe(ME, GatewayState(0.0, 0.0), NOW, 0.0) is None


def test_a_name_that_no_child_can_have_is_an_error() -> None:
    """The CRD refuses it; the operator, which may be younger than a stored object, does too."""
    key = Key("shop", "n" * 51)
    found = Observer(caches_of(gateway(key)), Settings()).observe(key, GatewayState(0.0, 0.0), NOW, 0.0)
    assert found is not None
    assert found.gateway.spec is None
    assert [error.field for error in found.gateway.errors] == ["metadata.name"]


def test_class_named_is_that_class() -> None:
    """And one that is not there has no spec."""
    caches = caches_of(gateway(className="a"), classes=(egress_class("a"), egress_class("b", default=True)))
    assert facts(caches).class_.name == "a"
    missing = facts(caches_of(gateway(className="gone"), classes=(egress_class("b", default=True),))).class_
    assert (missing.name, missing.spec) == ("gone", None)


def test_class_absent_is_the_oldest_default_then_by_name() -> None:
    """Of several defaults everybody must choose the same."""
    young = egress_class("a", default=True, created="2026-02-01T00:00:00Z")
    old = [egress_class(name, default=True) for name in ("c", "b")]
    assert facts(caches_of(gateway(), classes=(young, *old, egress_class("x")))).class_.name == "b"


def test_class_absent_is_the_built_in_one_unless_it_is_switched_off_or_there_was_another() -> None:
    """An object that had a class never falls back: the built-in one may allow what that denied."""
    built_in = facts(caches_of(gateway())).class_
    assert built_in.name == ""
    assert built_in.spec is not None
    assert facts(caches_of(gateway()), settings=Settings(built_in_class=False)).class_.spec is None
    had = facts(caches_of(gateway(status={"className": "guarded"}))).class_
    assert (had.name, had.spec) == ("guarded", None)


def test_route_of_an_earlier_process_waits_for_the_count_of_its_clients() -> None:
    """
    A process that was killed between a route and the count leaves both to the next one. What the status calls steered
    stays so: a restart changes nothing.
    """

    def pushing(*conditions: dict[str, str], clock: float) -> frozenset[str]:
        status = {"destinations": [{"name": "d", "conditions": list(conditions)}]} if conditions else None
        caches = caches_of(gateway(status=status))
        # Nobody counts in this test: no answer, as before the first one.
        census = ClientCensus(Silent(), lambda keys: None)
        found = Observer(caches, Settings(), census=census).observe(ME, GatewayState(0.0, 0.0), NOW, clock)
        assert found is not None
        assert found.client_pods is None
        return found.pushing

    steered = {"type": "Steered", "status": "True", "reason": "Steered"}
    pending = {"type": "Steered", "status": "False", "reason": "Pending"}
    assert pushing(clock=1.0) == {"d"}
    assert pushing(pending, clock=1.0) == {"d"}
    assert pushing(steered, clock=1.0) == frozenset()
    assert pushing(pending, clock=60.0) == frozenset(), "where no answer comes, it is not waited for"


class Told:
    """In place of the reader of pods' pages: what it is asked, and what it says."""

    def __init__(self, said: Acknowledgement) -> None:
        self.answer = said
        self.wanted: dict[str, frozenset[str]] = {}
        self.secrets = frozenset[str]()

    def want(
        self, key: Key, pods: PodSelection, ready: int, exits: Mapping[str, frozenset[str]], secrets: frozenset[str]
    ) -> None:
        self.wanted, self.secrets = dict(exits), secrets

    def said(self, key: Key) -> Acknowledgement:
        return self.answer


@pytest.mark.parametrize(
    ("said", "clock", "goes_on"),
    [
        (Acknowledgement(Answers.COMPLETE, {"d": "me-0"}), 1000.0, True),
        (Acknowledgement(Answers.COMPLETE), 900.5, True),
        (Acknowledgement(Answers.COMPLETE), 1000.0, False),
        (Acknowledgement(Answers.AWAITED), 1000.0, True),
        (Acknowledgement(Answers.MISSING), 1000.0, False),
    ],
    ids=["lacking", "before istiod has pushed", "all there", "being asked", "silent"],
)
def test_pods_are_asked_from_a_change_on_until_they_have_it(said: Acknowledgement, clock: float, goes_on: bool) -> None:
    """The gateway's side was written at 900."""
    steered = {"name": "d", "conditions": [{"type": "Steered", "status": "True", "reason": "Steered"}]}
    caches = caches_of(gateway(status={"destinations": [steered]}))
    caches.children["ServiceEntry"].put(way_out())
    caches.children["Deployment"].put(deployment(ready=2))
    reader, state = Told(said), GatewayState(900.0, 0.0, unacknowledged=True)
    found = Observer(caches, Settings(), acknowledgements=reader).observe(ME, state, NOW, clock)  # type: ignore[arg-type]
    assert found is not None
    assert found.acknowledgement == said
    assert reader.wanted == {"d": {"outbound|443||d.me.shop.egress.internal"}}
    assert state.unacknowledged is goes_on
    Observer(caches, Settings(), acknowledgements=reader).observe(ME, state, NOW, clock)  # type: ignore[arg-type]
    assert bool(reader.wanted) is goes_on


@pytest.mark.parametrize("reason", ["NoConsumers", "RouteConflict", "Pending"])
def test_pods_are_asked_after_a_restart_for_what_is_not_steered(reason: str) -> None:
    """Whatever the reason: an earlier process may have left the route to be made, because a pod lacked the way out."""
    unsteered = {"name": "d", "conditions": [{"type": "Steered", "status": "False", "reason": reason}]}
    caches = caches_of(gateway(status={"destinations": [unsteered]}))
    caches.children["ServiceEntry"].put(way_out())
    caches.children["Deployment"].put(deployment(ready=2))
    reader = Told(Acknowledgement(Answers.AWAITED))
    Observer(caches, Settings(), acknowledgements=reader).observe(ME, GatewayState(0.0, 0.0), NOW, 1.0)  # type: ignore[arg-type]
    assert reader.wanted
    caches.children["Deployment"].put(deployment(ready=0, version=2))
    Observer(caches, Settings(), acknowledgements=reader).observe(ME, GatewayState(0.0, 0.0), NOW, 1.0)  # type: ignore[arg-type]
    assert not reader.wanted, "no pod is ready"


@pytest.mark.parametrize("readable", [False, True])
def test_pods_are_asked_for_secrets_that_may_not_be_read(readable: bool) -> None:
    """Also at rest, where they have told: a pod that becomes ready later was not there to tell."""
    steered = {"name": "d", "conditions": [{"type": "Steered", "status": "True", "reason": "Steered"}]}
    tls = {"mode": "Mutual", "credentialName": "bank", "caCertificates": "System"}
    ports = [{"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": tls}]
    caches = caches_of(
        gateway(status={"destinations": [steered]}, destinations=[objects.destination("d", HOST, ports=ports)])
    )
    caches.children["ServiceEntry"].put(way_out())
    caches.children["Deployment"].put(deployment(ready=2))
    for name in ("bank", "bank-cacert"):
        ref = ObjectRef("Secret", "shop", name)
        caches.references.want(ME, {ref})
        if readable:
            caches.references.put(ref, None)
        else:
            caches.references.refuse(ref)
    reader = Told(Acknowledgement(Answers.COMPLETE, secrets={"bank": Receipt.RECEIVED}))
    Observer(caches, Settings(), acknowledgements=reader).observe(ME, GatewayState(0.0, 0.0), NOW, 1.0)  # type: ignore[arg-type]
    assert reader.secrets == (frozenset() if readable else {"bank"})
    assert bool(reader.wanted) is not readable


def way_out() -> Manifest:
    """The gateway's entry for the destination."""
    labels = child_labels(ME) | {"egressgateway.dev/stage": "foundation", "egressgateway.dev/part": "d"}
    return {
        "kind": "ServiceEntry",
        "metadata": {
            "namespace": "shop",
            "name": "me-d",
            "labels": labels,
            "annotations": {"egressgateway.dev/digest": "x"},
            "ownerReferences": [{"apiVersion": "egressgateway.dev/v1", "kind": "EgressGateway", "name": "me"}],
        },
        "spec": {"hosts": ["d.me.shop.egress.internal"], "ports": [{"number": 443}]},
    }


class Silent:
    """An API server that is never asked."""

    async def send(self, request: Request) -> Any:
        raise AssertionError(request)


def test_settled_is_a_matter_of_the_grace() -> None:
    """After a restart everything counts as written just then."""
    state = GatewayState(gateway_written_at=999.0, clients_written_at=990.0)
    found = facts(caches_of(gateway()), state=state)
    assert (found.gateway_pushed, found.clients_pushed) == (False, True)
    fresh = StateStore().of(ME, 1000.0)
    found = facts(caches_of(gateway()), state=fresh)
    assert (found.gateway_pushed, found.clients_pushed) == (False, False)


def test_one_pod_of_two_is_waited_for_but_not_for_ever() -> None:
    """Alone it may be too few for all the traffic; after a while it is better than none."""
    caches, state = caches_of(gateway()), GatewayState(0.0, 0.0)
    caches.put_child("Deployment", deployment(0))
    assert (facts(caches, state=state).workload.ready, facts(caches, state=state).workload.complete) == (
        0,
        False,
    )
    caches.put_child("Deployment", deployment(1, version=2))
    assert not facts(caches, state=state, clock=1000).workload.complete
    assert facts(caches, state=state, clock=1000 + PATIENCE.total_seconds()).workload.complete
    caches.put_child("Deployment", deployment(2, version=3))
    assert facts(caches, state=GatewayState(0.0, 0.0)).workload.complete


CLAIMED = {
    "claims": [
        {"host": HOST, "claimedAt": "2025-01-01T00:00:00Z"},
        {"host": "x.example.com", "gateway": "ingress/public", "claimedAt": "2025-01-02T00:00:00Z"},
    ],
    "consumers": [{"namespace": "lab", "since": "2025-01-03T00:00:00Z"}],
}
MADE = {"creationTimestamp": "2026-01-01T00:00:00Z"}
SERVES_SHOP = {"from": [{"namespaces": ["shop", "lab"]}]}
OPEN = {"allowedConsumers": {"from": "All"}}


def steering(key: Key, host: str = HOST, *, exported: list[str] | None = None) -> Manifest:
    """A VirtualService that sends clients of `host` to `key`."""
    labels = child_labels(key) | {"egressgateway.dev/stage": "clients"}
    metadata = {"namespace": key.namespace, "name": "r", "labels": labels, "ownerReferences": owned_by(key)} | MADE
    spec = {"hosts": [host], "gateways": ["mesh"], "exportTo": exported or ["."]}
    return {"kind": "VirtualService", "metadata": metadata, "spec": spec}


def open_class() -> Manifest:
    return egress_class("open") | {"spec": OPEN}


def contenders(
    *others: Manifest, own: Manifest | None = None, routes: tuple[Manifest, ...] = ()
) -> tuple[Contender, ...]:
    caches = caches_of(own or gateway(), *others, classes=(open_class(),))
    for route in routes:
        caches.put_child("VirtualService", route)
    return facts(caches).contenders


def test_rivals_are_those_with_a_name_in_common_in_any_namespace() -> None:
    """With what they want and for whom, what they claim since when, and whom they steer."""
    other = gateway(FAR, status=CLAIMED, className="open", access=SERVES_SHOP)
    [contender] = contenders(
        other, gateway(OTHER, host="b.example.com"), routes=(steering(FAR, exported=[".", "shop"]),)
    )
    assert contender == Contender(
        key=FAR,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        serves={HOST: frozenset({"shop", "lab"})},
        ports=Ports(named={80: frozenset({"shop", "lab"})}),
        held_ports=Ports(named={80: frozenset({"lab"})}),
        rights=Rights(
            {HOST: {"lab": datetime(2025, 1, 3, tzinfo=UTC)}},
            {ClaimedPort(80, tcp=False): {"lab": datetime(2025, 1, 3, tzinfo=UTC)}},
            {Claimed("x.example.com", "ingress/public"): datetime(2025, 1, 2, tzinfo=UTC)},
        ),
    )


def test_routes_count_for_a_rival_that_lost_its_status_where_its_class_allows_it_to_serve() -> None:
    """A tenant can write any route in its own namespace: it is no right to serve others, and none beside a claim."""
    routes = (steering(FAR, exported=[".", "shop"]),)
    [contender] = contenders(gateway(FAR, className="open"), routes=routes)
    assert contender.steers == {HOST: frozenset({"lab", "shop"})}
    [contender] = contenders(gateway(FAR), routes=routes)
    assert contender.steers == {HOST: frozenset({"lab"})}
    [contender] = contenders(gateway(FAR, status=CLAIMED, className="open"), routes=routes)
    assert contender.steers == {}


def test_rival_whose_class_is_missing_serves_what_its_status_says() -> None:
    """Nobody knows what its class would allow; what it has, it keeps."""
    [contender] = contenders(gateway(FAR, status=CLAIMED, className="gone", access=SERVES_SHOP))
    assert (contender.serves, contender.rights.names.keys()) == ({}, {HOST})


def test_rival_that_is_refused_wants_nothing_and_keeps_its_claims() -> None:
    """Until it has let go of them."""
    condition = {"type": "Accepted", "status": "False", "reason": "HostNotAllowed"}
    refused = {"observedGeneration": 1, "destinations": [{"name": "d", "conditions": [condition]}]}
    [contender] = contenders(gateway(FAR, status=CLAIMED | refused))
    assert (contender.serves, contender.rights.names.keys()) == ({}, {HOST})


def test_rival_that_has_let_go_is_none() -> None:
    """It is being deleted, its clients are withdrawn, and somebody else's finalizer keeps it."""
    going = gateway(FAR)
    going["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["egressgateway.dev/withdraw"]}
    assert len(contenders(going)) == 1
    going["metadata"]["finalizers"] = ["others.example/x"]
    assert contenders(going) == ()


def test_rivals_of_a_wildcard_are_names_below_it_elsewhere() -> None:
    """In the own namespace the more specific name wins, which is no conflict."""
    wildcard = {"strategy": "DynamicResolution"}
    own = gateway(destinations=[{"name": "d", "hosts": ["*.example.com"], "ports": HTTP, "wildcard": wildcard}])
    assert [contender.key for contender in contenders(gateway(OTHER), gateway(FAR), own=own)] == [FAR]


def test_rivals_for_a_tcp_port_share_a_consumer() -> None:
    """Half of all objects may use 5432; of another namespace's clients they take nothing."""

    def database(key: Key, **spec: Any) -> Manifest:
        host = f"{key.name}.{key.namespace}.example.com"
        return gateway(key, destinations=[{"name": "d", "hosts": [host], "ports": POSTGRES}], **spec)

    own = database(ME)
    assert contenders(database(FAR), own=own) == ()
    [contender] = contenders(database(OTHER), own=own)
    assert contender.ports == Ports({5432: frozenset({"shop"})})
    [contender] = contenders(database(FAR, className="open", access=SERVES_SHOP), own=own)
    assert contender.ports == Ports({5432: frozenset({"shop", "lab"})})


def telling(key: Key, *exported: str, version: int = 1, port: int = 5432) -> Manifest:
    """A ServiceEntry that tells clients of a TCP port of `key`'s."""
    labels = child_labels(key) | {"egressgateway.dev/stage": "clients"}
    metadata = {"namespace": key.namespace, "name": "e", "labels": labels, "ownerReferences": owned_by(key)} | MADE
    spec = {"hosts": [HOST], "exportTo": [*exported], "ports": [{"number": port, "protocol": "TCP"}]}
    return {"kind": "ServiceEntry", "metadata": metadata | {"resourceVersion": f"{version}"}, "spec": spec}


@pytest.mark.parametrize(
    "spec",
    [{"suspend": True}, {"className": "gone"}, {"destinations": "none"}, {"destinations": []}],
    ids=["suspended", "without-class", "unreadable", "without-the-port"],
)
def test_who_has_a_tcp_port_is_a_rival_whatever_its_spec(spec: Manifest) -> None:
    """It has claimed the port until its ServiceEntry is gone; a claim in another namespace concerns nobody here."""
    own = gateway(destinations=[{"name": "d", "hosts": ["db.example.com"], "ports": POSTGRES}])
    at = "2025-01-01T00:00:00Z"
    claims = {
        "claims": [{"host": "x.example.com", "claimedAt": at}],
        "portClaims": [{"port": 5432, "tcp": True, "claimedAt": at}],
        "consumers": [{"namespace": "lab", "since": at}, {"namespace": "shop", "since": at}],
    }
    caches = caches_of(own, gateway(FAR, status=claims, **spec))
    [contender] = facts(caches).contenders
    assert (contender.key, contender.held_ports) == (FAR, Ports({5432: frozenset({"lab", "shop"})}))
    assert 5432 not in contender.ports.tcp
    only_there = {**claims, "consumers": claims["consumers"][:1]}
    caches.put_gateway(gateway(FAR, status=only_there, version=2, **spec))
    assert facts(caches).contenders == ()


def test_a_service_entry_is_no_claim_on_a_port() -> None:
    """
    Whatever its labels and its owner: tenants write them.

    One such object, in a namespace of the intruder's, took their routes from all other tenants.
    """
    own = gateway(destinations=[{"name": "d", "hosts": ["db.example.com"], "ports": POSTGRES}])
    caches = caches_of(own, gateway(FAR, host="far.example.com"))
    caches.put_child("ServiceEntry", telling(FAR, "*"))
    elsewhere = telling(FAR, "*")
    elsewhere["metadata"] |= {"namespace": "evil", "name": "x"}
    del elsewhere["metadata"]["ownerReferences"]
    caches.put_child("ServiceEntry", elsewhere)
    assert facts(caches).contenders == ()


def test_entries_of_a_rival_that_lost_its_status_count_where_its_class_allows_it_to_serve() -> None:
    """As after a restore: otherwise the port would be taken while its clients are still there."""
    own = gateway(destinations=[{"name": "d", "hosts": ["db.example.com"], "ports": POSTGRES}])
    caches = caches_of(own, gateway(FAR, className="open"), classes=(open_class(),))
    caches.put_child("ServiceEntry", telling(FAR, ".", "shop"))
    [contender] = facts(caches).contenders
    assert (contender.key, contender.held_ports) == (FAR, Ports({5432: frozenset({"lab", "shop"})}))


def test_rivals_for_an_exposed_name_share_the_gateway() -> None:
    """A name on the own gateway is nobody else's business."""

    def exposing(key: Key, ref: Manifest | None) -> Manifest:
        backend = {"service": {"name": "web", "port": 80}}
        entry = {"name": "e", "hosts": [HOST], "backend": backend} | ({"gatewayRef": ref} if ref else {})
        return gateway(key, destinations=[], expose=[entry])

    public = {"name": "public", "namespace": "ingress"}
    [contender] = contenders(exposing(FAR, public), exposing(OTHER, None), own=exposing(ME, public))
    assert (contender.key, contender.exposes) == (FAR, {Claimed(HOST, "ingress/public")})


def test_reach_of_a_rival_follows_class_and_namespaces() -> None:
    """It is kept, and made anew when what it is made from changes."""
    access = {"from": [{"namespaceSelector": {"matchLabels": {"egress": "yes"}}}]}
    caches = caches_of(gateway(), gateway(FAR, className="open", access=access), classes=(open_class(),))
    observer = Observer(caches, Settings())

    def served() -> frozenset[str]:
        found = observer.observe(ME, GatewayState(0.0, 0.0), NOW, 1000.0)
        assert found is not None
        return found.contenders[0].serves[HOST]

    assert served() == frozenset()
    caches.namespaces.put(namespace("shop", egress="yes"))
    assert served() == {"shop"}
    caches.classes.put(egress_class("open", version=2))
    assert served() == frozenset()
    caches.put_gateway(gateway(FAR, version=2))
    assert served() == frozenset(), "an edit is another generation: the spec is not parsed before that"


HTTP = [{"port": 80, "protocol": "HTTP"}]
POSTGRES = [{"port": 5432, "protocol": "TCP"}]


def namespace(name: str, *, ending: bool = False, version: int = 1, **labels: str) -> Manifest:
    deleted = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if ending else {}
    return {"metadata": {"name": name, "labels": labels, "resourceVersion": f"{version}", **deleted}}


def test_object_of_an_ending_namespace_is_leaving() -> None:
    """Its pods are deleted before it is: who waited for its own deletion would send clients to nobody."""
    caches = caches_of(gateway())
    assert not facts(caches).gateway.deleting
    caches.namespaces.put(namespace("shop"))
    assert not facts(caches).gateway.deleting
    caches.namespaces.put(namespace("shop", ending=True, version=2))
    assert facts(caches).gateway.deleting


def test_namespaces_are_those_that_stay() -> None:
    """The same picture for as long as nothing in it changes: what is computed from it is kept with it."""
    caches = caches_of(gateway())
    caches.namespaces.put(namespace("shop", a="b"))
    caches.namespaces.put(namespace("lab", ending=True))
    seen = facts(caches).namespaces
    assert seen == {"shop": {"a": "b"}}
    caches.namespaces.put(namespace("lab", ending=True, version=2))
    assert facts(caches).namespaces is seen
    caches.namespaces.put(namespace("shop", a="c", version=2))
    assert facts(caches).namespaces == {"shop": {"a": "c"}}


def test_mesh_is_what_the_mesh_says_then_what_the_settings_say() -> None:
    """Without a configuration of the mesh nothing is known of its policy."""
    caches = caches_of(gateway())
    assert facts(caches).mesh == Settings().mesh
    assert facts(caches).mesh_config.outbound_policy is None
    metadata = {"namespace": "istio-system", "name": "istio", "resourceVersion": "1"}
    caches.mesh.config_maps.put({"metadata": metadata, "data": {"mesh": "trustDomain: mesh.example"}})
    assert facts(caches).mesh.trust_domain == "mesh.example"
    assert facts(caches).mesh_config.outbound_policy == "ALLOW_ANY"


def theirs(host: str = HOST, version: int = 1) -> Manifest:
    metadata = {"namespace": "shop", "name": "theirs", "resourceVersion": f"{version}"}
    created = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"kind": "VirtualService", "metadata": metadata | created, "spec": {"hosts": [host], "http": []}}


def test_foreign_routes_are_those_for_the_objects_names() -> None:
    """Its own children are none."""
    caches = caches_of(gateway())
    for manifest in (theirs(), steering(ME)):
        caches.put_child("VirtualService", manifest)
    assert [route.ref.name for route in facts(caches).unmanaged_routes] == ["theirs"]


SHARED = {
    "metadata": {"name": "shared", "resourceVersion": "1"},
    "spec": {"shared": {"namespace": "istio-egress", "service": "egress", "selector": {"istio": "egress"}}},
}
SERVICE = ObjectRef("Service", "istio-egress", "egress")
PODS = PodSelection("istio-egress", (("istio", "egress"),))


def test_references_are_wanted_and_then_read() -> None:
    """What was not read yet is absent; who is gone wants nothing."""
    caches = caches_of(gateway(className="shared"), classes=(SHARED,))
    wanted: set[object] = set()
    caches.references.on_wanted = wanted.add
    assert facts(caches).references == References()
    assert wanted == {SERVICE, PODS}
    caches.references.put(SERVICE, None)
    pod = {"metadata": {"namespace": "istio-egress", "name": "p"}, "spec": {"serviceAccountName": "egress"}}
    caches.references.put_pods(PODS, [pod])
    found = facts(caches).references
    assert found.objects == {SERVICE: None}
    assert found.pods == {PODS: (PodFacts("istio-egress", "p", "egress", ready=False),)}
    caches.remove_gateway(gateway(version=2))
    assert Observer(caches, Settings()).observe(ME, GatewayState(0.0, 0.0), NOW, 0.0) is None
    assert caches.references.wanted_by(SERVICE) == frozenset()


def test_a_namespace_that_was_not_seen_has_no_labels_to_judge_by() -> None:
    """No labels at all would be a verdict: a class that selects namespaces would withdraw what it allows."""
    assert facts(caches_of(gateway())).namespace_labels is None


def test_objects_with_our_labels_and_no_owner_are_others() -> None:
    """Anybody can set labels: such an object decides nothing, but its name is taken."""
    caches = caches_of(gateway())
    caches.put_child("Deployment", deployment(1))
    assert (len(facts(caches).live), len(facts(caches).others)) == (0, 1)


def test_children_of_another_namespace_are_the_objects_by_all_three_labels() -> None:
    """No owner reference can point there; anybody can set labels, so the status must name it, too."""
    known = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "namespace": "lab",
        "name": deployment(1)["metadata"]["name"],
    }
    caches = caches_of(gateway(status={"remoteChildren": [known]}))
    for namespace in ("bank", "lab", "shop"):
        remote = deployment(1) | {"kind": "Deployment"}
        remote["metadata"]["namespace"] = namespace
        caches.put_child("Deployment", remote)
    stray = deployment(1) | {"kind": "Deployment"}
    stray["metadata"] |= {"namespace": "other", "labels": {"egressgateway.dev/gateway": ME.name}}
    caches.put_child("Deployment", stray)
    assert [ref.namespace for ref in facts(caches).live] == ["lab"]
    assert sorted(ref.namespace for ref in facts(caches).others) == ["bank", "shop"]


def owned_by(key: Key) -> list[Manifest]:
    return [objects.owner_reference(key.name, "u")]


def affected(caches: Caches, manifest: Manifest) -> set[Key]:
    change = caches.put_gateway(manifest)
    assert change is not None
    return set(caches.affected_by_gateway(change))


def test_a_change_of_names_or_claims_wakes_the_rivals() -> None:
    """And nothing else does: a status full of words concerns nobody."""
    caches = caches_of(gateway(OTHER))
    assert affected(caches, gateway()) == {ME, OTHER}
    assert affected(caches, gateway(version=2, status={"summary": {}})) == {ME}
    consumers = [{"namespace": "shop", "since": "2025-01-01T00:00:00Z"}]
    claims = {"claims": [{"host": HOST, "claimedAt": "2025-01-01T00:00:00Z"}], "consumers": consumers}
    assert affected(caches, gateway(version=3, status=claims)) == {ME, OTHER}
    assert affected(caches, gateway(version=4, host="b.example.com", status=claims)) == {ME, OTHER}
    assert affected(caches, gateway(version=5, host="b.example.com")) == {ME, OTHER}
    assert affected(caches, gateway(version=6, host="b.example.com", suspend=False)) == {ME}


def test_a_refusal_of_one_wakes_the_one_that_waits_for_it() -> None:
    """What expired is no longer in anybody's way."""
    caches = caches_of(gateway(OTHER), gateway())
    condition = {"type": "Accepted", "status": "False", "reason": "Expired"}
    refused = {"observedGeneration": 1, "destinations": [{"name": "d", "conditions": [condition]}]}
    assert affected(caches, gateway(version=2, status=refused)) == {ME, OTHER}


def test_a_deletion_wakes_the_rivals() -> None:
    """The next in line takes the name without an edit of its own."""
    caches = caches_of(gateway(OTHER), gateway())
    change = caches.remove_gateway(gateway(version=2))
    assert change is not None
    assert set(caches.affected_by_gateway(change)) == {ME, OTHER}
    assert facts(caches, key=OTHER).contenders == ()


def test_consumers_wake_rivals_in_other_namespaces() -> None:
    """Who asks for one, who got one, and who lost one."""
    access = {"from": [{"namespaces": ["lab", "shop"]}]}
    caches = caches_of(gateway(FAR), gateway())
    assert affected(caches, gateway(version=2, access=access)) == {ME, FAR}
    assert affected(caches, gateway(version=3, access=access, status=CLAIMED)) == {ME, FAR}
    assert affected(caches, gateway(version=4, access=access, status=CLAIMED | {"consumers": []})) == {ME, FAR}
    assert affected(caches, gateway(version=5, access=access, status=CLAIMED | {"consumers": []})) == {ME}


def test_a_withdrawal_wakes_the_rivals() -> None:
    """When the finalizer goes, not only when the object does: another finalizer may keep it for days."""
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    caches = caches_of(gateway(OTHER), gateway())
    held = gateway(version=2)
    held["metadata"] |= going | {"finalizers": ["egressgateway.dev/withdraw", "others.example/x"]}
    assert affected(caches, held) == {ME}
    free = gateway(version=3)
    free["metadata"] |= going | {"finalizers": ["others.example/x"]}
    assert affected(caches, free) == {ME, OTHER}


def test_an_own_write_is_told_to_whoever_listens() -> None:
    """The watch repeats it, and a repetition is no change: rivals would never hear of a claim that was given up."""
    caches, told = caches_of(gateway(OTHER), gateway()), list[Change]()
    caches.on_own_write = told.append
    caches.wrote_gateway(gateway(version=2, status=CLAIMED))
    [change] = told
    assert set(caches.affected_by_gateway(change)) == {ME, OTHER}
    assert caches.put_gateway(gateway(version=2, status=CLAIMED)) is None


def test_a_foreign_route_wakes_who_wants_its_host() -> None:
    """When it comes, when it leaves the host, and not when nothing of that changes."""
    caches = caches_of(gateway(), gateway(OTHER, host="b.example.com"))
    steps = [
        (None, theirs(), {ME}),
        (theirs(), theirs(version=2), set()),
        (theirs(version=2), theirs("b.example.com", version=3), {ME, OTHER}),
        (theirs("b.example.com", version=3), None, {OTHER}),
    ]
    for old, new, keys in steps:
        event = "ADDED" if old is None else "DELETED" if new is None else "MODIFIED"
        assert caches.affected_by_route(Change(event, old, new, listed=False)) == keys  # type: ignore[arg-type]


def test_a_port_that_is_let_go_of_wakes_who_wants_it() -> None:
    """By a write of ours or of others: when it leaves a namespace of its consumers, and not when it comes."""
    own = gateway(destinations=[{"name": "d", "hosts": ["db.example.com"], "ports": POSTGRES}])
    since = [{"namespace": name, "since": MADE["creationTimestamp"]} for name in ("lab", "shop")]
    status = {"claims": [{"host": HOST, "claimedAt": MADE["creationTimestamp"]}], "consumers": since}
    caches, woken = caches_of(own, gateway(OTHER), gateway(FAR, status=status, suspend=True)), list[set[Key]]()
    caches.on_freed = lambda keys: woken.append(set(keys))
    told = [telling(FAR, ".", "shop"), telling(FAR, "shop", version=2), telling(FAR, "shop", version=3, port=5433)]
    for manifest in told:
        caches.put_child("ServiceEntry", manifest)
    assert woken == [{ME}], "`lab` is no consumer of the one that wants it"
    caches.put_child("ServiceEntry", telling(FAR, "shop", version=4))
    gone = Change("DELETED", telling(FAR, "shop", version=4), None, listed=False)
    assert caches.affected_by_route(gone) == {FAR, ME}


def test_a_class_wakes_those_that_name_it_or_none() -> None:
    """It may be, or have been, the default."""
    caches = caches_of(gateway(), gateway(OTHER, className="a"), gateway(Key("lab", "x"), className="b"))
    change = Change("MODIFIED", egress_class("a"), egress_class("a", default=True, version=2), listed=False)
    assert set(caches.affected_by_class(change)) == {ME, OTHER}
    same = Change("MODIFIED", egress_class("a"), egress_class("a", version=2), listed=False)
    assert set(caches.affected_by_class(same)) == set()


def test_a_namespace_wakes_its_objects_when_its_labels_change() -> None:
    """Annotations of a namespace change often, and concern nobody here; nor does a label that nobody asks for."""
    caches = caches_of(gateway(), gateway(FAR))
    steps = [
        ({"labels": {}}, [ME]),
        ({"annotations": {"a": "b"}}, []),
        ({"labels": {"a": "b"}}, []),
        ({"labels": {"istio-injection": "disabled"}}, [ME]),
        ({"labels": {}, "deletionTimestamp": "2026-01-01T00:00:00Z"}, [ME]),
    ]
    for version, (metadata, woken) in enumerate(steps, start=1):
        manifest = {"metadata": {"name": "shop", "resourceVersion": str(version), **metadata}}
        change = caches.namespaces.put(manifest)
        assert change is not None
        assert list(caches.affected_by_namespace(change)) == woken


def test_a_namespace_wakes_those_whose_access_may_mean_it() -> None:
    """By name or by a selector, wherever they are; who grants access to others only sleeps on."""
    selector = {"from": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]}
    caches = caches_of(
        gateway(access=selector),
        gateway(OTHER, access={"from": [{"namespaces": ["lab"]}]}),
        gateway(Key("shop", "third"), access={"from": [{"namespaces": ["shop"]}]}),
    )

    def affected_by(*, version: int, **labels: str) -> set[Key]:
        change = caches.namespaces.put(namespace("lab", version=version, **labels))
        assert change is not None
        return set(caches.affected_by_namespace(change))

    assert affected_by(version=1) == {OTHER}, "by name: it came"
    assert affected_by(version=2, a="b") == {ME}, "by the selector"
    assert affected_by(version=3, a="b", c="d") == set(), "to no selector does that make a difference"
    caches.put_gateway(gateway(version=2))
    assert affected_by(version=4) == set(), "it selects nobody any more"


def selecting_lab(version: int = 1) -> Manifest:
    selects = {"namespaceSelector": {"matchLabels": {"team": "lab"}}}
    return gateway(access={"from": [selects]}, className="open", version=version)


@pytest.mark.parametrize(
    ("new", "same"),
    [
        (namespace("new", team="x"), True),
        (namespace("new", team="lab"), False),
        (namespace("com"), False),
    ],
    ids=["nobodys", "selected", "named-like-the-end-of-a-host"],
)
def test_facts_differ_by_a_namespace_where_it_matters(new: Manifest, same: bool) -> None:
    """A pass that saw equal facts needs no second look, whatever else there is in the cluster by now."""
    caches = caches_of(selecting_lab(), classes=(open_class(),))
    before = facts(caches)
    new["metadata"]["creationTimestamp"] = MADE["creationTimestamp"]
    caches.namespaces.put(new)
    assert (facts(caches) == before) is same


def test_facts_of_one_for_everyone_differ_where_it_lists_them() -> None:
    """As when another object wants the same; accounts of every namespace need no list."""
    everyone: dict[str, Any] = {"namespaceSelector": {}}
    for entry, others, same in (
        (everyone, (), True),
        ({**everyone, "serviceAccounts": ["pay"]}, (), True),
        (everyone, (gateway(OTHER),), False),
    ):
        caches = caches_of(gateway(access={"from": [entry]}, className="open"), *others, classes=(open_class(),))
        before = facts(caches)
        caches.namespaces.put(namespace("new"))
        assert (facts(caches) == before) is same


def test_a_name_of_an_ending_namespace_is_external_again() -> None:
    """The change that wakes its object must be one that the facts show."""
    caches = caches_of(gateway(host="db.corp"))
    corp = namespace("corp")
    corp["metadata"]["creationTimestamp"] = MADE["creationTimestamp"]
    caches.namespaces.put(corp)
    before = facts(caches)
    ending = namespace("corp", ending=True, version=2)
    ending["metadata"]["creationTimestamp"] = MADE["creationTimestamp"]
    change = caches.namespaces.put(ending)
    assert change is not None
    assert caches.affected_by_namespace(change) == {ME}
    assert facts(caches) != before


def test_facts_differ_where_a_class_consents_no_more_to_what_runs() -> None:
    """Though the spec asks for that namespace no more: what is not allowed any more is withdrawn."""
    consent = {"from": "Selector", "selector": {"matchLabels": {"egress": "yes"}}}
    guarded = egress_class("guarded") | {"spec": {"allowedConsumers": consent}}
    since = [{"namespace": name, "since": MADE["creationTimestamp"]} for name in ("lab", "shop")]
    status = {"claims": [{"host": HOST, "claimedAt": MADE["creationTimestamp"]}], "consumers": since}
    caches = caches_of(gateway(status=status, className="guarded"), classes=(guarded,))
    caches.namespaces.put(namespace("lab", egress="yes"))
    before = facts(caches)
    change = caches.namespaces.put(namespace("lab", version=2))
    assert change is not None
    assert caches.affected_by_namespace(change) == {ME}
    assert facts(caches) != before


def test_a_wildcard_that_is_left_wakes_those_below_it() -> None:
    """Whoever hears of it first: the watch, or the pass that made the write."""
    caches = caches_of(gateway(access={"from": [{"namespaces": ["shop"]}]}))
    wide = steering(FAR, "*.example.com", exported=["shop"])
    caches.put_child("VirtualService", wide)
    gone = caches.children["VirtualService"].remove(wide)
    assert gone is not None
    assert caches.affected_by_route(gone) == {FAR, ME}
