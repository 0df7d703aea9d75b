"""
Turns what is known of each EgressGateway into series at each scrape.

Scrapes are rare and changes are many: a dozen series for each object need not be kept up to date in between. The series
of ten thousand objects are 20 MB of text, so they are written in pieces, and other tasks run in between.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Container, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from egressgateway.api.conditions import Actor, Reason
from egressgateway.refs import Key

STATUSES: Final = ("True", "False", "Unknown")

MOST_SERIES: Final = 10_000
"""
Series of one namespace's EgressGateways. About 500 objects; the statuses report on the others, and
`egressgateway_objects_without_series`.
"""

OBJECTS_PER_PIECE: Final = 256
"""About five thousand lines, which take some milliseconds of one processor (measured)."""

_Value = TypeVar("_Value")


class GatewaySeries(Collector):
    """
    By EgressGateway, its series.

    As a collector it has the few series about all objects; `pieces` has those of each object.
    """

    def __init__(self) -> None:
        self.conditions: dict[Key, Mapping[str, str]] = {}
        self.destinations: dict[Key, tuple[str, int]] = {}
        self.conflicts: dict[Key, int] = {}
        self.reachable: dict[Key, Mapping[str, str]] = {}
        self.causes: dict[Key, Mapping[Reason, Actor]] = {}
        self.ready_pods: dict[Key, int] = {}
        self.expirations: dict[Key, Mapping[str, float]] = {}

    def clear(self) -> None:
        """Forget all objects."""
        for known in self._known:
            known.clear()

    def forget(self, key: Key) -> None:
        """Forget `key`."""
        for known in self._known:
            known.pop(key, None)

    @property
    def _known(self) -> tuple[dict[Key, Any], ...]:
        return (
            self.conditions,
            self.causes,
            self.ready_pods,
            self.destinations,
            self.conflicts,
            self.reachable,
            self.expirations,
        )

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """prometheus_client's protocol for collectors."""
        yield self._destinations()
        _, hidden = self._shown()
        yield _by_namespace(hidden)
        text = "Hosts rejected because another object claimed them first."
        yield GaugeMetricFamily("egressgateway_host_conflicts", text, value=sum(self.conflicts.values()))

    def pieces(self) -> Iterator[str]:
        """
        The series of each object, in Prometheus' text format.

        A change between two pieces may be missing, but no object is written twice.
        """
        shown, _ = self._shown()
        yield from _pieces(
            "egressgateway_status_condition",
            "1 for the status that a condition of an EgressGateway has, 0 for the others.",
            self.conditions,
            shown,
            _condition_lines,
        )
        yield from _pieces(
            "egressgateway_not_ready_cause",
            "1 for each reason why an EgressGateway is not Ready, with the role that has to act; no series while it "
            "is Ready.",
            self.causes,
            shown,
            _cause_lines,
        )
        yield from _pieces(
            "egressgateway_gateway_ready_pods",
            "Ready pods of the gateway that an EgressGateway sends its clients to.",
            self.ready_pods,
            shown,
            _ready_pod_lines,
        )
        yield from _pieces(
            "egressgateway_destination_reachable",
            "1 for the result of a destination's probe (True, False, Unknown), 0 for the others.",
            self.reachable,
            shown,
            _reachable_lines,
        )
        yield from _pieces(
            "egressgateway_expiry_timestamp_seconds",
            "When the first certificate of an EgressGateway ends, and when its first destination expires, in seconds "
            "since 1970.",
            self.expirations,
            shown,
            _expiration_lines,
        )

    def _shown(self) -> tuple[set[Key], Tally[str]]:
        """Objects that have series, the oldest ones first; and by namespace, how many have none."""
        shown, series, hidden = set[Key](), Tally[str](), Tally[str]()
        for key in dict.fromkeys((*self.conditions, *self.causes, *self.ready_pods, *self.reachable)):
            possible = len(self.conditions.get(key, ())) + len(self.reachable.get(key, ()))
            single = len(self.causes.get(key, ())) + len(self.expirations.get(key, ()))
            series[key.namespace] += len(STATUSES) * possible + single + 1
            if series[key.namespace] <= MOST_SERIES:
                shown.add(key)
            else:
                hidden[key.namespace] += 1
        return shown, hidden

    def _destinations(self) -> GaugeMetricFamily:
        sums: Tally[str] = Tally()
        for provider, count in self.destinations.values():
            sums[provider] += count
        family = GaugeMetricFamily(
            "egressgateway_destinations", "Destinations of all EgressGateways.", labels=["provider"]
        )
        for provider, count in sums.items():
            family.add_metric([provider], count)
        return family


def _by_namespace(hidden: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "egressgateway_objects_without_series",
        "EgressGateways without series of their own, because their namespace has too many.",
        labels=["namespace"],
    )
    for namespace, count in hidden.items():
        family.add_metric([namespace], count)
    return family


def _pieces(
    name: str,
    text: str,
    known: Mapping[Key, _Value],
    shown: Container[Key],
    lines_of: Callable[[str, Key, _Value], Iterator[str]],
) -> Iterator[str]:
    """
    One family.

    prometheus_client's own writer takes five times as long (measured): it escapes each value of a label, while
    Kubernetes' names, and ours, contain nothing to escape.
    """
    yield f"# HELP {name} {text}\n# TYPE {name} gauge\n"
    objects = iter([(key, value) for key, value in known.items() if key in shown])
    while piece := tuple(islice(objects, OBJECTS_PER_PIECE)):
        yield "".join(line for key, value in piece for line in lines_of(name, key, value))


def _condition_lines(name: str, key: Key, conditions: Mapping[str, str]) -> Iterator[str]:
    for type_, status in conditions.items():
        yield from _one_of_three(f'{name}{{namespace="{key.namespace}",name="{key.name}",type="{type_}"', status)


def _cause_lines(name: str, key: Key, causes: Mapping[Reason, Actor]) -> Iterator[str]:
    for reason, acts in causes.items():
        yield f'{name}{{namespace="{key.namespace}",name="{key.name}",reason="{reason}",acts="{acts}"}} 1.0\n'


def _ready_pod_lines(name: str, key: Key, count: int) -> Iterator[str]:
    yield f'{name}{{namespace="{key.namespace}",name="{key.name}"}} {float(count)}\n'


def _expiration_lines(name: str, key: Key, ends: Mapping[str, float]) -> Iterator[str]:
    for kind, end in ends.items():
        yield f'{name}{{namespace="{key.namespace}",name="{key.name}",kind="{kind}"}} {end}\n'


def _reachable_lines(name: str, key: Key, destinations: Mapping[str, str]) -> Iterator[str]:
    for destination, status in destinations.items():
        head = f'{name}{{namespace="{key.namespace}",name="{key.name}",destination="{destination}"'
        yield from _one_of_three(head, status)


def _one_of_three(head: str, status: str) -> Iterator[str]:
    for possible in STATUSES:
        yield f'{head},status="{possible}"}} {1.0 if possible == status else 0.0}\n'
