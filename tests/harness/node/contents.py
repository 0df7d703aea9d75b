"""What is in an image: its layers laid over each other as a container would see them, without running anything."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_ELF: Final = b"\x7fELF"
_SCRIPT: Final = b"#!"


@dataclass(frozen=True, slots=True)
class File:
    """A file of an image."""

    place: str
    """Absolute."""

    mode: int
    size: int
    begun: bytes
    """Its first bytes; empty for links."""

    target: str = ""
    """Of a symbolic link."""

    @property
    def is_program(self) -> bool:
        """Whether it can be started: an executable or a script, and neither a library nor a module of Python's."""
        starts = self.begun.startswith(_SCRIPT) or self.begun == _ELF
        path = Path(self.place)
        return bool(self.mode & 0o111) and starts and ".so" not in path.suffixes and path.suffix != ".py"


@dataclass(frozen=True, slots=True)
class Contents:
    """An image of an archive in OCI's layout that holds one."""

    archive: Path

    def layers(self) -> list[str]:
        """Digests of the layers, the lowest first."""
        return [str(each["digest"]) for each in self._manifest()["layers"]]

    def config(self) -> dict[str, Any]:
        """How the image is run, and what was done to make it."""
        found: dict[str, Any] = self._json(self._manifest()["config"]["digest"])
        return found

    def files(self) -> dict[str, File]:
        """Every file and symbolic link, by its place."""
        found: dict[str, File] = {}
        for digest in self.layers():
            for file, content in self._entries(digest):
                name = Path(file.name).name
                place = str(Path("/", file.name))
                if name == _OPAQUE:
                    _remove(found, str(Path(place).parent))
                elif name.startswith(_WHITEOUT):
                    _remove(found, str(Path(place).with_name(name.removeprefix(_WHITEOUT))))
                elif file.issym():
                    found[place] = File(place, file.mode, 0, b"", file.linkname)
                elif file.islnk():
                    found[place] = found[str(Path("/", file.linkname))]
                elif content:
                    found[place] = File(place, file.mode, file.size, content.read(4))
        return found

    def text(self, place: str) -> str:
        """
        The text of one file.

        Raises:
            LookupError: there is no such file.
        """
        for digest in reversed(self.layers()):
            for file, content in self._entries(digest):
                if str(Path("/", file.name)) == place and content:
                    return content.read().decode()
        raise LookupError(f"{place}: not in {self.archive.name}")

    def _entries(self, digest: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
        with tarfile.open(self.archive) as archive:
            blob = archive.extractfile(_blob(digest))
            with tarfile.open(fileobj=blob) as layer:
                for each in layer:
                    yield each, layer.extractfile(each) if each.isreg() else None

    def _manifest(self) -> dict[str, Any]:
        with tarfile.open(self.archive) as archive:
            index = archive.extractfile("index.json")
            assert index
            [manifest] = json.load(index)["manifests"]
        found: dict[str, Any] = self._json(manifest["digest"])
        return found

    def _json(self, digest: str) -> Any:
        with tarfile.open(self.archive) as archive:
            blob = archive.extractfile(_blob(digest))
            assert blob
            return json.load(blob)


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _remove(found: dict[str, File], place: str) -> None:
    for each in [each for each in found if each == place or each.startswith(f"{place}/")]:
        del found[each]
