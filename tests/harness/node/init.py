"""
The first process of a node: gives the node's programs places of their own, then reaps orphans until it is killed, and
with it all of the node ends.

    init.py DIRECTORY

in a new mount and PID namespace. What is written to `HIDDEN` then lands below DIRECTORY, which lies in none of those.
The kernel's settings that the kubelet asks for are covered by files that have them: it would set them for the whole
machine, or refuse to start.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

HIDDEN = ("/var/lib", "/var/log", "/run")
READY = "init.ready"
WANTED = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def main(directory: Path) -> None:
    mount("-t", "proc", "proc", "/proc")
    for place in HIDDEN:
        own = directory / "root" / place.lstrip("/")
        own.mkdir(parents=True, exist_ok=True)
        mount("--bind", own, place)
    for name, value in WANTED.items():
        setting = Path("/proc/sys", name)
        if setting.exists() and setting.read_text().strip() != value:
            cover = directory / "sysctl" / name
            cover.parent.mkdir(parents=True, exist_ok=True)
            cover.write_text(f"{value}\n")
            mount("--bind", cover, setting)
    # What the kubelet mounts into its pods' volumes has to be seen by the namespaces of containers.
    mount("--make-rshared", "/")
    (directory / READY).touch()
    # Blocked, so that none is missed between two waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        signal.sigwait({signal.SIGCHLD})
        reap()


def reap() -> None:
    """Take leave of every child that has ended: what a container's shim leaves behind becomes this process's child."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
