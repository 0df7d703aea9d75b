"""Request headers that a gateway sets or removes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from egressgateway.api.model import ApiModel
from egressgateway.api.rules import SET, Rule, list_map, without
from egressgateway.api.scalars import Text

# Envoy computes these itself, and x-forwarded-client-cert would carry the client's certificate out.
_OWN_HEADERS = ("host", "connection", "content-length", "transfer-encoding", "x-forwarded-client-cert")
HeaderName = Annotated[
    Text,
    Field(min_length=1, max_length=128),
    without(r"[^\w.-]", "must be a header's name: letters, digits, '-', '_' and '.'"),
    Rule[str](
        cel="!(self.lowerAscii() in [" + ", ".join(f"'{name}'" for name in _OWN_HEADERS) + "])",
        message="the gateway sets " + ", ".join(_OWN_HEADERS) + " itself: choose another header",
        holds=lambda name: name.lower() not in _OWN_HEADERS,
        reason="FieldValueForbidden",
    ),
]


class HeaderValue(ApiModel):
    """A request header to set."""

    name: HeaderName
    """Name of the header."""

    value: Annotated[
        Text, Field(min_length=1, max_length=256), without("[^ -~]", "must be printable ASCII, without line breaks")
    ]
    """Value of the header, at most 256 characters. It is not secret: every reader of the object sees it."""


class RequestHeaders(ApiModel):
    """Changes to the headers of each request, made by the gateway."""

    set_: Annotated[tuple[HeaderValue, ...], Field(alias="set", max_length=16), list_map("name")] = ()
    """Headers to set, replacing what the client sent: at most 16."""

    remove: Annotated[tuple[HeaderName, ...], Field(max_length=16), SET] = ()
    """Headers to remove: at most 16."""
