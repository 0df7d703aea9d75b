"""Which EgressGateways want or claim what: found by name, by name on a shared gateway, by TCP port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from egressgateway.contention.hostname_index import HostnameIndex
from egressgateway.engine.cache.requested import NOTHING, Requested
from egressgateway.refs import Key


class ClaimIndex:
    """All EgressGateways of the cluster, filed under what they want."""

    def __init__(self) -> None:
        self._filed: dict[Key, Requested] = {}
        self._names: HostnameIndex[Key] = HostnameIndex()
        self._exposed: dict[str, HostnameIndex[Key]] = {}
        self._tcp_ports: dict[int, set[Key]] = {}
        self._named_ports: dict[int, set[Key]] = {}

    def file(self, key: Key, requested: Requested) -> None:
        """From now on `key` wants this; `NOTHING` when it is gone."""
        old = self._filed.pop(key, NOTHING)
        if requested != NOTHING:
            self._filed[key] = requested
        self._names.discard(old.names - requested.names, key)
        self._names.add(requested.names - old.names, key)
        for claimed in old.exposed - requested.exposed:
            self._exposed[claimed.gateway].discard((claimed.host,), key)
        for claimed in requested.exposed - old.exposed:
            self._exposed.setdefault(claimed.gateway, HostnameIndex()).add((claimed.host,), key)
        _refile(self._tcp_ports, key, old.tcp_ports, requested.tcp_ports)
        _refile(self._named_ports, key, old.named_ports, requested.named_ports)

    def contenders_of(self, key: Key, requested: Requested) -> frozenset[Key]:
        """
        Other EgressGateways with something of `requested` in common, in any namespace.

        A wildcard and a name under it are no conflict between objects of one namespace: the more specific wins.
        """
        return frozenset(
            (*self._by_name(key, requested), *self._by_gateway(requested), *self.sharing_ports(requested))
        ) - {key}

    def sharing_ports(self, requested: Requested) -> Iterator[Key]:
        """EgressGateways with one of the ports of `requested`, where one of the two speaks TCP there."""
        for port in requested.tcp_ports | requested.named_ports:
            yield from self._tcp_ports.get(port, ())
        for port in requested.tcp_ports:
            yield from self._named_ports.get(port, ())

    def wanting(self, hosts: Iterable[str]) -> frozenset[Key]:
        """EgressGateways that want one of `hosts`, or a wildcard that covers one."""
        return frozenset(key for host in hosts for found in (self._names.at, self._names.above) for key in found(host))

    def waiting_for(self, freed: Iterable[str]) -> frozenset[Key]:
        """EgressGateways that want one of `freed`, or a name that overlaps one."""
        finders = (self._names.at, self._names.above, self._names.below)
        return frozenset(key for name in freed for find in finders for key in find(name))

    def _by_name(self, key: Key, requested: Requested) -> Iterator[Key]:
        for name in requested.names:
            yield from self._names.at(name)
            for other in (*self._names.above(name), *self._names.below(name)):
                if other.namespace != key.namespace:
                    yield other

    def _by_gateway(self, requested: Requested) -> Iterator[Key]:
        for claimed in requested.exposed:
            index = self._exposed.get(claimed.gateway)
            if index is not None:
                yield from index.at(claimed.host)
                yield from index.above(claimed.host)
                yield from index.below(claimed.host)


def _refile(filed: dict[int, set[Key]], key: Key, old: frozenset[int], new: frozenset[int]) -> None:
    for port in old - new:
        filed[port].discard(key)
    for port in new - old:
        filed.setdefault(port, set()).add(key)
