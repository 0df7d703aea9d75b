"""
What the API rejects beyond types and bounds, each rule in one place.

A `Rule` carries both faces of a check: the CEL expression and message that `crd` writes into the
CustomResourceDefinition, and the Python check that `validation` runs offline. A `ListType` does the same
for lists that are maps or sets. Both are put on a scalar by `Annotated`, on a model by its `rules`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

T = TypeVar("T")

VALIDATIONS = "x-kubernetes-validations"
# FieldValueDuplicate is left out: with it the API server prints no message.
Reason = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"]


class Offence(NamedTuple):
    """Where a rule is broken: `path` below the value that the rule stands on, such as `.from[0].paths`."""

    path: str
    value: Any


@dataclass(frozen=True, slots=True)
class Mistake:
    """
    What people often get wrong in a text, so that a refusal can name it instead of the rule.

    Attributes:
        pattern: means the same in RE2 and in Python, and holds no quote.
        message: the problem and the remedy.
    """

    pattern: str
    message: str

    @property
    def cel(self) -> str:
        return f"self.matches({_quoted(self.pattern)})"

    def is_in(self, text: str) -> bool:
        return re.search(_as_in_re2(self.pattern), text, re.ASCII) is not None


@dataclass(frozen=True, slots=True)
class Mistakes:
    """
    The more telling ones first. Each message begins with `wanted`, what belongs there; so does the rule's own.
    """

    wanted: str
    known: tuple[Mistake, ...]

    def message(self, text: object) -> str:
        """The message for the author of `text`; empty when it has none of these mistakes."""
        found = (mistake.message for mistake in self.known if isinstance(text, str) and mistake.is_in(text))
        return next((f"{self.wanted}{message}" for message in found), "")

    def message_cel(self, otherwise: str) -> str:
        """The same in CEL; with `otherwise`, which begins alike, in place of an empty text."""
        cases = "".join(f"{mistake.cel} ? {json.dumps(mistake.message)} : " for mistake in self.known)
        return f"{json.dumps(self.wanted)} + ({cases}{json.dumps(otherwise.removeprefix(self.wanted))})"


# No slots: typing notes the type argument on the instance, which a frozen class with slots answers with TypeError.
@dataclass(frozen=True)
class Rule(Generic[T]):
    """
    One claim about a value. `holds` answers it; `offences`, where given, also names the culprits.

    `field` is the CRD's `fieldPath`: a child without list indexes, for rules that compare siblings.
    A rule without a Python check compares with the old object, which only the API server has.
    Of `mistakes` the first that is found gives the message. `harmful`: what breaks the rule does harm to others for as
    long as it runs, so that an object that an older schema let pass is withdrawn.
    """

    cel: str
    message: str
    holds: Callable[[T], bool] | None = None
    offences: Callable[[T], Iterable[Offence]] | None = None
    field: str = ""
    reason: Reason = "FieldValueInvalid"
    mistakes: Mistakes | None = None
    harmful: bool = False

    def message_for(self, value: object) -> str:
        """The message for the author of `value`, which breaks the rule."""
        return (self.mistakes and self.mistakes.message(value)) or self.message

    def find(self, value: T) -> Iterator[Offence]:
        """Every place below `value` that breaks the rule; none when it holds."""
        if self.offences is not None:
            yield from self.offences(value)
        elif self.holds is not None and not self.holds(value):
            yield Offence(self.field, value)

    def as_cel(self) -> dict[str, str]:
        """The entry in `x-kubernetes-validations`."""
        entry = {"rule": self.cel, "message": self.message}
        if self.mistakes:
            entry["messageExpression"] = self.mistakes.message_cel(self.message)
        if self.field:
            entry["fieldPath"] = self.field
        if self.reason != "FieldValueInvalid":
            entry["reason"] = self.reason
        return entry

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        return {**schema, VALIDATIONS: [*schema.get(VALIDATIONS, []), self.as_cel()]}


@dataclass(frozen=True, slots=True)
class ListType:
    """How the API server merges a list, and which entries it calls duplicates."""

    kind: Literal["map", "set", "atomic"]
    keys: tuple[str, ...] = ()
    """JSON names of the fields that identify an entry of a map."""

    def find(self, value: Iterable[Any]) -> Iterator[Offence]:
        """Every entry that repeats an earlier one; the API server refuses these in sets and maps."""
        if self.kind == "atomic":
            return
        seen: set[Any] = set()
        for index, item in enumerate(value):
            identity = item if self.kind == "set" else self._identity(item)
            if identity in seen:
                yield Offence(f"[{index}]", item if self.kind == "set" else dict(zip(self.keys, identity, strict=True)))
            seen.add(identity)

    def _identity(self, item: Any) -> tuple[Any, ...]:
        names = {field.alias: name for name, field in type(item).model_fields.items()}
        return tuple(getattr(item, names[key]) for key in self.keys)

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema: JsonSchemaValue = {**handler(core_schema), "x-kubernetes-list-type": self.kind}
        if self.keys:
            schema["x-kubernetes-list-map-keys"] = list(self.keys)
        return schema


SET = ListType("set")
ATOMIC = ListType("atomic")


def list_map(*keys: str) -> ListType:
    """A list whose entries are identified by `keys`, in JSON spelling."""
    return ListType("map", keys)


def form(pattern: str, message: str, *, edges: str = "", mistakes: Mistakes | None = None) -> Rule[str]:
    """
    A text must match `pattern` as a whole, and neither begin nor end with one of `edges`.

    A CEL rule instead of a bare schema `pattern`, so that users need not read a regular expression in an error.
    The API server charges a match by the length of the pattern times that of the longest text, and next to
    nothing for the edges. The pattern must mean the same in RE2 and in Python, and hold no quote.
    """
    compiled = re.compile(pattern, re.ASCII)
    whole = f"^({pattern})$" if _has_alternatives(pattern) else f"^{pattern}$"
    return Rule(
        cel=" && ".join([f"self.matches({_quoted(whole)})", *_edge_tests(edges)]),
        message=message,
        holds=lambda text: compiled.fullmatch(text) is not None and _edges_hold(text, edges),
        mistakes=mistakes,
    )


def without(pattern: str, message: str, *, edges: str = "") -> Rule[str]:
    """A text must hold nothing that matches `pattern`, and neither begin nor end with one of `edges`; see `form`."""
    compiled = re.compile(_as_in_re2(pattern), re.ASCII)
    return Rule(
        cel=" && ".join([f"!self.matches({_quoted(pattern)})", *_edge_tests(edges)]),
        message=message,
        holds=lambda text: compiled.search(text) is None and _edges_hold(text, edges),
    )


def _as_in_re2(pattern: str) -> str:
    """RE2's `$` is the end of the text; Python's is also before a newline there."""
    return re.sub(r"(?<!\\)\$$", r"\\Z", pattern)


def _has_alternatives(pattern: str) -> bool:
    """Whether `pattern` has a `|` outside of parentheses, so that anchors would bind to one side only."""
    depth = 0
    for character in pattern:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and depth == 0:
            return True
    return False


def _quoted(pattern: str) -> str:
    return f"r'{pattern}'" if "\\" in pattern else f"'{pattern}'"


def _edge_tests(edges: str) -> list[str]:
    return [f"!self.startsWith('{edge}') && !self.endsWith('{edge}')" for edge in edges]


def _edges_hold(text: str, edges: str) -> bool:
    return not text.startswith(tuple(edges)) and not text.endswith(tuple(edges))


def keys_form(pattern: str, message: str) -> Rule[dict[str, Any]]:
    """Every key of a map must match `pattern` as a whole."""
    compiled = re.compile(pattern)
    return Rule(
        cel=f"self.all(key, key.matches('^({pattern})$'))",
        message=message,
        offences=lambda entries: (Offence("", key) for key in entries if not compiled.fullmatch(key)),
    )
