"""Whether files are right: each object judged beside all others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from egressgateway.api.conditions import Reason
from egressgateway.api.objects import parse_class
from egressgateway.refs import EGRESS_GATEWAY_CLASS, ObjectRef
from egressgateway.tool.codes import BY_REASON
from egressgateway.tool.diagnostic import Diagnostic, NotChecked, Report
from egressgateway.tool.documents import Document, Reading
from egressgateway.tool.judge import Judged, judge
from egressgateway.tool.shape import is_ours, shape_mistakes, twice
from egressgateway.tool.unknown import not_checked
from egressgateway.tool.world import Scope, World


def validate(reading: Reading, scope: Scope, now: datetime) -> Report:
    """Everything that is wrong with what was read, and what files cannot tell."""
    world = World(reading.documents, scope)
    return report_of(reading, world, judge_all(world, now))


def judge_all(world: World, now: datetime) -> tuple[Judged, ...]:
    """Every EgressGateway, in the order of the files."""
    return tuple(judge(world, key, now) for key in world.gateways)


def report_of(reading: Reading, world: World, judged: Iterable[Judged]) -> Report:
    """What was found in all of it, in the order of files and lines."""
    ours = {ref: found for ref, found in world.documents.items() if is_ours(found[0])}
    diagnostics: list[Diagnostic] = [*reading.mistakes]
    for document in reading.documents:
        if is_ours(document):
            diagnostics += shape_mistakes(document)
    diagnostics += twice(ours)
    diagnostics += _class_mistakes(ours)
    open_: list[NotChecked] = []
    for each in judged:
        diagnostics += each.diagnostics
        open_ += each.not_checked
    open_ += not_checked(world)
    diagnostics.sort(key=lambda each: each.place)
    return Report(tuple(diagnostics), tuple(dict.fromkeys(open_)), reading.files, tuple(ours))


def _class_mistakes(ours: Mapping[ObjectRef, list[Document]]) -> Iterator[Diagnostic]:
    """Rules of the API that a class breaks."""
    for ref, (document, *_) in ours.items():
        if ref.kind == EGRESS_GATEWAY_CLASS.kind:
            for error in parse_class(document.manifest).errors:
                place = document.place(error.field, str(error.value))
                yield Diagnostic(BY_REASON[Reason.INVALID], str(error), place, ref, error.field)
