"""
The result of a destination's probes, from the counters of the gateway's Envoys.

Envoy does not say why a check failed, but beside the checks it counts names that were not found, rejected certificates
and failed connections: the counter that grew since the last reading is the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from egressgateway.api.conditions import Reason
from egressgateway.api.reserved import PRIVATE_DOMAIN
from egressgateway.facts import Reached
from egressgateway.plan.gateway.probing import ProbedWay

_TLS_ERRORS: Final = ("connection_error", "fail_verify_error", "fail_verify_no_cert", "fail_verify_cert_hash")
_SAMPLE: Final = re.compile(r'^envoy_cluster_(\w+)\{[^}]*?cluster_name="([^"]+)"[^}]*\} ([0-9]{1,18})$')
_LONGEST_LINE: Final = 2048
"""Characters. A user who can create a pod that looks like the gateway's can also make up its page."""

_SEPARATORS: Final = re.compile(r"[^A-Za-z0-9]+")

_PRIVATE: Final = f"_{_SEPARATORS.sub('_', PRIVATE_DOMAIN)}_"
_OUTBOUND: Final = "outbound_"
"""How istiod begins these names, unless the mesh has names of its own (`outboundClusterStatName`)."""

_COUNTERS: Final = (
    *("membership_healthy", "membership_total", "update_success", "update_failure", "update_empty"),
    *("health_check_attempt", "health_check_network_failure", "health_check_failure", "ssl_fail_verify_san"),
    *(f"ssl_{error}" for error in _TLS_ERRORS),
)
"""The counters that are read, by plain name; a name that is the end of another one comes later."""

