"""
A lie detector: what the status of EgressGateways says, beside what becomes of real requests at the same time.

    with StatusWatch(mesh.kubeconfig) as watch, Traffic(client, url) as traffic:
        …                               the event
    claims = claims_of(watch.seen, namespace, name, "api/Steered")
    assert lies(traffic.report(), claims) == []

`Detector` does it for any number of consumers: each calls what its rows call, for as long as the block lasts, and each
request is compared with what the objects claimed of it when it was sent.

Two things are compared, and neither comes from the operator's own mouth twice: the claim is the condition as a watch of
the API server delivers it, the way of a request is told by the address that the server outside saw.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp

from egressgateway.api.conditions import Reason
from egressgateway.refs import EGRESS_GATEWAY
from harness.background import Background
from harness.kubeconfig import Access
from harness.mesh.clients import Client
from harness.mesh.continuity import Report, Sample, Traffic, Way
from harness.rest import Object
from harness.wait import eventually
from harness.watch import follow

TOLERANCE_SECONDS: Final = 2.0
"""How long a status may be wrong: a push of istiod, and the time in which a proxy warms up what it got."""

MOST_TOLD: Final = 5
"""Single requests that are listed."""

Name = tuple[str, str]
"""Namespace and name of an EgressGateway."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a watch told of an object, by this machine's clock; None: that it is gone."""

    at: float
    name: Name
    manifest: Object | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said of requests from a moment on: `True`, they take the gateway; `False`, they do not; or `Unknown`."""

    at: float
    says: str


_CLOSING_SECONDS: Final = 0.25


class StatusWatch(Background):
    """Notes each state of every EgressGateway for as long as the `with` block lasts."""

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__("status watch")
        self._access = Access.read(kubeconfig)
        self._loop = asyncio.new_event_loop()
        self._following: asyncio.Task[None] | None = None
        self._listed = False
        self.seen: list[Seen] = []

    def __enter__(self) -> Self:
        super().__enter__()
        eventually(lambda: self._listed, what="the first list of EgressGateways")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A watch that has nothing to tell would go on for minutes.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)
        super().__exit__(kind, error, trace)

    def work(self) -> None:
        """Follow the objects, through restarts of the API server."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._following = asyncio.ensure_future(self._follow())
        if self.ended.is_set():
            self._following.cancel()
        await asyncio.wait([self._following])
        # The session closes TLS connections without waiting for them (aiohttp, "Graceful shutdown"): a loop that ended
        # before them would leave their sockets to the garbage collector, which warns in whichever test it runs.
        await asyncio.sleep(_CLOSING_SECONDS)
        if not self._following.cancelled():
            self._following.result()

    def _cancel(self) -> None:
        if self._following is not None:
            self._following.cancel()

    async def _follow(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._access.ssl_context() or True)
        session = aiohttp.ClientSession(self._access.server, connector=connector, headers=self._access.headers())
        async with session, aclosing(follow(session, EGRESS_GATEWAY.path(None))) as events:  # type: ignore[type-var]
            async for event in events:
                if event.type == "RESET":
                    # What ended while nobody looked is told by nobody.
                    self.seen += [Seen(time.time(), name, None) for name in {each.name for each in self.seen}]
                    self._listed = True
                    continue
                metadata = event.object["metadata"]
                manifest = None if event.type == "DELETED" else event.object
                self.seen.append(Seen(time.time(), (metadata["namespace"], metadata["name"]), manifest))


