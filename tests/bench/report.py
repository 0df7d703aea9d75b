"""The table: each figure with what was aimed at, and whether the counts are what they must be."""

from __future__ import annotations

from statistics import mean

from rich.console import Console
from rich.table import Table

from bench.samples import TITLES
from bench.story import STATUS_CHANGES, Figures
from bench.timeline import PAUSE_SECONDS

LEAST_SHARE = 0.85
MOST_CPU_MS_PER_CHILD = 0.35
MOST_STATUS_WRITES = 2
MOST_PASSES = 6
"""
One that writes the gateway's side, one when its pods are ready, one when the mesh has been told, which writes the
clients' side; and one after each change of the number of pods meanwhile.
"""

Row = tuple[str, str, str, bool | None]
"""What, figure, aim, and whether the aim is met; None where nothing is aimed at."""


def show(figures: Figures, console: Console) -> None:
    """Print everything."""
    table = Table(title=f"{figures.objects} EgressGateways, {TITLES[figures.kind]}")
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_column("aim", justify="right")
    table.add_column("")
    for what, figure, aim, met in rows(figures):
        mark = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[met]
        table.add_row(what, figure, aim, mark)
    console.print(table)
    console.print(
        "The bare loop creates the same objects and makes the same writes, byte by byte but for names, on the same "
        "server: 32 at once, with the same controllers and fake kubelet at work, once before the operator and once "
        "after it (the mean counts). Both sides run over the time in which they were busy, by the server's audit log: "
        f"from the first write to the last, without pauses of more than {PAUSE_SECONDS} s, in which the operator waits "
        "for pods and for the mesh to be told. Wall time is with those pauses.",
        style="dim",
    )


def counts_hold(figures: Figures) -> bool:
    """Whether every count is what it must be; times are another matter, they depend on the machine."""
    return all(met for *_, met in count_rows(figures))


def rows(figures: Figures) -> list[Row]:
    return [*size_rows(figures), *count_rows(figures), *speed_rows(figures)]


def size_rows(figures: Figures) -> list[Row]:
    kinds = ", ".join(f"{name} {count / figures.objects:g}" for name, count in figures.by_kind.most_common())
    return [
        ("objects", str(figures.objects), "", None),
        ("children per object", str(figures.children_per_object), "", None),
        ("of these", kinds, "", None),
    ]


def count_rows(figures: Figures) -> list[Row]:
    made, count = figures.creation, figures.objects
    most = figures.children_per_object + 1 + MOST_STATUS_WRITES
    writes = made.total - made.events
    return [
        _at_most("writes per object, without its event", writes / count, most),
        _at_most("  children", made.children / count, figures.children_per_object),
        _at_most("  finalizer", made.metadata / count, 1),
        _at_most("  status", made.status / count, MOST_STATUS_WRITES),
        _at_most("  refused", made.refused / count, 0),
        _at_most("  deletes", made.deletes / count, 0),
        _at_most("passes per object", round(figures.passes / count, 1), MOST_PASSES),
        _at_most("events per object", made.events / count, 1),
        _at_most("writes of a restart", figures.restart.total, 0),
        _at_most(f"writes after {STATUS_CHANGES} changes of children's status", figures.status_changes.total, 0),
        _exactly("writes after an edit of one child", figures.edited, 1),
        _exactly("writes after the deletion of one child", figures.deleted, 1),
        _exactly("orphans after the deletion of all objects", figures.orphans, 0),
    ]


def speed_rows(figures: Figures) -> list[Row]:
    made = figures.created
    assert made is not None
    count, children = figures.objects, figures.objects * figures.children_per_object
    bare = count / mean(each.busy_seconds for each in figures.bare)
    own = count / made.busy_seconds
    cpu = figures.creation_usage.cpu_seconds * 1000
    bare_cpu = figures.bare_cpu_seconds * 1000 / sum(each.writes for each in figures.bare)
    each_bare = " / ".join(f"{count / each.busy_seconds:.1f}" for each in figures.bare)
    bare_writes = mean(each.writes / each.busy_seconds for each in figures.bare)
    return [
        ("objects per second, busy", f"{own:.1f}", "", None),
        ("  bare loop, before / after", each_bare, "", None),
        ("  share of the bare loop", f"{own / bare:.2f}", f"≥ {LEAST_SHARE}", own / bare >= LEAST_SHARE),
        ("seconds, busy / wall", f"{made.busy_seconds:.1f} / {made.wall_seconds:.1f}", "", None),
        (
            "writes per second, operator / bare loop",
            f"{made.writes / made.busy_seconds:.0f} / {bare_writes:.0f}",
            "",
            None,
        ),
        ("CPU ms per object", f"{cpu / count:.2f}", "", None),
        (
            "CPU ms per child",
            f"{cpu / children:.3f}",
            f"≤ {MOST_CPU_MS_PER_CHILD}",
            cpu / children <= MOST_CPU_MS_PER_CHILD,
        ),
        ("CPU ms per write, operator / bare loop", f"{cpu / made.writes:.2f} / {bare_cpu:.2f}", "", None),
        ("memory (RSS), MiB", f"{figures.creation_usage.memory_bytes / 2**20:.0f}", "", None),
        (
            "restart, CPU ms per object, start-up included",
            f"{figures.restart_usage.cpu_seconds * 1000 / count:.2f}",
            "",
            None,
        ),
        (
            "CPU ms per status change of a child",
            f"{figures.status_usage.cpu_seconds * 1000 / STATUS_CHANGES:.3f}",
            "",
            None,
        ),
    ]


def _at_most(what: str, figure: float, aim: float) -> Row:
    return what, f"{figure:g}", f"≤ {aim:g}" if aim else "0", figure <= aim


def _exactly(what: str, figure: float, aim: float) -> Row:
    return what, f"{figure:g}", f"{aim:g}", figure == aim
