"""
What people do to EgressGateways while something else goes wrong: they make, edit, suspend and delete them.

A story is a list of steps, the same for the same seed. Each can be done twice. How it ends does not depend on how far
the operator is at each step; where it would (who was first, what was served when it was suspended), the step waits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from harness.chaos import kinds, world
from harness.chaos.kinds import KINDS, PASSED_ON, host
from harness.chaos.world import TENANTS
from harness.controlplane import ControlPlane
from harness.gateways import destination, egress_gateway
from harness.objects import apply_all, path_of
from harness.rest import ApiError, Object
from harness.wait import eventually

LONG: Final = 180.0
"""Seconds that a step waits for an operator that is killed, frozen or cut off all the time."""

_TO_COME: Final = frozenset({"Pending", "GatewayNotReady"})
_SERVING: Final = frozenset({"Ready", "PartiallyReady"})

HELD: Final = "chaos.example.com/held"
"""A finalizer of somebody else."""


@dataclass(frozen=True, slots=True)
class Step:
    """One deed. `said` names it in a failure."""

    said: str
    act: Callable[[ControlPlane], object]


@dataclass(slots=True)
class Story:
    """
    Objects of every kind, `copies` of each, and what becomes of them.

    `objects` are the newest manifests by name, as far as the story was made up.
    """

    seed: int
    copies: int = 1
    steps: list[Step] = field(default_factory=list)
    objects: dict[str, Object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dice = random.Random(self.seed)
        self._beginning(dice)
        self._contests()
        self._edits(dice)
        self._ends(dice)

    def play(self, plane: ControlPlane, pace: Callable[[], object] = lambda: None) -> None:
        """
        Do all of it. `pace` is called before each step, and may hold it up.

        Raises:
            AssertionError: a step failed; says which.
        """
        for step in self.steps:
            pace()
            do(plane, step)

    def chapters(self, count: int) -> Iterator[list[Step]]:
        """The steps in `count` parts of about the same length."""
        size = -(-len(self.steps) // count)
        for start in range(0, len(self.steps), size):
            yield self.steps[start : start + size]

    def _beginning(self, dice: random.Random) -> None:
        """Every kind in some namespace."""
        wanted = [kind for kind in KINDS for _ in range(self.copies)]
        dice.shuffle(wanted)
        for number, kind in enumerate(wanted):
            namespace = TENANTS[number % len(TENANTS)]
            self._apply(KINDS[kind](namespace, f"object-{number}", number), kind)
        self._apply(_of(0, world.STRANGER, world.STRANGERS_HOST), "a host that a foreign route has")
        self._apply(_of(1, world.TAKEN, host(world.TAKEN, "api")), "a Service's name that is taken")

    def _contests(self) -> None:
        """Names and a port that two want; the first one is always the same, as the second waits for it."""
        everywhere = {"className": "chaos-open", "access": {"from": [{"namespaces": list(TENANTS)}]}}
        narrow, wide = "one.contest.example.com", "*.contest.example.com"
        below = destination("api", wide, ports=PASSED_ON)
        below["wildcard"] = {"strategy": "SingleServer", "server": "front.contest.example.com"}
        port = [{"port": 5432, "protocol": "TCP"}]
        for first, second in (
            (_of(0, "early", "both.example.com", **everywhere), _of(1, "late", "both.example.com", **everywhere)),
            (_of(2, "early-name", narrow, **everywhere), _of(3, "late-wildcard", below, **everywhere)),
            (
                _of(1, "early-port", destination("db", "db.one.example.com", ports=port), **everywhere),
                _of(2, "late-port", destination("db", "db.two.example.com", ports=port), **everywhere),
            ),
        ):
            self._apply(first, "the first of two")
            self._wait(first)
            self._apply(second, "the second of two")
            self._wait(second)

    def _edits(self, dice: random.Random) -> None:
        """Objects become others, a class denies what it allowed, a Secret is renewed, one object is suspended."""
        numbered = [name for name in self.objects if name.startswith("object-")]
        for name in dice.sample(numbered, len(numbered) // 2):
            kind = dice.choice(list(KINDS))
            namespace, number = self.objects[name]["metadata"]["namespace"], int(name.partition("-")[2])
            self._apply(KINDS[kind](namespace, name, number), f"becomes {kind}")
        both = destination("fine", "fine.guarded.example.com"), destination("denied", "x.denied.example.com")
        self._apply(egress_gateway(TENANTS[3], "guarded", *both, className="chaos-guarded"), "a class with guards")
        self._step("the class denies a host", lambda plane: apply_all(plane, [world.guarded("*.denied.example.com")]))
        place = dice.choice(TENANTS)
        self._step("a Secret is renewed", lambda plane: world.give_credential(plane, place))
        resting = _of(2, "resting", host("resting", "api"))
        self._apply(resting, "to be suspended")
        self._wait(resting)
        self._apply(_of(2, "resting", host("resting", "api"), suspend=True), "is suspended")

    def _ends(self, dice: random.Random) -> None:
        """Some objects are deleted, one of them held by somebody else, and some come back as others."""
        held = _of(3, "held", host("held", "api"))
        held["metadata"]["finalizers"] = [HELD]
        self._apply(held, "to be held")
        self._wait(held)
        numbered = [name for name in self.objects if name.startswith("object-")]
        gone = dice.sample(numbered, len(numbered) // 3)
        for name in ("early", "held", *gone):
            self._delete(name)
        for name in gone[:2]:
            before = self.objects[name]
            self._gone(before)
            number = int(name.partition("-")[2])
            self._apply(kinds.plain(before["metadata"]["namespace"], name, number), "is made anew")

    def _apply(self, manifest: Object, why: str) -> None:
        self.objects[manifest["metadata"]["name"]] = manifest
        self._step(f"{manifest['metadata']['name']} is applied: {why}", lambda plane: apply_all(plane, [manifest]))

    def _delete(self, name: str) -> None:
        manifest = self.objects[name]
        self._step(f"{name} is deleted", lambda plane: delete(plane, manifest))

    def _gone(self, manifest: Object) -> None:
        self._step(f"{manifest['metadata']['name']} is gone", lambda plane: wait_gone(plane, manifest))

    def _wait(self, manifest: Object) -> None:
        name = manifest["metadata"]["name"]
        self._step(f"{name} is at rest", lambda plane: wait_at_rest(plane, manifest))

    def _step(self, said: str, act: Callable[[ControlPlane], object]) -> None:
        self.steps.append(Step(said, act))


def do(plane: ControlPlane, step: Step) -> None:
    """
    Do one step.

    Raises:
        AssertionError: it failed.
    """
    try:
        step.act(plane)
    except (ApiError, TimeoutError) as error:
        raise AssertionError(f"step of the story: {step.said}: {error}") from error


def delete(plane: ControlPlane, manifest: Object) -> None:
    """Ask for the end of an object that may be gone."""
    try:
        plane.rest.delete(path_of(manifest))
    except ApiError as error:
        if error.code != 404:
            raise


def wait_gone(plane: ControlPlane, manifest: Object) -> None:
    path = path_of(manifest)
    eventually(lambda: not plane.rest.exists(path), timeout=LONG, what=f"the end of {path}")


def wait_at_rest(plane: ControlPlane, manifest: Object) -> None:
    """Wait until an object was judged as it is and what it needs is done, or it is on its way out."""
    path = path_of(manifest)

    def at_rest() -> bool:
        found = plane.rest.get(path)
        return "deletionTimestamp" in found["metadata"] or is_at_rest(found)

    eventually(at_rest, timeout=LONG, what=f"the rest of {path}")


def is_at_rest(gateway: Object) -> bool:
    """
    Whether the status is of this spec, and nothing in it is still to come.

    What cannot be served waits for somebody else's deed: its other conditions stay Pending.
    """
    status = gateway.get("status") or {}
    ready = next((each["reason"] for each in status.get("conditions") or () if each["type"] == "Ready"), "Pending")
    if status.get("observedGeneration") != gateway["metadata"]["generation"] or ready in _TO_COME:
        return False
    parts = [*(status.get("destinations") or ()), *(status.get("expose") or ())]
    served = [each for each in parts if _is_true(each, "Accepted")] if ready in _SERVING else []
    return not any(each["reason"] in _TO_COME for part in served for each in part["conditions"])


def _is_true(holder: Object, type_: str) -> bool:
    return any(each["type"] == type_ and each["status"] == "True" for each in holder.get("conditions") or ())


def _of(tenant: int, name: str, wanted: str | Object, **spec: Any) -> Object:
    """An object with one destination."""
    part = destination("api", wanted) if isinstance(wanted, str) else wanted
    return egress_gateway(TENANTS[tenant], name, part, **{"className": "chaos-plain", **spec})
