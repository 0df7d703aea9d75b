"""Commands that need files and no cluster. What they need is imported when they run: `--help` must not wait for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from egressgateway.cli.flags import (
    Classes,
    Complete,
    FailOn,
    FailOnFlag,
    Namespace,
    NoColour,
    Output,
    Paths,
    Quiet,
    form_of,
    known_codes,
    style_of,
)


def validate(  # noqa: PLR0913  (one parameter a flag)
    paths: Paths,
    *,
    classes: Classes = None,
    namespace: Namespace = "default",
    complete: Complete = False,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="CODE", help="Leave a code out; repeatable.")
    ] = None,
    fail_on: FailOnFlag = FailOn.ERROR,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Files without an EgressGateway or a class of one are fine.")
    ] = False,
    output: Output = "table",
    quiet: Quiet = False,
    no_color: NoColour = False,
) -> None:
    """
    Say what is wrong with files, in the words that the status will have.

    Objects are judged together, so a conflict between two files is found. Forms: table, wide, json, yaml, name,
    markdown, sarif, github, junit.

    Example: kustomize build tenants/shop | egressgw validate - --class classes/ -o github
    """
    form = form_of(output)
    left_out = known_codes(skip or ())
    from egressgateway.tool.documents import read_paths, require_objects
    from egressgateway.tool.output.report import shown
    from egressgateway.tool.validate import validate as validated
    from egressgateway.tool.world import Scope

    now = datetime.now(UTC)
    reading = read_paths([*paths, *(classes or ())])
    report = validated(reading, Scope(namespace, complete), now).without(left_out)
    if not allow_empty and not report.diagnostics:
        require_objects(report.objects, paths)
    typer.echo(shown(report, form, style_of(no_colour=no_color, quiet=quiet), now))
    raise typer.Exit(1 if report.reaches(fail_on.threshold) else 0)
