"""
What can go wrong between a client and the API server, as data: which requests, how often, and what happens.

Nothing here touches a connection; `faultproxy` does what a rule says.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

REASONS = {
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The request is not forwarded; this status is answered, as a Kubernetes Status object."""

    status: int
    retry_after_seconds: int | None = None

    def __str__(self) -> str:
        return str(self.status)

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after_seconds is None else {"Retry-After": str(self.retry_after_seconds)}

    def body(self) -> dict[str, object]:
        """The Status that the API server would send with such a code."""
        reason = REASONS.get(self.status, "Unknown")
        details = (
            {} if self.retry_after_seconds is None else {"details": {"retryAfterSeconds": self.retry_after_seconds}}
        )
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": self.status,
            "reason": reason,
            "message": f"injected {self.status} {reason}",
            **details,
        }


@dataclass(frozen=True, slots=True)
class Reset:
    """
    The connection is reset. `when="before"`: the server never hears of the request; `when="after"`: it has
    answered, but the answer is lost.
    """

    when: Literal["before", "after"]

    def __str__(self) -> str:
        return f"reset-{self.when}"


@dataclass(frozen=True, slots=True)
class Empty:
    """The request is not forwarded; 200 is answered, and nothing more: a watch that ends before its first event."""

    def __str__(self) -> str:
        return "empty"


@dataclass(frozen=True, slots=True)
class Delay:
    """The request is forwarded this much later."""

    seconds: float

    def __str__(self) -> str:
        return f"delay-{self.seconds:g}s"


Effect = Answer | Empty | Reset | Delay


@dataclass(frozen=True, slots=True)
class Rule:
    """
    Which requests meet an effect.

    `path` is a regular expression searched in path and query. Of the requests that match, every `every`-th is
    hit, with `probability`, at most `count` times. Dice are seeded: the same requests meet the same faults.
    """

    effect: Effect
    methods: frozenset[str] = frozenset()
    path: str = ""
    watches: bool | None = None
    every: int = 1
    probability: float = 1
    count: int | None = None
    seed: int = 0

    def matches(self, method: str, target: str, watch: bool) -> bool:
        return (
            (not self.methods or method in self.methods)
            and (self.watches is None or self.watches == watch)
            and re.search(self.path, target) is not None
        )


@dataclass(slots=True)
class Injection:
    """A rule in force. `hits` counts the requests that met its effect."""

    rule: Rule
    hits: int = 0
    _seen: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.rule.seed)

    def strikes(self, method: str, target: str, watch: bool) -> bool:
        """Whether this request is hit; counts it."""
        rule = self.rule
        if not rule.matches(method, target, watch) or (rule.count is not None and self.hits >= rule.count):
            return False
        if next(self._seen) % rule.every or self._dice.random() >= rule.probability:
            return False
        self.hits += 1
        return True


def first_strike(injections: Iterable[Injection], method: str, target: str, watch: bool) -> Effect | None:
    """The effect of the first rule that hits a request."""
    return next((each.rule.effect for each in injections if each.strikes(method, target, watch)), None)
