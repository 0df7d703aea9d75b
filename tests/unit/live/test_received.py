"""Which Secrets a proxy has, by lines that Envoy 1.40 wrote (Istio's names for Secrets, a key pair without its CA)."""

from __future__ import annotations

import re

import pytest

from egressgateway.live.received import COUNTERS, WORD, ReceivedSecrets

PAGE = """
# TYPE envoy_sds_kubernetes_bank_client_update_success counter
envoy_sds_kubernetes_bank_client_update_success{} 2
envoy_sds_kubernetes_bank_client_cacert_update_success{} 0
envoy_sds_kubernetes_bank_client_cacert_update_rejected{} 1
envoy_sds_kubernetes_bank_client_key_rotation_failed{} 0
envoy_sds_kubernetes_missing_one_update_success{} 0
envoy_sds_default_update_success{} 1
"""


def received(page: str, *names: str) -> dict[str, bool]:
    reader = ReceivedSecrets(names)
    for line in page.splitlines():
        reader.feed(line)
    return reader.received()


def test_proxy_tells_of_each_secret_that_it_asks_for() -> None:
    """
    Whether it has got it. Of one that it does not ask for, it says nothing.

    The counter of the cluster's TLS context says less: it was 2 while the CA had never come.
    """
    assert received(PAGE, "bank-client", "bank-client-cacert", "missing.one", "other") == {
        "bank-client": True,
        "bank-client-cacert": False,
        "missing.one": False,
    }


def test_workloads_own_certificates_are_no_secrets() -> None:
    """The agent gives these to every proxy."""
    assert received(PAGE, "default") == {}


def test_older_envoys_keep_slashes_in_the_name() -> None:
    """They wrote each character that no name of a counter has as one `_`."""
    assert received("envoy_sds_kubernetes___bank_client_update_success{} 1", "bank-client") == {"bank-client": True}


@pytest.mark.parametrize(("counts", "told"), [((1, 1), True), ((1, 0), False), ((1,), None)])
def test_names_that_read_alike_are_told_together(counts: tuple[int, ...], told: bool | None) -> None:
    """`a.b` and `a-b` have one name on the page: nothing is said of either until both are there."""
    page = "\n".join(f"envoy_sds_kubernetes_a_b_update_success{{}} {count}" for count in counts)
    expected = {} if told is None else {"a.b": told, "a-b": told}
    assert received(page, "a.b", "a-b") == expected


@pytest.mark.parametrize(
    "line",
    [
        "envoy_sds_kubernetes_bank_client_update_success{} many",
        "envoy_sds_kubernetes_bank_client_update_success{} 99999999999999999999",
        "envoy_cluster_kubernetes_bank_client_update_success{} 1",
        "envoy_sds_kubernetes_bank_client_update_success{" + "x" * 5000 + "} 1",
    ],
)
def test_line_of_another_form_says_nothing(line: str) -> None:
    assert received(line, "bank-client") == {}


def test_page_is_asked_for_these_counters_alone() -> None:
    assert re.search(COUNTERS, "sds.kubernetes_bank-client.update_success")
    assert re.search(COUNTERS, "sds.kubernetes_//bank-client.update_success")
    assert not re.search(COUNTERS, "sds.default.update_success")
    assert not re.search(COUNTERS, "sds.kubernetes_bank-client.update_rejected")
    assert WORD in PAGE.encode()