_WORDS: Final = {
    Reason.DNS_FAILED: "its name has no address",
    Reason.CONNECT_FAILED: "no connection, or no answer in time",
    Reason.TLS_NAME_MISMATCH: "its certificate is for another name",
    Reason.TLS_FAILED: "TLS fails: its certificate is not trusted, or it rejects the gateway's",
    Reason.UNEXPECTED_STATUS: "its response has an unexpected status",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """
    What one Envoy has counted for one hop since it started.

    Attributes:
        healthy: addresses that passed their last checks; `known` are all.
        lookups: DNS lookups of the name that ended, with any result.
        checks: that were started; `failures` ended badly, `breaks` of them without an answer.
        names: certificates for another name; `refusals` other reasons why TLS failed.
    """

    healthy: int = 0
    known: int = 0
    lookups: int = 0
    checks: int = 0
    failures: int = 0
    breaks: int = 0
    names: int = 0
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """One hop as one pod sees it: the reading, and why it is not reached; None while it is, or nothing is known."""

    reading: Reading
    trouble: Reason | None = None

    @property
    def decided(self) -> bool:
        return self.trouble is not None or _passed(self.reading)


class PageReader:
    """
    Takes Envoy's page for Prometheus line by line, and keeps only the counters that it looks for.

    Istio's versions differ in where they cut a counter's name: after the cluster's name, after its first label, or
    after a word of the counter. Joined again, all of them read alike.
    """

    def __init__(self, clusters: Iterable[str]) -> None:
        """`clusters`: whose counters are looked for."""
        self._names = frozenset(clusters)
        # Names that differ in a dot and a dash alone are alike where Istio cuts them.
        self._alike: dict[str, list[str]] = {}
        for cluster in sorted(self._names):
            self._alike.setdefault(_plain(cluster), []).append(cluster)
        self._counts: dict[str, dict[str, int]] = {}
        self.private = False
        """Whether the page has a counter of a private name of any gateway: by default Istio keeps none."""

    def feed(self, line: str) -> None:
        """The next line; a line without a counter is skipped."""
        found = _SAMPLE.match(line) if len(line) <= _LONGEST_LINE else None
        if found is None:
            return
        joined = _plain(f"{found[2]}_{found[1]}")
        counter = next((each for each in _COUNTERS if joined.endswith(each)), None)
        if counter is None:
            return
        self.private = self.private or (joined.startswith(_OUTBOUND) and _PRIVATE in joined)
        whole = found[2].partition(";")[0].removesuffix(".ssl").removesuffix(".health_check")
        is_whole = whole.endswith(f".{PRIVATE_DOMAIN}")
        alike = self._alike.get(joined[: -len(counter) - 1], ()) if not is_whole else ()
        for cluster in (whole,) if whole in self._names else alike:
            self._counts.setdefault(cluster, {})[counter] = int(found[3])

    def readings(self) -> dict[str, Reading]:
        """Readings by cluster; clusters that the page does not have are left out."""
        return {cluster: _reading(counted) for cluster, counted in self._counts.items()}


def readings_of(text: str, clusters: Iterable[str]) -> dict[str, Reading]:
    """Readings by cluster from a whole page."""
    reader = PageReader(clusters)
    for line in text.splitlines():
        reader.feed(line)
    return reader.readings()


def evaluate(before: Observation | None, reading: Reading, way: ProbedWay) -> Observation:
    """The meaning of a new reading, given the previous observation."""
    if _passed(reading):
        return Observation(reading)
    last = before.reading if before is not None else Reading()
    if last.checks > reading.checks:
        # Another Envoy, which counts from zero.
        last = Reading()
    if not reading.known:
        return Observation(reading, Reason.DNS_FAILED if reading.lookups else None)
    if reading.failures == last.failures:
        return Observation(reading, before.trouble if before is not None else None)
    return Observation(reading, _grown(last, reading, way))


def _passed(reading: Reading) -> bool:
    """Envoy counts an address that has no check, or no check yet, as healthy."""
    return reading.healthy > 0 and reading.checks > 0


def reached(ways: Sequence[ProbedWay], pods: Sequence[Mapping[str, Observation] | None]) -> Reached:
    """
    The condition of a destination.

    Args:
        pods: what each pod sees, by cluster; None for a pod that does not answer.
    """
    telling = [pod for pod in pods if pod is not None]
    if not telling:
        words = "no gateway pod reports its probe results" if pods else "there is no gateway pod to run the probes"
        return Reached("Unknown", Reason.NOT_OBSERVED, words)
    sights = [(way, pod.get(way.cluster)) for way in ways for pod in telling]
    failing = [(way, sight.trouble) for way, sight in sights if sight is not None and sight.trouble is not None]
    if failing:
        counted = sum(any(sight.trouble for sight in pod.values()) for pod in telling)
        said = dict.fromkeys(f"{way.host}:{way.port}: {_WORDS[trouble]}" for way, trouble in failing)
        return Reached("False", failing[0][1], f"{'; '.join(said)}; seen by {counted}/{len(telling)} gateway pods")
    if not all(sight is not None and sight.decided for _, sight in sights):
        return Reached("Unknown", Reason.PENDING, "the first checks have not finished")
    return Reached("True", Reason.REACHABLE, f"reached by {len(telling)}/{len(pods)} gateway pods")


def _grown(last: Reading, now: Reading, way: ProbedWay) -> Reason:
    if now.names > last.names:
        return Reason.TLS_NAME_MISMATCH
    if now.refusals > last.refusals:
        return Reason.TLS_FAILED
    if way.asks and now.failures - last.failures > now.breaks - last.breaks:
        return Reason.UNEXPECTED_STATUS
    return Reason.CONNECT_FAILED


def _reading(counted: Mapping[str, int]) -> Reading:
    return Reading(
        healthy=counted.get("membership_healthy", 0),
        known=counted.get("membership_total", 0),
        lookups=sum(counted.get(f"update_{outcome}", 0) for outcome in ("success", "failure", "empty")),
        checks=counted.get("health_check_attempt", 0),
        failures=counted.get("health_check_failure", 0),
        breaks=counted.get("health_check_network_failure", 0),
        names=counted.get("ssl_fail_verify_san", 0),
        refusals=sum(counted.get(f"ssl_{error}", 0) for error in _TLS_ERRORS),
    )


def _plain(text: str) -> str:
    return _SEPARATORS.sub("_", text).strip("_")
