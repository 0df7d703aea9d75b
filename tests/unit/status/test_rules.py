"""The tables of conditions, row by row: a state that only this row decides, and what it then says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.plan.findings import Finding
from egressgateway.refs import ObjectRef
from egressgateway.status.clients import ClientEvidence
from egressgateway.status.condition import Condition
from egressgateway.status.readiness import READY, ObjectState, abnormal
from egressgateway.status.section_rules import PROGRAMMED, STEERED, SectionState

REF: Final = ObjectRef("ApisixRoute", "shop", "partners-api")
CONTROLLER: Final = "APISIX's ingress controller"
INVALID: Final = Finding(ConditionType.ACCEPTED, Reason.INVALID, "spec.x: no", section="a")
CONFLICT: Final = Finding(ConditionType.STEERED, Reason.ROUTE_CONFLICT, "VirtualService x/y has the host", section="a")
NO_CLASS: Final = Finding(ConditionType.RESOLVED_REFS, Reason.INGRESS_CLASS_NOT_FOUND, "there is none")
NO_PARAMETERS: Final = Finding(ConditionType.RESOLVED_REFS, Reason.INGRESS_CLASS_INVALID, "no parameters")

Said = tuple[str, Reason, str]

PROGRAMMED_ROWS: Final[list[tuple[SectionState, Said]]] = [
    (
        SectionState(rejected=True, retained=True, missing=True),
        ("True", Reason.PROGRAMMED, "the previous configuration stays in place"),
    ),
    (
        SectionState(rejected=True, missing=True),
        ("False", Reason.PENDING, "nothing is programmed until Accepted and ResolvedRefs are True"),
    ),
    (
        SectionState(foreign=REF, failure="no", missing=True),
        (
            "False",
            Reason.RESOURCE_CONFLICT,
            (
                f"{REF} exists and does not belong to this object: it was made by hand, or another object owns it; "
                "delete or rename it, or rename this object"
            ),
        ),
    ),
    (SectionState(failure="denied by webhook", missing=True), ("False", Reason.APPLY_FAILED, "denied by webhook")),
    (
        SectionState(missing=True, error="timed out", unaccepted=REF),
        ("False", Reason.PENDING, "not every object is in place yet: timed out"),
    ),
    (
        SectionState(unaccepted=REF, refusal="no such upstream", overdue=True, controller=CONTROLLER),
        ("False", Reason.ROUTE_REJECTED, f"{CONTROLLER} rejects {REF}: no such upstream"),
    ),
    (
        SectionState(unaccepted=REF, push_failure="SyncFailed: no answer", was_programmed=True, controller=CONTROLLER),
        (
            "Unknown",
            Reason.ROUTE_NOT_PUSHED,
            (
                f"{CONTROLLER} has accepted {REF} and could not push it; the cause may be another object or the "
                "connection, and the gateway continues with what it has; the controller says: SyncFailed: no answer"
            ),
        ),
    ),
    (
        SectionState(unaccepted=REF, push_failure="SyncFailed: no answer", overdue=True, controller=CONTROLLER),
        (
            "False",
            Reason.ROUTE_NOT_PUSHED,
            (
                f"{CONTROLLER} has accepted {REF} and could not push it; the cause may be another object or the "
                "connection, and the gateway continues with what it has; the controller says: SyncFailed: no answer"
            ),
        ),
    ),
    (
        SectionState(
            unaccepted=REF,
            unknown_conditions=("ResourcesAvailable",),
            version="2.0.0",
            overdue=True,
            controller=CONTROLLER,
        ),
        (
            "False",
            Reason.ROUTE_IGNORED,
            (
                f"{CONTROLLER} reports ResourcesAvailable about {REF}, and not Accepted, as it does from version "
                "2.0.0 on; install that version or a later one"
            ),
        ),
    ),
    (
        SectionState(unaccepted=REF, overdue=True, controller=CONTROLLER, why_silent="is it there?"),
        (
            "False",
            Reason.ROUTE_IGNORED,
            f"no controller has reported on {REF} for more than 30 seconds; is it there?",
        ),
    ),
    (
        SectionState(unaccepted=REF, push_timeout=timedelta(seconds=35), was_programmed=True, controller=CONTROLLER),
        (
            "Unknown",
            Reason.PENDING,
            (
                f"{CONTROLLER} has accepted {REF}, and accepts before it pushes; it counts as pushed after 35s without "
                "a failure"
            ),
        ),
    ),
    (
        SectionState(unaccepted=REF, push_timeout=timedelta(seconds=90), controller=CONTROLLER),
        (
            "False",
            Reason.PENDING,
            (
                f"{CONTROLLER} has accepted {REF}, and accepts before it pushes; it counts as pushed after 1m30s "
                "without a failure"
            ),
        ),
    ),
    (
        SectionState(unaccepted=REF, controller=CONTROLLER),
        ("False", Reason.PENDING, f"{CONTROLLER} has not accepted {REF} yet"),
    ),
    (SectionState(), ("True", Reason.PROGRAMMED, "every object is in place")),
]

LACKING: Final = "a gateway pod does not have the configuration yet, and may be cut off from istiod: partners-1"

STEERED_ROWS: Final[list[tuple[SectionState, Said]]] = [
    (
        SectionState(conflicts=(CONFLICT,), on_previous_route=True, in_place=True, ready_pods=2),
        ("False", Reason.ROUTE_CONFLICT, "VirtualService x/y has the host"),
    ),
    (
        SectionState(unserved="clients get errors", in_place=True, ready_pods=2),
        ("False", Reason.UNSUPPORTED_VALUE, "clients get errors"),
    ),
    (
        SectionState(severed="the port is gone", clients=ClientEvidence(absent="nobody"), in_place=True, ready_pods=2),
        ("False", Reason.GATEWAY_NOT_FOUND, "the port is gone"),
    ),
    (
        SectionState(unconnected=NO_CLASS, in_place=True, ready_pods=2),
        (
            "False",
            Reason.INGRESS_CLASS_NOT_FOUND,
            "clients are still sent to the gateway, which has no routes without its IngressClass: there is none",
        ),
    ),
    (
        SectionState(unconnected=NO_PARAMETERS, in_place=True, ready_pods=2),
        (
            "Unknown",
            Reason.INGRESS_CLASS_INVALID,
            "clients are still sent to the gateway, and whether it has their routes is not known: no parameters",
        ),
    ),
    (
        SectionState(clients=ClientEvidence(absent="nobody", outside_mesh="none"), in_place=True, ready_pods=2),
        ("False", Reason.NO_CONSUMERS, "nobody"),
    ),
    (
        SectionState(clients=ClientEvidence(outside_mesh="none"), on_previous_route=True, in_place=True, ready_pods=2),
        ("False", Reason.CONSUMERS_NOT_IN_MESH, "none"),
    ),
    (
        SectionState(clients=ClientEvidence(hidden="a Sidecar"), on_previous_route=True, in_place=True, ready_pods=2),
        ("False", Reason.ROUTE_CONFLICT, "a Sidecar"),
    ),
    (
        SectionState(clients=ClientEvidence(unread="too large"), on_previous_route=True, in_place=True, ready_pods=2),
        ("Unknown", Reason.NOT_OBSERVED, "too large"),
    ),
    (
        SectionState(on_previous_route=True),
        ("Unknown", Reason.PENDING, "traffic keeps using the previous route until the new one is ready"),
    ),
    (
        SectionState(in_place=True, needs_pods=False),
        ("True", Reason.STEERED, "clients are sent through the gateway"),
    ),
    (SectionState(in_place=True), ("False", Reason.GATEWAY_NOT_READY, "no gateway pod is ready")),
    (
        SectionState(deferred="wait", obstacle="no node takes a pod"),
        ("False", Reason.GATEWAY_NOT_READY, "no gateway pod is ready yet; no node takes a pod"),
    ),
    (
        SectionState(in_place=True, ready_pods=2, pushing=True, was_steered=True, lacking=LACKING),
        ("Unknown", Reason.PENDING, LACKING),
    ),
    (
        SectionState(in_place=True, ready_pods=2, pushing=True, lacking=LACKING),
        ("False", Reason.PENDING, LACKING),
    ),
    (
        SectionState(in_place=True, ready_pods=2, asking=True),
        ("False", Reason.PENDING, "the gateway's pods are being asked whether they have the configuration"),
    ),
    (
        SectionState(in_place=True, ready_pods=1, pushing=True, was_steered=True),
        ("Unknown", Reason.PENDING, "the new route is being pushed to clients' proxies"),
    ),
    (
        SectionState(in_place=True, ready_pods=1, pushing=True),
        ("False", Reason.PENDING, "the new route is being pushed to clients' proxies"),
    ),
    (
        SectionState(in_place=True, ready_pods=1, clients=ClientEvidence(remark="not those of x")),
        ("True", Reason.STEERED, "clients are sent through the gateway; not those of x"),
    ),
    (
        SectionState(deferred="the gateway's configuration is being pushed to the mesh", ready_pods=1),
        ("False", Reason.PENDING, "the gateway's configuration is being pushed to the mesh"),
    ),
    (SectionState(ready_pods=1), ("False", Reason.PENDING, "clients are not sent through the gateway")),
]

NOT_ACCEPTED: Final = Condition(ConditionType.ACCEPTED, "False", Reason.INVALID, "a: no")
NOT_YET: Final = Condition(ConditionType.PROGRAMMED, "False", Reason.PENDING, "not every object is in place yet")
NOT_CERTAIN: Final = Condition(ConditionType.PROGRAMMED, "Unknown", Reason.ROUTE_NOT_PUSHED, "pushes fail")
UNREAD: Final = Condition(ConditionType.RESOLVED_REFS, "Unknown", Reason.NOT_OBSERVED, "it may not be read")
MOVING: Final = Condition(ConditionType.STEERED, "Unknown", Reason.PENDING, "traffic keeps using the previous route")
NO_POD: Final = Condition(ConditionType.STEERED, "False", Reason.GATEWAY_NOT_READY, "no gateway pod is ready")
NOT_SENT: Final = Condition(ConditionType.STEERED, "False", Reason.PENDING, "clients are not sent")

READY_ROWS: Final[list[tuple[ObjectState, Said]]] = [
    (
        ObjectState(serves_somebody=True, success="2/2 gateway pods ready"),
        ("True", Reason.READY, "2/2 gateway pods ready"),
    ),
    (
        ObjectState(failing=(NOT_YET,), unsteered=(MOVING, MOVING), serves_somebody=True),
        ("Unknown", Reason.PENDING, "not every object is in place yet; traffic keeps using the previous route"),
    ),
    (
        ObjectState(
            failing=(NOT_ACCEPTED, NOT_YET), causes=(NOT_ACCEPTED,), serving=1, sections=3, serves_somebody=True
        ),
        ("False", Reason.PARTIALLY_READY, "1/3 parts serve; Accepted: a: no"),
    ),
    (
        ObjectState(failing=(NOT_YET, NOT_ACCEPTED), unsteered=(NO_POD,)),
        ("False", Reason.INVALID, "a: no"),
    ),
    (
        ObjectState(failing=(NOT_YET,), unsteered=(NOT_SENT, NO_POD)),
        ("False", Reason.GATEWAY_NOT_READY, "no gateway pod is ready"),
    ),
    (
        ObjectState(failing=(UNREAD, NOT_YET), unsteered=(NOT_SENT,)),
        ("False", Reason.PENDING, "not every object is in place yet"),
    ),
    (
        ObjectState(failing=(UNREAD,), unsteered=(MOVING, NOT_SENT)),
        ("False", Reason.PENDING, "clients are not sent"),
    ),
]


def test_each_row_of_each_table_is_tried_below() -> None:
    """A new row needs a state of its own."""
    assert [len(rows) for rows in (PROGRAMMED_ROWS, STEERED_ROWS, READY_ROWS)] == [
        len(table.rules) for table in (PROGRAMMED, STEERED, READY)
    ]


@pytest.mark.parametrize(("row", "state", "said"), [(row, *each) for row, each in enumerate(PROGRAMMED_ROWS)])
def test_programmed_row_decides(row: int, state: SectionState, said: Said) -> None:
    """The row is the first that holds, and says this."""
    assert PROGRAMMED.row_for(state) == row
    assert PROGRAMMED.judge(state) == Condition(ConditionType.PROGRAMMED, *said)


@pytest.mark.parametrize(("row", "state", "said"), [(row, *each) for row, each in enumerate(STEERED_ROWS)])
def test_steered_row_decides(row: int, state: SectionState, said: Said) -> None:
    """The row is the first that holds, and says this."""
    assert STEERED.row_for(state) == row
    assert STEERED.judge(state) == Condition(ConditionType.STEERED, *said)


@pytest.mark.parametrize(("row", "state", "said"), [(row, *each) for row, each in enumerate(READY_ROWS)])
def test_ready_row_decides(row: int, state: ObjectState, said: Said) -> None:
    """The row is the first that holds, and says this."""
    assert READY.row_for(state) == row
    assert READY.judge(state) == Condition(ConditionType.READY, *said)


def test_what_is_not_known_is_neither_an_outage_nor_a_success() -> None:
    """Pushes fail because of somebody else, and clients are served as before: unknown, with the reason."""
    unknown = READY.judge(ObjectState(failing=(NOT_CERTAIN,), serves_somebody=True, serving=1, sections=1))
    assert unknown == Condition(ConditionType.READY, "Unknown", Reason.ROUTE_NOT_PUSHED, "pushes fail")


@pytest.mark.parametrize("known", [NOT_ACCEPTED, NO_POD, NOT_SENT], ids=lambda known: str(known.message))
def test_what_is_false_decides_before_what_is_not_known(known: Condition) -> None:
    """An outage is no smaller because something else could not be looked at; both are said."""
    own = known.type is not ConditionType.STEERED
    state = ObjectState(
        failing=(UNREAD, known) if own else (UNREAD,), unsteered=() if own else (MOVING, known), sections=2
    )
    assert READY.judge(state) == Condition(ConditionType.READY, "False", known.reason, known.message)
    partly = READY.judge(replace(state, causes=state.failing, serving=1, serves_somebody=True))
    assert partly.reason is Reason.PARTIALLY_READY
    assert {known.message, UNREAD.message} <= {each.partition(": ")[2] for each in partly.message.split("; ")}


def test_obstacle_of_pods_is_said_where_clients_wait_for_them() -> None:
    """Once, and nothing stands behind the semicolon where nothing is known."""
    told = [STEERED.judge(SectionState(in_place=True, obstacle=each)).message for each in ("", "no node takes a pod")]
    assert told == ["no gateway pod is ready", "no gateway pod is ready; no node takes a pod"]
    without = Condition(ConditionType.STEERED, "False", Reason.GATEWAY_NOT_READY, told[1])
    other = ObjectState(failing=(NOT_ACCEPTED,), causes=(NOT_ACCEPTED,), serves_somebody=True, obstacle="no node")
    assert READY.judge(other).message == "0/0 parts serve; Accepted: a: no; no node"
    assert READY.judge(replace(other, failing=(), causes=(), unsteered=(without,))).message.count("no node") == 1


def test_no_transient_error_is_said_where_there_is_none() -> None:
    """Nothing stands behind a colon."""
    assert PROGRAMMED.judge(SectionState(missing=True)).message == "not every object is in place yet"


def test_the_causes_of_partly_ready_are_said_before_what_follows_from_them() -> None:
    """Without causes, what fails; without that, what clients miss."""
    partly = ObjectState(failing=(NOT_ACCEPTED,), unsteered=(NOT_SENT,), serving=1, sections=2, serves_somebody=True)
    told = [READY.judge(state).message for state in (partly, replace(partly, failing=()))]
    assert told == ["1/2 parts serve; Accepted: a: no", "1/2 parts serve; Steered: clients are not sent"]


@pytest.mark.parametrize(
    ("findings", "ready", "expected"),
    [
        ((INVALID,), "True", []),
        ((INVALID,), "False", [(ConditionType.STALLED, Reason.INVALID, "a: spec.x: no")]),
        ((CONFLICT,), "False", [(ConditionType.RECONCILING, Reason.PROGRESSING, "words of Ready")]),
        ((), "Unknown", [(ConditionType.RECONCILING, Reason.PROGRESSING, "words of Ready")]),
        (
            (replace(INVALID, reason=Reason.EXPIRED),),
            "False",
            [(ConditionType.RECONCILING, Reason.PROGRESSING, "words of Ready")],
        ),
    ],
)
def test_stalled_or_reconciling_stands_only_while_the_object_is_not_ready(
    findings: tuple[Finding, ...], ready: str, expected: list[tuple[ConditionType, Reason, str]]
) -> None:
    """Stalled where only an edit helps, and an object that expired as its author wants it is not stalled."""
    found = abnormal(findings, Condition(ConditionType.READY, ready, Reason.PENDING, "words of Ready"))
    assert [(each.type, each.reason, each.message) for each in found] == expected
    assert all(each.status == "True" for each in found)
