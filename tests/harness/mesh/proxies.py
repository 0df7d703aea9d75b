"""What the Envoys of pods say of themselves: counters, refused updates, access logs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.mesh.mesh import Mesh

ADMIN = "http://127.0.0.1:15000"

LOG = "istio-proxy.log"


@dataclass(frozen=True, slots=True)
class Proxy:
    """The Envoy of one pod."""

    mesh: Mesh
    namespace: str
    pod: str

    def admin(self, path: str, method: str = "GET") -> str:
        """
        What the admin interface answers.

        Raises:
            LookupError: nothing: no pod, no Envoy, or an error.
        """
        argv = ["curl", "--silent", "--fail", "--max-time", "5", "--request", method, ADMIN + path]
        where = self.mesh.pod_netns(self.namespace, self.pod)
        done = subprocess.run(where.enter(*argv), capture_output=True, text=True, check=False)
        if done.returncode:
            raise LookupError(f"{self.namespace}/{self.pod} does not answer {path}")
        return done.stdout

    def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose name has the pattern (a regular expression) in it."""
        lines = (line.rsplit(": ", 1) for line in self.admin(f"/stats?filter={pattern}").splitlines())
        return {name: int(value) for name, value in lines if value.isdigit()}

    def access_log(self, since: int = 0) -> Iterator[dict[str, Any]]:
        """Lines of the access log after a mark, oldest first."""
        with self.log.open("rb") as file:
            file.seek(since)
            for line in file:
                if line.startswith(b'{"') and line.endswith(b"}\n"):
                    yield json.loads(line)

    def mark(self) -> int:
        """The end of the log as of now."""
        return self.log.stat().st_size

    @property
    def log(self) -> Path:
        return self.mesh.pod_directory(self.namespace, self.pod) / LOG


def proxies(mesh: Mesh) -> list[Proxy]:
    """Every proxy that runs now."""
    found = mesh.directory.glob(f"names/*/*/{LOG}")
    listed = (Proxy(mesh, path.parent.parent.name, path.parent.name) for path in found)
    return [each for each in listed if mesh.pod_netns(each.namespace, each.pod).exists()]


def rejected(mesh: Mesh) -> dict[str, int]:
    """Updates that some proxy refused, by pod and counter; nothing is what is wanted."""
    with ThreadPoolExecutor(8) as pool:
        return {name: value for found in pool.map(_refusals, proxies(mesh)) for name, value in found.items()}


def _refusals(proxy: Proxy) -> dict[str, int]:
    try:
        stats = proxy.stats("update_rejected|listener_create_failure")
    except LookupError:
        # It ends just now.
        return {}
    return {f"{proxy.namespace}/{proxy.pod} {name}": value for name, value in stats.items() if value}
