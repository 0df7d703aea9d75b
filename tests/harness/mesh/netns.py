"""
Network namespaces: made, wired, entered and ended. What they are for is decided elsewhere.

Their names begin with the mesh's own prefix, so that all of a mesh can be found and ended, whoever lost track of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.wait import eventually

OVERLAYS = Path("/etc/netns")
MOUNTS = Path("/run/netns")
ROOTS = "ssl/certs/ca-certificates.crt"
"""The system's trusted roots, below /etc."""


class NetworkError(Exception):
    """`ip` or `nft` refused; holds its words."""


@dataclass(frozen=True, slots=True)
class Netns:
    """A network namespace by its name; it need not exist."""

    name: str

    @property
    def path(self) -> Path:
        return MOUNTS / self.name

    def exists(self) -> bool:
        return self.path.exists()

    def create(self) -> None:
        """
        Make it, with nothing but a loopback device.

        Raises:
            NetworkError: it exists, or there are no rights.
        """
        _run(["ip", "netns", "add", self.name])
        self.ip("link set lo up")

    def ip(self, *commands: str) -> None:
        """Commands of `ip` within the namespace, one process for all of them."""
        _run(["ip", "-netns", self.name, "-batch", "-"], "\n".join(commands))

    def nft(self, ruleset: str) -> None:
        _run(self.enter("nft", "-f", "-"), ruleset)

    def sysctl(self, **values: object) -> None:
        """
        Set kernel parameters; `net_ipv4_ip_forward=1` is `net.ipv4.ip_forward`: dots are the first two underscores, and
        those of `_conf_all_`.
        """
        named = {key.replace("_", ".", 2).replace("conf_all_", "conf.all."): value for key, value in values.items()}
        _run(self.enter("sysctl", "-qw", *(f"{key}={value}" for key, value in named.items())))

    def overlay(self, name: str, content: str) -> None:
        """
        What processes that are started with `inside` see as the file /etc/`name`. A directory of /etc is replaced
        whole.
        """
        path = OVERLAYS / self.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def inside(self, *argv: str) -> list[str]:
        """The command that runs `argv` in this namespace, with its files of /etc."""
        return [_program("ip"), "netns", "exec", self.name, *argv]

    def enter(self, *argv: str) -> list[str]:
        """The command that runs `argv` in this namespace and no other: what it mounts, everybody sees."""
        return [_program("nsenter"), f"--net={self.path}", *argv]

    def processes(self) -> list[int]:
        """Ids of all processes whose network this is."""
        done = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return [int(each) for each in done.stdout.split()]

    def delete(self) -> None:
        """Kill what still runs in it, and remove it once that has ended; nothing happens where it is not."""
        for process in self.processes() if self.exists() else ():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        # While the links are there, the kernel can still tell the other sides that their connections have ended.
        with suppress(TimeoutError):
            eventually(lambda: not (self.exists() and self.processes()), timeout=5, interval=0.02)
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)
        shutil.rmtree(OVERLAYS / self.name, ignore_errors=True)


def ip(*commands: str) -> None:
    """Commands of `ip` in the caller's own namespace, one process for all of them."""
    _run(["ip", "-batch", "-"], "\n".join(commands))


def knows_ipv6() -> bool:
    """Whether namespaces of this machine can have addresses of IPv6."""
    switch = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    return switch.exists() and switch.read_text().strip() == "0"


def with_prefix(prefix: str) -> list[Netns]:
    """Every namespace whose name begins so, and those of which only files are left."""
    names = {path.name for place in (MOUNTS, OVERLAYS) if place.exists() for path in place.iterdir()}
    return [Netns(name) for name in sorted(names) if name.startswith(prefix)]


def delete_all(namespaces: Iterable[Netns]) -> None:
    for namespace in namespaces:
        namespace.delete()


def _run(argv: Sequence[str], stdin: str | None = None) -> None:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"{' '.join(argv)}: {done.stderr.strip()}\n{stdin or ''}".strip())


def _program(name: str) -> str:
    return shutil.which(name) or name
