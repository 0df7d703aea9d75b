"""
Where the API server is and how to prove who we are: read by the `kubernetes` package from a kubeconfig or from
the pod's files.

The package knows every form of credentials (tokens, client certificates, exec plugins, OIDC); nothing of that
is repeated here. `client` decides when to ask again.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, list_kube_config_contexts, load_incluster_config, load_kube_config

from egressgateway.errors import ClusterError, Unavailable

TLS_FILES = ("ssl_ca_cert", "cert_file", "key_file")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The API server and the TLS to reach it. Equal endpoints can share connections."""

    server: str
    """Base URL, without a slash at the end."""

    tls_server_name: str | None
    proxy: str | None
    verify: bool
    tls_digest: int
    """Of the contents of CA, certificate and key: a rotated certificate makes another endpoint."""

    tls: ssl.SSLContext | None = field(compare=False)


class Credentials:
    """One reading of the configuration; `load` makes another."""

    def __init__(self, configuration: Configuration, source: str = "") -> None:
        """`source`: their origin, as text."""
        self._configuration = configuration
        self.source = source
        self.endpoint = _endpoint(configuration)

    @classmethod
    async def load(cls, kubeconfig: str | None = None) -> Credentials:
        """
        Read the configuration: `kubeconfig`, else $KUBECONFIG, else the pod's service account, else ~/.kube/config
        (controller-runtime's order).

        Raises:
            ClusterError: there is none, or it cannot be read.
        """
        configuration = Configuration()
        path = kubeconfig or os.environ.get("KUBECONFIG")
        try:
            if not path and os.environ.get("KUBERNETES_SERVICE_HOST"):
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
                source = "the pod's service account"
            else:
                path = _existing(path or "~/.kube/config")
                await load_kube_config(  # type: ignore[no-untyped-call]
                    path, client_configuration=configuration, persist_config=False
                )
                _, active = list_kube_config_contexts(path)  # type: ignore[no-untyped-call]
                source = f"context {active['name']} of {path}"
            return cls(configuration, source)
        except Exception as error:
            # The package raises its own, TypeError, KeyError, YAML's and the system's errors for a bad file.
            read = path or "the pod's service account"
            raise ClusterError("connect", f"cannot read {read}: {error}", reason="BadConfiguration") from error

    async def authorization(self) -> str | None:
        """
        Value of the Authorization header; None when a client certificate is all.

        In a pod the package reads the token's file again once it is a minute old: such tokens rotate.

        Raises:
            Unavailable: the file is empty at this moment.
        """
        try:
            key = await self._configuration.get_api_key_with_prefix("BearerToken")
        except ConfigException as error:
            raise Unavailable("connect", str(error), reason="BadConfiguration") from error
        return key.strip() if key else None


def _existing(path: str) -> str:
    """`path` with the home directory spelled out. It may list several files; the package merges those that exist."""
    parts = [Path(part).expanduser() for part in path.split(os.pathsep) if part]
    if not any(part.is_file() for part in parts):
        raise FileNotFoundError("no such file; set KUBECONFIG to a kubeconfig, or run in a pod")
    return os.pathsep.join(map(str, parts))


def _endpoint(configuration: Configuration) -> Endpoint:
    server = str(configuration.host).rstrip("/")
    secure = server.startswith("https://")
    files = [getattr(configuration, name) for name in TLS_FILES]
    return Endpoint(
        server=server,
        tls_server_name=configuration.tls_server_name,
        proxy=configuration.proxy or _proxy_for(server),
        verify=configuration.verify_ssl,
        tls_digest=hash(tuple(Path(file).read_bytes() if file else b"" for file in files)),
        tls=_tls(configuration) if secure else None,
    )


def _tls(configuration: Configuration) -> ssl.SSLContext:
    """
    TLS as the package sets it up, without the flag that Python 3.13 adds to every default context.

    VERIFY_X509_STRICT refuses certificates without an Authority Key Identifier (RFC 5280, 4.2.1.1), which API servers
    of running clusters have and every other client of theirs takes. Chain, validity and name are verified as before.
    """
    context: ssl.SSLContext = RESTClientObject(configuration).ssl_context
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _proxy_for(server: str) -> str | None:
    """The environment's proxy for `server`. Asked once: aiohttp's `trust_env` looks it up for every request."""
    url = urlsplit(server)
    if proxy_bypass(url.netloc):
        return None
    return getproxies().get(url.scheme)
