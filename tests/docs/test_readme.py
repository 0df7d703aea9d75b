"""What the README claims in figures is so."""

from __future__ import annotations

import re

import yaml

from docs.pages import ROOT
from egressgateway.refs import Manifest
from unit.golden.cases import parse_case, run

SAMPLE = ROOT / "deploy" / "samples" / "egressgateway.yaml"
README = (ROOT / "README.md").read_text()


def test_objects_and_lines_of_the_sample() -> None:
    """The sample becomes as many objects, and as much YAML, as the comparison with doing it by hand says."""
    result = run(parse_case(yaml.safe_dump({"gateway": yaml.safe_load(SAMPLE.read_text())})))
    manifests = [_by_hand(each.manifest) for each in result.desired]
    lines = sum(len(yaml.safe_dump(each).splitlines()) for each in manifests)
    claimed = re.search(r"(\d+) objects, about (\d+) lines", README)
    assert claimed is not None
    assert int(claimed[1]) == len(manifests)
    assert abs(int(claimed[2]) - lines) < 30, lines


def _by_hand(manifest: Manifest) -> Manifest:
    """Without what nobody would write by hand."""
    metadata = {key: manifest["metadata"][key] for key in ("name", "namespace")}
    return {**manifest, "metadata": metadata}
