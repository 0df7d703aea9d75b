"""Every object of our kinds on a page, in a sample or in the repository for GitOps: an API server accepts it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from docs.pages import DOCS, GROUP, ROOT, blocks, objects, pages
from harness.cluster import Cluster

pytestmark = pytest.mark.controlplane

FILES = [*sorted((ROOT / "deploy").rglob("*.yaml")), *sorted(DOCS.rglob("*.yaml"))]
BASE = "/apis/egressgateway.dev/v1alpha1"


def _found() -> Iterator[tuple[str, dict[str, Any]]]:
    for page in pages():
        for block in blocks(page):
            if block.language == "yaml":
                yield from ((f"{block} {each['metadata']['name']}", each) for each in objects(block))
    for path in FILES:
        # Templates of a chart and what Argo CD reads are no objects to apply.
        if "templates" in path.parts or "testdata" in path.parts:
            continue
        for document in yaml.safe_load_all(path.read_text()):
            if isinstance(document, dict) and str(document.get("apiVersion", "")).startswith(GROUP):
                yield f"{path.relative_to(ROOT)} {document['metadata']['name']}", document


OBJECTS = [pytest.param(each, id=name) for name, each in _found()]


def test_pages_have_objects() -> None:
    """The search above finds what it looks for."""
    assert len(OBJECTS) > 20


@pytest.mark.parametrize("manifest", OBJECTS)
def test_object_is_accepted(manifest: dict[str, Any], cluster: Cluster) -> None:
    """The API server accepts it, and knows all of its fields; nothing is stored."""
    body = copy.deepcopy(manifest)
    namespaced = manifest["kind"] == "EgressGateway"
    if namespaced:
        assert body["metadata"].get("namespace"), "say the namespace: a reader should see whose object it is"
        body["metadata"]["namespace"] = "default"
    body["metadata"].pop("generation", None)
    where = f"{BASE}/namespaces/default/egressgateways" if namespaced else f"{BASE}/egressgatewayclasses"
    stored = cluster.rest.create(f"{where}?dryRun=All&fieldValidation=Strict", body)
    assert stored["metadata"]["name"] == manifest["metadata"]["name"]
