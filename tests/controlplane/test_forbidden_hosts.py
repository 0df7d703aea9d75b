"""
A tenant asks for names and addresses that are not external: each is refused by the API server or by the operator, and
nothing is written for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from apicases.forbidden import (
    ADDRESSES,
    ALLOWED_ADDRESSES,
    MORE_RESERVED,
    ODD_SPELLINGS,
    RESERVED_NAMES,
    RESERVED_WILDCARDS,
)
from harness.chaos.account import passed
from harness.cluster import Cluster
from harness.gateways import Gateways, destination, egress_gateway
from harness.objects import apply_all
from harness.rest import ApiError, Object, Rest
from harness.wait import CONVERGE, eventually

pytestmark = pytest.mark.controlplane

HTTP: Final[list[Object]] = [{"port": 80, "protocol": "HTTP"}]
REFUSED: Final = {"Invalid", "HostNotAllowed", "EndpointNotAllowed"}
PER_OBJECT: Final = 32


@pytest.fixture
def tenant(new_tenant: Callable[..., Rest], namespace: str) -> Rest:
    """With the role `edit` in the test's namespace."""
    return new_tenant(namespace)


def asked(host: str, **fields: Any) -> Object:
    """One destination for `host`, named later."""
    wild = {"wildcard": {"strategy": "DynamicResolution"}} if host.startswith("*") else {}
    return {**destination("d", host, ports=HTTP), **wild, **fields}


def is_refused(tenant: Rest, gateways: Gateways, wanted: Object) -> bool:
    """Whether the API server refuses an object with this destination alone; nothing is stored."""
    body = egress_gateway(gateways.namespace, "try", wanted)
    try:
        tenant.create(f"{gateways.path()}?dryRun=All", body)
    except ApiError as error:
        if error.code == 422:
            return True
        raise
    return False


def judged(tenant: Rest, gateways: Gateways, wanted: list[Object], **spec: Any) -> dict[str, tuple[str, str]]:
    """Status and reason of Accepted by host, of what the API server lets pass: many destinations to one object."""
    listed = [{**each, "name": f"d{number}"} for number, each in enumerate(wanted)]
    found: dict[str, tuple[str, str]] = {}
    for start in range(0, len(listed), PER_OBJECT):
        some = listed[start : start + PER_OBJECT]
        name = f"odd{start}"
        tenant.create(gateways.path(), egress_gateway(gateways.namespace, name, *some, **spec))

        def conditions(name: str = name, some: list[Object] = some) -> dict[str, Object]:
            return {each["name"]: gateways.condition(name, "Accepted", each["name"]) for each in some}

        for part, condition in eventually(conditions, timeout=CONVERGE, what=f"a verdict on {name}").items():
            found[part] = (condition["status"], condition["reason"])
    return {str(each): found[each["name"]] for each in listed}


def children_of(gateways: Gateways) -> str:
    """All that was written for clients in the namespace, as one text."""
    routes = {**gateways.clients("odd0"), **gateways.clients("odd32"), **gateways.clients("odd64")}
    return "\n".join(str(each["spec"]) for each in routes.values())


def test_a_tenant_cannot_store_a_name_that_is_never_external(tenant: Rest, gateways: Gateways) -> None:
    """In no field that a host may stand in."""

    def takers(host: str) -> list[Object]:
        single = {"strategy": "SingleServer", "server": host}
        return [
            asked(host),
            asked("api.example.com", aliases=[host]),
            asked("api.example.com", endpoints=[{"address": host}]),
            asked("*.example.com", wildcard=single),
        ]

    tried = [each for host in RESERVED_NAMES for each in takers(host)]
    tried += [asked(host) for host in (*RESERVED_WILDCARDS, *ODD_SPELLINGS)]
    assert [each for each in tried if not is_refused(tenant, gateways, each)] == []
    assert not is_refused(tenant, gateways, asked("api.example.com"))


def test_what_the_cluster_has_is_invalid_and_nothing_is_written(
    tenant: Rest, gateways: Gateways, new_namespace: Callable[[str], str]
) -> None:
    """Services of namespaces that exist, public suffixes, and names of metadata that the schema has no room for."""
    own, other = gateways.namespace, new_namespace("payments")
    services = [f"api.{own}", f"odd0-egress.{own}", f"web.{other}", f"web-0.web.{other}", f"*.web.{other}"]
    hosts = ["kubernetes.default", "api.kube-system", *services, "co.uk", "*.co.uk", *MORE_RESERVED]
    wanted = [asked(host) for host in hosts]
    route_statuses = judged(tenant, gateways, [*wanted, asked("fine.example.com")])
    *refused, fine = route_statuses.values()
    assert set(refused) == {("False", "Invalid")}, route_statuses
    assert fine == ("True", "Accepted")
    gateways.wait("odd0", "Steered", "True", "Steered", part=f"d{len(hosts)}")
    written = children_of(gateways)
    assert "fine.example.com" in written
    assert [host for host in hosts if f"'{host}'" in written] == []


