"""All images of a cluster as one store: made of what this machine has, and of the operator's image from checkouts."""

from __future__ import annotations

from pathlib import Path
from platform import machine

from harness.node import oci, operator_image
from harness.node.images import mesh_images, node_images
from harness.node.place import ARCHITECTURES
from harness.node.programs import Programs
from harness.node.store import store
from harness.tools import MeshTools


def stock(programs: Programs, mesh: MeshTools, checkouts: dict[str, Path]) -> Path:
    """
    The store with the images of nodes and of Istio, and with the operator's image of each checkout under its tag.

    Raises:
        ImageError: an image of the operator cannot be built.
        StoreError: containerd refused.
    """
    images = {**node_images(programs), **mesh_images(mesh)}

    def write(file: Path) -> None:
        oci.write_archive(file, images, ARCHITECTURES[machine()])

    found = store(programs, "cluster", oci.fingerprint(images.values()), write)
    for tag, checkout in checkouts.items():
        archive = operator_image.archive(checkout, tag)
        found = store(programs, "operator", archive.stem, lambda file: file.hardlink_to(archive), found)  # noqa: B023
    return found
