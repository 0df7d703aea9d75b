"""
What may be known of a Secret: which keys it has, its certificates, and whether its private keys fit them. Never a
private key, not even in memory.

Applied before a Secret enters a store, so that no cache, log, event or crash can reveal what the store never held.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from egressgateway.engine.cache.keypairs import verdicts_of
from egressgateway.facts import KEY_VERDICTS
from egressgateway.refs import Manifest

CERTIFICATES: Final = frozenset({"tls.crt", "ca.crt", "cert", "cacert"})
"""Keys under which Kubernetes and Istio keep certificates; the values of all others are secret."""

_KEPT_METADATA: Final = ("namespace", "name", "uid", "creationTimestamp", "deletionTimestamp", "resourceVersion")
_PRIVATE_KEY: Final = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----\s*|\Z)", re.S
)


def without_secrets(secret: Manifest) -> Manifest:
    """
    A Secret with every value but certificates replaced by an empty string, and what was wrong with its private keys.

    Annotations are removed, too: `kubectl apply` repeats all values in one of them.
    """
    metadata, data = secret["metadata"], secret.get("data") or {}
    # A list and the store do it one after the other: what was judged has no key any more.
    verdicts = secret[KEY_VERDICTS] if KEY_VERDICTS in secret else verdicts_of(data)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": secret.get("type", "Opaque"),
        "metadata": {name: metadata[name] for name in _KEPT_METADATA if name in metadata},
        "data": {key: _certificates_of(key, value) for key, value in data.items()},
        KEY_VERDICTS: verdicts,
    }


def _certificates_of(key: str, value: str | None) -> str:
    """The base64 text itself for certificates; some users keep the private key in the same file: that is cut out."""
    if key not in CERTIFICATES or not value:
        return ""
    try:
        decoded = base64.b64decode(value, validate=True)
    except binascii.Error:
        return ""
    cleaned = _PRIVATE_KEY.sub(b"", decoded)
    return value if cleaned == decoded else base64.b64encode(cleaned).decode()
