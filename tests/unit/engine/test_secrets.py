"""What is known of a Secret: its keys and certificates, never a private key."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressgateway.engine.cache.secrets import CERTIFICATES, without_secrets
from egressgateway.facts import KEY_VERDICTS
from egressgateway.refs import Manifest

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(data: dict[str, str], **metadata: object) -> Manifest:
    named = {"namespace": "shop", "name": "s", "uid": "u", "resourceVersion": "7"}
    return {"kind": "Secret", "type": "kubernetes.io/tls", "metadata": named | metadata, "data": data}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=8) | st.sampled_from(["tls.key", "key", "password"]), st.text(min_size=3)))
def test_values_are_dropped_and_keys_kept(texts: dict[str, str]) -> None:
    """Whatever a key is called: only known certificates keep their value."""
    data = {name: encoded(text) for name, text in texts.items()}
    kept = without_secrets(secret(data))["data"]
    assert kept == {name: value if name in CERTIFICATES else "" for name, value in data.items()}


def test_certificates_stay() -> None:
    """Their names, ends and issuers are what the status tells about."""
    data = {name: encoded(CERTIFICATE) for name in CERTIFICATES}
    assert without_secrets(secret(data))["data"] == data


def test_private_key_beside_a_certificate_is_cut_out() -> None:
    """Some keep both in one file; also one whose end is missing."""
    for text in (CERTIFICATE + KEY + CERTIFICATE, KEY + CERTIFICATE + CERTIFICATE):
        kept = without_secrets(secret({"tls.crt": encoded(text)}))["data"]["tls.crt"]
        assert base64.b64decode(kept).decode() == CERTIFICATE * 2
    kept = without_secrets(secret({"cert": encoded(CERTIFICATE + KEY[:40])}))["data"]["cert"]
    assert base64.b64decode(kept).decode() == CERTIFICATE


def test_annotations_go() -> None:
    """`kubectl apply` writes the whole Secret into one of them."""
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"data": {"tls.key": encoded(KEY)}})}
    kept = without_secrets(secret({}, annotations=applied, labels={"a": "b"}))
    assert kept["metadata"].keys() == {"namespace", "name", "uid", "resourceVersion"}
    assert kept["type"] == "kubernetes.io/tls"


def test_trimming_twice_is_trimming_once() -> None:
    """A list and the store do it one after the other."""
    once = without_secrets(secret({"tls.crt": encoded(CERTIFICATE + KEY), "tls.key": encoded(KEY), "x": "?"}))
    assert without_secrets(once) == once


PASSWORD = BestAvailableEncryption(b"bank")
OWNERS = ("curve", "rsa")


@cache
def private_key(owner: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048) if owner == "rsa" else ec.generate_private_key(ec.SECP256R1())


@cache
def certificate_of(owner: str) -> str:
    key, name = private_key(owner), x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
    signed = builder.not_valid_after(datetime(2035, 1, 1, tzinfo=UTC)).sign(key, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


def pem(owner: str, form: PrivateFormat, *, encrypted: bool = False) -> str:
    return private_key(owner).private_bytes(Encoding.PEM, form, PASSWORD if encrypted else NoEncryption()).decode()


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("names", [("tls.crt", "tls.key"), ("cert", "key")])
def test_key_is_judged_before_it_is_dropped(owner: str, form: PrivateFormat, names: tuple[str, str]) -> None:
    """Of its own certificate, of another's, with a password; in each form that Envoy reads. No key stays."""
    other = next(each for each in OWNERS if each != owner)
    found = {
        what: without_secrets(secret({names[0]: encoded(certificate), names[1]: encoded(key)}))
        for what, certificate, key in (
            ("fits", certificate_of(owner), pem(owner, form)),
            ("chain", certificate_of(owner) + certificate_of(other), "\n" + pem(owner, form)),
            ("other", certificate_of(other), pem(owner, form)),
            ("locked", certificate_of(owner), pem(owner, form, encrypted=True)),
            ("certificate", certificate_of(owner), certificate_of(owner)),
            ("cut", certificate_of(owner), pem(owner, form)[:200]),
            ("nothing", certificate_of(owner), ""),
            # Of the certificate there is another message.
            ("broken", "no certificate", pem(owner, form)),
        )
    }
    assert {what: kept[KEY_VERDICTS].get(names[1]) for what, kept in found.items()} == {
        "fits": None,
        "chain": None,
        "other": "Mismatch",
        "locked": "Encrypted",
        "certificate": "Unreadable",
        "cut": "Unreadable",
        "nothing": "Unreadable",
        "broken": None,
    }
    assert all(kept["data"][names[1]] == "" and "PRIVATE" not in json.dumps(kept) for kept in found.values())
    assert all(without_secrets(kept) == kept for kept in found.values())


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_verdict_is_given_on_whatever_bytes(certificate: bytes, key: bytes) -> None:
    """A Secret is its author's: nothing in it may stop the watch."""
    framed = b"-----BEGIN PRIVATE KEY-----\n" + base64.b64encode(key) + b"\n-----END PRIVATE KEY-----\n"
    data = {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(framed).decode()}
    kept = without_secrets(secret({**data, "cert": certificate_of("curve"), "key": "%%%"}))
    assert kept[KEY_VERDICTS].keys() <= {"tls.key", "key"}
