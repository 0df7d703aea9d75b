"""
The operator's image by the project's Dockerfile, without docker and without a registry: by buildah, on a Debian whose
packages are fetched from Debian's mirror. `python:3.13-slim` is the same Debian with a Python of its own build.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from harness.tools import cache_directory

NAME: Final = "localhost/egressgateway-operator"
BASE: Final = "localhost/python-base:3.13"
MIRROR: Final = os.environ.get("EGRESSGATEWAY_DEBIAN", "http://deb.debian.org/debian")
_PACKAGES: Final = "python3,python3-venv,ca-certificates"
_BASE_DOCKERFILE: Final = "FROM scratch\nADD root.tar /\nENV PATH=/usr/local/bin:/usr/bin:/bin\n"
_ROOTS: Final = "/etc/ssl/certs:/etc/ssl/certs:ro"
_SECONDS: Final = 1200
_KEPT: Final = 4


class ImageError(Exception):
    """The image cannot be built; holds the end of what was said."""


def archive(source: Path, tag: str) -> Path:
    """
    The image of a checkout as an archive in the cache, built unless it is there; its name is `NAME:tag`.

    Raises:
        ImageError: a step of the build failed.
    """
    place = cache_directory() / "operator-images"
    place.mkdir(parents=True, exist_ok=True)
    found = place / f"{_digest(source, tag)}.tar"
    if not found.exists():
        base()
        _build(source, f"{NAME}:{tag}", found)
    os.utime(found)
    for old in sorted(place.glob("*.tar"), key=lambda each: each.stat().st_mtime, reverse=True)[_KEPT:]:
        old.unlink()
    return found


def _build(source: Path, name: str, found: Path) -> None:
    with tempfile.TemporaryDirectory(dir=found.parent, prefix="building-") as directory:
        argument = ("--build-arg", f"PYTHON={BASE}")
        # An older Dockerfile knows no secrets: there the roots are those of this machine.
        roots = () if "--mount=type=secret" in (source / "Dockerfile").read_text() else ("--volume", _ROOTS)
        _buildah("bud", "--layers", *_ISOLATION, *_secrets(directory), *roots, *argument, "--tag", name, str(source))
        _buildah("push", "--disable-compression", name, f"oci-archive:{directory}/archive:{name}")
        Path(directory, "archive").replace(found)


def base() -> None:
    """Make the image on which the operator's is built, unless it is there."""
    if _buildah("images", "--quiet", "--filter", f"reference={BASE}").strip():
        return
    with tempfile.TemporaryDirectory(dir=cache_directory(), prefix="base-") as directory:
        argv = [
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}"),
            '--aptopt=APT::Install-Recommends "false"',
            *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("doc", "man", "locale")),
            '--customize-hook=ln -s /usr/bin/python3 "$1/usr/local/bin/python"',
            *("trixie", f"{directory}/root.tar", MIRROR),
        ]
        _run(argv)
        Path(directory, "Dockerfile").write_text(_BASE_DOCKERFILE)
        _buildah("bud", *_ISOLATION, "--tag", BASE, directory)


_ISOLATION: Final = ("--isolation", "chroot", "--network", "host")
"""No control groups and no network of its own: it runs in a container, too."""


def _secrets(directory: str) -> list[str]:
    """This machine's roots and settings of pip, as a build behind a proxy needs them; see docs/install.md."""
    roots = os.environ.get("PIP_CERT") or "/etc/ssl/certs/ca-certificates.crt"
    settings = Path(directory, "pip.conf")
    settings.write_text("[global]\ncert = /run/secrets/ca\n")
    return ["--secret", f"id=ca,src={roots}", "--secret", f"id=pip,src={settings}"]


def _digest(source: Path, tag: str) -> str:
    digest = hashlib.sha256(f"{tag} {BASE}".encode())
    for path in _context(source):
        digest.update(f"{path.relative_to(source)} {path.stat().st_mode}".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _context(source: Path) -> Iterator[Path]:
    """Files that the build sees, by .dockerignore."""
    yield source / "Dockerfile"
    for line in (source / ".dockerignore").read_text().splitlines():
        top = source / line.removeprefix("!")
        if line.startswith("!") and top.is_file():
            yield top
        elif line.startswith("!"):
            inner = (each for each in sorted(top.rglob("*")) if each.is_file())
            yield from (each for each in inner if "__pycache__" not in each.parts)


def _buildah(command: str, *arguments: str) -> str:
    place = cache_directory() / "buildah"
    roots = ("--root", str(place / "storage"), "--runroot", str(place / "run"), "--storage-driver", "overlay")
    return _run(["buildah", *roots, command, *arguments])


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise ImageError(f"{' '.join(argv[:8])} …: exit {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def remove_builder() -> None:
    """Remove what buildah keeps; the next image is built from nothing."""
    shutil.rmtree(cache_directory() / "buildah", ignore_errors=True)
