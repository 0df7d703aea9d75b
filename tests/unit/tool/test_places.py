"""A field is found where a person would look for it."""

from __future__ import annotations

import pytest

from egressgateway.tool.documents import read_text

TEXT = """\
kind: A
spec:
  access:
    from:
    - namespaces: [shop, billing]
  destinations:
  - name: one
    hosts:
    - a.example
    - b.example
    ports: [{port: 80, protocol: HTTP}]
  - {name: two, hosts: &h [c.example]}
  - name: three
    hosts: *h
"""


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("", "", (1, 1)),
        ("spec", "", (2, 1)),
        ("spec.destinations", "", (6, 3)),
        ("spec.destinations[0]", "", (7, 5)),
        ("spec.destinations[0].hosts", "", (8, 5)),
        ("spec.destinations[0].hosts", "b.example", (10, 7)),
        ("spec.destinations[0].hosts", "other.example", (8, 5)),
        ("spec.destinations[0].hosts[1]", "", (10, 7)),
        ("spec.destinations[0].ports", "", (11, 12)),
        ("spec.destinations[0].ports[0].protocol", "", (11, 34)),
        ("spec.destinations[1].name", "", (12, 12)),
        ("spec.destinations[1].hosts", "", (12, 24)),
        ("spec.access.from[0].namespaces", "billing", (5, 26)),
        # What is missing is where it should be.
        ("spec.destinations[0].traffic.timeout", "", (7, 5)),
        ("spec.destinations[7].name", "", (6, 3)),
        ("metadata.name", "", (1, 1)),
        # What is written once and meant twice is where it is written.
        ("spec.destinations[2].hosts[0]", "", (12, 28)),
    ],
)
def test_a_field_is_found(path: str, value: str, place: tuple[int, int]) -> None:
    [document] = read_text(TEXT, "f").documents
    assert document.place(path, value) == ("f", *place)
