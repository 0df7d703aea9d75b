"""What is never an external server: names and addresses, in every spelling."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from apicases.forbidden import (
    ADDRESSES,
    ALLOWED_ADDRESSES,
    MORE_RESERVED,
    ODD_SPELLINGS,
    RESERVED_NAMES,
    RESERVED_WILDCARDS,
)
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.reserved import forbidden_address, reserved_name, unreachable_networks
from egressgateway.api.validation import parse_spec
from egressgateway.names import private_address
from egressgateway.plan.istio.inner import refused_permissions

EXTERNAL = (
    "api.example.com",
    "mysvc.example.com",
    "svc.example.com",
    "api.svc-1.example.com",
    "notegress.internal",
    "db.corp.internal",
    "ip-10-0-0-1.ec2.internal",
    "mymetadata.goog",
    "169.254.169.254.example.com",
    "pod.example.com",
    "xn--e1awd7f.com",
)


def errors_of(**fields: Any) -> list[str]:
    """What the models say against a destination."""
    ports = [{"port": 80, "protocol": "HTTP"}]
    spec = {"destinations": [{"name": "a", "hosts": ["api.example.com"], "ports": ports} | fields]}
    parsed = parse_spec(spec)
    return [str(error) for error in parsed] if isinstance(parsed, tuple) else []


@pytest.mark.parametrize(("address", "why"), ADDRESSES)
def test_no_spelling_of_an_address_that_leads_inside_is_overlooked(address: str, why: str) -> None:
    """However it is written: a cloud's credentials are a request away from there."""
    assert forbidden_address(address) == why


@pytest.mark.parametrize("address", ALLOWED_ADDRESSES)
def test_what_is_beside_them_may_be_allowed(address: str) -> None:
    """A class may allow every other address, and names are no addresses."""
    assert forbidden_address(address) == ""
    assert forbidden_address("api.example.com") == ""


@pytest.mark.parametrize("address", [address for address, _ in ADDRESSES])
def test_the_network_policy_leaves_out_what_the_guards_refuse(address: str) -> None:
    """A name that leads there is stopped, too. The kernel sends IPv4 to an IPv4-mapped address."""
    parsed = ip_address(address)
    sent_to = getattr(parsed, "ipv4_mapped", None) or parsed
    assert any(sent_to in ip_network(network) for network in unreachable_networks(sent_to.version))


@pytest.mark.parametrize("address", ALLOWED_ADDRESSES)
def test_the_network_policy_lets_through_what_the_guards_let_pass(address: str) -> None:
    """The two say the same, so that what a class allows is reached."""
    parsed = ip_address(address)
    assert not any(parsed in ip_network(network) for network in unreachable_networks(parsed.version))


