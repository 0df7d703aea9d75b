"""
How a provider describes what it does with each field of the API, and which values it rejects: one table for each.

`unsupported` rejects values by it, `docs/providers.md` is written from it, and tests compare it with every field of the
CRDs. Rules over several fields are in the provider's `limits`; the table describes them in words (`also`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Circumstance(StrEnum):
    """A property of a class that makes a refusal apply; in words."""

    ALWAYS = ""
    SHARED = "with a shared gateway"
    PLAIN = "with mtls Disabled"


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    Values of a field that a provider cannot do.

    Attributes:
        why: what would happen, or what is missing, in words.
        remedy: what the user should do, as an order.
        values: in words; empty for every value.
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
    What a provider does with a field. `also`: further limits, which depend on other fields.

    `becomes` is empty where every value is rejected; if there are no refusals either, the field belongs to the one
    above it.
    """

    becomes: str = ""
    refusals: tuple[Refusal, ...] = ()
    also: str = ""


Table = Mapping[str, Support]
"""By the path of a field, without list indexes. A field without a row belongs to the one above it."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one provider does with every field: of an EgressGateway's `spec`, and of its class's."""

    spec: Table
    class_spec: Table


def refused(why: str, remedy: str = "remove it") -> Support:
    """A field of which every value is rejected."""
    return Support(refusals=(Refusal(why, remedy),))
