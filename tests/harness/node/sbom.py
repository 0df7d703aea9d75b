"""The bill of materials of an image, as CycloneDX: what Debian and Python say is installed in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.parser import HeaderParser
from typing import Any, Final

from harness.node.contents import Contents

STATUS: Final = re.compile(r"/var/lib/dpkg/status")
"""What Debian says is installed."""

_METADATA: Final = re.compile(r"/app/lib/python[\d.]+/site-packages/[^/]+\.dist-info/METADATA")

Component = dict[str, Any]


def bill(image: Contents) -> dict[str, Any]:
    """The document. The same image gives the same one: it has neither a time nor a serial number."""
    labels = image.config()["config"]["Labels"]
    name, version = (labels[f"org.opencontainers.image.{each}"] for each in ("title", "version"))
    texts = image.texts(STATUS, _METADATA)
    [status] = [text for place, text in texts.items() if STATUS.fullmatch(place)]
    packages = [_python(text) for place, text in sorted(texts.items()) if _METADATA.fullmatch(place)]
    components = [*packages, *_debian(status)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "name": name,
                "version": version,
                "bom-ref": name,
                "licenses": [{"license": {"id": labels["org.opencontainers.image.licenses"]}}],
            }
        },
        "components": components,
        "dependencies": [{"ref": name, "dependsOn": sorted(each["bom-ref"] for each in components)}],
    }


def _python(metadata: str) -> Component:
    found = HeaderParser().parsestr(metadata)
    name = re.sub(r"[-_.]+", "-", found["Name"]).lower()
    licence = found["License-Expression"] or (found["License"] or "").partition("\n")[0]
    return _component(name, found["Version"], f"pkg:pypi/{name}@{found['Version']}", licence)


def _debian(status: str) -> Iterator[Component]:
    for paragraph in status.strip().split("\n\n"):
        found = HeaderParser().parsestr(paragraph)
        if found["Status"] == "install ok installed":
            name, version = found["Package"], found["Version"]
            url = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={found['Architecture']}"
            yield _component(name, version, url, "")


def _component(name: str, version: str, url: str, licence: str) -> Component:
    head = {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}
    return {**head, "licenses": [{"license": {"name": licence}}]} if licence else head
