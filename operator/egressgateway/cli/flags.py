"""Flags that several commands have, named as kubectl names them."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from enum import StrEnum
from typing import Annotated

import typer

from egressgateway.tool.output.forms import Form
from egressgateway.tool.output.style import Style
from egressgateway.tool.severity import Severity

Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH", help="Files, directories, or - for standard input.", show_default=False),
]
Classes = Annotated[
    list[str] | None,
    typer.Option("--class", metavar="FILE", help="File or directory with classes; repeatable.", show_default=False),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of objects that name none.")]
Complete = Annotated[
    bool, typer.Option("--complete", help="The files are all that there is: what they do not hold does not exist.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Findings alone: no fixes, no summary.")]
NoColour = Annotated[bool, typer.Option("--no-color", help="No colours, as with NO_COLOR.")]
Output = Annotated[str, typer.Option("--output", "-o", metavar="FORM", help="Form of the answer.")]


class FailOn(StrEnum):
    """What a command ends with 1 for."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"

    @property
    def threshold(self) -> Severity | None:
        return None if self is FailOn.NEVER else Severity(self.value)


FailOnFlag = Annotated[FailOn, typer.Option("--fail-on", help="The least that ends with exit code 1.")]


def form_of(value: str, *allowed: Form) -> Form:
    """
    The form that `-o` names, for a command that has these.

    Raises:
        typer.BadParameter: it has no such form.
    """
    names = [each.value for each in allowed or Form]
    if value not in names:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(names)}", param_hint="--output")
    return Form(value)


def style_of(*, no_colour: bool, quiet: bool = False) -> Style:
    """Colours only for a terminal, and not where the user's environment forbids them (no-color.org)."""
    colour = sys.stdout.isatty() and not no_colour and not os.environ.get("NO_COLOR")
    return Style(colour=colour, quiet=quiet)


def known_codes(codes: Collection[str]) -> Collection[str]:
    """
    Codes as the catalogue spells them.

    Raises:
        typer.BadParameter: the catalogue has no such code.
    """
    from egressgateway.tool.codes import BY_CODE

    wanted = [code.upper() for code in codes]
    for code in wanted:
        if code not in BY_CODE:
            raise typer.BadParameter(f"there is no code {code!r}; see egressgw explain", param_hint="--skip")
    return wanted
