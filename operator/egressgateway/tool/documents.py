"""
Reads Kubernetes objects from files, directories and standard input, with the place of each of their fields.

YAML is read as kubectl reads it: one document or many, a `List` is what it holds, a time is text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from egressgateway.errors import SourceError
from egressgateway.refs import GROUP, Manifest
from egressgateway.tool.codes import NOT_YAML
from egressgateway.tool.diagnostic import Diagnostic, Place
from egressgateway.tool.places import duplicate_keys, mark_of

if TYPE_CHECKING:
    from yaml import CSafeLoader as _SafeLoader
else:
    # libyaml, where PyYAML was built with it: it is ten times faster.
    _SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

STDIN: Final = "-"
_STDIN_NAME: Final = "<stdin>"
_SUFFIXES: Final = (".yaml", ".yml", ".json")
_LARGEST_FILE: Final = 64 << 20
_MOST_VALUES: Final = 1_000_000
"""Values of one document, aliases written out: a few lines of YAML can stand for more than any memory holds."""

_DEEPEST: Final = 200
"""Levels of nesting; the parser of a document that is much deeper runs out of its stack and ends the program."""

_LARGEST_NUMBER: Final = 1 << 63
_FOREIGN_TAGS: Final = ("binary", "omap", "pairs", "set")


@dataclass(frozen=True, slots=True)
class Document:
    """One object, and where it stands."""

    file: str
    manifest: Manifest
    root: yaml.Node = field(repr=False)

    @property
    def kind(self) -> str:
        return str(self.manifest.get("kind") or "")

    @property
    def api_version(self) -> str:
        return str(self.manifest.get("apiVersion") or "")

    def place(self, path: str = "", text: str = "") -> Place:
        """Where a field stands; see `places.mark_of`."""
        return Place(self.file, *mark_of(self.root, path, text))


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: objects, and what is no YAML. `files` is how many there were."""

    documents: tuple[Document, ...] = ()
    mistakes: tuple[Diagnostic, ...] = ()
    files: int = 0


def read_paths(paths: Iterable[str]) -> Reading:
    """
    What is in files, below directories, and on standard input (`-`), in the order of `paths` and of names.

    Raises:
        SourceError: a path does not exist or cannot be read, or a directory holds no YAML.
    """
    documents: list[Document] = []
    mistakes: list[Diagnostic] = []
    # One file by two names is one file.
    files = {os.path.realpath(file) if file != STDIN else STDIN: file for path in paths for file in _files(path)}
    for file in files.values():
        read = read_text(*_text(file))
        documents += read.documents
        mistakes += read.mistakes
    return Reading(tuple(documents), tuple(mistakes), len(files))


def read_right(paths: Iterable[str]) -> Reading:
    """
    The same, for a question that makes no sense of files that are no YAML.

    Raises:
        SourceError: also, one of them is none.
    """
    reading = read_paths(paths)
    for mistake in reading.mistakes:
        raise SourceError(f"{mistake.place}: {mistake.message}")
    return reading


def require_objects(objects: Collection[object], paths: Iterable[str]) -> None:
    """
    Raises:
        SourceError: nothing of ours was read, so that there is nothing to say; a wrong path must not pass for success.
    """
    if not objects:
        raise SourceError(f"{', '.join(paths)}: there is no EgressGateway and no EgressGatewayClass in it")


