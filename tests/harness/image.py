"""
The operator's image without an engine: the Dockerfile's steps, and a process as it runs in a pod.

That is: no right but the account's, a user of no name, a root that nobody can write to, no variable of the caller's.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.kubeconfig import Access
from harness.session import ROOT

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
USER: Final = "65532"

_POD: Final = r"""
set -eu
mount --make-rprivate /
mkdir -p "$1"
mount -t tmpfs -o mode=755 account "$1"
cp "$2/token" "$2/ca.crt" "$1"
chmod 444 "$1"/*
if [ -n "$4" ]; then
  # The interpreter lies below a directory that is closed to others, as pyenv's does: it is opened where it is.
  mkdir "$2/python"
  mount --bind "$3" "$2/python"
  mount -t tmpfs -o mode=755 opened "$4"
  mkdir -p "$3"
  mount --bind "$2/python" "$3"
fi
# Every file system that can be written to, the temporary ones as well.
while read -r _ _ _ _ place _; do
  case "$place" in /proc*|/sys*|/dev*) ;; *) mount -o remount,bind,ro "$place" ;; esac
done < /proc/self/mountinfo
shift 4
cd /
exec setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs --bounding-set -all --inh-caps -all "$@"
"""


def missing() -> str:
    """What a machine lacks for a process like in a pod; empty if nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux may make the root of a process read-only"
    return ", ".join(each for each in ("unshare", "setpriv", "mount") if not shutil.which(each))


def build(directory: Path) -> Path:
    """
    The steps of the Dockerfile: locked packages and the wheel in an environment of their own; returns its programs.

    Nothing is compiled: that would take longer than what the tests run.

    Raises:
        subprocess.CalledProcessError: a step failed.
    """
    app = directory / "app"
    _step([sys.executable, "-m", "venv", "--without-pip", str(app)])
    # uv in pip's place, whose cache spares a minute; what is installed is locked all the same.
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(app / "bin" / "python")]
    _step([*install, "--require-hashes", "--only-binary", ":all:", "--requirement", str(ROOT / "requirements.lock")])
    _step([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)])
    [wheel] = directory.glob("*.whl")
    _step([*install, "--no-deps", str(wheel)])
    return app / "bin"


def pod_command(access: Access, directory: Path, argv: Sequence[str], environment: dict[str, str]) -> list[str]:
    """A command that runs `argv` as a container of a pod with the account of `access` would."""
    files = directory / "account"
    files.mkdir()
    (files / "token").write_text(access.token)
    (files / "ca.crt").write_bytes(access.ca)
    host, _, port = access.server.removeprefix("https://").rpartition(":")
    server = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    variables = [f"{name}={value}" for name, value in {**server, **environment}.items()]
    base = Path(sys.base_prefix)
    closed = next((each for each in reversed(base.parents) if not each.stat().st_mode & stat.S_IXOTH), "")
    isolated = ["unshare", "--mount", "sh", "-c", _POD, "sh", str(ACCOUNT), str(files), str(base), str(closed)]
    return [*isolated, "env", "-i", *variables, *argv]


def _step(argv: list[str]) -> None:
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True)
