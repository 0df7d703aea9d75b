"""
Which EgressGateways ask for or have claimed what: indexed by name, by name on a shared gateway, and by port.

Every entry is indexed under its consumer namespaces, so that the cost of a lookup grows with the contenders, not with
all objects in the cluster that have the same name or port.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

from egressgateway.contention.hostname_index import HostnameIndex
from egressgateway.contention.requested import BY_CLASS, INGRESS_CLASS, NOTHING, Places, Requested
from egressgateway.namespaces import EVERY_NAMESPACE, EVERYONE
from egressgateway.refs import Key

MOST_FILED: Final = 4096
"""
Pairs of a name or port and a namespace under which one object is indexed, and which one lookup asks for. An object that
asks for more is indexed as one for every namespace: a lookup then also returns some objects that do not contend.
"""

T = TypeVar("T", bound=Hashable)


class _Scope:
    """The entries for one namespace, or for every namespace."""

    def __init__(self) -> None:
        self.names: HostnameIndex[Key] = HostnameIndex()
        self.tcp_ports: dict[int, set[Key]] = {}
        self.named_ports: dict[int, set[Key]] = {}

    @property
    def empty(self) -> bool:
        return self.names.empty and not self.tcp_ports and not self.named_ports


class ClaimIndex:
    """All EgressGateways of the cluster."""

    def __init__(self) -> None:
        self._filed: dict[Key, Requested] = {}
        self._scopes: dict[str, _Scope] = {}
        self._everything = _Scope()
        """Entries whatever their namespaces: for lookups that ask for every namespace."""
        self._exposed: dict[str, HostnameIndex[Key]] = {}

    def put(self, key: Key, requested: Requested) -> None:
        """From now on `key` asks for `requested`; `NOTHING` when the object is gone."""
        old, new = self._filed.pop(key, NOTHING), _bounded(requested)
        if new != NOTHING:
            self._filed[key] = new
        if new == old:
            return
        for claimed in old.exposed - new.exposed:
            self._exposed[claimed.gateway].discard((claimed.host,), key)
            if self._exposed[claimed.gateway].empty:
                del self._exposed[claimed.gateway]
        for claimed in new.exposed - old.exposed:
            self._exposed.setdefault(claimed.gateway, HostnameIndex()).add((claimed.host,), key)
        self._file_names(key, old.names, new.names)
        self._file_ports(key, old.tcp_ports, new.tcp_ports, tcp=True)
        self._file_ports(key, old.named_ports, new.named_ports, tcp=False)

    def contenders_of(self, key: Key, requested: Requested) -> frozenset[Key]:
        """
        Other EgressGateways that ask for part of `requested` in a common consumer namespace.

        A wildcard and a name under it are no conflict between objects of one namespace: the more specific wins.
        """
        found = (*self.by_name(key, requested.names), *self._by_gateway(requested), *self.sharing_ports(requested))
        return frozenset(found) - {key}

    def by_name(self, key: Key, names: Mapping[str, Places]) -> Iterator[Key]:
        """EgressGateways with one of `names`, and those of other namespaces than `key`'s with a name that overlaps."""
        for name, places in within_bound(names).items():
            for scope in self._scopes_for(places):
                yield from scope.names.at(name)
                for other in (*scope.names.above(name), *scope.names.below(name)):
                    if other.namespace != key.namespace:
                        yield other

    def sharing_ports(self, requested: Requested) -> Iterator[Key]:
        """EgressGateways with one of the ports, where one of the two objects speaks TCP."""
        for port, places in requested.tcp_ports.items():
            for scope in self._scopes_for(places):
                yield from scope.tcp_ports.get(port, ())
                yield from scope.named_ports.get(port, ())
        for port, places in requested.named_ports.items():
            for scope in self._scopes_for(places):
                yield from scope.tcp_ports.get(port, ())

    def on_tcp_ports(self, ports: Mapping[int, Places]) -> frozenset[Key]:
        """EgressGateways that have TCP on one of the ports."""
        return frozenset(self.sharing_ports(Requested(named_ports=within_bound(ports))))

    def wanting(self, hosts: Mapping[str, Places]) -> frozenset[Key]:
        """EgressGateways that ask for one of `hosts`, or for a wildcard that covers one."""
        return frozenset(
            key
            for host, places in hosts.items()
            for scope in self._scopes_for(places)
            for find in (scope.names.at, scope.names.above)
            for key in find(host)
        )

    def waiting_for(self, freed: Mapping[str, Places]) -> frozenset[Key]:
        """EgressGateways that ask for one of `freed`, or for a name that overlaps one."""
        return frozenset(
            key
            for name, places in freed.items()
            for scope in self._scopes_for(places)
            for find in (scope.names.at, scope.names.above, scope.names.below)
            for key in find(name)
        )

    def _scopes_for(self, places: Places) -> Iterator[_Scope]:
        """Scopes of all entries that have one of `places` in common."""
        if EVERY_NAMESPACE in places:
            yield self._everything
            return
        for place in (*places, EVERY_NAMESPACE) if places else ():
            scope = self._scopes.get(place)
            if scope is not None:
                yield scope

    def _scope(self, place: str) -> _Scope:
        scope = self._scopes.get(place)
        if scope is None:
            scope = self._scopes[place] = _Scope()
        return scope

    def _drop_if_empty(self, place: str) -> None:
        """Whoever edits may name ever new namespaces."""
        if self._scopes[place].empty:
            del self._scopes[place]

    def _file_names(self, key: Key, old: Mapping[str, Places], new: Mapping[str, Places]) -> None:
        self._everything.names.discard(old.keys() - new.keys(), key)
        self._everything.names.add(new.keys() - old.keys(), key)
        for name, gone, come in _differences(old, new):
            for place in gone:
                self._scopes[place].names.discard((name,), key)
                self._drop_if_empty(place)
            for place in come:
                self._scope(place).names.add((name,), key)

    def _file_ports(self, key: Key, old: Mapping[int, Places], new: Mapping[int, Places], *, tcp: bool) -> None:
        _reindex(_ports(self._everything, tcp=tcp), key, old.keys() - new.keys(), new.keys() - old.keys())
        for port, gone, come in _differences(old, new):
            for place in gone:
                _reindex(_ports(self._scopes[place], tcp=tcp), key, (port,), ())
                self._drop_if_empty(place)
            for place in come:
                _reindex(_ports(self._scope(place), tcp=tcp), key, (), (port,))

    def _same_gateway(self, gateway: str) -> Iterator[str]:
        """Gateways in the index that may be this one: what a class decides, it may decide for any ingress class."""
        if gateway == BY_CLASS:
            yield from (known for known in self._exposed if known == BY_CLASS or known.startswith(INGRESS_CLASS))
            return
        yield from (gateway,) if gateway in self._exposed else ()
        if gateway.startswith(INGRESS_CLASS) and BY_CLASS in self._exposed:
            yield BY_CLASS

    def _by_gateway(self, requested: Requested) -> Iterator[Key]:
        for claimed in requested.exposed:
            for gateway in self._same_gateway(claimed.gateway):
                index = self._exposed[gateway]
                yield from index.at(claimed.host)
                yield from index.above(claimed.host)
                yield from index.below(claimed.host)


