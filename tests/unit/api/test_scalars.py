"""Durations, times and addresses mean to the models what they mean to the API server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressgateway.api.hosts import is_cidr, is_ip
from egressgateway.api.scalars import format_duration, format_instant, parse_duration, parse_instant


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("10s", 10),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1s1h", 3601),
        ("00001ms", 0.001),
        ("99999h", 359996400),
    ],
)
def test_duration_is_parsed(text: str, seconds: float) -> None:
    """Hours, minutes, seconds and milliseconds add up, in any order."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "1d", "1.5s", "-1s", "5s\n", " 5s", "123456s", "1s1s1s1s1s", "s", "٣s"])
def test_duration_of_another_form_is_refused(text: str) -> None:
    """No days, fractions, signs or line breaks, at most five digits and four parts."""
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=10**11))
def test_duration_survives_formatting(milliseconds: int) -> None:
    """What is written is read as the same span."""
    span = timedelta(milliseconds=milliseconds)
    if span < timedelta(hours=100_000):
        assert parse_duration(format_duration(span)) == span


@settings(deadline=None)
@given(st.datetimes(timezones=st.just(UTC)))
def test_instant_survives_formatting(moment: datetime) -> None:
    """A time in a status, with microseconds or without, is read as it was written."""
    assert parse_instant(format_instant(moment)) == moment


def test_instant_with_an_offset_is_utc() -> None:
    """Offsets are resolved, digits beyond microseconds dropped."""
    assert parse_instant("2027-01-31T05:30:00.1234567+05:30") == datetime(2027, 1, 31, 0, 0, 0, 123456, UTC)


@pytest.mark.parametrize("text", ["2023-02-29T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00"])
def test_instant_that_does_not_exist_is_refused(text: str) -> None:
    """A form that fits is not enough: the day must exist, and lie within four digits of years."""
    with pytest.raises(ValueError, match="must be a time of RFC 3339"):
        parse_instant(text)


@pytest.mark.parametrize(
    ("text", "is_address"),
    [
        ("192.0.2.1", True), ("2001:db8::1", True), ("::", True), ("2001:DB8::1", True),
        ("127.1", False), ("0x7f.0.0.1", False), ("2130706433", False), ("01.2.3.4", False), ("::ffff:1.2.3.4", False),
        ("fe80::1%eth0", False), ("192.0.2.0/24", False), ("", False),
    ],
)  # fmt: skip
def test_ip_is_what_kubernetes_takes_for_one(text: str, is_address: bool) -> None:
    """Neither zones nor IPv4 in IPv6, and no short or hexadecimal forms, which others resolve differently."""
    assert is_ip(text) is is_address


@pytest.mark.parametrize(
    ("text", "is_network"),
    [
        ("192.0.2.0/24", True), ("192.0.2.1/24", True), ("0.0.0.0/0", True), ("2001:db8::/128", True),
        ("192.0.2.0", False), ("192.0.2.0/33", False), ("192.0.2.0/08", False), ("192.0.2.0/255.255.255.0", False),
        ("::ffff:1.2.3.4/100", False), ("/8", False), ("192.0.2.0/-1", False),
    ],
)  # fmt: skip
def test_cidr_is_what_kubernetes_takes_for_one(text: str, is_network: bool) -> None:
    """Host bits may be set; masks and leading zeros are no prefix length."""
    assert is_cidr(text) is is_network
