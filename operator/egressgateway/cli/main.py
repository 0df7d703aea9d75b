"""The command `egressgw`, also `kubectl egressgw`."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Final

import typer

from egressgateway import __version__
from egressgateway.cli.completion import completion, is_asked, prepare
from egressgateway.cli.offline import diff, explain, new, render, validate
from egressgateway.cli.operator import crds, drain, operator_app, run
from egressgateway.errors import EgressGatewayError, SourceError

COULD_NOT_LOOK: Final = 3
"""Exit code where there was nothing to look at: no file, no API server, no right."""

# Without rich, which takes as long to import as all else that `--help` needs.
app = typer.Typer(
    help="EgressGateways: are these files right, what will they write, what does a reason mean?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"egressgw {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """EgressGateways: are these files right, what will they write, what does a reason mean?"""


@app.command()
def version() -> None:
    """
    Print the version.

    Example: egressgw version
    """
    typer.echo(__version__)


for _offline in (validate, render, diff, new, explain):
    app.command()(_offline)
app.command()(completion)
app.add_typer(operator_app, name="operator")
# Their names until this tool had other commands: images, charts and scripts go on using them.
for _command in (run, drain, crds):
    app.command(hidden=True)(_command)


def _program() -> str:
    """What the user has typed: kubectl calls a plugin by its file's name."""
    return "kubectl egressgw" if Path(sys.argv[0]).name.startswith("kubectl-") else "egressgw"


def main() -> None:
    """Entry point: errors of ours in one line, without a traceback."""
    if is_asked():
        prepare()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What a terminal cannot show is no reason to end.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name=_program())
    except OSError as error:
        # Standard output is full or closed; what is read says itself what went wrong.
        typer.echo(f"egressgw: {error.strerror}", err=True)
        sys.exit(COULD_NOT_LOOK)
    except SourceError as error:
        typer.echo(f"egressgw: {error}", err=True)
        sys.exit(COULD_NOT_LOOK)
    except EgressGatewayError as error:
        typer.echo(f"egressgw: {error}", err=True)
        sys.exit(1)
