"""A change is told in destinations and clients, and what is written in numbers."""

from __future__ import annotations

from egressgateway.tool.difference import ObjectDifference, differences
from egressgateway.tool.difference_text import as_text, summary
from egressgateway.tool.output.style import Style
from egressgateway.tool.world import Scope, World
from unit.tool.files import MUTUAL, NOW, gateway, gateway_class, read


def compared(old: dict[str, str], new: dict[str, str]) -> list[ObjectDifference]:
    return list(differences(*(World(read(**each).documents, Scope()) for each in (old, new)), NOW))


def lines(old: dict[str, str], new: dict[str, str]) -> list[str]:
    found = compared(old, new)
    return [line for each in found for line in as_text(each, Style(), show_objects=False) if line]


def test_equal_files_have_no_difference() -> None:
    assert compared({"a": gateway()}, {"b": "# moved\n" + gateway()}) == []


def test_a_new_destination_is_told_with_its_clients() -> None:
    bank = f"  - name: bank\n    hosts: [api.bank.example]\n    ports: [{MUTUAL}]\n"
    told = lines({"a": gateway()}, {"a": gateway() + bank})
    assert told[0] == "EgressGateway shop/partners   (built-in class, Istio)"
    assert told[1] == "  + destination bank: api.bank.example on 80/HTTP → 443, mutual TLS; clients: shop"
    assert told[2].startswith("  Objects: +")


def test_a_removed_object_is_told_by_its_destinations() -> None:
    told = lines({"a": gateway()}, {})
    assert told[1] == "  - destination api: api.example.com on 443/TLS; clients: shop"
    assert told[2].startswith("  Objects: +0, ~0, -")
    assert told[2].endswith("Gateway pods: removed.")


def test_an_edit_is_told_by_what_it_adds_and_takes() -> None:
    access = "  access: {from: [{namespaces: [shop, billing]}]}\n"
    new = gateway(host="other.example.com", port="{port: 8443, protocol: TLS}") + access
    assert lines({"a": gateway()}, {"a": new})[1:3] == [
        (
            "  ~ destination api: host + other.example.com; host - api.example.com; port + 8443/TLS; "
            "port - 443/TLS; clients + billing"
        ),
        "  ~ access changes",
    ]


def test_a_class_that_forbids_more_is_told_by_what_is_not_served_any_more() -> None:
    """Nobody has touched the EgressGateway."""
    before, after = gateway_class(), gateway_class(spec="{allowedHosts: ['*.example.org']}")
    told = lines({"a": gateway(), "c": before}, {"a": gateway(), "c": after})
    assert told[0] == "EgressGateway shop/partners   (class standard, Istio)"
    assert told[1] == "  ~ destination api: not served any more: EGW3003 HostNotAllowed"


def test_pods_are_replaced_only_where_their_template_changes() -> None:
    more = gateway() + "  gateway: {replicas: 3}\n"
    limited = gateway() + "  gateway: {resources: {limits: {memory: 1Gi}}}\n"
    assert "Gateway pods: not restarted." in lines({"a": gateway()}, {"a": more})[-1]
    assert "Gateway pods: new." in lines({}, {"a": more})[-1]
    assert "Gateway pods: replaced, one after the other." in lines({"a": gateway()}, {"a": limited})[-1]


def test_objects_are_shown_where_they_are_asked_for() -> None:
    [found] = compared({"a": gateway()}, {"a": gateway(host="other.example.com")})
    shown = list(as_text(found, Style(), show_objects=True))
    assert "--- ServiceEntry" in "\n".join(shown) or any(line.startswith("--- ") for line in shown)
    assert any(line.startswith("+") and "other.example.com" in line for line in shown)


def test_the_summary_counts_destinations() -> None:
    assert summary(compared({"a": gateway()}, {"b": gateway("other")})) == "1 added, 0 changed, 1 removed"


def test_a_file_that_is_not_valid_removes_nothing() -> None:
    """The API server refuses it, and keeps what it has."""
    invalid = gateway().replace("hosts:", "host:")
    assert lines({"a": gateway()}, {"a": invalid})[1] == "  ~ the file is not valid: see egressgw validate"
    assert lines({"a": invalid}, {"a": gateway()})[1] == "  ~ the file was not valid"


def test_a_suspended_object_keeps_what_stands() -> None:
    told = lines({"a": gateway()}, {"a": gateway() + "  suspend: true\n"})
    assert told[1:] == ["  ~ suspend changes", "  Objects: +0, ~0, -0.  Gateway pods: not restarted."]
