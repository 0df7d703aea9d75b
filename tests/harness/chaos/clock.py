"""
The operator with a wrong clock: `python -m harness.chaos.clock SECONDS run …` is `egressgw run …`, so much ahead.

Only the wall clock is moved, as on a node whose time is wrong: what passes between two moments is as it was.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final, Self

from harness.operator import Within

TESTS: Final = Path(__file__).resolve().parents[2]
WITH_A_CLOCK: Final = ("egressgateway.engine", "egressgateway.cluster", "egressgateway.cli", "egressgateway.handlers")


def wrong_by(seconds: float) -> Within:
    """Where an `OperatorProcess` has a clock that is so many seconds ahead; behind, when negative."""

    def enter(python: str, dash_m: str, module: str, *arguments: str) -> list[str]:
        assert (dash_m, module) == ("-m", "egressgateway")
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(TESTS))))
        return ["env", f"PYTHONPATH={path}", python, "-m", __name__, str(seconds), *arguments]

    return Within(enter=enter)


class _AnyMoment(type):
    """Whoever asks whether a value is a moment means `datetime`."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


def move_clock(seconds: float) -> None:
    """Tell every module that has a clock another time; the core has none."""
    import egressgateway.cli.run  # noqa: F401, PLC0415  (what is to be moved)

    ahead = timedelta(seconds=seconds)
    real_time = time.time

    class Moved(datetime, metaclass=_AnyMoment):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return datetime.now(tz) + ahead  # type: ignore[return-value]

    time.time = lambda: real_time() + seconds
    for name, module in list(sys.modules.items()):
        if name.startswith(WITH_A_CLOCK) and getattr(module, "datetime", None) is datetime:
            module.datetime = Moved  # type: ignore[attr-defined]


def _main() -> None:
    seconds, *arguments = sys.argv[1:]
    move_clock(float(seconds))
    from egressgateway.cli.main import app  # noqa: PLC0415

    app(arguments)


if __name__ == "__main__":
    _main()
