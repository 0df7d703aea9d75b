"""
`tls-server-name` of a kubeconfig for a client that does not support it: a middleware of its aiohttp session.

The name that the server's certificate must have, where the address is another one (a tunnel, a load balancer). aiohttp
takes it with each request only, and kopf passes none.
"""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp


@dataclass(frozen=True, slots=True)
class ServerName:
    """Asks each server for the certificate of `name`."""

    name: str

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """aiohttp's protocol for middlewares."""
        request.server_hostname = self.name
        return await handler(request)
