"""The corpus: documents that the API accepts or refuses, each with the reason in a comment above it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from egressgateway.api.objects import parse_class, parse_gateway

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpus"


@dataclass(frozen=True)
class Document:
    """One object. `want` is a part of the message that refuses it; None when it has to be accepted."""

    label: str
    manifest: dict[str, Any]
    want: str | None

    def __str__(self) -> str:
        return self.label


def corpus(verdict: str) -> list[Document]:
    """The documents in `valid` or `invalid`."""
    documents = [document for path in sorted((CORPUS / verdict).glob("*.yaml")) for document in _documents(path)]
    assert documents, f"no documents in {CORPUS / verdict}"
    return documents


def full_objects() -> list[Document]:
    """Objects that together use every field."""
    return list(_documents(CORPUS / "full.yaml"))


def shared_cases() -> list[Document]:
    """The project's worked cases, which lie beside the repository or where EGRESSGATEWAY_SHARED says; else none."""
    directory = Path(os.environ.get("EGRESSGATEWAY_SHARED", ROOT.parent / "shared")) / "cases"
    return [document for path in sorted(directory.glob("*/in.yaml")) for document in _documents(path)]


def shared_case(name: str) -> list[dict[str, Any]]:
    """The objects of one worked case, in their order; none where the cases are not there."""
    return [document.manifest for document in shared_cases() if document.label.startswith(f"{name}-")]


def _documents(path: Path) -> Iterator[Document]:
    for number, text in enumerate(re.split(r"^---\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)):
        manifest = yaml.safe_load(text)
        if manifest is None:
            continue
        where = path.parent.name if path.stem == "in" else path.stem
        want = re.search("^# want: (.+)$", text, re.MULTILINE)
        yield Document(f"{where}-{number}", manifest, want.group(1) if want else None)


def model_errors(manifest: dict[str, Any]) -> list[str]:
    """What the models say against `manifest`; nothing when they accept it."""
    parsed = parse_gateway(manifest) if manifest["kind"] == "EgressGateway" else parse_class(manifest)
    return [str(error) for error in parsed.errors]
