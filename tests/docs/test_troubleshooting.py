"""Every reason that a condition or event may give has a section that says what it means and who has to act."""

from __future__ import annotations

import re

import pytest

from docs.facts import facts_of
from docs.pages import DOCS
from egressgateway.api.conditions import CATALOGUE, Reason

PAGE = (DOCS / "troubleshooting.md").read_text()
SECTIONS = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_sections_are_those_of_the_catalogue() -> None:
    """No reason is left out, and none is described that the operator never gives."""
    assert sorted(SECTIONS) == sorted(CATALOGUE)


@pytest.mark.parametrize("reason", Reason)
def test_section_says_what_the_catalogue_says(reason: Reason) -> None:
    """It begins with the catalogue's facts, and goes on in words of its own."""
    first, _, rest = SECTIONS[reason].partition("\n")
    assert first == facts_of(reason)
    assert len(rest.split()) > 4
