"""
`Programmed` and `Steered` of a destination or exposed host: one table of rules each, over what is known of it.

`True` means only what was observed: Programmed, that every object of the section is as planned; Steered, that clients
are sent through the gateway and a pod serves them. A section that is retained although it is rejected is judged by what
runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.scalars import format_duration
from egressgateway.diff.steering import DeferReason
from egressgateway.live.controller_status import PATIENCE
from egressgateway.plan.findings import Finding
from egressgateway.refs import ObjectRef
from egressgateway.status.clients import ClientEvidence
from egressgateway.status.condition import NOT_PROGRAMMED, succeeded
from egressgateway.status.messages import joined, told_once
from egressgateway.status.rules import Rule, Table, otherwise

_RETAINED: Final = "the previous configuration stays in place"
_INCOMPLETE: Final = "not every object is in place yet"
ROUTED: Final = "clients are sent through the gateway"
"""How the message of `Steered` begins where it is True."""

BY_TIME: Final = "not every gateway pod tells what its proxy has, so this rests on the time that a push takes"
"""What it says besides, where the time alone speaks for some pod of the gateway."""

_NO_POD: Final = "no gateway pod is ready"
_PUSHING: Final = "the new route is being pushed to clients' proxies"
_PREVIOUS_ROUTE: Final = "traffic keeps using the previous route until the new one is ready"


@dataclass(frozen=True, slots=True)
class SectionState:
    """
    What is known of a section, as far as the tables need it.

    Attributes:
        rejected: findings reject it; `retained`: what ran of it before still runs.
        foreign: an object of another owner that has a name the section needs.
        failure: the server's message about an object that it rejects.
        missing: an object is not in place; `error`: what the server could not do just now, in its words.
        unaccepted: an object that its own `controller` has not accepted, or may not have pushed; `refusal`: that
            controller's message, if it rejects it; `push_failure`: likewise, if it could not push it; `push_timeout`:
            how long a push may take, while one may be under way; `overdue`: it has had time enough; `why_silent`: the
            possible reason then; `unknown_conditions`: what it reports instead, and `version` the earliest that it
            should have.
        was_programmed: according to the status, all was in place at this generation, and maybe not pushed since.
        conflicts: findings about unmanaged routes for its hosts.
        unserved: why what runs does not serve clients all the same.
        severed: a port that clients use and the gateway's Service does not have any more.
        unconnected: a finding that says that the gateway has no routes, or gets none any more.
        clients: what is known of the clients themselves.
        on_previous_route: clients still use the previous route, and it serves them.
        in_place: the objects that send clients through the gateway exist as planned; `deferred`: why they do not yet.
        pushing: clients' proxies may not have been told of that yet; `was_steered`: they may have used another route.
        lacking: what the proxy of a gateway pod lacks of what requests need; `asking`: the pods are being asked;
            `by_time`: some of them do not tell what they have.
        needs_pods: requests use the class's gateway, of which `ready_pods` serve; `obstacle`: why others do not start.
    """

    rejected: bool = False
    retained: bool = False
    foreign: ObjectRef | None = None
    failure: str | None = None
    missing: bool = False
    error: str | None = None
    unaccepted: ObjectRef | None = None
    refusal: str | None = None
    overdue: bool = False
    controller: str = ""
    why_silent: str = ""
    push_failure: str | None = None
    push_timeout: timedelta | None = None
    unknown_conditions: tuple[str, ...] = ()
    version: str = ""
    was_programmed: bool = False
    conflicts: tuple[Finding, ...] = ()
    unserved: str = ""
    severed: str = ""
    unconnected: Finding | None = None
    clients: ClientEvidence = field(default_factory=ClientEvidence)
    on_previous_route: bool = False
    in_place: bool = False
    pushing: bool = False
    was_steered: bool = False
    deferred: str = ""
    lacking: str = ""
    asking: bool = False
    by_time: bool = False
    needs_pods: bool = True
    ready_pods: int = 0
    obstacle: str = ""


def _foreign(state: SectionState) -> str:
    return (
        f"{state.foreign} exists and does not belong to this object: it was made by hand, or another object owns it; "
        "delete or rename it, or rename this object"
    )


def _missing(state: SectionState) -> str:
    return _INCOMPLETE if state.error is None else f"{_INCOMPLETE}: {state.error}"


def _refused(state: SectionState) -> str:
    return f"{state.controller} rejects {state.unaccepted}: {state.refusal}"


def _ignored(state: SectionState) -> str:
    return (
        f"no controller has reported on {state.unaccepted} for more than {PATIENCE.seconds} seconds; {state.why_silent}"
    )


def _not_pushed(state: SectionState) -> str:
    return (
        f"{state.controller} has accepted {state.unaccepted} and could not push it; the cause may be another object or "
        f"the connection, and the gateway continues with what it has; the controller says: {state.push_failure}"
    )


def _not_understood(state: SectionState) -> str:
    return (
        f"{state.controller} reports {', '.join(state.unknown_conditions)} about {state.unaccepted}, and not "
        f"{ConditionType.ACCEPTED}, as it does from version {state.version} on; install that version or a later one"
    )


def _being_pushed(state: SectionState) -> str:
    return (
        f"{state.controller} has accepted {state.unaccepted}, and accepts before it pushes; it counts as pushed after "
        f"{format_duration(state.push_timeout or timedelta())} without a failure"
    )


def _not_taken(state: SectionState) -> str:
    return f"{state.controller} has not accepted {state.unaccepted} yet"


def _without_pods(state: SectionState) -> str:
    return joined((_NO_POD if state.in_place else DeferReason.GATEWAY_NOT_READY.value, state.obstacle))


def _lacks_ingress_class(state: SectionState) -> bool:
    return state.unconnected is not None and state.unconnected.reason is Reason.INGRESS_CLASS_NOT_FOUND


def _without_routes(state: SectionState) -> str:
    return f"clients are still sent to the gateway, which has no routes without its IngressClass{_finding(state)}"


def _perhaps_without_routes(state: SectionState) -> str:
    return f"clients are still sent to the gateway, and whether it has their routes is not known{_finding(state)}"


def _finding(state: SectionState) -> str:
    return f": {state.unconnected.message}" if state.unconnected is not None else ""


def _conflicts(state: SectionState) -> str:
    return told_once(("", finding.message) for finding in state.conflicts)


def _steered(state: SectionState) -> str:
    return joined((ROUTED, BY_TIME if state.by_time else "", state.clients.remark))


PROGRAMMED: Final[Table[SectionState]] = Table(
    ConditionType.PROGRAMMED,
    (
        Rule(lambda it: it.rejected and it.retained, "True", Reason.PROGRAMMED, _RETAINED),
        Rule(lambda it: it.rejected, NOT_PROGRAMMED.status, NOT_PROGRAMMED.reason, NOT_PROGRAMMED.message),
        Rule(lambda it: it.foreign is not None, "False", Reason.RESOURCE_CONFLICT, _foreign),
        Rule(lambda it: it.failure is not None, "False", Reason.APPLY_FAILED, lambda it: it.failure or ""),
        Rule(lambda it: it.missing, "False", Reason.PENDING, _missing),
        Rule(lambda it: it.refusal is not None, "False", Reason.ROUTE_REJECTED, _refused),
        # What was pushed before is still there, and nobody knows whether all of it is.
        Rule(
            lambda it: it.push_failure is not None and it.was_programmed,
            "Unknown",
            Reason.ROUTE_NOT_PUSHED,
            _not_pushed,
        ),
        Rule(lambda it: it.push_failure is not None, "False", Reason.ROUTE_NOT_PUSHED, _not_pushed),
        Rule(lambda it: bool(it.unknown_conditions), "False", Reason.ROUTE_IGNORED, _not_understood),
        Rule(lambda it: it.overdue, "False", Reason.ROUTE_IGNORED, _ignored),
        Rule(lambda it: it.push_timeout is not None and it.was_programmed, "Unknown", Reason.PENDING, _being_pushed),
        Rule(lambda it: it.push_timeout is not None, "False", Reason.PENDING, _being_pushed),
        Rule(lambda it: it.unaccepted is not None, "False", Reason.PENDING, _not_taken),
        Rule(otherwise, "True", Reason.PROGRAMMED, succeeded(ConditionType.PROGRAMMED).message),
    ),
)
"""Whether every object of a section is as planned."""

STEERED: Final[Table[SectionState]] = Table(
    ConditionType.STEERED,
    (
        # Whatever objects of ours exist, clients may use an unmanaged route.
        Rule(lambda it: bool(it.conflicts), "False", lambda it: it.conflicts[0].reason, _conflicts),
        Rule(lambda it: bool(it.unserved), "False", Reason.UNSUPPORTED_VALUE, lambda it: it.unserved),
        Rule(lambda it: bool(it.severed), "False", Reason.GATEWAY_NOT_FOUND, lambda it: it.severed),
        Rule(_lacks_ingress_class, "False", Reason.INGRESS_CLASS_NOT_FOUND, _without_routes),
        Rule(lambda it: it.unconnected is not None, "Unknown", Reason.INGRESS_CLASS_INVALID, _perhaps_without_routes),
        Rule(lambda it: bool(it.clients.absent), "False", Reason.NO_CONSUMERS, lambda it: it.clients.absent),
        Rule(
            lambda it: bool(it.clients.outside_mesh),
            "False",
            Reason.CONSUMERS_NOT_IN_MESH,
            lambda it: it.clients.outside_mesh,
        ),
        Rule(lambda it: bool(it.clients.hidden), "False", Reason.ROUTE_CONFLICT, lambda it: it.clients.hidden),
        Rule(lambda it: bool(it.clients.unread), "Unknown", Reason.NOT_OBSERVED, lambda it: it.clients.unread),
        # Clients that are not yet sent on the new route are still sent through the gateway.
        Rule(lambda it: it.on_previous_route, "Unknown", Reason.PENDING, _PREVIOUS_ROUTE),
        Rule(lambda it: it.in_place and not it.needs_pods, "True", Reason.STEERED, _steered),
        Rule(lambda it: it.in_place and not it.ready_pods, "False", Reason.GATEWAY_NOT_READY, _without_pods),
        Rule(lambda it: not it.ready_pods, "False", Reason.GATEWAY_NOT_READY, _without_pods),
        Rule(
            lambda it: bool(it.lacking) and it.was_steered and it.in_place,
            "Unknown",
            Reason.PENDING,
            lambda it: it.lacking,
        ),
        Rule(lambda it: bool(it.lacking), "False", Reason.PENDING, lambda it: it.lacking),
        # What is steered stays so meanwhile: the route that was there still is.
        Rule(lambda it: it.asking and not it.was_steered, "False", Reason.PENDING, DeferReason.ASKING.value),
        # Where no route was before, the status says so already: it becomes True with one write.
        Rule(lambda it: it.in_place and it.pushing and it.was_steered, "Unknown", Reason.PENDING, _PUSHING),
        Rule(lambda it: it.in_place and it.pushing, "False", Reason.PENDING, _PUSHING),
        Rule(lambda it: it.in_place, "True", Reason.STEERED, _steered),
        Rule(lambda it: bool(it.deferred), "False", Reason.PENDING, lambda it: it.deferred),
        Rule(otherwise, "False", Reason.PENDING, "clients are not sent through the gateway"),
    ),
)
"""Whether clients of a section are sent through the gateway, and a pod serves them."""
