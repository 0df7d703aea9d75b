"""Secrets of Kubernetes with what the world's servers accept, or are to be accepted by."""

from __future__ import annotations

import base64

from harness.mesh.world.certificates import Certificates
from harness.rest import Object


def secret(certificates: Certificates, name: str, kind: str) -> Object:
    """
    The Secret `name` (`namespace/name`).

    Args:
        kind: `client`: a client's certificate, named after the Secret, and the CA of ordinary servers; `pair`: the
            same without a CA; `ca`: the CA of servers that are called `private-…`; `server`: the certificate of a
            server within the cluster, for `NAME.example`, which systems trust.

    Raises:
        LookupError: another kind.
    """
    namespace, _, own = name.partition("/")
    content = {"client": _client, "pair": _pair, "ca": _ca, "server": _server}[kind](certificates, own)
    data = {key: base64.b64encode(value).decode() for key, value in content.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": own, "namespace": namespace}, "data": data}


def _client(certificates: Certificates, name: str) -> dict[str, bytes]:
    return {**_pair(certificates, name), "ca.crt": certificates.trusted.certificate_file.read_bytes()}


def _pair(certificates: Certificates, name: str) -> dict[str, bytes]:
    pair = certificates.client(name)
    return {"tls.crt": pair.certificate, "tls.key": pair.key}


def _ca(certificates: Certificates, _: str) -> dict[str, bytes]:
    return {"ca.crt": certificates.private.certificate_file.read_bytes()}


def _server(certificates: Certificates, name: str) -> dict[str, bytes]:
    pair = certificates.server(f"{name}.example")
    return {"tls.crt": pair.certificate, "tls.key": pair.key}
