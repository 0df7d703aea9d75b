"""
Which Secrets a gateway's proxy has got from istiod, by its own counters.

Envoy counts for each Secret that it asks for how often it took one (Envoy, "Secret discovery service", statistics).
That is evidence without the right to read Secrets. The counter of a cluster's TLS context is none: it grows with each
of the two Secrets of a client certificate, also where the other one never comes (measured, Envoy 1.40).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_AT_ISTIOD: Final = "kubernetes"
"""How the names begin by which proxies ask istiod for Secrets of their namespace: `kubernetes://name`."""

COUNTERS: Final = rf"^sds\.{_AT_ISTIOD}.*\.update_success$"
"""The counters, by Envoy's names for them."""

WORD: Final = b"_update_success"
"""Part of each of their lines."""

_SAMPLE: Final = re.compile(r"^envoy_sds_(\w+)_update_success(?:\{[^}]*\})? ([0-9]{1,18})$")
_LONGEST_LINE: Final = 1024
"""Characters. A user who can create a pod that looks like the gateway's can also make up its page."""

_SEPARATORS: Final = re.compile(r"[^A-Za-z0-9]+")


class ReceivedSecrets:
    """Takes Envoy's page for Prometheus line by line."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names`: of Secrets that are looked for."""
        # The page has `_` for every dot and dash of a name.
        self._alike: dict[str, list[str]] = {}
        for name in sorted(set(names)):
            self._alike.setdefault(_plain(f"{_AT_ISTIOD}_{name}"), []).append(name)
        self._counts: dict[str, list[int]] = {}

    def feed(self, line: str) -> None:
        """The next line; a line without a counter is skipped."""
        found = _SAMPLE.match(line) if len(line) <= _LONGEST_LINE else None
        if found is not None and (name := _plain(found[1])) in self._alike:
            self._counts.setdefault(name, []).append(int(found[2]))

    def received(self) -> dict[str, bool]:
        """By name, whether the proxy has got the Secret; without those that it does not ask for."""
        told = {plain: counts for plain, counts in self._counts.items() if len(counts) >= len(self._alike[plain])}
        return {name: all(counts) for plain, counts in told.items() for name in self._alike[plain]}


def _plain(text: str) -> str:
    return _SEPARATORS.sub("_", text).strip("_")