def _ports(scope: _Scope, *, tcp: bool) -> dict[int, set[Key]]:
    return scope.tcp_ports if tcp else scope.named_ports


def _differences(old: Mapping[T, Places], new: Mapping[T, Places]) -> Iterator[tuple[T, Places, Places]]:
    """For each item, the namespaces that it leaves and the namespaces that it enters."""
    none = frozenset[str]()
    for item in old.keys() | new.keys():
        before, after = old.get(item, none), new.get(item, none)
        if before != after:
            yield item, before - after, after - before


def _reindex(filed: dict[int, set[Key]], key: Key, old: Iterable[int], new: Iterable[int]) -> None:
    for port in old:
        keys = filed[port]
        keys.discard(key)
        if not keys:
            del filed[port]
    for port in new:
        filed.setdefault(port, set()).add(key)


def _bounded(requested: Requested) -> Requested:
    return Requested(
        within_bound(requested.names),
        requested.exposed,
        within_bound(requested.tcp_ports),
        within_bound(requested.named_ports),
    )


def within_bound(places_by: Mapping[T, Places]) -> Mapping[T, Places]:
    """The same, or every namespace in place of too many."""
    if sum(map(len, places_by.values())) <= MOST_FILED:
        return places_by
    return dict.fromkeys(places_by, EVERYONE)
