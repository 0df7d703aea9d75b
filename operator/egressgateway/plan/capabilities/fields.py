"""Fields that a spec sets, and the refusals of their values in a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from egressgateway.api.model import ApiModel
from egressgateway.plan.capabilities.model import Refusal, Table


@dataclass(frozen=True, slots=True)
class SetField:
    """A field that a spec sets: its row in the table, its path, and its value."""

    row: str
    path: str
    value: Any


def set_fields(model: ApiModel, path: str = "spec", row: str = "") -> Iterator[SetField]:
    """Fields that are set in `model`, each before its own fields; `path` and `row` are those of `model` itself."""
    for name in sorted(model.model_fields_set):
        value = getattr(model, name)
        if value is None:
            continue
        spelled = _spelling(name, type(model).model_fields[name])
        here = SetField(f"{row}.{spelled}".removeprefix("."), f"{path}.{spelled}", value)
        yield here
        yield from _within(here)


def refusals(table: Table, found: SetField) -> tuple[Refusal, ...]:
    """The refusals of a field that match its value; the caller checks the circumstances."""
    row = table.get(found.row)
    return tuple(each for each in row.refusals if each.when(found.value)) if row else ()


def _spelling(name: str, field: FieldInfo) -> str:
    return field.alias or name


def _within(found: SetField) -> Iterator[SetField]:
    if isinstance(found.value, ApiModel):
        yield from set_fields(found.value, found.path, found.row)
    elif isinstance(found.value, tuple):
        for index, item in enumerate(found.value):
            if isinstance(item, ApiModel):
                yield from set_fields(item, f"{found.path}[{index}]", found.row)
