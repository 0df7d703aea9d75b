"""Objects of other people that keep a client's sidecar from a route are named, and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from egressgateway.cluster.store import Change
from egressgateway.engine.cache.client_scopes import ClientScopes
from egressgateway.facts import ClientScope
from egressgateway.live.client_scope import MOST_IMPORTS, hop_rule, sidecar_scope
from egressgateway.refs import Key
from egressgateway.status.client_scopes import Sought, with_scopes
from egressgateway.status.clients import ClientEvidence

ROOT = "istio-system"
HOST = "api.example.com"
HOP = "partners-egress.payments.svc.cluster.local"
SOUGHT = Sought("payments", [HOST], [80, 443], "payments", HOP, [15443, 15080], by_rule=True)


def sidecar(*egress: dict[str, Any], namespace: str = "shop", name: str = "default", **spec: Any) -> dict[str, Any]:
    return {
        "kind": "Sidecar",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"egress": [*egress], **spec},
    }


def rule(host: Any, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    return {
        "kind": "DestinationRule",
        "metadata": {"namespace": namespace, "name": "mtls"},
        "spec": {"host": host, **spec},
    }


def judged(*manifests: dict[str, Any], sought: Sought = SOUGHT, place: str = "shop") -> ClientEvidence:
    """What is said of clients of `place` beside these objects."""
    scopes, key = ClientScopes(), Key("payments", "partners")
    scopes.want(key, {place})
    for each in manifests:
        change = Change("ADDED", None, each, listed=False)
        (scopes.take_sidecar if each["kind"] == "Sidecar" else scopes.take_rule)(change)
    return with_scopes(ClientEvidence(), {place}, scopes.of(key, HOP, ROOT), sought)


@pytest.mark.parametrize(
    "hosts",
    [
        ["*/*"],
        ["payments/*"],
        [f"payments/{HOST}"],
        ["*/*.example.com"],
        ["*/*i.example.com"],
        ["./*", "payments/*.example.com"],
        [7, None, {"a": 1}, "*/*"],
    ],
)
def test_sidecar_that_imports_the_host_is_in_no_way(hosts: list[Any]) -> None:
    assert judged(sidecar({"hosts": hosts})) == ClientEvidence()


@pytest.mark.parametrize(
    "hosts",
    [
        ["./*"],
        ["~/*"],
        ["istio-system/*"],
        ["payments/other.example.com"],
        ["shop/*", "*/example.com"],
        ["*/*x.example.com"],
        # istiod skips what is no pair.
        [HOST, f"a/b/{HOST}"],
        [],
        7,
        {"*/*": True},
        True,
    ],
)
def test_sidecar_that_does_not_is_named_with_the_way_out(hosts: Any) -> None:
    found = judged(sidecar({"hosts": hosts}))
    assert found.hidden == (
        f"Sidecar shop/default hides {HOST} from the pods of shop; add payments/{HOST} to its egress.hosts, in a "
        "listener without a port"
    )


@pytest.mark.parametrize("egress", [None, [], "x", {}, [1, "x"]])
def test_sidecar_without_egress_limits_nothing(egress: Any) -> None:
    """Istio, "Sidecar": all that is exported to the namespace is there then."""
    assert judged({**sidecar(), "spec": {"egress": egress}}) == ClientEvidence()
    assert judged({**sidecar(), "spec": "x"}) == ClientEvidence()


class TestListeners:
    """Istio, "Sidecar": one for a port takes the place of the one for all others, and knows Services with that port."""

    def test_the_other_ports_are_hidden_by_one_for_a_port(self) -> None:
        assert HOST in judged(sidecar({"port": {"number": 80}, "hosts": ["*/*"]})).hidden

    def test_one_for_each_port_does_not_learn_of_the_gateway(self) -> None:
        both = [{"port": {"number": number}, "hosts": ["*/*"]} for number in (80, 443)]
        assert HOST in judged(sidecar(*both)).hidden
        assert judged(sidecar(*both, {"hosts": ["payments/*"]})) == ClientEvidence()
        assert judged(sidecar(*both, {"hosts": [f"*/{HOP}"]})) == ClientEvidence()
        assert judged(sidecar(*both, {"port": {"number": 15443}, "hosts": ["*/*"]})) == ClientEvidence()

    def test_one_for_the_port_that_lacks_the_host_hides_it(self) -> None:
        egress = {"port": {"number": 80}, "hosts": ["shop/*"]}, {"hosts": ["*/*"]}
        assert HOST in judged(sidecar(*egress)).hidden
        assert HOST in judged(sidecar({"port": {"number": 80}}, {"hosts": ["*/*"]})).hidden

    @pytest.mark.parametrize("port", [0, None, {}, "80", [], {"number": 0}, {"number": "80"}])
    def test_no_number_is_no_port(self, port: Any) -> None:
        assert judged(sidecar({"port": port, "hosts": ["*/*"]})) == ClientEvidence()


def test_own_namespace_is_the_proxys() -> None:
    """Also in the root namespace's: istiod reads it for each proxy."""
    mine = {"hosts": ["./*", "istio-system/*"]}
    assert judged(sidecar(mine, namespace=ROOT), place="payments") == ClientEvidence()
    assert judged(sidecar(mine, namespace="payments"), place="payments") == ClientEvidence()
    assert f"Sidecar {ROOT}/default hides {HOST} from the pods of shop" in judged(sidecar(mine, namespace=ROOT)).hidden


