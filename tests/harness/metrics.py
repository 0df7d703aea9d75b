"""Counters of the API server: how often it was asked for what, by its own count and not by a client's."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

READS = frozenset({"GET", "LIST", "WATCH", "CONNECT"})


class Request(NamedTuple):
    """What was asked and how it ended. A server-side apply has the verb APPLY, other patches PATCH."""

    verb: str
    group: str
    resource: str
    subresource: str
    code: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a metrics page."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """The text of `/metrics`, read on demand: it has some ten thousand lines and few are ever wanted."""

    text: str

    def samples(self, name: str) -> list[Sample]:
        """Every sample of the metric `name`."""
        lines = (line for line in self.text.splitlines() if line.startswith(name))
        matches = (_SAMPLE.match(line) for line in lines)
        return [
            Sample(dict(_LABEL.findall(match["labels"] or "")), float(match["value"]))
            for match in matches
            if match and match["name"] == name
        ]

    def requests(self) -> Counter[Request]:
        """Requests answered since the server's start, from `apiserver_request_total`."""
        counted: Counter[Request] = Counter()
        for sample in self.samples("apiserver_request_total"):
            labels = sample.labels
            key = Request(
                labels["verb"], labels["group"], labels["resource"], labels["subresource"], int(labels["code"])
            )
            counted[key] += int(sample.value)
        return counted

    def writes(self) -> Counter[Request]:
        """The same without reads."""
        return Counter({key: count for key, count in self.requests().items() if key.verb not in READS})
