"""Completion of commands and flags, in shells and behind `kubectl egressgw`."""

from __future__ import annotations

import os
import shlex
import sys
from enum import StrEnum
from typing import Annotated, Final

import typer

_PROGRAM: Final = "egressgw"
_VARIABLE: Final = "_EGRESSGW_COMPLETE"
_NO_FILES: Final = 4
"""Cobra's ShellCompDirectiveNoFileComp, by which kubectl is told to offer nothing else."""


class Shell(StrEnum):
    """Shells for which there is a script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell that is to complete.")]) -> None:
    """
    Print the script by which a shell completes commands and flags.

    Example: source <(egressgw completion bash)
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # documented there

    typer.echo(get_completion_script(prog_name=_PROGRAM, complete_var=_VARIABLE, shell=shell.value))


def is_asked() -> bool:
    """Whether a shell asks for completions, and not a user for an answer."""
    return _VARIABLE in os.environ


def prepare() -> None:
    """Let typer answer shells; it costs time that no other command should take."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()


def for_kubectl() -> None:
    """
    Entry point of `kubectl_complete-egressgw`, which kubectl runs with the words that stand behind `kubectl egressgw`.

    It wants one completion a line, and a directive of Cobra's at the end.
    """
    from egressgateway.cli.main import app

    words = [_PROGRAM, *sys.argv[1:]]
    os.environ |= {_VARIABLE: "complete_bash", "COMP_WORDS": shlex.join(words), "COMP_CWORD": str(len(words) - 1)}
    prepare()
    try:
        app(prog_name=_PROGRAM)
    except SystemExit:
        print(f":{_NO_FILES}")