def claims_of(seen: Iterable[Seen], namespace: str, name: str, condition: str) -> list[Claim]:
    """
    What one condition said: of the object by its type, of a destination by `name/type`. Where there is none, it is not
    said that anybody is served.
    """
    own = [each for each in seen if each.name == (namespace, name)]
    return _changes([(0.0, "False"), *((each.at, _status_of(each.manifest, condition)) for each in own)])


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who calls: by namespace and service account, as `access` of a spec means it."""

    namespace: str
    account: str


def claims_for(
    seen: Iterable[Seen], consumer: Consumer, host: str, port: int, undetermined: Reason | None = None
) -> list[Claim]:
    """
    What all objects together say of one consumer's requests to a host: True as soon as one says that it serves them.

    An object speaks of a consumer where its spec names the consumer. Which spec is decided by the generation that the
    condition was observed for: until the operator has seen an edit, its status is about the spec before.

    `undetermined`: a reason of `Steered` under which requests may rightly go either way.
    """
    told: dict[Name, str] = {}
    specs: dict[tuple[Name, str, int], Object] = {}
    found = [(0.0, "False")]
    for each in seen:
        if each.manifest is None:
            told.pop(each.name, None)
        else:
            metadata = each.manifest["metadata"]
            specs[each.name, metadata["uid"], metadata["generation"]] = each.manifest["spec"]
            says, reason = _said(each, specs, consumer, host, port)
            told[each.name] = "Unknown" if reason == undetermined else says
        answers = set(told.values())
        found.append((each.at, next((says for says in ("True", "Unknown") if says in answers), "False")))
    return _changes(found)


def lies(report: Report, claims: Sequence[Claim], tolerance_seconds: float = TOLERANCE_SECONDS) -> list[str]:
    """
    Whiles longer than `tolerance_seconds` in which it was claimed that requests take the gateway, and none did, or that
    they do not, and all did; and single requests that went past the gateway that long after it was claimed that they
    take it, and that long before anything else was. Unknown is no claim.

    What the machine itself was late by, as the gaps between requests at that time show, is nobody's fault. Only whiles
    within one claim count: after a change of what is said requests have as long to follow.
    """
    found = []
    for claim, following in zip(claims, [*claims[1:], None], strict=True):
        end = following.at if following else float("inf")
        during = [each for each in report.samples if claim.at <= each.at < end]
        if claim.says == "Unknown" or not during:
            continue
        steered = claim.says == "True"
        runs = [*_stretches(during, lambda each, steered=steered: (report.way(each) is Way.GATEWAY) is not steered)]
        runs = [each for each in runs if _length(each) > tolerance_seconds + _lag(report, each, tolerance_seconds)]
        if steered and not runs:
            late = tolerance_seconds + _lag(report, during, tolerance_seconds)
            settled = [each for each in during if claim.at + late < each.at < end - late]
            runs = [[each] for each in settled if report.way(each) is Way.DIRECT][:MOST_TOLD]
        found += [_told(report, claim, wrong) for wrong in runs]
    return found


@dataclass(frozen=True, slots=True)
class Call:
    """What a consumer asks for all the time. `who` is a client as cases name it, `url` one of `load`."""

    who: str
    url: str
    undetermined: Reason | None = None
    """See `claims_for`."""

    @property
    def consumer(self) -> Consumer:
        namespace, _, account = self.who.partition(" ")[0].partition("/")
        return Consumer(namespace, account)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def address(self) -> tuple[str, str, int]:
        """By which the mesh steers: who asks, for which host, on which port."""
        return self.who, self.host, self.port


@dataclass(slots=True)
class Detector:
    """
    Requests of many consumers beside the statuses of all objects, while a `with` block lasts.

    `rate`: requests a second of each call. `lies` is to be asked after the block.
    """

    kubeconfig: Path
    rate: float
    _stack: ExitStack = field(default_factory=ExitStack)
    _traffic: list[tuple[Sequence[Call], Traffic]] = field(default_factory=list)
    _watch: StatusWatch = field(init=False)

    def __enter__(self) -> Self:
        self._watch = self._stack.enter_context(StatusWatch(self.kubeconfig))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def ask(self, client: Client, calls: Sequence[Call]) -> Traffic:
        """Let a client call from now on."""
        traffic = Traffic(client, *(call.url for call in calls), rate=self.rate)
        self._traffic.append((calls, self._stack.enter_context(traffic)))
        return traffic

    def reports(self) -> Iterator[tuple[Call, Report]]:
        for calls, traffic in self._traffic:
            yield from ((call, traffic.report(call.url)) for call in calls)

    def lies(self, tolerance_seconds: float = TOLERANCE_SECONDS) -> list[str]:
        """Each lie, with the consumer to whom it was told."""
        return [
            f"{call.who} {call.url}: {lie}"
            for call, report in self.reports()
            for lie in lies(report, self._claims(call), tolerance_seconds)
        ]

    def _claims(self, call: Call) -> list[Claim]:
        return claims_for(self._watch.seen, call.consumer, call.host, call.port, call.undetermined)


def _said(
    seen: Seen, specs: Mapping[tuple[Name, str, int], Object], consumer: Consumer, host: str, port: int
) -> tuple[str, str]:
    """What one object says of a consumer's requests, and the reason of its condition."""
    manifest = seen.manifest
    assert manifest is not None
    status, metadata = manifest.get("status") or {}, manifest["metadata"]
    served = {each["namespace"] for each in status.get("consumers") or ()}
    for part in status.get("destinations") or ():
        steered = next((each for each in part["conditions"] if each["type"] == "Steered"), None)
        if steered is None:
            continue
        generation = steered.get("observedGeneration", metadata["generation"])
        spec = specs.get((seen.name, metadata["uid"], generation), manifest["spec"])
        asked = next((each for each in spec["destinations"] if each["name"] == part["name"]), None)
        if asked is None or not (_has(asked, host, port) and _names(spec, seen.name[0], consumer, part["name"])):
            continue
        # A namespace that the status does not list is not served, whatever becomes of the others.
        listed = {consumer.namespace, "*"} & served
        status = str(steered["status"]) if listed or steered["status"] != "True" else "False"
        return status, str(steered.get("reason", ""))
    return "False", ""