@pytest.mark.parametrize("version", [4, 6])
def test_networks_are_as_a_network_policy_takes_them(version: int) -> None:
    """Each is a strict part of all addresses, none stands there twice or within another, and none has host bits."""
    networks = [ip_network(text) for text in unreachable_networks(version)]
    assert networks
    assert all(network.version == version and network.prefixlen > 0 for network in networks)
    assert not [
        (one, other)
        for one in networks
        for other in networks
        if one is not other and one.overlaps(other)  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("network", unreachable_networks(4))
def test_names_under_a_wildcard_are_not_followed_there(network: str) -> None:
    """The gateway resolves those over IPv4 alone, and refuses more than the NetworkPolicy: private networks, too."""
    permissions = refused_permissions(EgressGatewayClassSpec())
    upstreams = [permission["matcher"]["typed_config"]["upstream_ip"] for permission in permissions]
    refused = [ip_network(f"{each['address_prefix']}/{each['prefix_len']}") for each in upstreams]
    assert any(ip_network(network).subnet_of(inner) for inner in refused)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a", "http-80.api.example.com.v1.shop.egress.internal", "z" * 40])
def test_the_addresses_of_private_entries_are_no_endpoints(name: str) -> None:
    """Whoever named one as an endpoint would be sent to another way of a gateway."""
    assert forbidden_address(private_address(name)) == "an address reserved by the mesh"


@pytest.mark.parametrize("name", [*RESERVED_NAMES, *RESERVED_WILDCARDS, *MORE_RESERVED])
def test_reserved_name_is_known(name: str) -> None:
    """One function answers for every field."""
    assert reserved_name(name).startswith("must ")


@pytest.mark.parametrize("name", EXTERNAL)
def test_external_name_is_not_reserved(name: str) -> None:
    """What only looks alike is somebody's host."""
    assert reserved_name(name) == ""
    assert errors_of(hosts=[name]) == []


@pytest.mark.parametrize("name", RESERVED_NAMES)
@pytest.mark.parametrize("field", ["hosts", "aliases", "endpoints", "server", "expose"])
def test_reserved_name_is_refused_wherever_a_host_may_stand(field: str, name: str) -> None:
    """By the schema, with the words of the rule and the field's path."""
    wild = {"hosts": ["*.example.com"], "wildcard": {"strategy": "SingleServer", "server": name}}
    fields: dict[str, Any] = {
        "hosts": {"hosts": [name]},
        "aliases": {"aliases": [name]},
        "endpoints": {"endpoints": [{"address": name}]},
        "server": wild,
    }
    if field == "expose":
        backend = {"service": {"name": "web", "port": 80}}
        parsed = parse_spec({"expose": [{"name": "a", "hosts": [name], "backend": backend}]})
        found = [str(error) for error in parsed] if isinstance(parsed, tuple) else []
    else:
        found = errors_of(**fields[field])
    assert [error for error in found if reserved_name(name) in error], found


@pytest.mark.parametrize("name", RESERVED_WILDCARDS)
def test_reserved_wildcard_is_refused(name: str) -> None:
    """A wildcard over a reserved name is one."""
    found = errors_of(hosts=[name], wildcard={"strategy": "DynamicResolution"})
    assert [error for error in found if reserved_name(name) in error], found


@pytest.mark.parametrize("text", ODD_SPELLINGS)
def test_what_is_no_host_is_refused(text: str) -> None:
    """Octal, hexadecimal and decimal addresses among it."""
    wild = {"wildcard": {"strategy": "DynamicResolution"}} if text.startswith("*") else {}
    assert errors_of(hosts=[text], **wild)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("API.Partner.Example.COM", "no capitals, write it in lower case"),
        ("my_bucket.s3.example.com", "'_' is not allowed in host names"),
        ("ftp.example.com:5012", "no port, set it in ports"),
        ("https://hooks.example.com/services", "no scheme and no path"),
        ("hooks.example.com/services", "no path, the host alone"),
        ("10.1.0.0/16", "no network (CIDR), name the hosts in it"),
        ("2001:db8::/32", "no network (CIDR), name the hosts in it"),
        ("2001:db8::1", "no IP address, name the host"),
        ("bucket.*.example.com", "'*' only as the whole first label"),
        ("*-pubsub.example.com", "'*' only as the whole first label"),
        ("*.com", "a wildcard has two or more labels after '*.'"),
        ("*", "not every host at once"),
        ("a b.example.com", "no spaces"),
        ("bücher.example", "only ASCII; international names in punycode"),
        ("api.example.com.", "no dot at the end"),
        ("reviews", "no single label, write the whole name"),
        ("-a.example.com", "no IP address, no single label, no trailing dot"),
    ],
)
def test_refusal_names_what_is_wrong_with_the_text(text: str, words: str) -> None:
    """One sentence for every mistake helps with none of them; the sentence still says what belongs there."""
    wild = {"wildcard": {"strategy": "DynamicResolution"}} if text.startswith("*.") else {}
    (error,) = errors_of(hosts=[text], **wild)
    assert words in error
    assert "must be a lower-case fully qualified host name such as api.example.com" in error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://hooks.example.com", "no scheme and no path"),
        ("192.0.2.0/24", "no network (CIDR)"),
        ("db.example.com:5432", "no port, set it in ports"),
        ("192.0.2.1:5432", "no port, set it in ports"),
        ("*.example.com", "no '*' here"),
        ("my_db.example.com", "'_' is not allowed in host names"),
        ("DB.example.com", "no capitals"),
    ],
)
def test_refusal_of_an_endpoint_names_what_is_wrong(text: str, words: str) -> None:
    """Likewise where an address may stand."""
    (error,) = errors_of(endpoints=[{"address": text}])
    assert words in error
    assert "must be an IP address, or a lower-case fully qualified host name" in error
