"""
TLS of the world's servers: a certificate for whatever name a client asks for, issued when it is first asked for.
Servers whose names begin with `fixed-` have their own, whatever they are asked for; `http1-` ones offer no HTTP/2.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

from harness.mesh.world.names import FIXED, HTTP1
from harness.pki import Authority, Pair

NO_NAME = "no-sni.invalid"
OTHER_NAME = "other-name.invalid"
EXPIRED = timedelta(minutes=-10)


class NamedContext(ssl.SSLContext):
    """A server's context for one name; `name` is the SNI with which the client came, None without."""

    name: str | None = None


class Certificates:
    """The world's two authorities, one of which systems trust, and what they issue."""

    def __init__(self, directory: Path) -> None:
        self.trusted = Authority(directory / "trusted")
        self.private = Authority(directory / "private")

    def create(self) -> None:
        """Make the authorities' keys and certificates."""
        for authority, name in ((self.trusted, "trusted by systems"), (self.private, "trusted by nobody")):
            authority.certificate_file.parent.mkdir(parents=True, exist_ok=True)
            # Of one name, the two would be taken for one authority with a broken signature.
            authority.create(name)

    def client(self, name: str) -> Pair:
        """A client's certificate that the mutual TLS servers accept."""
        return self.trusted.issue(name, (), (f"{name}.clients.example",))

    def contexts(self, *, client_required: bool) -> Callable[[str | None], ssl.SSLContext]:
        """By the name whose address was dialled: a context, which becomes another for each name that is asked for."""
        issuer = _Issuer(self, client_required)

        def context_of(dialled: str | None) -> ssl.SSLContext:
            name = dialled or ""
            offered = ("http/1.1",) if name.startswith(HTTP1) else ("h2", "http/1.1")
            return issuer.context_for(None, name if name.startswith(FIXED) else None, offered)

        return context_of

    def server(self, name: str | None) -> Pair:
        """The certificate of a host, as good or bad as its name promises."""
        if name is None:
            return self.trusted.issue(NO_NAME, (), (NO_NAME,))
        if name.startswith("wrong-"):
            return self.trusted.issue(OTHER_NAME, (), (OTHER_NAME,))
        if name.startswith("private-"):
            return self.private.issue(name, (), (name,))
        return self.trusted.issue(
            name[:64], (), (name,), EXPIRED if name.startswith("expired-") else timedelta(days=30)
        )


class _Issuer:
    def __init__(self, certificates: Certificates, client_required: bool) -> None:
        self._certificates = certificates
        self._client_required = client_required
        self.context_for = cache(self._context_for)

    def _context_for(self, name: str | None, fixed: str | None, offered: tuple[str, ...]) -> NamedContext:
        context = NamedContext(ssl.PROTOCOL_TLS_SERVER)
        context.name = name
        _load(context, self._certificates.server(fixed or name))
        context.set_alpn_protocols(offered)
        context.load_verify_locations(self._certificates.trusted.certificate_file)
        # Asked for everywhere: a proxy that offers the mesh's own certificate to strangers fails.
        context.verify_mode = ssl.CERT_REQUIRED if self._client_required else ssl.CERT_OPTIONAL
        context.sni_callback = partial(self._choose, fixed, offered)
        return context

    def _choose(
        self, fixed: str | None, offered: tuple[str, ...], connection: ssl.SSLObject, name: str | None, _: Any
    ) -> None:
        if name:
            connection.context = self.context_for(name, fixed, offered)


def _load(context: ssl.SSLContext, pair: Pair) -> None:
    # The ssl module takes certificates from files only.
    with tempfile.NamedTemporaryFile() as file:
        file.write(pair.certificate + pair.key)
        file.flush()
        context.load_cert_chain(file.name)
