"""The demo on a screen: steps, facts, tables, trees. Plain text where the output is no terminal."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table
from rich.tree import Tree

from demo.observe import Change, conditions_of
from egressgateway.names import LABEL_PART, LABEL_STAGE
from harness.gateways import ChildName
from harness.rest import ApiError, Object
from harness.wait import START, eventually

PLAIN_WIDTH = 150
"""Columns where there is no terminal to ask: a log can be scrolled."""

PURPOSE = {
    "ServiceAccount": "the gateway's identity, that clients insist on",
    "Service": "the hop: where clients' sidecars send to",
    "Deployment": "the gateway's pods",
    "HorizontalPodAutoscaler": "how many pods",
    "PodDisruptionBudget": "a drain of nodes leaves a pod",
    "NetworkPolicy": "who reaches the pods, and whom they reach",
    "AuthorizationPolicy": "who may use the gateway",
    "DestinationRule": "mutual TLS on the hop; what the gateway speaks with the host",
    "EnvoyFilter": "lets WebSockets take the hop",
    "Telemetry": "no trace context leaves with a request",
    "Gateway": "the hop's listener, one private server name a way",
}
PURPOSE_BY_STAGE = {
    ("ServiceEntry", "foundation"): "where the gateway finds the host",
    ("ServiceEntry", "clients"): "makes the host known to clients",
    ("VirtualService", "foundation"): "keeps sidecars beside the gateway from its way out",
    ("VirtualService", "gateway"): "in the gateway: from the private name to the host",
    ("VirtualService", "clients"): "sends clients of the host through the gateway",
}
STAGES = {
    "foundation": "foundation: what everything else relies on",
    "gateway": "gateway: pods, and the routes within",
    "clients": "clients: written last, once a pod is ready; removed first",
}
COLOURS = {"created": "green", "changed": "yellow", "deleted": "red"}
FIELDS_SHOWN = 4


FAILURES = (AssertionError, TimeoutError, LookupError, RuntimeError, ApiError, OSError, subprocess.SubprocessError)
"""How a step says that what it wanted to show is not so."""


class Screen:
    """Where the demo writes to."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(highlight=False)
        self.console = console if console.is_terminal else Console(width=PLAIN_WIDTH, highlight=False)
        self._started = time.monotonic()
        self._number = 0

    def step(self, title: str, why: str) -> None:
        """Begin a step: what it does, and why that matters."""
        self._number += 1
        seconds = time.monotonic() - self._started
        self.console.print()
        self.console.rule(f"[bold]{self._number}. {escape(title)}[/]  [dim]{seconds:.0f} s[/]", align="left")
        self.console.print(f"[italic]{escape(why)}[/]")

    def fact(self, text: str) -> None:
        """Something that was observed."""
        self.console.print(f"[green]✓[/] {escape(text)}")

    def text(self, text: str) -> None:
        """The output of a program, as it is."""
        self.console.print(escape(text.rstrip()), soft_wrap=True)

    def command(self, *arguments: str) -> None:
        """A command that is run."""
        self.console.print(f"[bold]$ {escape(' '.join(arguments))}[/]", soft_wrap=True)

    def document(self, document: Mapping[str, Any] | str, language: str = "yaml") -> None:
        """A manifest, or other text in a language."""
        text = document if isinstance(document, str) else yaml.safe_dump(dict(document), sort_keys=False)
        if self.console.is_terminal:
            self.console.print(Syntax(text.rstrip(), language, background_color="default"))
        else:
            self.text(text)

    def wait(self, what: str, check: Callable[[], object], state: Callable[[], str]) -> float:
        """
        Wait for a fact with a live line about how far it is; returns the seconds that it took.

        Raises:
            TimeoutError: it did not come true in time.
        """
        started = time.monotonic()
        shown = ""

        def look() -> object:
            nonlocal shown
            now = state()
            if now != shown:
                shown = now
                live.update(f"{escape(what)}: {escape(now)}")
                # On a terminal these lines stay above the live one; elsewhere they are all there is.
                self.console.print(f"  {time.monotonic() - started:4.1f} s  {escape(now)}")
            return check()

        with self.console.status(what) as live:
            eventually(look, timeout=START, what=what)
        return time.monotonic() - started

    def children(self, owner: str, children: Mapping[ChildName, Object]) -> None:
        """The children as a tree: by stage, then by the destination that they serve."""
        tree = Tree(f"[bold]{escape(owner)}[/]")
        for stage, title in STAGES.items():
            of_stage = {name: each for name, each in children.items() if _label(each, LABEL_STAGE) == stage}
            if of_stage:
                _add_parts(tree.add(f"[bold]{title}[/]"), stage, of_stage)
        self.console.print(tree)

    def conditions(self, gateway: Object) -> None:
        """Every condition of the object and of its destinations."""
        table = _table("of", "condition", "status", "reason", "since", "message")
        for owner, condition in conditions_of(gateway):
            colour = "green" if condition["status"] == "True" else "red"
            cells = [owner, condition["type"], condition["status"], condition["reason"]]
            since = condition["lastTransitionTime"][11:19]
            row = [escape(cell) for cell in (*cells, since, condition.get("message", ""))]
            row[2] = f"[{colour}]{row[2]}[/]"
            table.add_row(*row)
        self.console.print(table)

    def changes(self, changes: Sequence[Change]) -> None:
        """What happened to children, in its order, timed from the first; with what changed in each."""
        table = _table("at", "", "stage", "kind", "name", "what changed")
        first = min(change.seconds for change in changes)
        for change in changes:
            shown = list(change.fields[:FIELDS_SHOWN]) or [_purpose(change.kind, change.stage)]
            rest = len(change.fields) - FIELDS_SHOWN
            lines = escape("\n".join([*shown, *([f"… {rest} more"] if rest > 0 else [])]))
            action = f"[{COLOURS[change.action]}]{change.action}[/]"
            table.add_row(f"+{change.seconds - first:.2f} s", action, change.stage, change.kind, change.name, lines)
        self.console.print(table)


def _add_parts(branch: Tree, stage: str, children: Mapping[ChildName, Object]) -> None:
    parts = sorted({_label(each, LABEL_PART) for each in children.values()})
    for part in parts:
        node = branch.add(f"destination {escape(part)}") if part else branch
        for (kind, name), each in sorted(children.items()):
            if _label(each, LABEL_PART) == part:
                node.add(f"{kind} [cyan]{escape(name)}[/]  [dim]{_purpose(kind, stage)}[/]")


def _purpose(kind: str, stage: str) -> str:
    """What a child is for, in a few words."""
    return PURPOSE.get(kind) or PURPOSE_BY_STAGE.get((kind, stage), "")


def _label(child: Object, name: str) -> str:
    return str((child["metadata"].get("labels") or {}).get(name, ""))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
