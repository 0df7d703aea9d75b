"""
What other people's objects tell the proxies of each namespace, and which EgressGateways that concerns.

Follows every Sidecar resource and every DestinationRule. Most namespaces have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final

from egressgateway.cluster.store import Change
from egressgateway.engine.cache.keeping import is_left_out
from egressgateway.facts import ClientScope, HopRule, SidecarScope
from egressgateway.live.client_scope import hop_rule, sidecar_scope
from egressgateway.refs import Key, Manifest, ObjectRef

MOST_SELECTING: Final = 4
"""Sidecar resources for some pods of one namespace that are looked at."""

MOST_NAMESPACES: Final = 64
"""Consumer namespaces of one object that are looked at, the first ones by name: as many as `client_census` counts."""

_NOTHING: Final = ClientScope()


class ClientScopes:
    """The scopes of all namespaces, and the consumers of all EgressGateways."""

    def __init__(self) -> None:
        # The mesh's own, as the last pass knew it: a Sidecar resource there is for namespaces without one.
        self._root = ""
        self._sidecars: dict[str, dict[ObjectRef, SidecarScope]] = {}
        # By namespace and host.
        self._rules: dict[str, dict[str, dict[ObjectRef, HopRule]]] = {}
        self._host_of: dict[ObjectRef, str] = {}
        self._wants: dict[Key, frozenset[str]] = {}
        self._wanted_by: dict[str, set[Key]] = {}

    def take_sidecar(self, change: Change) -> set[Key]:
        """Follow a change of a Sidecar resource; returns the EgressGateways whose clients it concerns."""
        ref = _ref("Sidecar", change)
        new = None if change.new is None else _scope_of(change.new)
        there = self._sidecars.setdefault(ref.namespace, {})
        old = there.pop(ref, None)
        if new is not None:
            there[ref] = new
        if not there:
            del self._sidecars[ref.namespace]
        if old == new:
            return set()
        return set(self._wants) if ref.namespace == self._root else self._wanting(ref.namespace)

    def take_rule(self, change: Change) -> set[Key]:
        """The same for a DestinationRule."""
        ref = _ref("DestinationRule", change)
        new = None if change.new is None else hop_rule(change.new, unread=is_left_out(change.new))
        old = self._forget_rule(ref)
        if new is not None:
            self._rules.setdefault(ref.namespace, {}).setdefault(new.host, {})[ref] = new
            self._host_of[ref] = new.host
        return set() if old == new else self._wanting(ref.namespace)

    def want(self, key: Key, consumers: Set[str]) -> None:
        """From now on the EgressGateway `key` has these consumers."""
        before = self._wants.pop(key, frozenset())
        consumers = frozenset(sorted(consumers)[:MOST_NAMESPACES])
        if consumers:
            self._wants[key] = consumers
        for namespace in consumers - before:
            self._wanted_by.setdefault(namespace, set()).add(key)
        for namespace in before - consumers:
            keys = self._wanted_by[namespace]
            keys.discard(key)
            if not keys:
                del self._wanted_by[namespace]

    def release_all(self) -> None:
        """This replica no longer reconciles."""
        self._wants.clear()
        self._wanted_by.clear()

    def of(self, key: Key, hop: str, root: str) -> Mapping[str, ClientScope]:
        """
        By consumer namespace of `key`, the scope of its proxies, as far as it limits anything.

        For consumers everywhere, the one that holds in a namespace without anything of its own.

        Args:
            hop: host of the gateway's Service, to which DestinationRules may apply.
            root: the mesh's root namespace.
        """
        self._root = root
        scopes = {namespace: self._scope(namespace, hop) for namespace in self._wants.get(key, ())}
        return {namespace: scope for namespace, scope in scopes.items() if scope != _NOTHING}

    def _scope(self, namespace: str, hop: str) -> ClientScope:
        own = sorted(self._sidecars.get(namespace, {}).values(), key=_age)
        whole = next((each for each in own if not each.selects), None)
        selecting = [each for each in own if each.selects][:MOST_SELECTING]
        return ClientScope(whole or self._default(), tuple(selecting), self._rule(namespace, hop))

    def _default(self) -> SidecarScope | None:
        root = sorted(self._sidecars.get(self._root, {}).values(), key=_age)
        return next((each for each in root if not each.selects), None)

    def _rule(self, namespace: str, hop: str) -> HopRule | None:
        """The most specific one; in the root namespace those for every namespace precede no other."""
        by_host = self._rules.get(namespace)
        if by_host is None:
            return None
        matching = [host for host in by_host if host == hop or (host[:1] == "*" and hop.endswith(host[1:]))]
        for host in sorted(matching, key=len, reverse=True):
            rules = [rule for rule in by_host[host].values() if namespace != self._root or rule.private]
            if rules:
                return min(rules, key=lambda rule: rule.ref)
        return None

    def _wanting(self, namespace: str) -> set[Key]:
        return set(self._wanted_by.get(namespace, ()))

    def _forget_rule(self, ref: ObjectRef) -> HopRule | None:
        host = self._host_of.pop(ref, None)
        if host is None:
            return None
        by_host = self._rules[ref.namespace]
        old = by_host[host].pop(ref)
        if not by_host[host]:
            del by_host[host]
        if not by_host:
            del self._rules[ref.namespace]
        return old


def _scope_of(sidecar: Manifest) -> SidecarScope:
    # Of one for which there is no memory, the spec may be left out, or be all that there is.
    return sidecar_scope(sidecar, unread=is_left_out(sidecar) and "egress" not in (sidecar.get("spec") or {}))


def _age(scope: SidecarScope) -> tuple[str, ObjectRef]:
    """Of several for the same pods istiod takes the oldest."""
    return scope.created, scope.ref


def _ref(kind: str, change: Change) -> ObjectRef:
    metadata = change.object["metadata"]
    return ObjectRef(kind, metadata["namespace"], metadata["name"])
