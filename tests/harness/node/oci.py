"""
Images without an engine: layers of this machine's programs and files, written as one archive (OCI image layout).

Layers are not compressed, as they go over no network, and the same content has the same digest: a layer that containerd
has already is not unpacked again.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

MEDIA: Final = "application/vnd.oci.image"
NAME: Final = "io.containerd.image.name"
"""Annotation by which containerd knows what an image of an archive is called."""


@dataclass(slots=True)
class Layer:
    """Files of this machine, texts, links and directories, by their absolute place in the image."""

    files: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: dict[str, int] = field(default_factory=dict)
    """With their modes; others that are needed have 755."""

    def add_program(self, path: Path, place: str) -> None:
        """A program of this machine, and the libraries that the loader would give it."""
        self.files[place] = path.resolve()
        done = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
        for library in re.findall(r"(/\S+) \(0x", done.stdout):
            self.files[library] = Path(library).resolve()

    def entries(self) -> Iterator[tuple[tarfile.TarInfo, Path | bytes | None]]:
        """What the layer's archive holds, directories first, always in the same order."""
        places = {*self.files, *self.texts, *self.links}
        needed = {str(parent) for place in places for parent in PurePosixPath(place).parents} - {"/"}
        for place in sorted(needed | self.directories.keys()):
            yield _entry(place, tarfile.DIRTYPE, self.directories.get(place, 0o755)), None
        for place, target in sorted(self.links.items()):
            entry = _entry(place, tarfile.SYMTYPE, 0o777)
            entry.linkname = target
            yield entry, None
        for place, text in sorted(self.texts.items()):
            yield _entry(place, tarfile.REGTYPE, 0o644, len(text.encode())), text.encode()
        for place, path in sorted(self.files.items()):
            found = path.stat()
            mode = 0o755 if found.st_mode & 0o111 else 0o644
            yield _entry(place, tarfile.REGTYPE, mode, found.st_size), path

    def write(self, file: Path) -> None:
        with tarfile.open(file, "w") as archive:
            for entry, content in self.entries():
                if isinstance(content, Path):
                    with content.open("rb") as stream:
                        archive.addfile(entry, stream)
                else:
                    archive.addfile(entry, io.BytesIO(content) if content is not None else None)


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its layers, of which others may have some as well, and how it is run."""

    layers: tuple[Layer, ...]
    config: Mapping[str, Any]


def write_archive(file: Path, images: Mapping[str, Image], architecture: str) -> None:
    """Write images by their names; nothing is at `file` before all of it is."""
    with tempfile.TemporaryDirectory(dir=file.parent, prefix="image-") as directory:
        writer = _Writer(Path(directory), architecture)
        listed = [writer.add(name, image) for name, image in images.items()]
        whole = Path(directory) / "archive"
        writer.write(whole, listed)
        whole.replace(file)


class _Writer:
    def __init__(self, directory: Path, architecture: str) -> None:
        self._directory = directory
        self._architecture = architecture
        self._blobs: dict[str, Path | bytes] = {}
        self._layers: dict[int, dict[str, Any]] = {}

    def add(self, name: str, image: Image) -> dict[str, Any]:
        """What the index says of an image."""
        layers = [self._layer(each) for each in image.layers]
        described = self._document(
            {
                "architecture": self._architecture,
                "os": "linux",
                "config": dict(image.config),
                "rootfs": {"type": "layers", "diff_ids": [each["digest"] for each in layers]},
            },
            "config",
        )
        manifest = {"schemaVersion": 2, "mediaType": f"{MEDIA}.manifest.v1+json", "config": described, "layers": layers}
        return {**self._document(manifest, "manifest"), "annotations": {NAME: name}}

    def write(self, file: Path, manifests: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "mediaType": f"{MEDIA}.index.v1+json", "manifests": manifests}
        with tarfile.open(file, "w") as archive:
            for name, document in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
                content = json.dumps(document).encode()
                archive.addfile(_entry(name, tarfile.REGTYPE, 0o644, len(content)), io.BytesIO(content))
            for digest, blob in self._blobs.items():
                place = f"blobs/sha256/{digest}"
                if isinstance(blob, Path):
                    archive.add(blob, place)
                else:
                    archive.addfile(_entry(place, tarfile.REGTYPE, 0o644, len(blob)), io.BytesIO(blob))

    def _layer(self, layer: Layer) -> dict[str, Any]:
        if id(layer) not in self._layers:
            path = self._directory / f"layer-{len(self._layers)}"
            layer.write(path)
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            self._blobs[digest] = path
            self._layers[id(layer)] = _descriptor(f"{MEDIA}.layer.v1.tar", digest, path.stat().st_size)
        return self._layers[id(layer)]

    def _document(self, document: object, kind: str) -> dict[str, Any]:
        content = json.dumps(document, sort_keys=True).encode()
        digest = hashlib.sha256(content).hexdigest()
        self._blobs[digest] = content
        return _descriptor(f"{MEDIA}.{kind}.v1+json", digest, len(content))


def fingerprint(images: Iterable[Image]) -> str:
    """A text that differs where images may differ: files are looked at by size and time, not read."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(json.dumps(dict(image.config), sort_keys=True).encode())
        for entry, content in (each for layer in image.layers for each in layer.entries()):
            digest.update(f"{entry.name} {entry.mode} {entry.size} {entry.linkname}".encode())
            if isinstance(content, Path):
                digest.update(f"{content} {content.stat().st_mtime_ns}".encode())
            elif content:
                digest.update(content)
    return digest.hexdigest()


def _descriptor(media: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": size}


def _entry(place: str, kind: bytes, mode: int, size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(place.lstrip("/"))
    entry.type, entry.mode, entry.size = kind, mode, size
    return entry
