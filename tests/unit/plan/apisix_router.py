"""
Which rule of ApisixRoutes APISIX takes a request by (apache/apisix, router `radixtree_host_uri`; lua-resty-radixtree).

Of rules for the host those of the longest path that fits come first, whatever their priority, which decides among rules
of one path. Who does not match in method or header leaves the request to the next. Rules without a host come last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from egressgateway.refs import Manifest


@dataclass(frozen=True, slots=True)
class Request:
    """What APISIX sees of a request."""

    host: str
    method: str = "GET"
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)


def rule_for(routes: Iterable[Manifest], request: Request) -> Manifest | None:
    """The rule that takes the request; None: APISIX answers 404."""
    rules = [rule for route in routes for rule in route["spec"]["http"]]
    fitting = sorted(_fitting(rules, request), key=lambda found: found[0], reverse=True)
    return fitting[0][1] if fitting else None


def _fitting(rules: Iterable[Manifest], request: Request) -> Iterator[tuple[tuple[bool, bool, int, int], Manifest]]:
    for rule in rules:
        match = rule["match"]
        if not _admits(match, request):
            continue
        for path in match["paths"]:
            prefix = path.removesuffix("*")
            exact = prefix == path
            if request.path == path if exact else request.path.startswith(prefix):
                yield ("hosts" in match, exact, len(prefix), rule.get("priority", 0)), rule


def _admits(match: Any, request: Request) -> bool:
    return (
        request.host in match.get("hosts", (request.host,))
        and request.method in match.get("methods", (request.method,))
        and all(_holds(expr, request) for expr in match.get("exprs", ()))
    )


def _holds(expr: Any, request: Request) -> bool:
    assert (expr["subject"]["scope"], expr["op"]) == ("Header", "Equal"), expr
    return request.headers.get(expr["subject"]["name"]) == expr["value"]