def read_text(text: str | bytes, file: str) -> Reading:
    """What is in the text of one file."""
    documents: list[Document] = []
    mistakes: list[Diagnostic] = []
    try:
        _require_shallow(text)
        loader = _Loader(text)
        while loader.check_node() and (root := loader.get_node()) is not None:
            mistakes += (_is_twice(file, key) for key in duplicate_keys(root))
            _require_few_values(root)
            documents += _objects(file, _plain(_constructed(loader, root)), root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        mistakes.append(Diagnostic(NOT_YAML, _in_a_line(error.problem or str(error)), place))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mistakes.append(Diagnostic(NOT_YAML, _in_a_line(str(error)), Place(file, 1, 1)))
    return Reading(tuple(documents), tuple(mistakes), 1)


def _require_shallow(text: str | bytes) -> None:
    """
    Raises:
        ValueError: the text is nested too deeply.
    """
    raw = text.encode() if isinstance(text, str) else text
    # Each level has a bracket or a dash, or is indented more than the one before. Most files are not worth a look.
    if sum(map(raw.count, b"[{-")) < _DEEPEST and len(raw) < _DEEPEST * _DEEPEST // 2:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} levels of nesting")


def _require_few_values(root: yaml.Node) -> None:
    """
    Raises:
        ValueError: a document stands for too many values.
    """
    if _size(root, {}) > _MOST_VALUES:
        raise ValueError(f"its aliases stand for more than {_MOST_VALUES} values")


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, aliases and merged keys written out; too many for one that holds itself."""
    if id(node) not in known:
        known[id(node)] = _MOST_VALUES + 1
        children = node.value if isinstance(node, yaml.SequenceNode) else ()
        if isinstance(node, yaml.MappingNode):
            children = [each for pair in node.value for each in pair]
        known[id(node)] = 1 + sum(_size(each, known) for each in children)
    return known[id(node)]


def _constructed(loader: _Loader, root: yaml.Node) -> Any:
    """
    Raises:
        ValueError: a value is not what its tag says. It is not repeated: it may be a Secret's.
    """
    try:
        return loader.construct_document(root)
    except (ValueError, OverflowError):
        raise ValueError("a value is not of the type that its tag names") from None


class _Loader(_SafeLoader):
    """Reads what is JSON in YAML's clothes."""


def _as_text(loader: _Loader, node: yaml.ScalarNode) -> Any:
    return loader.construct_scalar(node)


def _refuse(loader: _Loader, node: yaml.Node) -> Any:
    return loader.construct_undefined(node)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _as_text)
for _tag in _FOREIGN_TAGS:
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _refuse)


def _files(path: str) -> list[str]:
    if path == STDIN:
        return [STDIN]
    found = Path(path)
    try:
        if not found.exists():
            raise SourceError(f"{path}: no such file or directory")
        if not found.is_dir():
            return [path]
        files = sorted(each for each in found.rglob("*") if each.suffix in _SUFFIXES and _is_shown(each, found))
    except OSError as error:
        raise SourceError(f"{path[:200]}: {error.strerror}") from error
    if not files:
        raise SourceError(f"{path}: there is no file named *.yaml, *.yml or *.json in this directory, or below")
    return [str(each) for each in files]


def _is_shown(file: Path, root: Path) -> bool:
    """Whether it is a file, and neither it nor a directory on the way is hidden, as `.git` is."""
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(root).parts)


def _text(file: str) -> tuple[bytes, str]:
    name = _STDIN_NAME if file == STDIN else os.fsencode(file).decode("utf-8", "backslashreplace")
    try:
        text = _standard_input() if file == STDIN else _content(Path(file))
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}") from error
    if len(text) > _LARGEST_FILE:
        raise SourceError(f"{name}: more than {_LARGEST_FILE >> 20} MiB")
    return text, name


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise SourceError(f"{_STDIN_NAME}: it is closed")
    return sys.stdin.buffer.read(_LARGEST_FILE + 1)


def _content(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(_LARGEST_FILE + 1)


def _objects(file: str, value: Any, root: yaml.Node) -> Iterator[Document]:
    """The object in a document, or those of a `List`. What is no object, such as a file of values, is left out."""
    if not isinstance(value, dict) or not (value.get("kind") or is_our_version(value.get("apiVersion"))):
        return
    items = value.get("items")
    if isinstance(items, list) and str(value.get("kind")).endswith("List"):
        nodes = next((each for key, each in root.value if key.value == "items"), None)
        for item, node in zip(items, nodes.value if nodes is not None else (), strict=True):
            yield from _objects(file, item, node)
    else:
        yield Document(file, value, root)


def _plain(value: Any) -> Any:
    """
    `value` as JSON has it: keys are text, nothing is shared.

    Raises:
        ValueError: a number is larger than JSON's readers take. It is not repeated: it may be a Secret's.
    """
    if isinstance(value, dict):
        return {_key(key): _plain(each) for key, each in value.items()}
    if isinstance(value, int) and not -_LARGEST_NUMBER <= value < _LARGEST_NUMBER:
        raise ValueError("a number is too large")
    return [_plain(each) for each in value] if isinstance(value, list) else value


def is_our_version(api_version: object) -> bool:
    """Whether an apiVersion names the group of this API, whatever the version."""
    return isinstance(api_version, str) and api_version.partition("/")[0] == GROUP


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return key if isinstance(key, str) else str(key)


def _is_twice(file: str, key: yaml.ScalarNode) -> Diagnostic:
    place = Place(file, key.start_mark.line + 1, key.start_mark.column + 1)
    return Diagnostic(NOT_YAML, f"the key {key.value!r} stands here twice; remove one of the two", place)


def _in_a_line(text: str) -> str:
    return " ".join(text.split())
