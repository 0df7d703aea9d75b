"""
How a provider says what it makes of each field of the API, and which values it refuses: one table for each.

`unsupported` refuses by it, `docs/providers.md` is written from it, and tests hold every field of the CRDs against it.
What depends on several fields at once stands in `limits` of the provider; the table says so in words (`also`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Circumstance(StrEnum):
    """What of a class makes a refusal hold; in words."""

    ALWAYS = ""
    SHARED = "with a shared gateway"
    PLAIN = "with mtls Disabled"


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    Values of a field that a provider cannot do.

    Attributes:
        why: what would happen, or what is missing, in words.
        remedy: the way out, as an order.
        values: in words; empty for every one.
        when: whether a value is among them.
    """

    why: str
    remedy: str = "remove it"
    values: str = ""
    when: Callable[[Any], bool] = lambda value: True
    only: Circumstance = Circumstance.ALWAYS


@dataclass(frozen=True, slots=True)
class Support:
    """
    What a provider makes of a field. `also`: further limits, which depend on other fields.

    `becomes` is empty where every value is refused; without refusals, too, the field goes with the one above it.
    """

    becomes: str = ""
    refusals: tuple[Refusal, ...] = ()
    also: str = ""


Table = Mapping[str, Support]
"""By the path of a field, without places in lists. A field without a row is part of the one above it."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one provider makes of every field: of an EgressGateway's `spec`, and of its class's."""

    spec: Table
    class_spec: Table


def refused(why: str, remedy: str = "remove it") -> Support:
    """A field of which every value is refused."""
    return Support(refusals=(Refusal(why, remedy),))
