"""`python -m bench --scale`: each size in processes of its own. The exit code is 0: what misses its aim is marked."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console

from bench.scale.build import build
from bench.scale.measure import Figures, measure
from bench.scale.mix import Mix, Size
from bench.scale.report import explain, show

DEFAULT_SIZES: Final = "1000x1000,10000x10000"

_WIDTH: Final = 165
"""Of the widest table: in a file and a narrow terminal, too, a row is one line."""


def run(sizes: Iterable[Size], keep: Path | None) -> int:
    """Measure each size, and print it when it is done. `keep`: where clusters stay for another run."""
    say, console = Console(stderr=True), Console(width=max(Console().width, _WIDTH))
    with TemporaryDirectory(prefix="egressgateway-bench-") as temporary:
        directory = keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        for size in sizes:
            mix, path = Mix(size), directory / f"{size.objects}x{size.namespaces}"
            with say.status("building") as status:
                built = build(mix, path, status.update)
            figures = _in_own_process(mix, path)
            show(size, built, figures, console)
    explain(console)
    return 0


def sizes_in(text: str) -> list[Size]:
    """From `1000x1000,10000x10000`: objects × namespaces, of each size."""
    return [Size.parse(each) for each in text.split(",")]


def _in_own_process(mix: Mix, path: Path) -> Figures:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, mix, path).result()


def _measure(mix: Mix, path: Path) -> Figures:
    return measure(mix, path, Console(stderr=True).log)
