"""
What every child bears: labels, owner, digest. `tests/golden/every-child.yaml` has it once, golden cases do without.

So a label that changes changes one file, and a case shows what it is about.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from string import Template
from typing import Any

import yaml

from egressgateway.names import ANNOTATION_DIGEST
from egressgateway.refs import Key, Manifest
from egressgateway.render.digest import digest_of
from harness.golden import ROOT

_TEXT = Template((ROOT / "every-child.yaml").read_text())


def without_common(child: Manifest, owner: Key) -> Manifest:
    """`child` without what every child of `owner` bears. What is otherwise than there stays."""
    labels, owners = _common(owner)
    short = deepcopy(child)
    for metadata in _labelled(short):
        metadata["labels"] = {
            name: value for name, value in metadata.get("labels", {}).items() if labels.get(name) != value
        }
    metadata = short["metadata"]
    if metadata.get("ownerReferences") == owners:
        del metadata["ownerReferences"]
    metadata.get("annotations", {}).pop(ANNOTATION_DIGEST, None)
    for each in _labelled(short):
        for name in ("labels", "annotations"):
            if each.get(name) == {}:
                del each[name]
    return short


def with_common(short: Manifest, owner: Key) -> Manifest:
    """The whole child again, as it is if it bears what every child of `owner` does."""
    labels, owners = _common(owner)
    child = deepcopy(short)
    for metadata in _labelled(child):
        metadata["labels"] = {**labels, **metadata.get("labels", {})}
    if child["metadata"]["namespace"] == owner.namespace:
        child["metadata"].setdefault("ownerReferences", deepcopy(owners))
    digest = digest_of(child)
    child["metadata"].setdefault("annotations", {})[ANNOTATION_DIGEST] = digest
    return child


@cache
def _common(owner: Key) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Labels, and owner references."""
    parsed = yaml.safe_load(_TEXT.substitute(name=owner.name, namespace=owner.namespace))
    return parsed["labels"], parsed["ownerReferences"]


def _labelled(child: Manifest) -> list[dict[str, Any]]:
    """Metadata of a child, and of the pods of a Deployment."""
    pods = [child["spec"]["template"]["metadata"]] if child["kind"] == "Deployment" else []
    return [child["metadata"], *pods]
