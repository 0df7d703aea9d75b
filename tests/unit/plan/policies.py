"""AuthorizationPolicies, evaluated over single requests as Istio does (istio.io, "Authorization Policy")."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from egressgateway.refs import Manifest


@dataclass(frozen=True, slots=True)
class Request:
    """What a gateway's policies can see of a request. `principal` and `sni` are empty without mutual TLS."""

    principal: str
    sni: str
    method: str = "GET"
    path: str = "/"
    port: int = 15443


def passes(policies: Iterable[Manifest], request: Request) -> bool:
    """A denial decides first; then, where anything allows, something must. A policy without rules matches nothing."""
    rules: dict[str, list[Manifest]] = {}
    for policy in policies:
        rules.setdefault(policy["spec"]["action"], []).extend(policy["spec"].get("rules", ()))
    if any(matches(rule, request) for rule in rules.get("DENY", ())):
        return False
    return "ALLOW" not in rules or any(matches(rule, request) for rule in rules["ALLOW"])


def matches(rule: Manifest, request: Request) -> bool:
    """Of `from` and of `to` one entry each, of `when` all; within an entry all fields."""
    sources = [entry["source"] for entry in rule.get("from", ())]
    operations = [entry["operation"] for entry in rule.get("to", ())]
    seen = {"connection.sni": request.sni, "source.principal": request.principal}
    return (
        (not sources or any(_holds(found, "principals", request.principal) for found in sources))
        and (not operations or any(_is_operation(found, request) for found in operations))
        and all(_is_one_of(condition["values"], seen[condition["key"]]) for condition in rule.get("when", ()))
    )


def _is_operation(fields: Manifest, request: Request) -> bool:
    seen = {"methods": request.method, "paths": request.path, "ports": str(request.port)}
    return all(_holds(fields, name, value) for name, value in seen.items())


def _holds(fields: Manifest, name: str, value: str) -> bool:
    """Whether `value` is among `principals` and not among `notPrincipals`, and so on for other fields."""
    wanted: Any = fields.get(name)
    unwanted: Any = fields.get(f"not{name.capitalize()}")
    return (wanted is None or _is_one_of(wanted, value)) and (unwanted is None or not _is_one_of(unwanted, value))


def _is_one_of(patterns: Iterable[str], value: str) -> bool:
    """A caller without an identity has none of any pattern."""
    return bool(value) and any(fnmatchcase(value, pattern) for pattern in patterns)
