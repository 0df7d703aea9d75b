"""The table: what the start and each event cost, beside what is aimed at."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from bench.scale.build import Built
from bench.scale.events import Event
from bench.scale.measure import MOST_EVENT_CPU, MOST_START_CPU, Figures
from bench.scale.mix import Size
from bench.scale.replica import Cost

LARGEST: Final = Size(10_000, 10_000)
"""For which the aims are."""

MOST_TURN: Final = 0.1
MOST_START: Final = 120.0
MOST_OF_A_NAMESPACE: Final = 0.05
MOST_MEMORY: Final = 1.2 * 2**30


def show(size: Size, built: list[Built], figures: Figures, console: Console) -> None:
    """Print everything of one size."""
    console.print(_whole(size, built, figures))
    console.print(_events(size, figures))


def explain(console: Console) -> None:
    """What the figures are."""
    console.print(
        f"Aims are for {LARGEST} (objects × namespaces). CPU: of the operator alone, from the event until nothing goes "
        "on any more: watches, passes, rendering, comparison, and the making of requests; neither HTTP nor the API "
        "server's part. Concerned: objects whose answer the event can change. Woken: objects for which the event, or a "
        "write of those passes, asked for a pass; wake-ups: how often. Evaluations: a selector against the labels of "
        "one namespace. Contenders: other objects that passes looked at, as they have a host or a port in common. "
        "Longest turn: CPU for which the event loop was held without a break.",
        style="dim",
    )
    console.print(
        f"≈: passes were given up after {MOST_EVENT_CPU:g} CPU seconds ({MOST_START_CPU:g} at the start), and what was "
        "left is taken to be like those that were made. The longest turn is of those that were made.",
        style="dim",
    )


def _whole(size: Size, built: list[Built], figures: Figures) -> Table:
    table = Table(title=f"{size}: the whole", title_justify="left", box=box.SIMPLE)
    for name in ("what", "figure", "aim", ""):
        table.add_column(name, justify="left" if name in ("what", "") else "right")
    objects, children = sum(each.objects for each in built), sum(each.children for each in built)
    start, filled, scrape = figures.start, figures.filled, figures.metrics
    table.add_row("children per object", f"{children / objects:.1f}")
    table.add_row("ready", f"{sum(each.ready for each in built):,} of {objects:,}")
    table.add_row("creation, in parts: passes per object", f"{sum(each.passes for each in built) / objects:.1f}")
    table.add_row("creation, in parts: CPU per object", _seconds(sum(each.cpu for each in built) / objects))
    table.add_row("start: caches filled, CPU", _seconds(filled.cpu))
    table.add_row("start: caches filled, longest turn", *_aimed(filled.longest_turn, MOST_TURN))
    whole = filled.cpu + start.estimated_cpu
    table.add_row("start: all judged, CPU", *_aimed(whole, MOST_START, sampled=start.left > 0))
    table.add_row("start: passes, longest turn", *_aimed(start.longest_turn, MOST_TURN))
    table.add_row("start: passes / objects judged", f"{_count(start.passes, start)} / {_count(start.judged, start)}")
    table.add_row("start: most passes in one turn", f"{start.passes_in_a_turn:,}")
    table.add_row("start: selector evaluations", _count(start.evaluations, start))
    table.add_row("start: contenders", _count(start.contenders, start))
    table.add_row("start: writes", _count(start.writes, start))
    memory, sampled = figures.memory / 2**20, "≈ " if start.left else ""
    mark = _mark(figures.memory <= MOST_MEMORY)
    table.add_row("memory (RSS)", f"{sampled}{memory:,.0f} MiB", f"≤ {MOST_MEMORY / 2**20:,.0f} MiB", mark)
    table.add_row("one scrape of /metrics, longest turn", *_aimed(scrape.longest_turn, MOST_TURN))
    return table


def _events(size: Size, figures: Figures) -> Table:
    table = Table(title=f"{size}: each event", title_justify="left", box=box.SIMPLE)
    names = ("concerned", "woken", "wake-ups", "evaluations", "contenders", "passes", "writes", "CPU")
    table.add_column("event", overflow="fold")
    for name in (*names, f"longest turn (≤ {_seconds(MOST_TURN)})"):
        table.add_column(name, justify="right", no_wrap=True)
    for event, cost in figures.events:
        table.add_row(*_event(event, cost))
    return table


def _event(event: Event, cost: Cost) -> tuple[str, ...]:
    cpu, turn = cost.estimated_cpu, cost.longest_turn
    shown = f"{'≈ ' if cost.left else ''}{_seconds(cpu)}"
    if event.of_namespace:
        shown += f" (≤ {_seconds(MOST_OF_A_NAMESPACE)}) {_mark(cpu <= MOST_OF_A_NAMESPACE)}"
    woken = f"{cost.woken:,}" if cost.woken <= event.concerned else f"[red]{cost.woken:,}[/]"
    return (
        event.name,
        f"{event.concerned:,}",
        woken,
        f"{cost.wakeups:,}",
        *(_count(each, cost) for each in (cost.evaluations, cost.contenders)),
        f"{cost.passes:,}" if not cost.left else f"{cost.passes:,} of {cost.passes + cost.left:,}",
        f"{cost.writes:,}",
        shown,
        f"{_seconds(turn)} {_mark(turn <= MOST_TURN)}",
    )


def _aimed(figure: float, aim: float, *, sampled: bool = False) -> tuple[str, str, str]:
    return f"{'≈ ' if sampled else ''}{_seconds(figure)}", f"≤ {_seconds(aim)}", _mark(figure <= aim)


def _mark(met: bool) -> str:
    return "[green]met[/]" if met else "[red]missed[/]"


def _count(figure: int, cost: Cost) -> str:
    """A figure that grows with passes, as if all had been made."""
    if not cost.left:
        return f"{figure:,}"
    return f"≈ {figure * (cost.passes + cost.left) // max(1, cost.passes):,}"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{seconds * 1000:,.0f} ms"
