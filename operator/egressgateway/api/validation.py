"""
Reads a spec that comes from outside, and runs the API's rules on it: the API server's verdict, offline.

Every mistake is a `SpecError`, a value; nothing is raised for a mistake of a user. As on the API server, rules are run
once the object has its shape: while a type, a bound or a required field is wrong, they report nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.model import ApiModel
from egressgateway.api.rules import ListType, Rule
from egressgateway.api.spec import EgressGatewaySpec

Spec = TypeVar("Spec", bound=ApiModel)
_SHOWN = 120  # characters of a wrong value in a message: enough to recognize it


@dataclass(frozen=True, slots=True)
class SpecError:
    """One mistake: its field, the value, and the remedy as text."""

    field: str
    """Path in JSON spelling, such as `spec.destinations[1].hosts[0]`."""

    value: Any
    """The value, as JSON; None if it is missing."""

    message: str
    harmful: bool = False
    """Whether it does harm to others for as long as it runs (`rules.Rule.harmful`)."""

    def __str__(self) -> str:
        if self.value is None or isinstance(self.value, Mapping | list | tuple):
            return f"{self.field}: {self.message}"
        # Escaped, because the value may hold line breaks or a terminal's control characters.
        shown = json.dumps(self.value)
        return f"{self.field}: {shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''}: {self.message}"


def parse_spec(raw: object) -> EgressGatewaySpec | tuple[SpecError, ...]:
    """`EgressGateway.spec` as it came from JSON, or every mistake in it."""
    return parse_model(EgressGatewaySpec, raw)


def parse_class_spec(raw: object) -> EgressGatewayClassSpec | tuple[SpecError, ...]:
    """`EgressGatewayClass.spec` as it came from JSON, or every mistake in it."""
    return parse_model(EgressGatewayClassSpec, raw)


def parse_model(model: type[Spec], raw: object, path: str = "spec") -> Spec | tuple[SpecError, ...]:
    """`raw` as `model`, or every mistake in it; `path` is its place in the object."""
    if not isinstance(raw, Mapping):
        return (SpecError(path, None, "Required value") if raw is None else _wrong_type(path, raw, "object"),)
    try:
        parsed = model.model_validate(raw)
    except ValidationError as error:
        return tuple(_describe(details, path) for details in error.errors(include_url=False) if not _is_echo(details))
    return tuple(broken_rules(parsed, path)) or parsed


# -- rules

Finder = Callable[[Any, str], Iterator[SpecError]]


def broken_rules(model: ApiModel, path: str) -> Iterator[SpecError]:
    """Every rule that `model` or something in it breaks."""
    yield from _model_finder(type(model))(model, path)


@cache
def _model_finder(model: type[ApiModel]) -> Finder:
    """Checks a model of this type. Compiled once: of a large object only what has rules is visited."""
    hints = get_type_hints(model, include_extras=True)
    fields = [
        (name, f".{field.alias}", finder)
        for name, field in model.model_fields.items()
        if (finder := _finder(hints[name])) is not None
    ]

    def find(value: Any, path: str) -> Iterator[SpecError]:
        for name, suffix, finder in fields:
            part = getattr(value, name)
            if part is not None:
                yield from finder(part, path + suffix)
        for rule in model.rules:
            yield from _offences(rule, value, path)

    return find


def _finder(hint: Any) -> Finder | None:
    """The check for values of type `hint`; None when there is nothing to check."""
    arguments = get_args(hint)
    origin = get_origin(hint)
    if origin is Annotated:
        return _annotated_finder(_finder(arguments[0]), arguments[1:])
    if origin in (Union, UnionType):
        finders = [finder for finder in map(_finder, arguments) if finder is not None]
        return finders[0] if finders else None
    if origin is tuple:
        return _each(_finder(arguments[0]), enumerate)
    if origin is dict:
        return _each(_finder(arguments[1]), dict.items)
    if isinstance(hint, type) and issubclass(hint, ApiModel):
        return broken_rules
    return None


def _annotated_finder(inner: Finder | None, metadata: tuple[Any, ...]) -> Finder | None:
    checks = [item for item in metadata if isinstance(item, Rule | ListType)]
    if not checks:
        return inner

    def find(value: Any, path: str) -> Iterator[SpecError]:
        if inner is not None:
            yield from inner(value, path)
        for check in checks:
            yield from _offences(check, value, path)

    return find


def _each(inner: Finder | None, entries: Callable[[Any], Any]) -> Finder | None:
    if inner is None:
        return None

    def find(value: Any, path: str) -> Iterator[SpecError]:
        for key, item in entries(value):
            yield from inner(item, f"{path}[{key}]")

    return find


def _offences(check: Rule[Any] | ListType, value: Any, path: str) -> Iterator[SpecError]:
    for offence in check.find(value):
        where, shown = path + offence.path, _as_json(offence.value)
        if isinstance(check, Rule):
            yield SpecError(where, shown, check.message_for(offence.value), check.harmful)
        else:
            yield SpecError(where, shown, "Duplicate value: it is already in the list")


def _as_json(value: Any) -> Any:
    if isinstance(value, ApiModel):
        return value.as_json()
    return value if isinstance(value, str | int | dict | list) else None


# -- shape

_TYPES = {
    "string_type": "string",
    "int_type": "integer",
    "bool_type": "boolean",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
    "tuple_type": "array",
    "int_or_string": "integer or string",
}


def _is_echo(details: ErrorDetails) -> bool:
    """pydantic calls a list too short when its entries are wrong, which is said already."""
    return details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]


def _describe(details: ErrorDetails, root: str) -> SpecError:
    """pydantic's finding, in the API server's words."""
    path = root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"])
    kind, value = details["type"], details["input"]
    if kind in _TYPES:
        return _wrong_type(path, value, _TYPES[kind])
    if kind == "missing":
        return SpecError(path, None, "Required value")
    if kind == "extra_forbidden":
        return SpecError(path, None, f'unknown field "{path}": check its spelling and place')
    return SpecError(path, value, _bound_in_words(details))


def _bound_in_words(details: ErrorDetails) -> str:
    context, unit = details.get("ctx", {}), "characters" if isinstance(details["input"], str) else "items"
    words = {
        "enum": "Unsupported value: supported values: {expected}",
        "string_too_short": "should be at least {min_length} characters long",
        "too_short": f"should have at least {{min_length}} {unit}",
        "string_too_long": "Too long: must have at most {max_length} characters",
        "too_long": f"Too many: must have at most {{max_length}} {unit}",
        "greater_than_equal": "should be greater than or equal to {ge}",
        "less_than_equal": "should be less than or equal to {le}",
    }
    if "expected" in context:
        context = {"expected": context["expected"].replace(" or ", ", ").replace("'", '"')}
    return words.get(details["type"], details["msg"]).format_map(context)


def _wrong_type(path: str, value: object, wanted: str) -> SpecError:
    return SpecError(path, value if isinstance(value, str | int | float) else None, f"must be of type {wanted}")
