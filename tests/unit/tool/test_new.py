"""A file for what is called, valid as it stands, with the reasons beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from egressgateway.errors import SourceError
from egressgateway.tool.advised import advised
from egressgateway.tool.new import UrlError, Wish, parse_url, write
from unit.tool.files import NOW, gateway_class, report_of

URLS = (
    "https://api.stripe.com",
    "postgres://orders.abc.eu-central-1.rds.amazonaws.com:5432",
    "https+mtls://api.bank.example",
)


def text_of(*urls: str, **wish: object) -> str:
    return "\n".join(write([parse_url(each) for each in urls], Wish("shop", **wish)))  # type: ignore[arg-type]


def test_the_file_is_what_an_author_would_write() -> None:
    assert text_of(*URLS).splitlines() == [
        "apiVersion: egressgateway.dev/v1alpha1",
        "kind: EgressGateway",
        "metadata: {name: shop, namespace: shop}",
        "spec:",
        "  destinations:",
        "  - name: stripe",
        "    hosts: [api.stripe.com]",
        "    ports:",
        "    - {port: 443, protocol: TLS}   # your client's own TLS, passed through",
        "  - name: orders",
        "    hosts: [orders.abc.eu-central-1.rds.amazonaws.com]",
        "    ports:",
        "    - {port: 5432, protocol: TCP}   # PostgreSQL starts in plain text, so TLS would hang: EGW1107",
        "  - name: bank",
        "    hosts: [api.bank.example]",
        "    ports:",
        (
            "    - {port: 80, protocol: HTTP, targetPort: 443, tls: {mode: Mutual, credentialName: bank-client}}   "
            "# call http://api.bank.example; the gateway shows the certificate"
        ),
        "    traffic: {timeout: 30s}   # without one, a request may wait for ever",
    ]


@pytest.mark.parametrize(
    "url",
    [
        *URLS,
        "http://example.com:8080/path?query",
        "https://*.example.com",
        "https+tls://user:secret@api.example.com:8443",
        "grpc://api.example.com",
        "tcp://api.example.com:9000",
        "mysql://db.example.com",
        "https://1.example.com",
        "https://API.Example.com.",
    ],
)
def test_every_file_is_valid(url: str) -> None:
    """By the same check as any file; nothing of it is an error, and no secret of the URL is in it."""
    text = text_of(url)
    assert [each.message for each in report_of(a=text).diagnostics if each.severity == "error"] == []
    assert "secret" not in text


def test_one_host_is_one_destination_and_two_have_two_names() -> None:
    text = text_of("https://a.example.com", "http://a.example.com", "https://a.example.org")
    assert re.findall("name: (a.*)", text) == ["a", "a-2"]
    assert [each.code.code for each in report_of(a=text).diagnostics] == []


def test_others_that_may_use_it_leave_the_own_namespace_in() -> None:
    assert "  access: {from: [{namespaces: [shop, billing]}]}" in text_of(URLS[0], consumers=("billing",)).splitlines()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("api.example.com", "the scheme is none of https"),
        ("gopher://example.com", "the scheme is none of https"),
        ("https://", "there is no host"),
        ("tcp://example.com", "tcp has no port of its own; as in tcp://example.com:9000"),
        ("https://example.com:99999", "out of range"),
        ("https://[example.com", "Invalid IPv6"),
    ],
)
def test_a_url_that_says_too_little_is_refused_with_what_would_do(url: str, words: str) -> None:
    with pytest.raises(UrlError, match=re.escape(words)):
        parse_url(url)


def test_what_the_class_thinks_stands_below_the_file(tmp_path: Path) -> None:
    file = tmp_path / "class.yaml"
    file.write_text(gateway_class(spec="{deniedFeatures: [TCP], allowedHosts: ['*.stripe.com', '*.amazonaws.com']}"))
    text, is_fine = advised([parse_url(each) for each in URLS], Wish("shop", class_name=str(file)), NOW)
    assert not is_fine
    assert "  className: standard" in text.splitlines()
    assert "# ✗ EGW3004 FeatureNotAllowed: spec.destinations[1].ports: EgressGatewayClass standard denies TCP" in text
    assert "# ✗ EGW3003 HostNotAllowed: spec.destinations[2].hosts" in text
    assert (
        "#     kubectl create secret generic bank-client -n shop --from-file=tls.crt --from-file=tls.key "
        "--from-file=ca.crt" in text.splitlines()
    )


def test_a_host_that_nobody_may_have_is_said() -> None:
    text, is_fine = advised([parse_url("https://10.0.0.1")], Wish("shop"), NOW)
    assert not is_fine
    assert "# ✗ EGW1001 Invalid: spec.destinations[0].hosts[0]" in text


def test_names_that_yaml_reads_as_something_else_are_quoted() -> None:
    """`on` is a namespace, and `123` is one, too."""
    text = "\n".join(write([parse_url("https://api.stripe.com")], Wish("on", consumers=("123",), class_name="true")))
    found = yaml.safe_load(text)
    assert found["metadata"] == {"name": "on", "namespace": "on"}
    assert found["spec"]["access"] == {"from": [{"namespaces": ["on", "123"]}]}
    assert found["spec"]["className"] == "true"


@pytest.mark.parametrize("url", ["foo://user:hunter2@db.example.com", "tcp://user:hunter2@db.example.com"])
def test_a_password_is_not_repeated(url: str) -> None:
    with pytest.raises(UrlError) as error:
        parse_url(url)
    assert "hunter2" not in str(error.value)


def test_a_class_that_is_neither_a_file_nor_a_name_is_refused() -> None:
    with pytest.raises(SourceError, match=r"no/file\.yaml: no such file"):
        advised([parse_url("https://api.stripe.com")], Wish("shop", class_name="no/file.yaml"), NOW)
