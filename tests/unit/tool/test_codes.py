"""The catalogue of codes has an entry for everything that the core can say, and none twice."""

from __future__ import annotations

import re

import pytest

from egressgateway.api.conditions import Reason
from egressgateway.plan.findings import Notice
from egressgateway.tool.codes import BY_NOTICE, BY_REASON, CODES, STATES, codes_for


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_a_state_or_has_one_code(reason: Reason) -> None:
    """A reason that the status may give for a problem can be explained by its code."""
    assert (reason in STATES) != (reason in BY_REASON)


@pytest.mark.parametrize("notice", Notice)
def test_every_notice_has_a_code(notice: Notice) -> None:
    assert BY_NOTICE[notice].notice is notice


def test_codes_are_in_order_and_none_is_given_twice() -> None:
    numbers = [each.code for each in CODES]
    assert numbers == sorted(set(numbers))
    assert all(re.fullmatch("EGW[1-6][0-9]{3}", number) for number in numbers)
    assert len(BY_REASON) + len(BY_NOTICE) <= len(CODES)


def test_every_code_says_what_helps() -> None:
    assert [each.code for each in CODES if not (each.title and each.fix and each.url.endswith(each.code))] == []


@pytest.mark.parametrize("word", ["EGW3001", "egw3001", "HostConflict", "hostconflict"])
def test_a_code_is_found_by_its_number_and_by_its_reason(word: str) -> None:
    assert [each.code for each in codes_for(word)] == ["EGW3001"]


def test_nothing_is_found_for_another_word() -> None:
    assert list(codes_for("")) == list(codes_for("EGW")) == []
