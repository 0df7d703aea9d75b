"""What the catalogue of reasons says of one, as the line that its section in `docs/troubleshooting.md` begins with."""

from __future__ import annotations

from egressgateway.api.conditions import CATALOGUE, Actor, Reason

ACTORS = {
    Actor.AUTHOR: "the author of the object",
    Actor.ADMIN: "the platform's admins",
    Actor.OPERATOR: "nobody, or the operator's developers",
    Actor.NOBODY: "nobody",
}


def facts_of(reason: Reason) -> str:
    """Conditions, their status, who acts, and whether only an edit helps."""
    entry = CATALOGUE[reason]
    where = ", ".join(f"`{condition}`" for condition in entry.conditions) or "An event"
    status = f" `{entry.status}`" if entry.status and entry.conditions else ""
    stalls = " Only an edit helps." if entry.needs_edit else ""
    return f"*{where}{status}. Acts: {ACTORS[entry.acts]}.{stalls}*"
