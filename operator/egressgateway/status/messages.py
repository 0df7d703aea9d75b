"""How the status words its messages: joined, each only once, and no longer than the API allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from egressgateway.api.conditions import ConditionType

_MAX_MESSAGE: Final = 512
_MAX_HOSTS: Final = 256
_MAX_SECTIONS: Final = 3
_FIELD: Final = re.compile(r"\Aspec\.\S+: ")


def joined(messages: Iterable[str]) -> str:
    """The messages that are not empty, joined to one."""
    return cut("; ".join(message for message in messages if message))


def told_once(told: Iterable[tuple[str, str]], *, whatever_field: bool = False) -> str:
    """
    Messages, each after the names of its sections (an empty name: none), and none of them twice.

    Of many sections only some are named, so that the problem and the remedy have room, too.

    `whatever_field`: messages that differ only in the field at their beginning are one, with the first field. That fits
    things that are missing: one cause, however many fields refer to it.
    """
    names: dict[str, dict[str, None]] = {}
    first: dict[str, str] = {}
    for name, message in told:
        cause = _FIELD.sub("", message) if whatever_field else message
        first.setdefault(cause, message)
        names.setdefault(cause, {})[name] = None
    grouped = groupby(first, key=lambda cause: _named(tuple(filter(None, names[cause]))))
    return joined(
        (f"{sections}: " if sections else "") + "; ".join(first[cause] for cause in causes)
        for sections, causes in grouped
    )


def told_by_type(type_: ConditionType, told: Iterable[tuple[str, str]]) -> str:
    """`told_once`, as a condition of `type_` words it."""
    return told_once(told, whatever_field=type_ is ConditionType.RESOLVED_REFS)


def _named(sections: Sequence[str]) -> str:
    more = len(sections) - _MAX_SECTIONS
    return ", ".join(sections[:_MAX_SECTIONS]) + (f" and {more} more" if more > 0 else "")


def cut(message: str, most: int = _MAX_MESSAGE) -> str:
    """`message`, at most 512 characters (api.md), or `most`."""
    return message if len(message) <= most else message[: most - 1] + "…"


def shortened(hosts: Sequence[str]) -> str:
    """The first of `hosts`, and how many more there are, in at most 256 characters."""
    text = ",".join(hosts)
    if len(text) <= _MAX_HOSTS:
        return text
    shown = text[: _MAX_HOSTS - len(",+9999")].rsplit(",", 1)[0]
    return f"{shown},+{len(hosts) - shown.count(',') - 1}"
