"""Images without an engine: the same content is the same layer, and a program brings what its loader needs."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from harness.node.oci import NAME, Image, Layer, fingerprint, write_archive


def archived(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]


def document(blobs: dict[str, bytes], descriptor: dict[str, Any]) -> Any:
    content = blobs[f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"]
    assert len(content) == descriptor["size"]
    return json.loads(content)


def test_archive_holds_images_by_name_and_each_layer_once(tmp_path: Path) -> None:
    """Two images share a layer: it is one blob, under the digest of its content."""
    shared, own = Layer(texts={"/etc/name": "shared"}), Layer(texts={"/etc/own": "own"}, directories={"/tmp": 0o1777})
    images = {"a.test/one:1": Image((shared,), {"Cmd": ["x"]}), "a.test/two:1": Image((shared, own), {})}
    write_archive(tmp_path / "archive", images, "amd64")
    blobs = archived(tmp_path / "archive")
    manifests = json.loads(blobs["index.json"])["manifests"]
    assert [each["annotations"][NAME] for each in manifests] == list(images)
    one, two = (document(blobs, each) for each in manifests)
    assert one["layers"] == two["layers"][:1]
    assert document(blobs, one["config"])["config"] == {"Cmd": ["x"]}
    for name, content in blobs.items():
        if name.startswith("blobs/"):
            assert name.rpartition("/")[2] == hashlib.sha256(content).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_same_files_make_the_same_layer(tmp_path: Path) -> None:
    """Whenever it is made: containerd unpacks a layer that it has no second time."""
    for name in ("one", "two"):
        write_archive(tmp_path / name, {"a:1": Image((Layer(texts={"/b": "c"}, links={"/d": "b"}),), {})}, "amd64")
    assert archived(tmp_path / "one") == archived(tmp_path / "two")


def test_program_brings_its_loader(tmp_path: Path) -> None:
    """What is linked dynamically cannot start without."""
    program = Path(shutil.which("sh") or "/bin/sh")
    layer = Layer()
    layer.add_program(program, "/usr/bin/sh")
    assert layer.files["/usr/bin/sh"] == program.resolve()
    assert any("ld-" in place or "libc" in place for place in layer.files)


def test_fingerprint_follows_what_is_in_the_images(tmp_path: Path) -> None:
    """A file that is built anew, or another command, asks for another archive."""
    file = tmp_path / "file"
    file.write_text("one")

    def image(**config: str) -> Image:
        return Image((Layer(files={"/file": file}),), config)

    before = fingerprint([image()])
    assert fingerprint([image()]) == before
    assert fingerprint([image(User="1")]) != before
    file.write_text("other")
    assert fingerprint([image()]) != before
