"""Names and the wildcards that cover them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressgateway.contention.hostname_index import HostnameIndex, wildcards_above
from egressgateway.contention.hostnames import covers

LABELS = st.sampled_from(["a", "b", "cc"])
NAMES = st.builds(
    lambda wildcard, labels: ("*." if wildcard else "") + ".".join(labels),
    st.booleans(),
    st.lists(LABELS, min_size=2, max_size=5),
)


def index_of(*names: str) -> HostnameIndex[str]:
    index: HostnameIndex[str] = HostnameIndex()
    for name in names:
        index.add([name], name)
    return index


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.sets(NAMES, max_size=12), asked=NAMES)
def test_index_finds_what_covers_finds(names: set[str], asked: str) -> None:
    """The same answers as comparing with every name, which it must not do."""
    index = index_of(*names)
    assert set(index.at(asked)) == names & {asked}
    assert set(index.above(asked)) == {name for name in names - {asked} if covers(name, asked)}
    below = {name for name in names - {asked} if asked.startswith("*.") and covers(asked, name)}
    assert set(index.below(asked)) == below


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.lists(NAMES, max_size=8), gone=st.sets(NAMES, max_size=4))
def test_discarded_names_are_not_found(names: list[str], gone: set[str]) -> None:
    """And leave nothing behind."""
    index = index_of(*names)
    for name in gone & set(names):
        index.discard([name], name)
    left = set(names) - gone
    assert all(set(index.at(name)) == {name} & left for name in names)
    for name in left:
        index.discard([name], name)
    assert not index._items
    assert not index._names_below


def test_names_of_one_item_under_one_wildcard_go_one_by_one() -> None:
    """Whoever gives up one of two names still has the other."""
    index: HostnameIndex[str] = HostnameIndex()
    index.add(["a.example.com", "b.example.com"], "me")
    index.discard(["a.example.com"], "me")
    assert list(index.below("*.example.com")) == ["me"]


@pytest.mark.parametrize(
    ("name", "above"),
    [
        ("a.b.example.com", ["*.b.example.com", "*.example.com"]),
        ("*.b.example.com", ["*.example.com"]),
        ("example.com", []),
    ],
)
def test_wildcards_above_a_name(name: str, above: list[str]) -> None:
    """Never the name itself, never a whole top-level domain."""
    assert list(wildcards_above(name)) == above


def test_name_of_many_labels_is_filed_a_few_times() -> None:
    """127 labels are no 127 entries; every wildcard above the name finds it all the same, and no other one does."""
    labels = [f"l{number}" for number in range(60)]
    name, other = ".".join(labels), ".".join(["x", *labels[1:]])
    index: HostnameIndex[int] = HostnameIndex()
    index.add([name], 1)
    index.add([other], 2)
    assert len(index._names_below) <= 4
    for start in range(1, 59):
        assert set(index.below(f"*.{'.'.join(labels[start:])}")) == {1, 2}
    assert set(index.below(f"*.{name}")) == set()
    assert set(index.below("*.l58.l59.example.com")) == set()
    index.discard([name], 1)
    index.discard([other], 2)
    assert not index._names_below
