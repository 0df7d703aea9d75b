"""Selectors find the namespaces that change, and only those are asked that may match."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from egressgateway.api.selector import LabelRequirement, LabelSelector, SelectorOperator
from egressgateway.namespaces import NamespaceLabels, selector_key
from egressgateway.selector_index import SelectorIndex

KEYS, VALUES = ("a", "b"), ("1", "2", "3")
NAMES = ("x", "y", "z")

labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
requirements = st.builds(
    lambda key, operator, values: LabelRequirement(
        key=key, operator=operator, values=values if operator in ("In", "NotIn") else ()
    ),
    st.sampled_from(KEYS),
    st.sampled_from(list(SelectorOperator)),
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=3).map(tuple),
)
selectors = st.builds(
    LabelSelector, match_labels=labels, match_expressions=st.lists(requirements, max_size=2).map(tuple)
)
tables = st.dictionaries(st.sampled_from(NAMES), labels)
news = st.dictionaries(st.sampled_from(NAMES), st.none() | labels, max_size=2)


def matching(selector: LabelSelector, table: Mapping[str, Mapping[str, str]]) -> set[str]:
    return {name for name, found in table.items() if selector.matches(found)}


@given(filed=st.lists(selectors, max_size=6), gone=st.sets(st.integers(0, 5)), found=labels)
def test_no_selector_that_matches_is_missed(filed: list[LabelSelector], gone: set[int], found: dict[str, str]) -> None:
    index = SelectorIndex()
    for selector in filed:
        index.put(selector_key(selector), selector)
    removed = {selector_key(filed[number]) for number in gone if number < len(filed)}
    for key in removed:
        index.remove(key)
    left = {selector_key(each): each for each in filed if selector_key(each) not in removed}
    asked = list(index.may_match(found))
    assert len(index) == len(left)
    assert len({key for key, _ in asked}) == len(asked)
    assert {key for key, each in asked if each.matches(found)} == {
        key for key, each in left.items() if each.matches(found)
    }


@given(first=tables, steps=st.lists(st.tuples(st.lists(selectors, max_size=3), news), max_size=5))
def test_a_table_that_follows_selects_what_a_new_one_would(
    first: dict[str, dict[str, str]],
    steps: list[tuple[list[LabelSelector], dict[str, dict[str, str] | None]]],
) -> None:
    """Whichever selectors were asked before, and in whichever table."""
    table, asked = NamespaceLabels(first), list[LabelSelector]()
    for selectors_asked, changed in steps:
        for selector in selectors_asked:
            assert table.selected_by(selector) == matching(selector, table)
        asked += selectors_asked
        before, table = table, table.followed_by(changed)
        for selector in asked:
            assert table.selected_by(selector) == matching(selector, table)
            assert before.selected_by(selector) == matching(selector, before)


def test_a_namespace_asks_those_selectors_that_require_a_label_of_its_own() -> None:
    """A thousand teams that all say `env=prod` are filed under what they do not have in common."""
    index = SelectorIndex()
    for number in range(1000):
        selector = LabelSelector(match_labels={"env": "prod", "team": f"t{number}"})
        index.put(selector_key(selector), selector)
    assert len(list(index.may_match({"env": "prod", "team": "t7"}))) <= 2
    assert len(list(index.may_match({"env": "test", "team": "none"}))) == 0
