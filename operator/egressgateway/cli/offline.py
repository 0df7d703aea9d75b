"""Commands that need files and no cluster. What they need is imported when they run: `--help` must not wait for it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
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
from egressgateway.errors import EgressGatewayError
from egressgateway.tool.output.forms import Form


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


def render(  # noqa: PLR0913  (one parameter a flag)
    paths: Paths,
    *,
    classes: Classes = None,
    namespace: Namespace = "default",
    complete: Complete = False,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Objects of this kind alone; repeatable.")] = None,
    values_only: Annotated[
        bool, typer.Option("--values-only", help="Template and values of each object, and not the object.")
    ] = False,
    split: Annotated[
        Path | None, typer.Option("--split", metavar="DIR", help="A file for each object in this directory.")
    ] = None,
    output: Output = "yaml",
    quiet: Quiet = False,
    no_color: NoColour = False,
) -> None:
    """
    Print the objects that the operator will write, once a pod of each gateway is ready.

    What is wrong with the files goes to standard error. Forms: yaml, json, name.

    Example: egressgw render tenants/shop/egress.yaml --kind VirtualService
    """
    form = form_of(output, Form.YAML, Form.JSON, Form.NAME)
    from egressgateway.tool.documents import read_paths, require_objects
    from egressgateway.tool.output.report import shown
    from egressgateway.tool.output.structured import as_json
    from egressgateway.tool.rendered import as_stream, split_into, written_for
    from egressgateway.tool.validate import judge_all, report_of
    from egressgateway.tool.world import Scope, World

    now = datetime.now(UTC)
    reading = read_paths([*paths, *(classes or ())])
    world = World(reading.documents, Scope(namespace, complete))
    judged = judge_all(world, now)
    report = report_of(reading, world, judged)
    if not report.diagnostics:
        require_objects(world.gateways, paths)
    written = list(written_for(judged, kind or ()))
    objects = [each.values if values_only else each.manifest for each in written]
    if split is not None:
        for path in split_into(split, written):
            typer.echo(path)
    elif form is Form.NAME:
        for each in written:
            typer.echo(f"{each.child.ref.kind.lower()}/{each.child.ref.name}")
    elif form is Form.JSON:
        typer.echo(as_json({"apiVersion": "v1", "kind": "List", "items": objects}))
    elif objects:
        typer.echo(as_stream(objects))
    if report.diagnostics and not quiet:
        typer.echo(shown(report, Form.TABLE, style_of(no_colour=True), now), err=True)
    raise typer.Exit(1 if report.reaches(FailOn.ERROR.threshold) else 0)


def explain(
    word: Annotated[
        str, typer.Argument(metavar="[REASON|CODE]", help="A reason of a status, or a code.", show_default=False)
    ] = "",
    *,
    output: Output = "table",
    no_color: NoColour = False,
) -> None:
    """
    Say what a reason or a code means, who has to act, and what helps; without one, list all codes.

    Forms: table, json, yaml.

    Example: egressgw explain HostConflict
    """
    form = form_of(output, Form.TABLE, Form.JSON, Form.YAML)
    from egressgateway.tool.codes import CODES, codes_for
    from egressgateway.tool.explain import as_document, explained, listed
    from egressgateway.tool.output.structured import as_json, as_yaml

    style = style_of(no_colour=no_color)
    lines = explained(word, style) if word else list(listed(style))
    if not lines:
        raise typer.BadParameter(f"{word!r} is neither a reason nor a code; egressgw explain lists all codes")
    if form is Form.TABLE:
        typer.echo("\n".join(lines))
    else:
        found = as_document(tuple(codes_for(word)) if word else CODES, datetime.now(UTC))
        typer.echo(as_json(found) if form is Form.JSON else as_yaml(found))


def diff(  # noqa: PLR0913  (one parameter a flag)
    paths: Paths,
    *,
    before: Annotated[
        list[str], typer.Option("--from", metavar="PATH", help="What it was before: files or directories; repeatable.")
    ],
    classes: Classes = None,
    namespace: Namespace = "default",
    complete: Complete = False,
    summary: Annotated[bool, typer.Option("--summary", help="How many changes there are, and no more.")] = False,
    show_objects: Annotated[
        bool, typer.Option("--show-objects", help="Also the objects that the operator writes.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code/--no-exit-code", help="End with 1 where there is a difference.")
    ] = True,
    output: Output = "table",
    no_color: NoColour = False,
) -> None:
    """
    Say what a change of files means for destinations and their clients.

    Classes given with --class are on both sides; one that is among the paths may differ. Forms: table, json, yaml.

    Example: git worktree add ../main main && egressgw diff tenants/ --from ../main/tenants
    """
    form = form_of(output, Form.TABLE, Form.JSON, Form.YAML)
    from egressgateway.tool.difference import differences
    from egressgateway.tool.difference_text import as_document, as_text
    from egressgateway.tool.difference_text import summary as summed
    from egressgateway.tool.documents import read_right, require_objects
    from egressgateway.tool.output.structured import as_json, as_yaml
    from egressgateway.tool.shape import require_shape
    from egressgateway.tool.world import Scope, World

    now, style = datetime.now(UTC), style_of(no_colour=no_color)
    scope, shared = Scope(namespace, complete), classes or ()
    old, new = (World(require_shape(read_right([*side, *shared]).documents), scope) for side in (before, paths))
    require_objects([*old.gateways, *new.gateways], [*before, *paths])
    found = list(differences(old, new, now))
    if form is not Form.TABLE:
        answer = as_document(found, now)
        typer.echo(as_json(answer) if form is Form.JSON else as_yaml(answer))
    else:
        for each in found if not summary else ():
            typer.echo("\n".join(as_text(each, style, show_objects=show_objects)))
        typer.echo(summed(found) if found else "no difference")
    raise typer.Exit(1 if found and exit_code else 0)


def new(
    urls: Annotated[list[str], typer.Argument(metavar="URL", help="What is called.", show_default=False)],
    *,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the object.")] = "default",
    secret: Annotated[str, typer.Option("--secret", help="Secret with the client certificate of https+mtls.")] = "",
    consumers: Annotated[
        list[str] | None, typer.Option("--for", metavar="NS", help="Another namespace that may use it; repeatable.")
    ] = None,
    class_: Annotated[
        str, typer.Option("--class", metavar="NAME|FILE", help="Its class; one from a file judges the object.")
    ] = "",
) -> None:
    """
    Write the EgressGateway for what a program calls, and say what its class thinks of it.

    https:// is the client's own TLS, https+tls:// and https+mtls:// are opened by the gateway; postgres://, tcp://HOST:PORT
    and others are TCP.

    Example: egressgw new https://api.stripe.com postgres://db.example.com:5432 -n shop
    """
    from egressgateway.tool.advised import advised
    from egressgateway.tool.new import NAME, Wish, parse_url

    for flag, names in (("--namespace", (namespace,)), ("--secret", (secret,)), ("--for", consumers or ())):
        for each in names:
            if each and not NAME.fullmatch(each):
                raise typer.BadParameter(f"{each!r} is no name of Kubernetes", param_hint=flag)
    try:
        calls = [parse_url(each) for each in urls]
    except EgressGatewayError as error:
        raise typer.BadParameter(str(error), param_hint="URL") from None
    wish = Wish(namespace, secret, tuple(consumers or ()), class_)
    text, is_fine = advised(calls, wish, datetime.now(UTC))
    typer.echo(text)
    raise typer.Exit(0 if is_fine else 1)
