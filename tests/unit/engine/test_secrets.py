"""What is known of a Secret: its keys and certificates, never a private key."""

from __future__ import annotations

import base64
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressgateway.engine.cache.secrets import CERTIFICATES, without_secrets
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
