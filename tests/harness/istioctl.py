"""Istio's own judgement of objects: `istioctl analyze` for a cluster, `istioctl validate` for manifests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.rest import Object

ENVOY_FILTER: Final = "IST0133"
"""Told of every EnvoyFilter, whatever it holds: it may change with Envoy."""

_ENVOY_FILTER_WORDS: Final = "EnvoyFilter exposes internal implementation details"
_SECONDS: Final = 120


@dataclass(frozen=True, slots=True, order=True)
class Message:
    """One message of `analyze`. `origin`: kind, then `namespace/name`."""

    code: str
    level: str
    origin: str
    text: str


class Istioctl:
    """The program at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def analyze(self, kubeconfig: Path) -> list[Message]:
        """
        Errors and warnings about all namespaces of a cluster.

        Raises:
            RuntimeError: the program itself failed; holds its words.
        """
        flags = ["--all-namespaces", "--output", "json", "--output-threshold", "Warning", "--kubeconfig", kubeconfig]
        done = self._run("analyze", *flags)
        try:
            found = json.loads(done.stdout) if done.stdout.strip() else []
        except ValueError as error:
            raise RuntimeError(f"istioctl analyze: exit {done.returncode}\n{done.stdout}{done.stderr}") from error
        return sorted(Message(each["code"], each["level"], each["origin"], each["message"]) for each in found)

    def validate(self, manifests: Iterable[Object]) -> str:
        """What `validate` says against manifests, warnings included, but that EnvoyFilters exist; else empty."""
        documents = "\n".join(f"---\n{json.dumps(each)}" for each in manifests)
        done = self._run("validate", "--filename", "-", stdin=documents)
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
        against = [line for line in said if line and line != "validation succeed" and _ENVOY_FILTER_WORDS not in line]
        return "\n".join(against) if against or done.returncode == 0 else f"exit {done.returncode}"

    def _run(self, *arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        argv = [self._path, *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=_SECONDS, check=False)
