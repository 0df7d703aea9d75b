"""Whether there are clients whose calls take the route, by the pods of their namespaces."""

from __future__ import annotations

import pytest

from egressgateway.facts import ClientPods
from egressgateway.status.clients import ClientEvidence, client_evidence, clients_fields, evidence_in

THERE = {"shop", "billing", "research"}
IN = ClientPods(in_mesh=2)
OUT = ClientPods(outside=3)
AMBIENT = ClientPods(ambient=1)


def judged(consumers: set[str], **pods: ClientPods) -> ClientEvidence:
    return client_evidence(consumers, THERE, pods, ClientEvidence())


@pytest.mark.parametrize("consumers", [{"*"}, set()], ids=["everybody", "nobody"])
def test_nothing_is_said_of_consumers_without_names(consumers: set[str]) -> None:
    assert judged(consumers, shop=OUT) == ClientEvidence()


def test_pods_with_sidecars_are_evidence() -> None:
    assert judged({"shop", "billing"}, shop=IN, billing=IN) == ClientEvidence()


def test_what_was_not_counted_leads_to_no_conclusion() -> None:
    """Where pods may not be read, the status says that nobody has looked."""
    assert judged({"shop"}) == ClientEvidence(remark="the pods of shop are not counted")
    found = judged({"shop", "billing"}, billing=OUT)
    assert not found.outside_mesh
    assert "billing has a sidecar" in found.remark
    assert "the pods of shop are not counted" in found.remark


def test_namespaces_that_do_not_exist_have_no_clients() -> None:
    assert judged({"paymnts"}).absent == "spec.access.from: namespace paymnts does not exist"
    some = judged({"paymnts", "shop"}, shop=IN)
    assert not some.absent
    assert "namespace paymnts does not exist" in some.remark


def test_pods_without_sidecars_alone_are_not_steered() -> None:
    found = judged({"shop", "billing"}, shop=OUT, billing=OUT)
    assert found.outside_mesh.startswith("no pod of billing, shop has a sidecar")


def test_ambient_pods_are_named_as_such() -> None:
    assert "research are in ambient mode" in judged({"research"}, research=AMBIENT).outside_mesh


def test_a_namespace_that_does_not_exist_does_not_save_one_without_sidecars() -> None:
    found = judged({"paymnts", "shop"}, shop=OUT)
    assert "paymnts" in found.outside_mesh
    assert "no pod of shop has a sidecar" in found.outside_mesh


def test_one_with_sidecars_makes_the_others_a_remark() -> None:
    found = judged({"shop", "billing"}, shop=IN, billing=OUT)
    assert not found.outside_mesh
    assert "no pod of billing has a sidecar" in found.remark


def test_pods_past_the_sidecar_beside_others_are_a_remark() -> None:
    assert "some pods of shop" in judged({"shop"}, shop=ClientPods(in_mesh=1, outside=1)).remark


def test_nobody_yet_is_said() -> None:
    assert judged({"shop"}, shop=ClientPods()).remark == "no pod in the mesh runs there yet"


def test_what_the_status_says_holds_until_pods_are_counted() -> None:
    """After a restart: else each object's status would be written twice."""
    for condition, expected in (
        (
            {"status": "False", "reason": "ConsumersNotInMesh", "message": "no sidecar"},
            ClientEvidence("", "no sidecar"),
        ),
        ({"status": "True", "reason": "Steered", "message": "sent; not x"}, ClientEvidence(remark="not x")),
        ({"status": "True", "reason": "Steered", "message": "sent; by time; not x"}, ClientEvidence(remark="not x")),
        ({"status": "True", "reason": "Steered", "message": "sent; by time"}, ClientEvidence()),
        ({"status": "True", "reason": "Steered", "message": "sent"}, ClientEvidence()),
        ({}, ClientEvidence()),
    ):
        before = evidence_in(condition, "sent", "by time")
        assert before == expected
        assert client_evidence({"shop"}, THERE, None, before) == expected
    assert client_evidence({"paymnts"}, THERE, None, ClientEvidence(outside_mesh="none")).absent
    assert clients_fields({"shop"}, None, {"inMesh": 3, "outside": 0}) == {"inMesh": 3, "outside": 0}


def test_counts_are_of_all_consumers_that_were_counted() -> None:
    assert clients_fields({"shop", "billing"}, {"shop": IN, "billing": OUT}, {}) == {"inMesh": 2, "outside": 3}
    assert clients_fields({"research"}, {"research": AMBIENT}, {}) == {"inMesh": 0, "outside": 0, "ambient": 1}
    assert clients_fields({"shop"}, {}, {"inMesh": 3, "outside": 0}) == {}
