"""
Jinja in which no value can change the structure of a document.

A value never reaches the YAML text. While a template renders, each `{{ value }}` is recorded and a numbered placeholder
is written in its place; the text is then parsed, and the placeholders are replaced by the recorded values. So a host
such as "a.example\\n  exportTo: ['*']" stays one string, whatever YAML would make of it (kiali-operator #1088 and
koku-service-operator #21 show what happens otherwise).

The text depends on the control flow alone, so objects of one shape share one parsed document: rendering costs a walk
over the parts of it that hold values instead of a YAML parse, about ten times less. Parts without values are shared by
all objects of the shape, which nobody may change.

A placeholder must be a whole scalar: `name: {{ name }}`, never `name: x-{{ name }}`. Values are composed in the
planner, where they have a name and a test.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml
from jinja2 import BaseLoader, Environment, StrictUndefined, Template, TemplateNotFound, pass_context
from jinja2 import TemplateError as JinjaError
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from egressgateway.errors import TemplateError
from egressgateway.refs import Manifest

_OPEN, _CLOSE = "‹", "›"
_VALUES = "__values__"
_MAX_SHAPES = 4096  # a guess: far above the shapes of one installation, far below what would matter in memory

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@pass_context
def _record(context: Context, value: object) -> str:
    """Keep `value` aside and write its placeholder. `pass_context` also keeps Jinja from folding constants."""
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    values: list[object] = context[_VALUES]
    values.append(value)
    return f"{_OPEN}{len(values) - 1}{_CLOSE}"


class _PackageTemplates(BaseLoader):
    """Templates of the installed package, or of the source tree when the package runs from there."""

    def __init__(self) -> None:
        packaged = files("egressgateway") / "templates"
        self._root = packaged if packaged.is_dir() else Path(__file__).parents[3] / "templates"

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, None]:
        source = self._root / template
        if not source.is_file():
            raise TemplateNotFound(template)
        return source.read_text(encoding="utf-8"), str(source), None


class Renderer:
    """Renders templates of the package; keeps compiled templates and parsed shapes."""

    def __init__(self, loader: BaseLoader | None = None) -> None:
        self._environment = ImmutableSandboxedEnvironment(
            loader=loader or _PackageTemplates(),
            finalize=_record,
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        # No template uses Jinja's own names (`range`, `dict` and others); each rendering would copy them.
        self._environment.globals.clear()
        self._templates: dict[str, Template] = {}
        self._shapes: dict[str, _Map] = {}

    def render(self, template: str, values: dict[str, Any]) -> Manifest:
        """
        The object that `template` describes for `values`.

        Raises:
            TemplateError: the template is missing, wrong, not one YAML mapping, or uses a value as part of a scalar.
        """
        recorded: list[object] = []
        try:
            text = self._compiled(template).render({**values, _VALUES: recorded})
        except JinjaError as error:
            raise TemplateError(template, str(error), getattr(error, "lineno", None)) from error
        shape = self._shapes.get(text)
        if shape is None:
            shape = self._shapes[text] = _parse(template, text)
            if len(self._shapes) > _MAX_SHAPES:
                self._shapes.clear()
        return shape.filled(recorded)

    def _compiled(self, template: str) -> Template:
        known = self._templates.get(template)
        if known is None:
            known = self._templates[template] = self._environment.get_template(template)
        return known


def _parse(template: str, text: str) -> _Map:
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe loader, the fast one where it is)
    except yaml.YAMLError as error:
        raise TemplateError(template, f"not YAML: {error}") from error
    if not isinstance(document, dict):
        raise TemplateError(template, "not a single YAML mapping")
    _check_placeholders(template, document)
    return _Map(document)


def _check_placeholders(template: str, node: object) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if not isinstance(key, str) or _OPEN in key:
                raise TemplateError(template, f"a value cannot be a key: {key!r}")
            _check_placeholders(template, value)
    elif isinstance(node, list):
        for item in node:
            _check_placeholders(template, item)
    elif isinstance(node, str) and _OPEN in node and not _is_placeholder(node):
        raise TemplateError(template, f"a value must be a whole scalar, not a part of one: {node!r}")


def _is_placeholder(text: str) -> bool:
    return text[0] == _OPEN and text[-1] == _CLOSE and text[1:-1].isdigit()


class _Map:
    """A mapping of a parsed document, some of whose values are filled in."""

    def __init__(self, mapping: dict[str, Any]) -> None:
        self._mapping = mapping
        self._parts = [(key, part) for key, value in mapping.items() if (part := _part_of(value)) is not None]

    def filled(self, values: list[object]) -> dict[str, Any]:
        # A copy, so that every key keeps its place.
        found = self._mapping.copy()
        for key, part in self._parts:
            found[key] = part.filled(values)
        return found


class _List:
    """Likewise a list."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items
        self._parts = [(index, part) for index, item in enumerate(items) if (part := _part_of(item)) is not None]

    def filled(self, values: list[object]) -> list[Any]:
        found = self._items.copy()
        for index, part in self._parts:
            found[index] = part.filled(values)
        return found


class _Value:
    """A placeholder."""

    def __init__(self, number: int) -> None:
        self._number = number

    def filled(self, values: list[object]) -> object:
        return _as_parsed(values[self._number])


def _part_of(node: object) -> _Map | _List | _Value | None:
    """What is to be filled in `node`; None where that is nothing."""
    if isinstance(node, str):
        return _Value(int(node[1:-1])) if node[:1] == _OPEN else None
    if isinstance(node, (dict, list)):
        part = _Map(node) if isinstance(node, dict) else _List(node)
        return part if part._parts else None
    return None


_SCALARS: Final = frozenset({str, int, bool, float, type(None)})


def _as_parsed(value: object) -> object:
    """`value` as a parser would return it: a tuple equals no list of the API server, so it would be drift for ever."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, dict):
        return {key: _as_parsed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_parsed(item) for item in value]
    return value
