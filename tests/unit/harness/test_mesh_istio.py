"""The mesh's configuration while a case changes it."""

from __future__ import annotations

from harness.mesh.istio import merged

INSTALLED = {"accessLogFile": "/dev/stdout", "defaultConfig": {"binaryPath": "envoy", "proxyMetadata": {"A": "1"}}}


def test_change_of_a_map_keeps_what_it_does_not_name() -> None:
    """Else pods that are made during a case with DNS capture would be started without what this machine needs."""
    change = {"defaultConfig": {"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}}
    assert merged(INSTALLED, change)["defaultConfig"] == {
        "binaryPath": "envoy",
        "proxyMetadata": {"A": "1", "ISTIO_META_DNS_CAPTURE": "true"},
    }


def test_change_replaces_lists_and_values_and_takes_out_what_is_none() -> None:
    assert merged({"a": [1], "b": 1, "c": {"d": 1}}, {"a": [2], "b": None, "c": {"d": None, "e": {"f": 1}}}) == {
        "a": [2],
        "c": {"e": {"f": 1}},
    }


def test_change_leaves_the_configuration_that_it_was_made_from() -> None:
    before = {"defaultConfig": dict(INSTALLED["defaultConfig"])}  # type: ignore[call-overload]
    merged(before, {"defaultConfig": {"binaryPath": None}})
    assert before["defaultConfig"] == INSTALLED["defaultConfig"]
