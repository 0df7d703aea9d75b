"""What pip-audit says is told: a vulnerability by its names, and silence as silence, not as health."""

from __future__ import annotations

from harness.audit import read


def test_vulnerability_is_named_with_its_remedy() -> None:
    """Package, version, every name, and the versions that mend it."""
    found = read(
        [
            {"name": "sound", "version": "1", "vulns": []},
            {
                "name": "bad",
                "version": "2",
                "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"], "description": "…"}],
            },
        ]
    )
    assert found.asked == ("sound", "bad")
    assert found.vulnerable == ("bad 2: PYSEC-1, CVE-1; mended in 2.1",)


def test_package_that_nobody_could_be_asked_about_is_unknown() -> None:
    """Without data nothing is known to be sound."""
    found = read([{"name": "unknown", "skip_reason": "not found"}])
    assert (found.asked, found.unknown, found.vulnerable) == ((), ("unknown",), ())
