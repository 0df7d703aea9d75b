"""Kubeconfig files: written for clients, read for the harness's own requests. One cluster, one user, no plugins."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API server and as whom. PEM texts are bytes; what is not used is empty."""

    server: str
    ca: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    token: str = ""

    def ssl_context(self) -> ssl.SSLContext | None:
        """What TLS needs; None for a plain HTTP server."""
        if not self.server.startswith("https"):
            return None
        context = ssl.create_default_context(cadata=self.ca.decode() or None)
        if self.certificate:
            _load_chain(context, self.certificate + b"\n" + self.key)
        return context

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def write(self, path: Path) -> Path:
        """Write as a kubeconfig that only the owner can read."""
        cluster = {"server": self.server, **_data("certificate-authority-data", self.ca)}
        user = {
            **_data("client-certificate-data", self.certificate),
            **_data("client-key-data", self.key),
            **({"token": self.token} if self.token else {}),
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(document, indent=1))
        return path

    @classmethod
    def read(cls, path: Path) -> Access:
        """
        Access by the current context of the kubeconfig at `path`.

        Raises:
            LookupError: the file names a cluster or user that it does not hold.
        """
        document = yaml.safe_load(path.read_text())
        context = _named(document["contexts"], document["current-context"])["context"]
        cluster = _named(document["clusters"], context["cluster"])["cluster"]
        user = _named(document["users"], context["user"])["user"]
        return cls(
            server=cluster["server"],
            ca=_pem(cluster, "certificate-authority", path),
            certificate=_pem(user, "client-certificate", path),
            key=_pem(user, "client-key", path),
            token=user.get("token", ""),
        )


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    # The ssl module takes client certificates from files only.
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)


def _data(name: str, pem: bytes) -> dict[str, str]:
    return {name: base64.b64encode(pem).decode()} if pem else {}


def _pem(section: dict[str, Any], name: str, kubeconfig: Path) -> bytes:
    if inline := section.get(f"{name}-data"):
        return base64.b64decode(inline)
    if file := section.get(name):
        return Path(kubeconfig.parent, file).read_bytes()
    return b""


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise LookupError(f"kubeconfig: nothing named {name!r}")