def test_wildcard_is_imported_by_what_covers_all_of_it() -> None:
    sought = replace(SOUGHT, names=["*.example.com"])
    assert judged(sidecar({"hosts": ["*/*.example.com"]}), sought=sought) == ClientEvidence()
    assert judged(sidecar({"hosts": ["*/*.com"]}), sought=sought) == ClientEvidence()
    assert "*.example.com" in judged(sidecar({"hosts": [f"*/{HOST}"]}), sought=sought).hidden


def test_sidecar_for_some_pods_is_a_remark() -> None:
    """Others of the namespace are steered all the same."""
    found = judged(sidecar({"hosts": ["./*"]}, workloadSelector={"labels": {"app": "cart"}}, name="cart"))
    assert not found.hidden
    assert f"Sidecar shop/cart hides {HOST} from some pods of shop" in found.remark


def test_remarks_that_the_status_says_already_are_not_doubled() -> None:
    """Until the clients are counted the remark is what the status says."""
    hiding = sidecar({"hosts": ["./*"]}, workloadSelector={"labels": {"a": "b"}})
    scopes = {
        f"shop-{number}": ClientScope(
            sidecars=(sidecar_scope({**hiding, "metadata": {"namespace": f"shop-{number}", "name": "x"}}),)
        )
        for number in range(5)
    }
    once = with_scopes(ClientEvidence(), scopes.keys(), scopes, SOUGHT)
    assert "2 more like these" in once.remark
    assert with_scopes(once, scopes.keys(), scopes, SOUGHT) == once


def test_sidecar_that_is_too_large_is_not_vouched_for() -> None:
    many = [f"other/h{number}.example.com" for number in range(MOST_IMPORTS + 1)]
    found = judged(sidecar({"hosts": many}))
    assert not found.hidden
    assert found.unread == (
        f"Sidecar shop/default is too large to be read: it may hide {HOST} from its pods; shorten it"
    )
    assert judged(sidecar({"hosts": ["*/*", *many]})) == ClientEvidence()
    for_some = judged(sidecar({"hosts": many}, workloadSelector={"labels": {"app": "cart"}}))
    assert not for_some.unread
    assert "too large" in for_some.remark


@pytest.mark.parametrize(
    "host", ["*", "*.local", "*.payments.svc.cluster.local", "*-egress.payments.svc.cluster.local", HOP]
)
def test_rule_of_a_consumer_namespace_is_named(host: str) -> None:
    """A client's proxy looks for it there first, and finds no subset of the hop."""
    assert f"DestinationRule shop/mtls for {host} applies to the gateway's Service, too" in judged(rule(host)).hidden


def test_rule_for_some_pods_leaves_none_to_the_others() -> None:
    """istiod takes the most specific one whatever it selects; pods that it does not select have none then."""
    assert judged(rule("*.local", workloadSelector={"matchLabels": {"app": "cart"}})).hidden


@pytest.mark.parametrize("exported", [["payments"], ["~"]])
def test_rule_for_other_namespaces_alone_is_in_no_way(exported: list[str]) -> None:
    assert judged(rule("*.local", exportTo=exported)) == ClientEvidence()
    assert judged(rule("*.local", exportTo=[*exported, "."])).hidden


def test_rule_of_the_root_namespace_precedes_none() -> None:
    """Unless it is for that namespace alone."""
    assert judged(rule("*.local", namespace=ROOT), place=ROOT) == ClientEvidence()
    assert judged(rule("*.local", namespace=ROOT, exportTo=["."]), place=ROOT).hidden


def test_rule_beside_the_gateway_is_in_no_way() -> None:
    """The hop's own is more specific there; and beside a shared gateway each consumer has one for its very host."""
    assert judged(rule("*.local", namespace="payments"), place="payments") == ClientEvidence()
    assert judged(rule("*.local"), sought=replace(SOUGHT, by_rule=False)) == ClientEvidence()


@pytest.mark.parametrize("host", ["gateway", 7, None, "*.shop.svc.cluster.local", HOP[1:]])
def test_rule_for_another_service_is_in_no_way(host: Any) -> None:
    """A short name is of a Service of the rule's own namespace."""
    assert judged(rule(host)) == ClientEvidence()


def test_rule_that_cannot_be_read_is_not_vouched_for() -> None:
    bare = hop_rule({"kind": "DestinationRule", "metadata": {"namespace": "shop", "name": "x"}}, unread=True)
    found = with_scopes(ClientEvidence(), {"shop"}, {"shop": ClientScope(rule=bare)}, SOUGHT)
    assert "DestinationRule shop/x is too large to be read" in found.unread


def test_only_three_are_named() -> None:
    scopes = {
        f"shop-{number}": ClientScope(sidecar_scope(sidecar({"hosts": ["./*"]}, namespace=f"shop-{number}")))
        for number in range(5)
    }
    found = with_scopes(ClientEvidence(), scopes.keys(), scopes, SOUGHT)
    assert found.hidden.count("hides") == 3
    assert found.hidden.endswith("and 2 more like these")
