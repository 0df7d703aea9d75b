"""A new file, and below it what the class thinks of it and what is missing: each line can be pasted into a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from egressgateway.errors import SourceError
from egressgateway.refs import EGRESS_GATEWAY_CLASS
from egressgateway.tool.documents import Document, Reading, read_paths, read_text
from egressgateway.tool.new import NAME, Call, Wish, secrets_of, write
from egressgateway.tool.output.words import name_of
from egressgateway.tool.severity import Severity
from egressgateway.tool.shape import named_object
from egressgateway.tool.validate import validate
from egressgateway.tool.world import Scope

_KEYS: Final = "--from-file=tls.crt --from-file=tls.key --from-file=ca.crt"
_SIGNS: Final = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.INFO: "i"}


def advised(calls: Sequence[Call], wish: Wish, now: datetime) -> tuple[str, bool]:
    """
    The file and its comments, and whether nothing is wrong with it. The class of `wish` may be a file.

    Raises:
        SourceError: the class's file cannot be read, or holds no class.
    """
    classes: tuple[Document, ...] = ()
    if Path(wish.class_name).is_file():
        classes = tuple(
            each for each in read_paths([wish.class_name]).documents if each.kind == EGRESS_GATEWAY_CLASS.kind
        )
        if not classes:
            raise SourceError(f"{wish.class_name}: there is no EgressGatewayClass in it")
        ref = named_object(classes[0].manifest, "")
        if ref is None:
            raise SourceError(f"{classes[0].place('metadata')}: the class has no name")
        wish = replace(wish, class_name=ref.name)
    elif wish.class_name and not NAME.fullmatch(wish.class_name):
        raise SourceError(f"{wish.class_name}: no such file, and no name of a class")
    text = "\n".join(write(calls, wish))
    reading = read_text(text, "new.yaml")
    report = validate(Reading(reading.documents + classes, reading.mistakes, 1), Scope(wish.namespace), now)
    lines = [
        f"# {_SIGNS[each.severity]} {each.code.code} {name_of(each.code)}: {each.message}"
        for each in report.diagnostics
    ]
    if not classes:
        named = f"class {wish.class_name}" if wish.class_name else "the default class"
        lines.append(f"# ? what {named} allows is not known here: --class FILE, or egressgw validate")
    lines += _secrets(calls, wish)
    return "\n".join([text, *lines]), not report.reaches(Severity.ERROR)


def _secrets(calls: Sequence[Call], wish: Wish) -> Iterator[str]:
    for secret in secrets_of(calls, wish):
        yield f"# ? Secret {secret} must be in {wish.namespace}, with tls.crt, tls.key AND ca.crt:"
        yield f"#     kubectl create secret generic {secret} -n {wish.namespace} {_KEYS}"
