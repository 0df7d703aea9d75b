"""From the caches to `Facts`: the only place that turns raw objects into what planning sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.contention.consumers import reach_of
from egressgateway.contention.interest import last_labels_of
from egressgateway.contention.requested import names_of, tcp_ports_of
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.cache.parsed import ParsedSpecs
from egressgateway.engine.cache.references import Wanted
from egressgateway.engine.cache.route_index import ROUTE_KINDS
from egressgateway.engine.process.acknowledgement import AcknowledgementReader
from egressgateway.engine.process.client_census import ClientCensus
from egressgateway.engine.process.probing import ProbeReader
from egressgateway.engine.reconcile.contenders import Contenders
from egressgateway.engine.reconcile.remote_records import recorded_in
from egressgateway.engine.reconcile.state import GatewayState
from egressgateway.facts import Answers, ClientPods, Facts, GatewayFacts, PodSelection, References, WorkloadFacts
from egressgateway.live.children import namespaces_of_export, stage_of
from egressgateway.live.evidence import is_child, is_owned_by, recorded_children
from egressgateway.live.exits import exits_of
from egressgateway.live.obstacles import is_overdue, is_rolling, rollout_obstacle
from egressgateway.names import workload_name
from egressgateway.namespaces import EVERYONE
from egressgateway.plan.gateway.references import pods_of_gateway, shared_pods, wanted_pods, wanted_references
from egressgateway.plan.gateway.target import target_of, workload_of
from egressgateway.plan.providers import probing_of
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.settings import Settings
from egressgateway.stages import Stage

PATIENCE: Final = timedelta(seconds=10)
"""How long a gateway with one ready pod waits for its other pods before it takes traffic: one pod may be too few."""

_OVERDUE: Final = "its pods have not become ready within the Deployment's progressDeadlineSeconds; their logs say why"

_COUNT_SECONDS: Final = 5.0
"""
How long a new route waits for the first count of its clients before the status calls them steered: it takes a second,
unless hundreds of namespaces are counted at once.
"""


def _were_left(live: Mapping[ObjectRef, Manifest], key: Key) -> bool:
    """
    Whether a deletion has orphaned the children of a leaving object (`--cascade=orphan`): none of them has an owner any
    more.

    Then those in other namespaces stay, too. If one still has an owner, it will be collected, so clients must be
    withdrawn.
    """
    own = [found for ref, found in live.items() if ref.namespace == key.namespace]
    return bool(own) and not any(is_owned_by(found, key) for found in own)


def _on_their_way(gateway: GatewayFacts) -> Iterator[str]:
    """Destinations of which the status does not say more than that their clients are not steered yet."""
    said = {
        section["name"]: each.get("reason")
        for section in gateway.status.get("destinations") or ()
        for each in section.get("conditions") or ()
        if each.get("type") == ConditionType.STEERED
    }
    for destination in gateway.spec.destinations if gateway.spec is not None else ():
        if said.get(destination.name) in (None, Reason.PENDING, Reason.GATEWAY_NOT_READY):
            yield destination.name


def _is_steered(gateway: GatewayFacts) -> bool:
    """Whether the status says of every destination that its clients are steered."""
    said = {
        section["name"]
        for section in gateway.status.get("destinations") or ()
        for each in section.get("conditions") or ()
        if each.get("type") == ConditionType.STEERED and each.get("status") == "True"
    }
    return all(each.name in said for each in (gateway.spec.destinations if gateway.spec is not None else ()))


def _in_conflict(status: Mapping[str, Any]) -> Iterator[str]:
    """Destinations of which the status says that somebody else's object keeps clients from their route."""
    for section in status.get("destinations") or ():
        if any(each.get("reason") == Reason.ROUTE_CONFLICT for each in section.get("conditions") or ()):
            yield section["name"]


def _without(known: References, too_many: frozenset[Wanted]) -> References:
    """`known`, without what is not watched: nothing is known of that, and no pods count."""
    refs = frozenset(each for each in too_many if isinstance(each, ObjectRef))
    pods = {each: known.pods.get(each, ()) for each in too_many if isinstance(each, PodSelection)}
    objects = {ref: found for ref, found in known.objects.items() if ref not in refs}
    return References(objects, {**known.pods, **pods}, known.unreadable | refs, refs)


def _exported(live: Iterable[Manifest], own: str) -> frozenset[str]:
    """Namespaces whose clients hear of the object's routes."""
    routes = (found for found in live if found["kind"] in ROUTE_KINDS and stage_of(found) is Stage.CLIENTS)
    return frozenset[str]().union(*(namespaces_of_export(found, own) for found in routes))


