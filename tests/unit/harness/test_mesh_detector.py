"""The lie detector finds lies: a status that says otherwise than what becomes of requests, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.api.conditions import Reason
from harness.mesh.continuity import Report, Sample
from harness.mesh.detector import Claim, Consumer, Seen, claims_for, claims_of, lies

OWN, GATEWAY = "10.244.0.2", "10.244.0.9"
PEERS = {"refused": "-", "direct": OWN}
SHOP = Consumer("shop", "app")


def report(*outcomes: str) -> Report:
    """A request each tenth of a second."""
    return Report(OWN, tuple(Sample(at / 10, each, PEERS.get(each, GATEWAY), 1.0) for at, each in enumerate(outcomes)))


def told(*says: str) -> list[Claim]:
    """A claim each second."""
    return [Claim(float(at), each) for at, each in enumerate(says)]


def found(requests: Report, *says: str, tolerance: float = 0.5) -> list[str]:
    return [each.partition(" ")[0] for each in lies(requests, told(*says), tolerance)]


@pytest.mark.parametrize("way", ["refused", "direct"])
def test_true_while_requests_do_not_take_the_gateway(way: str) -> None:
    assert found(report(*[way] * 10), "True") == ["True"]
    assert found(report(*[way] * 10), "True", tolerance=1.0) == []
    assert found(report(*[way] * 10), "False") == []


def test_false_while_requests_take_the_gateway() -> None:
    assert found(report(*["200"] * 10), "False") == ["False"]
    assert found(report(*["200"] * 10), "True") == []


def test_answer_of_the_server_does_not_matter() -> None:
    """It was reached, by the gateway; what it thinks of the request is its affair."""
    assert found(report(*["418"] * 10), "True") == []
    assert found(report(*["503"] * 10), "False") == ["False"]


def test_unknown_claims_nothing() -> None:
    for way in ("200", "refused", "direct"):
        assert found(report(*[way] * 20), "Unknown") == []


def test_each_claim_has_its_own_time() -> None:
    """What is said anew has as long to come true, and the same said again has not."""
    requests = report(*["refused"] * 20)
    assert found(requests, "True", "False", tolerance=0.5) == ["True"]
    assert found(requests, "True", "True", tolerance=1.0) == []
    seen = [seen_at(0, "True"), seen_at(1, "True", observed=1, other="changed")]
    assert len(lies(requests, claims_of(seen, "exits", "exit", "api/Steered"), 1.0)) == 1


def test_single_request_past_the_gateway_is_a_lie_once_all_is_settled() -> None:
    """Proxies that were told let nobody past; those that are being told may."""
    settled = ["200"] * 15 + ["direct"] + ["200"] * 15
    assert found(report(*settled), "True") == ["True"]
    assert found(report("200", "200", "direct", *["200"] * 20), "True") == []
    lost = ["200"] * 15 + ["refused"] + ["200"] * 15
    assert found(report(*lost), "True") == []


def test_machine_that_stood_still_is_nobodys_lie() -> None:
    """A status cannot be truer than requests are seldom; a stop at another time excuses nothing."""
    late = Report(OWN, tuple(Sample(at, "refused", "-", 1.0) for at in (0.0, 0.1, 0.9, 1.0)))
    assert lies(late, told("True"), 0.5) == []
    earlier = Report(OWN, tuple(Sample(at, *way, 1.0) for at, way in EARLIER))
    assert len(lies(earlier, told("True"), 0.5)) == 1


EARLIER = [
    (0.0, ("200", GATEWAY)),
    *((5 + step / 10, ("200", GATEWAY)) for step in range(10)),
    *((6 + step / 10, ("refused", "-")) for step in range(10)),
]


def test_object_without_a_status_promises_nothing() -> None:
    """Neither does one that is not there, or not any more."""
    assert claims_of([], "exits", "exit", "Ready") == [Claim(0.0, "False")]
    seen = [seen_at(1, "True"), Seen(2, ("exits", "exit"), None)]
    assert claims_of(seen, "exits", "exit", "api/Steered") == [Claim(0, "False"), Claim(1, "True"), Claim(2, "False")]
    assert says(*seen) == ["False", "True", "False"]


def seen_at(
    at: float,
    steered: str,
    *,
    name: str = "exit",
    generation: int = 1,
    observed: int = 1,
    served: tuple[str, ...] = ("shop",),
    access: Any = None,
    **other: Any,
) -> Seen:
    """An object that serves `api.example.com:80` to the clients that `access` lists, by default to those of `shop`."""
    destinations = [{"name": "api", "hosts": ["api.example.com", "*.saas.example"], "ports": [{"port": 80}]}]
    listed = [{"namespaces": ["shop"]}] if access is None else access
    condition = {"type": "Steered", "status": steered, "reason": "RouteConflict", "observedGeneration": observed}
    manifest = {
        "metadata": {"namespace": "exits", "name": name, "uid": name, "generation": generation},
        "spec": {"destinations": destinations, "access": {"from": listed}},
        "status": {
            "consumers": [{"namespace": each} for each in served],
            "destinations": [{"name": "api", "conditions": [condition]}],
            **other,
        },
    }
    return Seen(at, ("exits", name), manifest)


def says(*seen: Seen, who: Consumer = SHOP, host: str = "api.example.com", port: int = 80) -> list[str]:
    return [each.says for each in claims_for(seen, who, host, port)]


def test_claim_is_for_the_consumers_that_the_spec_lists() -> None:
    assert says(seen_at(1, "True")) == ["False", "True"]
    assert says(seen_at(1, "True"), who=Consumer("other", "app")) == ["False"]
    assert says(seen_at(1, "True"), port=443) == ["False"]
    assert says(seen_at(1, "True"), host="a.saas.example") == ["False", "True"]
    assert says(seen_at(1, "True"), host="saas.example") == ["False"]
    assert says(seen_at(1, "True", access=[{"serviceAccounts": ["batch"], "namespaceSelector": {}}])) == ["False"]
    assert says(seen_at(1, "True", access=[{"destinations": ["web"], "namespaces": ["shop"]}])) == ["False"]
    assert says(seen_at(1, "True", access=[{"methods": ["GET"]}]), who=Consumer("exits", "app")) == ["False"]
    own = seen_at(1, "True", access=[{"methods": ["GET"]}], served=("exits",))
    assert says(own, who=Consumer("exits", "app")) == ["False", "True"]


def test_consumer_that_the_status_does_not_list_is_told_so() -> None:
    """Others are served, and `Steered` is about them."""
    assert says(seen_at(1, "True", served=("billing",))) == ["False"]
    assert says(seen_at(1, "True", served=("*",))) == ["False", "True"]
    assert says(seen_at(1, "Unknown", served=())) == ["False", "Unknown"]


def test_status_is_about_the_spec_that_it_was_observed_for() -> None:
    """An edit that the operator has not seen changes no claim; one that it has seen does."""
    gone: list[Any] = [{"namespaces": ["other"]}]
    first, edited = seen_at(1, "True"), seen_at(2, "True", generation=2, access=gone)
    known = seen_at(3, "True", generation=2, observed=2, access=gone)
    assert [each.at for each in claims_for([first, edited, known], SHOP, "api.example.com", 80)] == [0, 1, 3]


def test_one_object_that_serves_is_enough() -> None:
    """Of two that ask for a host one has it."""
    late = [seen_at(at, "False", name="late") for at in (1, 3)]
    assert says(late[0], seen_at(2, "True"), late[1]) == ["False", "True"]
    assert says(seen_at(1, "False"), seen_at(2, "Unknown", name="late")) == ["False", "Unknown"]


def test_reason_under_which_requests_may_go_either_way_claims_nothing() -> None:
    """For the call that says so alone, and under that reason alone."""

    def said(reason: Reason | None) -> list[str]:
        return [each.says for each in claims_for([seen_at(1, "True")], SHOP, "api.example.com", 80, reason)]

    assert said(Reason.ROUTE_CONFLICT) == ["False", "Unknown"]
    assert said(Reason.PENDING) == said(None) == ["False", "True"]
