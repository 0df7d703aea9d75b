"""What is in an image: its layers laid over each other as a container would see them, without running anything."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
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
        return _files(self)

    def texts(self, *places: re.Pattern[str]) -> dict[str, str]:
        """The texts of all files whose place matches one of the patterns, read in one go."""
        there, found = self.files(), dict[str, str]()
        for layer in self.layers():
            for entry, content in _entries(self.archive, layer):
                place = _place(entry)
                if content and place in there and any(each.fullmatch(place) for each in places):
                    found[place] = content.read().decode()
        return found

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


@cache
def _files(image: Contents) -> dict[str, File]:
    """Once an image: it takes ten thousand files of layers that are compressed apart."""
    found: dict[str, File] = {}
    for layer in image.layers():
        for entry, content in _entries(image.archive, layer):
            place, name = _place(entry), Path(entry.name).name
            if name == _OPAQUE:
                _remove(found, str(Path(place).parent))
            elif name.startswith(_WHITEOUT):
                _remove(found, str(Path(place).with_name(name.removeprefix(_WHITEOUT))))
            elif entry.issym():
                found[place] = File(place, entry.mode, 0, b"", entry.linkname)
            elif entry.islnk():
                found[place] = found[str(Path("/", entry.linkname))]
            elif content:
                found[place] = File(place, entry.mode, entry.size, content.read(4))
    return found


def _entries(archive: Path, layer: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    with tarfile.open(archive) as outer, tarfile.open(fileobj=outer.extractfile(_blob(layer))) as inner:
        for each in inner:
            yield each, inner.extractfile(each) if each.isreg() else None


def _place(entry: tarfile.TarInfo) -> str:
    return str(Path("/", entry.name))


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _remove(found: dict[str, File], place: str) -> None:
    for each in [each for each in found if each == place or each.startswith(f"{place}/")]:
        del found[each]
