"""
What a role grants, and what was asked of an API server: sets of the same rights, to be compared.

Asked is what the audit log has: its verbs are those that the authorizer saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from harness.rest import Object

CLUSTER = "cluster"


class Right(NamedTuple):
    """A verb for a resource, in one namespace or in the `cluster` as a whole."""

    scope: str
    resource: str
    """With its group and subresource: `apps/deployments`, `egressgateway.dev/egressgateways/status`."""

    verb: str


def granted(roles: Iterable[Object]) -> frozenset[Right]:
    """Everything that Roles and ClusterRoles grant; to fewer names or to all is the same here."""
    return frozenset(
        Right(role["metadata"].get("namespace", CLUSTER), _name(group, resource), verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )


class Request(NamedTuple):
    """A request by the audit log. `namespace` is empty for one of the whole cluster."""

    namespace: str
    resource: str
    verb: str
    code: int


def requests_of(events: Iterable[dict[str, Any]], user: str) -> Iterator[Request]:
    """What a user asked of resources, once each request was answered; watches as soon as they ran."""
    for event in events:
        reference = event.get("objectRef") or {}
        if event["user"]["username"] == user and event["stage"] != "RequestReceived" and "resource" in reference:
            parts = (reference["resource"], reference.get("subresource", ""))
            name = _name(reference.get("apiGroup", ""), "/".join(filter(None, parts)))
            code = (event.get("responseStatus") or {}).get("code", 200)
            yield Request(reference.get("namespace", ""), name, event["verb"], code)
            if (event["verb"], code) == ("patch", 201):
                # An apply of what is not there: the server asks for the right to create it, too.
                yield Request(reference.get("namespace", ""), name, "create", code)


def used(requests: Iterable[Request], rights: frozenset[Right]) -> frozenset[Right]:
    """
    The rights that allowed `requests`: the narrow one where there are two.

    What nothing in `rights` allows is returned as it was asked, so that it stands out in a comparison.
    """
    return frozenset(_allowing(request, rights) for request in requests)


def table(rights: frozenset[Right], others: frozenset[Right], why: dict[Right, str]) -> str:
    """Rights granted and used, a row for each resource and scope, in Markdown."""
    rows = sorted({(right.scope, right.resource) for right in rights | others})
    lines = ["| where | resource | granted | used |", "|---|---|---|---|"]
    for scope, resource in rows:
        here = [sorted(each.verb for each in side if each[:2] == (scope, resource)) for side in (rights, others)]
        notes = [reason for right, reason in why.items() if right[:2] == (scope, resource)]
        shown = [" ".join(verbs) for verbs in here]
        lines.append(f"| {scope} | {resource} | {shown[0]} | {'; '.join(filter(None, [shown[1], *notes]))} |")
    return "\n".join(lines)


def _allowing(request: Request, rights: frozenset[Right]) -> Right:
    narrow = Right(request.namespace or CLUSTER, request.resource, request.verb)
    wide = narrow._replace(scope=CLUSTER)
    return next((right for right in (narrow, wide) if right in rights), narrow)


def _name(group: str, resource: str) -> str:
    return f"{group}/{resource}" if group else resource
