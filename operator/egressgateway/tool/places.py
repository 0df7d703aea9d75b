"""Where a field of an object stands in the YAML that it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

_AROUND = ".,;:\"'()"
_STEP = re.compile(r"\.?([^.\[\]]+)|\[([^\]]*)\]")


def mark_of(root: yaml.Node, path: str, text: str = "") -> tuple[int, int]:
    """
    Line and column of the field `path`, as in `spec.destinations[1].hosts`, counted from 1.

    Of a field that is missing, those of the object that lacks it. Of a list, those of the first item that `text` names.
    """
    key: yaml.Node | None = None
    node = root
    for step in _steps(path):
        found = _child(node, step)
        if found is None:
            break
        key, node = found
    if isinstance(node, yaml.SequenceNode):
        named = {word.strip(_AROUND) for word in text.split()}
        node = next((item for item in node.value if isinstance(item, yaml.ScalarNode) and item.value in named), node)
    # A block below its key begins on the next line: the key is what a reader looks for.
    below = key is not None and node.start_mark.line != key.start_mark.line and not isinstance(node, yaml.ScalarNode)
    mark = key.start_mark if key is not None and below else node.start_mark
    return mark.line + 1, mark.column + 1


def duplicate_keys(root: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Keys that stand in one mapping twice: the API server refuses them, and parsers take the last one."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            yield from _twice(node)
            waiting += [value for _, value in node.value]


def _twice(node: yaml.MappingNode) -> Iterator[yaml.ScalarNode]:
    known: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in known:
                yield key
            known.add(key.value)


def _steps(path: str) -> Iterator[str]:
    for match in _STEP.finditer(path):
        yield match[1] if match[1] is not None else match[2]


def _child(node: yaml.Node, step: str) -> tuple[yaml.Node | None, yaml.Node] | None:
    """The key, if it has one, and the value below `node`."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
        return None, node.value[int(step)]
    return None
