"""A difference for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from egressgateway.tool.difference import Change, Kind, ObjectDifference
from egressgateway.tool.output.structured import document, object_of
from egressgateway.tool.output.style import Style
from egressgateway.tool.output.words import printable

_SIGNS: Final = {Kind.ADDED: "+", Kind.CHANGED: "~", Kind.REMOVED: "-"}
_WHAT: Final = "destination"


def as_text(found: ObjectDifference, style: Style, *, show_objects: bool) -> Iterator[str]:
    """One EgressGateway: destinations and clients, how many objects, and the objects where they are asked for."""
    yield f"{style.bold(f'EgressGateway {found.key}')}   ({found.gateway})"
    yield from (f"  {_line(each)}" for each in found.changes)
    counts = ", ".join(f"{_SIGNS[kind]}{len(found.objects.get(kind, ()))}" for kind in Kind)
    yield f"  Objects: {counts}.  Gateway pods: {_pods(found)}."
    if show_objects:
        yield from map(printable, found.lines)
    yield ""


def summary(found: Iterable[ObjectDifference]) -> str:
    """How many destinations and exposed hosts come, change and go, in a line."""
    kinds = [change.kind for each in found for change in each.changes if change.section]
    return ", ".join(f"{kinds.count(kind)} {kind.value}" for kind in Kind)


def as_document(found: Iterable[ObjectDifference], now: datetime) -> dict[str, Any]:
    """A difference for programs."""
    items = [
        {"object": object_of(each.ref), **({"section": change.section} if change.section else {})}
        | {"change": change.kind.value, "words": list(change.words)}
        for each in found
        for change in each.changes
    ]
    return document("Diff", now, items, {})


def _pods(found: ObjectDifference) -> str:
    """What becomes of the gateway's pods."""
    for kind, words in ((Kind.ADDED, "new"), (Kind.REMOVED, "removed")):
        if any(ref.kind == "Deployment" for ref in found.objects.get(kind, ())):
            return words
    return "replaced, one after the other" if found.restarts else "not restarted"


def _line(change: Change) -> str:
    name = f"{_WHAT} {change.section}: " if change.section else ""
    if change.section.startswith("expose."):
        name = f"exposed host {change.section.removeprefix('expose.')}: "
    return printable(f"{_SIGNS[change.kind]} {name}{'; '.join(filter(None, change.words))}")
