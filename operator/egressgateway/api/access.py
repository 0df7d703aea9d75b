"""Who may use the destinations."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from egressgateway.api.model import ApiModel
from egressgateway.api.rules import ATOMIC, SET, Rule
from egressgateway.api.scalars import HttpMethod, HttpPath, LabelName, ObjectName, PartReference
from egressgateway.api.selector import LabelSelector

MAX_CONSUMER_NAMESPACES = 512
"""Most namespaces that one object may serve, listed and selected ones together, `{}` aside."""

MAX_REQUIREMENTS = 64
"""Most labels and expressions in the namespace selectors of one object: each is compared with every namespace."""


def _requirements(access: Access) -> int:
    selectors = (entry.namespace_selector for entry in access.from_)
    return sum(len(each.match_labels) + len(each.match_expressions) for each in selectors if each is not None)


class AccessEntry(ApiModel):
    """One kind of client; all of its fields must match."""

    namespaces: Annotated[tuple[LabelName, ...], Field(min_length=1, max_length=128), SET] = ()
    """
    Namespaces of the clients, at most 128 here and 512 in all entries. Default: the own one. Others need the class's
    `allowedConsumers`.
    """

    namespace_selector: LabelSelector | None = None
    """
    Selects the clients' namespaces by labels, at most 512 in all entries; `{}` means every namespace. Not with
    `namespaces`.
    """

    service_accounts: Annotated[tuple[ObjectName, ...], Field(min_length=1, max_length=16), SET] = ()
    """
    Service accounts of the clients, in each of the namespaces: at most 16. Default: every one. Not with a class
    of `mtls: Disabled`.
    """

    destinations: Annotated[tuple[PartReference, ...], Field(min_length=1, max_length=64), SET] = ()
    """Names of the destinations that the clients may use. Default: all."""

    methods: Annotated[tuple[HttpMethod, ...], Field(min_length=1, max_length=16), SET] = ()
    """
    HTTP methods such as `GET`: at most 16. Default: every one. Only where all ports have protocol HTTP, HTTP2
    or GRPC.
    """

    paths: Annotated[tuple[HttpPath, ...], Field(min_length=1, max_length=32), SET] = ()
    """
    Paths such as `/v1/a`, or prefixes such as `/v1/*`: at most 32. Default: every one. Only where all ports
    have protocol HTTP, HTTP2 or GRPC.
    """

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["AccessEntry"](
            cel="!(has(self.namespaces) && has(self.namespaceSelector))",
            message="set only one of namespaces and namespaceSelector: make an entry for each",
            holds=lambda self: not self.namespaces or self.namespace_selector is None,
            field=".namespaceSelector",
            reason="FieldValueForbidden",
        ),
    )


class Access(ApiModel):
    """Who may use the destinations. It lists everybody: name the own namespace too."""

    from_: Annotated[tuple[AccessEntry, ...], Field(alias="from", min_length=1, max_length=32), ATOMIC]
    """
    1 to 32 kinds of clients; a request must match one of them. Their namespace selectors may have 64 labels and
    expressions in all.
    """

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["Access"](
            cel=(
                "self.from.map(f, has(f.namespaceSelector) ? "
                "(has(f.namespaceSelector.matchLabels) ? size(f.namespaceSelector.matchLabels) : 0) + "
                "(has(f.namespaceSelector.matchExpressions) ? size(f.namespaceSelector.matchExpressions) : 0) : 0)"
                f".sum() <= {MAX_REQUIREMENTS}"
            ),
            message=(
                f"namespace selectors may have {MAX_REQUIREMENTS} labels and expressions in all: give the namespaces a "
                "common label, or make several objects"
            ),
            holds=lambda self: _requirements(self) <= MAX_REQUIREMENTS,
            field=".from",
        ),
    )
