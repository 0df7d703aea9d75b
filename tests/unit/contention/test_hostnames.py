"""Host patterns of a class, against hosts that were registered to slip through them."""

from __future__ import annotations

import pytest

from egressgateway.contention.hostnames import covers, is_allowed, overlaps


@pytest.mark.parametrize(
    ("pattern", "host", "covered"),
    [
        ("*", "a.example.com", True),
        ("*", "*.example.com", True),
        ("api.partner.com", "api.partner.com", True),
        ("api.partner.com", "xapi.partner.com", False),
        ("api.partner.com", "api.partner.com.evil.example", False),
        ("*.partner.com", "api.partner.com", True),
        ("*.partner.com", "v1.api.partner.com", True),
        ("*.partner.com", "partner.com", False),
        ("*.partner.com", "evilpartner.com", False),
        ("*.partner.com", "partner.com.evil.example", False),
        ("*.partner.com", "x.partner.community", False),
        ("*.partner.com", "*.partner.com", True),
        ("*.partner.com", "*.api.partner.com", True),
        ("*.api.partner.com", "*.partner.com", False),
        ("api.partner.com", "*.partner.com", False),
    ],
)
def test_covers_is_a_matter_of_whole_labels(pattern: str, host: str, *, covered: bool) -> None:
    """One or more labels in front, never the name itself, never a suffix of a label."""
    assert covers(pattern, host) is covered


def test_overlaps_in_either_direction() -> None:
    """A wildcard that covers a denied name is denied with it."""
    assert overlaps("legacy.partner.com", "*.partner.com")
    assert overlaps("*.partner.com", "legacy.partner.com")
    assert not overlaps("legacy.partner.com", "*.other.com")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("a.partner.com", True),
        ("legacy.partner.com", False),
        ("*.partner.com", False),
        ("*.new.partner.com", True),
        ("partner.com", False),
    ],
)
def test_is_allowed_lets_the_denied_win(host: str, *, allowed: bool) -> None:
    """Denied wins over allowed, whichever is the more specific."""
    assert is_allowed(host, ["*.partner.com"], ["legacy.partner.com"]) is allowed


def test_is_allowed_with_an_empty_list_allows_nothing() -> None:
    """An empty list, written down, is a decision."""
    assert not is_allowed("a.partner.com", [], [])
