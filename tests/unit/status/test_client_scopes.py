"""Objects of other people that keep a client's sidecar from a route are named, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.facts import ClientScope
from egressgateway.live.client_scope import MOST_IMPORTS, hop_rule, sidecar_scope
from egressgateway.refs import ObjectRef
from egressgateway.status.client_scopes import Sought, with_scopes
from egressgateway.status.clients import ClientEvidence

HOST = "api.example.com"
SOUGHT = Sought("payments", [HOST], [80, 443], "payments", frozenset())


def sidecar(*egress: dict[str, Any], name: str = "default", **spec: Any) -> dict[str, Any]:
    return {"kind": "Sidecar", "metadata": {"namespace": "shop", "name": name}, "spec": {"egress": [*egress], **spec}}


def rule(host: str, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "DestinationRule",
        "metadata": {"namespace": "shop", "name": "mtls"},
        "spec": {"host": host, **spec},
    }


def judged(*manifests: dict[str, Any], sought: Sought = SOUGHT, place: str = "shop") -> ClientEvidence:
    sidecars = [sidecar_scope(each) for each in manifests if each["kind"] == "Sidecar"]
    rules = [found for each in manifests if each["kind"] == "DestinationRule" and (found := hop_rule(each))]
    scope = ClientScope(
        next((each for each in sidecars if not each.selects), None),
        tuple(each for each in sidecars if each.selects),
        tuple(rules),
    )
    return with_scopes(ClientEvidence(), {place}, {place: scope}, sought)


@pytest.mark.parametrize(
    "hosts",
    [["*/*"], ["payments/*"], [f"payments/{HOST}"], ["*/*.example.com"], [HOST], ["./*", "payments/*.example.com"]],
)
def test_sidecar_that_imports_the_host_is_in_no_way(hosts: list[str]) -> None:
    assert judged(sidecar({"hosts": hosts})) == ClientEvidence()


@pytest.mark.parametrize(
    "hosts", [["./*"], ["~/*"], ["istio-system/*"], ["payments/other.example.com"], ["shop/*", "*/example.com"], []]
)
def test_sidecar_that_does_not_is_named_with_the_way_out(hosts: list[str]) -> None:
    found = judged(sidecar({"hosts": hosts}))
    assert found.hidden == (
        f"Sidecar shop/default hides {HOST} from the pods of shop; add payments/{HOST} to its egress.hosts"
    )


def test_sidecar_without_egress_limits_nothing() -> None:
    """Istio, "Sidecar": all that is exported to the namespace is there then."""
    assert judged(sidecar()) == ClientEvidence()


def test_listener_with_a_port_counts_for_that_port_alone() -> None:
    one = sidecar({"port": {"number": 80}, "hosts": ["*/*"]})
    assert HOST in judged(one).hidden
    both = sidecar({"port": {"number": 80}, "hosts": ["*/*"]}, {"port": {"number": 443}, "hosts": ["*/*"]})
    assert judged(both) == ClientEvidence()


def test_wildcard_is_imported_by_what_covers_all_of_it() -> None:
    sought = Sought("payments", ["*.example.com"], [443], "payments", frozenset())
    assert judged(sidecar({"hosts": ["*/*.example.com"]}), sought=sought) == ClientEvidence()
    assert "*.example.com" in judged(sidecar({"hosts": [f"*/{HOST}"]}), sought=sought).hidden


def test_sidecar_for_some_pods_is_a_remark() -> None:
    """Others of the namespace are steered all the same."""
    found = judged(sidecar({"hosts": ["./*"]}, workloadSelector={"labels": {"app": "cart"}}, name="cart"))
    assert (found.hidden, found.remark) == (
        "",
        f"Sidecar shop/cart hides {HOST} from some pods of shop; add payments/{HOST} to its egress.hosts",
    )


def test_remark_that_the_status_says_already_is_not_doubled() -> None:
    """Until the clients are counted the remark is what the status says."""
    scope = ClientScope(sidecars=(sidecar_scope(sidecar({"hosts": ["./*"]}, workloadSelector={"labels": {"a": "b"}})),))
    once = with_scopes(ClientEvidence(), {"shop"}, {"shop": scope}, SOUGHT)
    assert with_scopes(once, {"shop"}, {"shop": scope}, SOUGHT) == once


def test_sidecar_that_is_too_large_is_not_vouched_for() -> None:
    many = sidecar({"hosts": [f"other/h{number}.example.com" for number in range(MOST_IMPORTS + 1)]})
    found = judged(many)
    assert not found.hidden
    assert found.unread == (
        f"Sidecar shop/default is too large to be read: it may hide {HOST} from its pods; shorten it"
    )
    seen = sidecar({"hosts": ["*/*", *(f"other/h{number}.example.com" for number in range(MOST_IMPORTS))]})
    assert judged(seen) == ClientEvidence()


@pytest.mark.parametrize("host", ["*", "*.local", "*.payments.svc.cluster.local", "gw.payments.svc.cluster.local"])
def test_rule_of_a_consumer_namespace_is_named(host: str) -> None:
    """A client's proxy looks for it there first, and finds no subset of the hop."""
    assert f"DestinationRule shop/mtls for {host} applies to the gateway's Service, too" in judged(rule(host)).hidden


def test_rule_beside_the_gateway_is_in_no_way() -> None:
    """The hop's own is more specific there; and beside a shared gateway each consumer has one for its very host."""
    assert judged(rule("*.local"), place="payments") == ClientEvidence()
    assert judged(rule("*.local"), sought=Sought("payments", [HOST], [80], "", frozenset())) == ClientEvidence()
    ours = frozenset({ObjectRef("DestinationRule", "shop", "mtls")})
    assert judged(rule("*.local"), sought=Sought("payments", [HOST], [80], "payments", ours)) == ClientEvidence()


@pytest.mark.parametrize("host", ["gateway", 7, None])
def test_short_name_is_of_a_service_of_its_own_namespace(host: Any) -> None:
    assert hop_rule(rule(host)) is None


def test_only_three_are_named() -> None:
    scopes = {
        f"shop-{number}": ClientScope(
            sidecar_scope(
                {
                    "kind": "Sidecar",
                    "metadata": {"namespace": f"shop-{number}", "name": "default"},
                    "spec": {"egress": [{"hosts": ["./*"]}]},
                }
            )
        )
        for number in range(5)
    }
    found = with_scopes(ClientEvidence(), scopes.keys(), scopes, SOUGHT)
    assert found.hidden.count("hides") == 3
    assert found.hidden.endswith("and 2 more like these")
