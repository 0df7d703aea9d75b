"""Digest of an object: equal for equal JSON, whatever the order of keys."""

from __future__ import annotations

import hashlib

import orjson

from egressgateway.refs import Manifest


def digest_of(manifest: Manifest) -> str:
    """16 hex digits of BLAKE2b over the object's canonical JSON."""
    return hashlib.blake2b(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
