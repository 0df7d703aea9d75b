"""
Whether a Secret's private key can be used with its certificate: what is known of the key before it is dropped.

Only the verdict is kept. It reveals nothing of the key but that it fits, which its owner says by putting both in one
Secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from egressgateway.facts import KeyVerdict

_PAIRS: Final = (("tls.crt", "tls.key"), ("cert", "key"))
_LARGEST: Final = 64 * 1024
"""Bytes of a key that are looked at; the longest of a known kind has a tenth."""

_KEY: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.*?-----END [A-Z0-9 ]*PRIVATE KEY-----", re.DOTALL)
_ENCRYPTED: Final = re.compile(rb"ENCRYPTED")


def verdicts_of(data: Mapping[str, str | None]) -> dict[str, str]:
    """What is wrong with each private key of a Secret, by its name; a key in order is not listed."""
    found = {
        key: _verdict(_decoded(data.get(certificate)), _decoded(data[key]))
        for certificate, key in _PAIRS
        if key in data
    }
    return {key: verdict for key, verdict in found.items() if verdict is not None}


def _verdict(certificate: bytes, key: bytes) -> KeyVerdict | None:
    block = _KEY.search(key[:_LARGEST])
    if block is None:
        return KeyVerdict.UNREADABLE
    if _ENCRYPTED.search(block[0]):
        return KeyVerdict.ENCRYPTED
    try:
        # Primes are not tested: that takes long, and the owner would harm nobody else.
        private = load_pem_private_key(block[0], None, unsafe_skip_rsa_key_validation=True)
        leaf = x509.load_pem_x509_certificates(certificate)[0]
        shown, own = (
            each.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            for each in (leaf.public_key(), private.public_key())
        )
    except UnsupportedAlgorithm:
        # Envoy may know it.
        return None
    except (ValueError, TypeError, x509.InvalidVersion):
        return None if _is_broken(certificate) else KeyVerdict.UNREADABLE
    return None if shown == own else KeyVerdict.MISMATCH


def _is_broken(certificate: bytes) -> bool:
    """Whether the certificate cannot be read, of which its own check tells."""
    try:
        x509.load_pem_x509_certificates(certificate)
    except (ValueError, x509.InvalidVersion):
        return True
    return False


def _decoded(value: str | None) -> bytes:
    try:
        return base64.b64decode(value or "", validate=True)
    except (binascii.Error, TypeError, ValueError):
        return b""