def _has(destination: Object, host: str, port: int) -> bool:
    names = (*destination.get("hosts", ()), *destination.get("aliases", ()))
    return any(_covers(name, host) for name in names) and any(each["port"] == port for each in destination["ports"])


def _covers(name: str, host: str) -> bool:
    return host.endswith(name[1:]) if name.startswith("*.") else name == host


def _names(spec: Object, own: str, consumer: Consumer, destination: str) -> bool:
    """
    Whether `access` lists the consumer for a destination. Selected namespaces are those that the status lists as
    served; nobody here knows their labels.
    """
    return any(
        (not entry.get("destinations") or destination in entry["destinations"])
        and (not entry.get("serviceAccounts") or consumer.account in entry["serviceAccounts"])
        and ("namespaceSelector" in entry or consumer.namespace in entry.get("namespaces", [own]))
        for entry in (spec.get("access") or {"from": [{}]})["from"]
    )


def _status_of(manifest: Object | None, condition: str) -> str:
    part, _, type_ = condition.rpartition("/")
    status = (manifest or {}).get("status") or {}
    if part:
        status = next((each for each in status.get("destinations") or () if each["name"] == part), {})
    return next((each["status"] for each in status.get("conditions") or () if each["type"] == type_), "False")


def _changes(told: Iterable[tuple[float, str]]) -> list[Claim]:
    """Without what only repeats the claim before: a stand that changed in other respects says the same of requests."""
    claims: list[Claim] = []
    for at, says in told:
        if not claims or claims[-1].says != says:
            claims.append(Claim(at, says))
    return claims


def _stretches(samples: Iterable[Sample], is_wrong: Callable[[Sample], bool]) -> Iterator[list[Sample]]:
    """Each run of wrong samples."""
    run: list[Sample] = []
    for each in samples:
        if is_wrong(each):
            run.append(each)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _length(run: Sequence[Sample]) -> float:
    return run[-1].at - run[0].at


def _lag(report: Report, run: Sequence[Sample], before: float) -> float:
    """
    The longest time, in seconds, that nothing was even sent in these requests' while and so long before: how late
    anything here may be.
    """
    times = [each.at for each in report.samples if run[0].at - before <= each.at <= run[-1].at]
    return max((after - before for before, after in pairwise(times)), default=0.0)


def _told(report: Report, claim: Claim, wrong: Sequence[Sample]) -> str:
    ways = sorted({report.way(each) for each in wrong})
    outcomes = sorted({each.outcome for each in wrong})
    after = wrong[0].at - claim.at if claim.at else 0.0
    return (
        f"{claim.says} for {_length(wrong):.2f} s, from {after:.2f} s after it was said, while {len(wrong)} requests "
        f"went {' and '.join(ways)} ({', '.join(outcomes)})"
    )
