"""Where the server of a destination really is: endpoints, and the strategies for wildcard hosts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from egressgateway.api.hosts import Address, Fqdn
from egressgateway.api.model import ApiModel
from egressgateway.api.rules import Rule, without
from egressgateway.api.scalars import Integer, Text

Locality = Annotated[
    Text,
    Field(min_length=1, max_length=64),
    without(" |/.*/.*/", "must be region, region/zone or region/zone/subzone, without spaces", edges="/"),
]


class Endpoint(ApiModel):
    """Where a destination really is."""

    address: Address
    """
    An IP address or a host. Addresses need the class's `allowedCIDRs`; loopback, link-local, multicast, broadcast and
    unspecified ones, those of clouds' metadata services and the mesh's own are never allowed, in any spelling.
    """

    weight: Annotated[Integer, Field(ge=1, le=10_000)] | None = None
    """Share of the requests, relative to the other endpoints: 1 to 10000, default 1."""

    locality: Locality | None = None
    """`region/zone/subzone` of the endpoint. With several localities the gateway fails over between them."""


class WildcardStrategy(StrEnum):
    """How the gateway finds the server of a wildcard host."""

    DYNAMIC_RESOLUTION = "DynamicResolution"
    SINGLE_SERVER = "SingleServer"


class Wildcard(ApiModel):
    """How the gateway finds the server of a wildcard host."""

    strategy: WildcardStrategy
    """`DynamicResolution`: the gateway resolves the requested name; `SingleServer`: `server` serves every subdomain."""

    server: Fqdn | None = None
    """The one host that serves every subdomain; required with strategy `SingleServer`, else forbidden."""

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["Wildcard"](
            cel="(self.strategy == 'SingleServer') == has(self.server)",
            message="server is required with strategy SingleServer and forbidden otherwise",
            holds=lambda wildcard: (
                (wildcard.strategy is WildcardStrategy.SINGLE_SERVER) == (wildcard.server is not None)
            ),
            field=".server",
        ),
    )