@pytest.fixture
def open_class(cluster: Cluster, namespace: str) -> str:
    """A class that allows every address and every host but one."""
    name = f"open-{namespace}"
    spec = {"allowedCIDRs": ["0.0.0.0/0", "::/0"], "deniedHosts": ["evil.com", "*.evil.com"]}
    api = {"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGatewayClass"}
    apply_all(cluster, [{**api, "metadata": {"name": name}, "spec": spec}])
    return name


def test_no_class_opens_an_address_that_leads_inside(tenant: Rest, gateways: Gateways, open_class: str) -> None:
    """Whatever its spelling; what is beside it is allowed."""

    def endpoint(number: int, address: str) -> Object:
        return asked(f"e{number}.example.com", endpoints=[{"address": address}])

    addresses = [*(address for address, _ in ADDRESSES), *ALLOWED_ADDRESSES]
    listed = [(address, endpoint(number, address)) for number, address in enumerate(addresses)]
    stored = [(address, each) for address, each in listed if not is_refused(tenant, gateways, each)]
    route_statuses = judged(tenant, gateways, [each for _, each in stored], className=open_class)
    by_address = dict(zip((address for address, _ in stored), route_statuses.values(), strict=True))
    assert {address: by_address[address] for address in ALLOWED_ADDRESSES} == dict.fromkeys(
        ALLOWED_ADDRESSES, ("True", "Accepted")
    )
    forbidden = {address: verdict for address, verdict in by_address.items() if address not in ALLOWED_ADDRESSES}
    assert len(forbidden) > 30
    assert set(forbidden.values()) == {("False", "EndpointNotAllowed")}, forbidden


def test_names_in_handshakes_are_judged_as_hosts_are(tenant: Rest, gateways: Gateways, open_class: str) -> None:
    """What the class denies, and what is the cluster's or a gateway's own."""

    def shown(number: int, **tls: Any) -> Object:
        ports = [{"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Simple", **tls}}]
        return {**asked(f"t{number}.example.com"), "ports": ports}

    private = "http-80.api.example.com.v1.victim.egress.internal"
    names = ["evil.com", "www.evil.com", private, "kubernetes.default.svc", "metadata.google.internal"]
    bad = [shown(number, sni=name) for number, name in enumerate(names)]
    bad += [shown(number + 20, subjectAltNames=[name]) for number, name in enumerate(names)]
    good = [shown(40, sni="cdn.example.net", subjectAltNames=["cdn.example.net", "spiffe://evil.com/ns/a/sa/b"])]
    route_statuses = list(judged(tenant, gateways, [*bad, *good], className=open_class).values())
    assert route_statuses[-1] == ("True", "Accepted")
    assert {status for status, _ in route_statuses[:-1]} == {"False"}
    assert {reason for _, reason in route_statuses[:-1]} <= REFUSED, route_statuses


def test_making_a_namespace_takes_no_running_exit_away(
    cluster: Cluster, tenant: Rest, gateways: Gateways, namespace: str
) -> None:
    """Who was there first keeps the name, through edits as well; who asks for it afterwards is refused."""
    later = f"late-{namespace}"
    tenant.create(gateways.path(), egress_gateway(namespace, "first", asked(f"db.{later}")))
    gateways.wait("first", "Steered", "True", "Steered", part="d")
    # The API server tells to the second when a namespace was made.
    passed(1)
    cluster.rest.create("/api/v1/namespaces", {"metadata": {"name": later}})
    tenant.create(gateways.path(), egress_gateway(namespace, "second", asked(f"vault.{later}")))
    gateways.wait("second", "Accepted", "False", "Invalid", part="d")
    edited = {**asked(f"db.{later}"), "ports": [*HTTP, {"port": 443, "protocol": "TLS"}]}
    tenant.merge(gateways.path("first"), {"spec": {"destinations": [edited]}})
    found = gateways.wait("first", "Accepted", "True", "Accepted", part="d")
    assert f"Service db of namespace {later}" in found["message"]
    assert gateways.clients("first")
    assert gateways.clients("second") == {}
    cluster.rest.delete(f"/api/v1/namespaces/{later}")
