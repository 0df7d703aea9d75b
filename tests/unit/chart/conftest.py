"""The chart by real Helm, of both majors."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.fetched import obtain_promtool
from harness.helm import MAJORS, Helm, find_helm
from harness.tiers import may_be_skipped
from harness.tools import ToolsMissing


def helm_of(major: int) -> Helm:
    """Helm of that version; a test that lacks it is skipped, but not in CI."""
    try:
        return Helm(find_helm(major))
    except ToolsMissing as missing:
        if not may_be_skipped("controlplane"):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture(scope="session", params=MAJORS, ids=lambda major: f"helm{major}")
def helm(request: pytest.FixtureRequest) -> Helm:
    return helm_of(request.param)


@pytest.fixture(scope="session")
def newest() -> Helm:
    """For what is no different in an older one."""
    return helm_of(max(MAJORS))


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Skipped where it cannot be had: it comes with Debian's package, not with ours."""
    try:
        return obtain_promtool()
    except ToolsMissing as missing:
        pytest.skip(str(missing))