class Observer:
    """Reads the caches, and asks for what else it needs to find there; remembers what it parsed."""

    def __init__(
        self,
        caches: Caches,
        settings: Settings,
        probes: ProbeReader | None = None,
        census: ClientCensus | None = None,
        acknowledgements: AcknowledgementReader | None = None,
    ) -> None:
        """
        `probes` reads the results of probes from the gateway's pods, `census` counts consumers' pods,
        `acknowledgements` reads what the gateway's proxies have taken; without them nothing is known of either.
        """
        self._probes = probes
        self._acknowledgements = acknowledgements
        self._census = census
        self._caches = caches
        self._settings = settings
        self.forget_all()
        self.unserved: frozenset[str] = frozenset()
        """Kinds of children whose CRD is missing, as the informers found."""

    def forget_all(self) -> None:
        """Forget all that was parsed: while this replica does not lead, it does not learn of deleted objects."""
        self._specs = ParsedSpecs(self._caches.classes, built_in_class=self._settings.built_in_class)
        self._contenders = Contenders(self._caches, self._specs)

    def observe(self, key: Key, state: GatewayState, now: datetime, clock: float) -> Facts | None:
        """
        The facts about `key`; None when there is no such EgressGateway.

        Args:
            now: wall clock, for times that are written down.
            clock: the event loop's time, which `state` is measured by.
        """
        manifest = self._caches.gateways.get(*key)
        if manifest is None:
            self._forget(key)
            return None
        facts = self._with_references(self._facts(key, manifest, state, now, clock))
        facts = self._with_acknowledgement(self._with_obstacle(facts), state, clock)
        return self._with_scopes(self._with_probes(facts))

    def _facts(self, key: Key, manifest: Manifest, state: GatewayState, now: datetime, clock: float) -> Facts:
        labelled = self._caches.children_of(key)
        record = recorded_in(self._caches.records, key)
        # A status can be lost, for example by a restore; the operator's own record cannot.
        recorded = recorded_children(manifest.get("status") or {}) | (record.children if record else frozenset())
        live = {ref: found for ref, found in labelled.items() if is_child(found, key, recorded)}
        if "deletionTimestamp" in manifest["metadata"] and _were_left(live, key):
            live = {}
        grace = self._settings.mesh.push_grace.total_seconds()
        counted = self._census.counted(key) if self._census is not None else {}
        namespace = self._caches.namespaces.get("", key.namespace)
        mesh = self._caches.mesh.reading()
        class_ = self._specs.class_of(manifest)
        gateway, names = self._leaving(self._specs.gateway(manifest)), names_of(manifest)
        contenders, namespaces = self._contenders.of(manifest), self._caches.namespace_labels()
        tcp_ports = tcp_ports_of(manifest)
        return Facts(
            now=now,
            gateway=gateway,
            class_=class_,
            last_class=self._specs.last_class_of(manifest) if class_.spec is None else None,
            mesh=mesh.refine(self._settings.mesh),
            namespace_labels=None if namespace is None else namespace["metadata"].get("labels") or {},
            left_out=self._caches.children_budget.left_out(key.namespace),
            namespaces=namespaces,
            reach=reach_of(
                gateway,
                class_.spec,
                namespaces,
                served=self._caches.rights_of(key).places | _exported(live.values(), key.namespace),
                contended=bool(contenders),
            ),
            namespaces_created=self._caches.created_of(last_labels_of(manifest)),
            mesh_config=mesh.config,
            unmanaged_routes=self._caches.routes.for_names(names, key, self._caches.rights_of),
            foreign_ports=(
                *self._caches.routes.on_ports(tcp_ports),
                *self._caches.external_names.on_ports(tcp_ports),
            ),
            contenders=contenders,
            live=live,
            others={ref: found for ref, found in labelled.items() if ref not in live},
            workload=self._workload(key, state, clock),
            client_pods=counted,
            unserved=self.unserved,
            gateway_pushed=clock - state.gateway_written_at >= grace,
            clients_pushed=clock - state.clients_written_at >= grace,
            pushing=self._pushing(gateway, counted, state, clock),
        )

    def _pushing(
        self, gateway: GatewayFacts, counted: Mapping[str, ClientPods] | None, state: GatewayState, clock: float
    ) -> frozenset[str]:
        """Sections whose new routes proxies may not have yet, or whose clients may be counted any moment."""
        grace = self._settings.mesh.push_grace.total_seconds()
        patience = grace if counted is not None else grace + _COUNT_SECONDS
        recent = {section for section, moment in state.routed_at.items() if clock - moment < patience}
        if counted is None and clock - state.clients_written_at < patience:
            # An earlier process may have routed them, and nobody has looked at their clients yet.
            recent.update(_on_their_way(gateway))
        return frozenset(recent)

    def _leaving(self, gateway: GatewayFacts) -> GatewayFacts:
        """
        An object whose namespace is being deleted is leaving, too: its pods end first, and then the object itself.

        If the withdrawal waited until the object is deleted, clients would be sent to pods that are gone.
        """
        if gateway.deleting or not self._caches.is_namespace_ending(gateway.key.namespace):
            return gateway
        return replace(gateway, deleting=True)

    def _with_references(self, facts: Facts) -> Facts:
        """`facts` with the objects that they name. What else matters may depend on an object that was just found."""
        references = self._caches.references
        read, wanted = frozenset[ObjectRef](), wanted_references(facts)
        while wanted != read:
            facts = replace(facts, references=references.read(wanted))
            read, wanted = wanted, wanted_references(facts)
        pods = wanted_pods(facts)
        if pods:
            facts = replace(facts, references=references.read(wanted, pods))
        references.want(facts.key, wanted | pods)
        too_many = references.too_many(facts.key)
        return replace(facts, references=_without(facts.references, too_many)) if too_many else facts

    def _with_obstacle(self, facts: Facts) -> Facts:
        """`facts` with the reason why pods of the own gateway do not start; they are watched only until they do."""
        workload, references = facts.workload, self._caches.references
        selection = pods_of_gateway(facts.key)
        references.look(facts.key, selection if workload.rolling else None)
        if not workload.rolling:
            return facts
        # What keeps pods from being created comes first: those that exist may be of an older template.
        deployment = self._deployment(facts.key)
        overdue = _OVERDUE if is_overdue(deployment) else ""
        obstacle = rollout_obstacle(deployment) or references.obstacle_of(selection) or overdue
        return replace(facts, workload=replace(workload, obstacle=obstacle))

    def _with_acknowledgement(self, facts: Facts, state: GatewayState, clock: float) -> Facts:
        """
        `facts` with what the gateway's proxies have taken. They are asked after a change, until they have all of it and
        clients are sent to them.
        """
        reader = self._acknowledgements
        if reader is None:
            return facts
        ready, spec = workload_of(facts).ready, facts.class_.spec
        # APISIX has a controller that says what it has taken.
        speaks = spec is not None and not spec.ingress_class
        asked = ready and speaks and (state.unacknowledged or not _is_steered(facts.gateway))
        exits = exits_of(facts.live, target_of(facts).namespace) if asked and not facts.gateway.deleting else {}
        reader.want(facts.key, shared_pods(spec) or pods_of_gateway(facts.key), ready, exits)
        said = reader.said(facts.key)
        if said.answers in (Answers.COMPLETE, Answers.MISSING) and not said.lacking and facts.gateway_pushed:
            state.unacknowledged = False
        return facts if said == facts.acknowledgement else replace(facts, acknowledgement=said)

    def _with_probes(self, facts: Facts) -> Facts:
        """`facts` with the latest answers of the pods, after saying which pods are to be asked."""
        if self._probes is None:
            return facts
        probing = probing_of(facts)
        self._probes.want(facts.key, probing, facts.references.pods.get(probing.pods, ()) if probing else ())
        return replace(facts, reached=self._probes.reached(facts.key)) if probing else facts

    def with_clients(self, facts: Facts, consumers: Set[str], state: GatewayState, clock: float) -> Facts:
        """`facts` with what is known of the clients of these namespaces: they matter from now on, and no others."""
        self._caches.scopes.want(facts.key, consumers)
        facts = self._with_scopes(facts)
        if facts.client_scopes != state.client_scopes:
            state.client_scopes = facts.client_scopes
            # What was in the way may be gone now, and proxies learn of that no sooner than of a new route.
            state.routed_at |= dict.fromkeys(_in_conflict(facts.gateway.status), clock)
        counted = facts.client_pods
        if self._census is not None:
            self._census.want(facts.key, consumers - EVERYONE)
            counted = self._census.counted(facts.key)
        pushing = self._pushing(facts.gateway, counted, state, clock)
        if (counted, pushing) == (facts.client_pods, facts.pushing):
            return facts
        return replace(facts, client_pods=counted, pushing=pushing)

    def _with_scopes(self, facts: Facts) -> Facts:
        """`facts` with what other people's objects tell the proxies of the clients that were judged last."""
        hop, root = target_of(facts).service_host, facts.mesh.root_namespace
        scopes = self._caches.scopes.of(facts.key, hop, root)
        return facts if scopes == facts.client_scopes else replace(facts, client_scopes=scopes)

    def _forget(self, key: Key) -> None:
        self._caches.scopes.want(key, frozenset())
        if self._census is not None:
            self._census.forget(key)
        if self._probes is not None:
            self._probes.want(key, None, ())
        if self._acknowledgements is not None:
            self._acknowledgements.want(key, pods_of_gateway(key), 0, {})
        self._specs.forget(key)
        self._contenders.forget(key)
        self._caches.references.want(key, frozenset())
        self._caches.references.look(key, None)

    def _workload(self, key: Key, state: GatewayState, clock: float) -> WorkloadFacts:
        deployment = self._deployment(key)
        rolling = bool(deployment) and is_rolling(deployment)
        replicas = int((deployment.get("spec") or {}).get("replicas") or 0)
        ready = int((deployment.get("status") or {}).get("readyReplicas") or 0)
        if ready == 0:
            state.first_ready_at = None
            return WorkloadFacts(replicas, ready, complete=False, rolling=rolling)
        if state.first_ready_at is None:
            state.first_ready_at = clock
        patient = clock - state.first_ready_at < PATIENCE.total_seconds()
        return WorkloadFacts(replicas, ready, complete=ready >= replicas or not patient, rolling=rolling)

    def _deployment(self, key: Key) -> Manifest:
        return self._caches.children["Deployment"].get(key.namespace, workload_name(key)) or {}
