"""
Label selectors, filed so that the labels of one namespace lead to the few that may match it.

A selector is filed under one label that it requires; what does not bear that label cannot match. Selectors that require
no label (`NotIn` and `DoesNotExist` alone) may match anything.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Final

from egressgateway.api.selector import LabelSelector, SelectorOperator

_Hook = tuple[str, str | None] | None
"""A label with its value, a label with any value, or no label at all."""

_ANY: Final = None


class SelectorIndex:
    """Selectors by what they are known by: equal keys stand for equal requirements (`namespaces.selector_key`)."""

    def __init__(self) -> None:
        self._hooks: dict[Hashable, tuple[_Hook, ...]] = {}
        self._filed: dict[_Hook, dict[Hashable, LabelSelector]] = {}

    def __len__(self) -> int:
        return len(self._hooks)

    def put(self, key: Hashable, selector: LabelSelector) -> None:
        """File a selector; one with that key already stands for it."""
        if key in self._hooks:
            return
        hooks = self._hooks[key] = self._hooks_of(selector)
        for hook in hooks:
            self._filed.setdefault(hook, {})[key] = selector

    def remove(self, key: Hashable) -> None:
        """Forget a selector; nothing for one that is not there."""
        for hook in self._hooks.pop(key, ()):
            filed = self._filed[hook]
            del filed[key]
            if not filed:
                del self._filed[hook]

    def only(self, keys: Collection[Hashable]) -> SelectorIndex:
        """Another index, of those selectors of this one alone."""
        found = SelectorIndex()
        for filed in self._filed.values():
            for key, selector in filed.items():
                if key in keys:
                    found.put(key, selector)
        return found

    def may_match(self, labels: Mapping[str, str]) -> Iterator[tuple[Hashable, LabelSelector]]:
        """Every selector that matches `labels`, and others; each once."""
        yield from self._filed.get(_ANY, {}).items()
        for name, value in labels.items():
            yield from self._filed.get((name, value), {}).items()
            yield from self._filed.get((name, None), {}).items()

    def _hooks_of(self, selector: LabelSelector) -> tuple[_Hook, ...]:
        if selector.match_labels:
            # Of several labels the one that fewest others are filed under: `env=prod` may stand in each of them.
            return (min(selector.match_labels.items(), key=lambda pair: len(self._filed.get(pair, ()))),)
        for requirement in selector.match_expressions:
            if requirement.operator is SelectorOperator.IN:
                return tuple((requirement.key, value) for value in dict.fromkeys(requirement.values))
        for requirement in selector.match_expressions:
            if requirement.operator is SelectorOperator.EXISTS:
                return ((requirement.key, None),)
        return (_ANY,)
