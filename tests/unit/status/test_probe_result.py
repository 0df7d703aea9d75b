"""What Envoy's counters mean for a destination."""

from __future__ import annotations

import pytest

from egressgateway.api.conditions import Reason
from egressgateway.plan.gateway.probing import ProbedWay
from egressgateway.status.probe_result import Observation, Reading, evaluate, reached, readings_of

HOST = "https-80.api.example.com.partners.shop.egress.internal"
CLUSTER = f"outbound|80|tls|{HOST}"
WAY = ProbedWay(CLUSTER, "api.example.com", 80, asks=True)
SOUND = Observation(Reading(healthy=1, known=1, checks=3))
UNREACHED = Observation(Reading(known=1, checks=3, failures=3, breaks=3), Reason.CONNECT_FAILED)

PAGES = {
    "behind the cluster": (
        f'envoy_cluster_membership_healthy{{cluster_name="{CLUSTER}"}} 0\n'
        f'envoy_cluster_membership_total{{cluster_name="{CLUSTER}"}} 1\n'
        f'envoy_cluster_health_check_failure{{cluster_name="{CLUSTER}"}} 4\n'
        f'envoy_cluster_ssl_fail_verify_san{{cluster_name="{CLUSTER}"}} 4\n'
    ),
    "behind a word of the counter": (
        f'envoy_cluster_membership_healthy{{cluster_name="{CLUSTER}"}} 0\n'
        f'envoy_cluster_membership_total{{cluster_name="{CLUSTER}"}} 1\n'
        f'envoy_cluster_failure{{cluster_name="{CLUSTER};.health_check"}} 4\n'
        f'envoy_cluster_fail_verify_san{{cluster_name="{CLUSTER};.ssl"}} 4\n'
    ),
    "behind the first label": (
        "envoy_cluster_api_example_com_partners_shop_egress_internal_membership_healthy"
        '{cluster_name="outbound|80|tls|https-80"} 0\n'
        "envoy_cluster_api_example_com_partners_shop_egress_internal_membership_total"
        '{cluster_name="outbound|80|tls|https-80"} 1\n'
        "envoy_cluster_api_example_com_partners_shop_egress_internal_health_check_failure"
        '{cluster_name="outbound|80|tls|https-80"} 4\n'
        "envoy_cluster_api_example_com_partners_shop_egress_internal_ssl_fail_verify_san"
        '{cluster_name="outbound|80|tls|https-80"} 4\n'
    ),
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_page_is_read_however_names_are_cut(page: str) -> None:
    """Istio's versions cut the counters' names at different places."""
    page = f'# TYPE x gauge\n{page}envoy_cluster_membership_total{{cluster_name="outbound|80||other"}} 9\n'
    assert readings_of(page, [CLUSTER, "outbound|1||nowhere"]) == {CLUSTER: Reading(known=1, failures=4, names=4)}


@pytest.mark.parametrize("value", ["NaN", "1e999", "-1", "9" * 400, "1" + " " * 5000])
def test_page_that_somebody_made_up_is_read_as_far_as_it_makes_sense(value: str) -> None:
    """A pod's labels are its maker's to choose, and so is what it answers."""
    page = f'envoy_cluster_membership_total{{cluster_name="{CLUSTER}"}} {value}\n{PAGES["behind the cluster"]}'
    assert readings_of(page, [CLUSTER]) == {CLUSTER: Reading(known=1, failures=4, names=4)}


def test_names_that_read_alike_are_kept_apart() -> None:
    """`a-b` and `a.b` differ in nothing but a character that the page's names cannot have."""
    dashed, dotted = (f"outbound|80||http-80.{host}.x.y.egress.internal" for host in ("a-b.example", "a.b.example"))
    page = "\n".join(
        f'envoy_cluster_membership_total{{cluster_name="{cluster}"}} {count}'
        for cluster, count in ((dashed, 1), (dotted, 2))
    )
    found = readings_of(page, [dashed, dotted])
    assert (found[dashed].known, found[dotted].known) == (1, 2)


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (Reading(known=1, checks=4, failures=4, breaks=4), Reason.CONNECT_FAILED),
        (Reading(known=1, checks=4, failures=4, breaks=4, names=1), Reason.TLS_NAME_MISMATCH),
        (Reading(known=1, checks=4, failures=4, breaks=4, refusals=1), Reason.TLS_FAILED),
        (Reading(known=1, checks=4, failures=4, breaks=3), Reason.UNEXPECTED_STATUS),
        (Reading(known=0, lookups=1, checks=3), Reason.DNS_FAILED),
        (Reading(known=0, checks=3), None),
        (Reading(healthy=1, known=1), None),
        (Reading(healthy=1, known=2, checks=4, failures=1, breaks=1), None),
    ],
)
def test_reason_is_what_grew(reading: Reading, reason: Reason | None) -> None:
    """After three failures of another kind, which are no reason any more."""
    before = Observation(Reading(known=1, checks=3, failures=3, breaks=3))
    assert evaluate(before, reading, WAY).trouble is reason


def test_reason_stays_until_the_next_check() -> None:
    """A look between two checks says nothing new."""
    assert evaluate(UNREACHED, UNREACHED.reading, WAY) == UNREACHED


def test_reason_of_an_envoy_that_began_anew() -> None:
    """Its counters are smaller than before."""
    again = Reading(known=1, checks=1, failures=1, breaks=1, names=1)
    assert evaluate(UNREACHED, again, WAY).trouble is Reason.TLS_NAME_MISMATCH


@pytest.mark.parametrize(
    ("pods", "status", "reason"),
    [
        ([], "Unknown", Reason.NOT_OBSERVED),
        ([None, None], "Unknown", Reason.NOT_OBSERVED),
        ([{}], "Unknown", Reason.PENDING),
        ([{CLUSTER: Observation(Reading(known=1))}], "Unknown", Reason.PENDING),
        ([{CLUSTER: Observation(Reading(healthy=1, known=1))}], "Unknown", Reason.PENDING),
        ([{CLUSTER: SOUND}, None], "True", Reason.REACHABLE),
        ([{CLUSTER: SOUND}, {}], "Unknown", Reason.PENDING),
        ([{CLUSTER: SOUND}, {CLUSTER: UNREACHED}], "False", Reason.CONNECT_FAILED),
    ],
)
def test_destination_is_reached_when_every_pod_that_tells_reaches_it(
    pods: list[dict[str, Observation] | None], status: str, reason: Reason
) -> None:
    """A pod that does not reach it fails its share of the requests; one that does not tell is no proof of anything."""
    found = reached([WAY], pods)
    assert (found.status, found.reason) == (status, reason)


def test_message_names_host_port_and_trouble() -> None:
    """Whoever reads it knows where to look, and how many pods say so."""
    assert reached([WAY], [{CLUSTER: SOUND}, {CLUSTER: UNREACHED}]).message == (
        "api.example.com:80: no connection, or no answer in time; seen by 1/2 gateway pods"
    )
