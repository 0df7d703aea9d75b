"""
Watches every EgressGateway of a cluster for as long as tests run, and judges each status as it is written.

A test looks at the states that it waits for; those in between are seen here alone. `conditions` holds the rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import urllib3

from harness.background import Background
from harness.conditions import BEHIND, transition_violations, violations
from harness.rest import ApiError, Object, Rest

GATEWAYS = "/apis/egressgateway.dev/v1alpha1/egressgateways"
SERVER_TIMEOUT_SECONDS = 2
"""Watches are short, so that the thread notices the end; the next one goes on where the last one ended."""


class ConditionsRecorder(Background):
    """
    Records within a `with` block, and raises at its end what it found.

        with ConditionsRecorder(cluster.kubeconfig):
            ...
    """

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__("conditions recorder")
        self._rest = Rest(kubeconfig)
        self._known: dict[str, Object] = {}
        self._overtaken: dict[str, int] = {}
        """
        By uid, the generation of objects whose last status spoke of one before: an edit may come while it is written.
        """
        self.found: list[str] = []
        """Violations so far, with the object and its version."""
        self.judged = 0
        """Status writes that were judged."""

    def finish(self) -> None:
        """
        Raises:
            AssertionError: a status broke the rules.
        """
        self._rest.close()
        if self.found:
            # Of thousands of objects in the same state the first tells enough.
            shown = "\n".join(self.found[:20])
            raise AssertionError(f"{len(self.found)} statuses break the rules for conditions:\n{shown}")

    def see(self, gateway: Object) -> None:
        """Judge `gateway` if its status is another than when it was last seen."""
        uid = gateway["metadata"]["uid"]
        known = self._known.get(uid)
        self._known[uid] = gateway
        if known is not None and known.get("status") == gateway.get("status"):
            return
        self.judged += 1
        found = [*violations(gateway), *(transition_violations(known, gateway) if known else ())]
        metadata = gateway["metadata"]
        where = f"{metadata['namespace']}/{metadata['name']} at version {metadata['resourceVersion']}"
        # Once is a race that nobody can win; the next status has to know that edit, and may be late for the one after.
        again = gateway["status"].get("observedGeneration", 0) < self._overtaken.pop(uid, 0)
        self.found += [f"{where}: {text}" for text in found if again or BEHIND not in text]
        if any(BEHIND in text for text in found):
            self._overtaken[uid] = metadata["generation"]

    def work(self) -> None:
        """Follow the objects, through restarts of the API server."""
        version = ""
        while not self.ended.is_set():
            # The server may be away on purpose, or have forgotten the version meanwhile: begin anew.
            with suppress(ApiError, urllib3.exceptions.HTTPError):
                version = version or self._list()
                for event in self._watch(version):
                    if event["type"] == "ERROR":
                        version = ""
                        break
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self.see(event["object"])
                continue
            version = ""
            self.ended.wait(0.2)

    def _list(self) -> str:
        listed = self._rest.get(GATEWAYS)
        # What was written between the watch and the list nobody saw: no transition can be judged by it.
        self._known.clear()
        for gateway in listed["items"]:
            self.see(gateway)
        return str(listed["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> Iterator[Object]:
        query = f"watch=1&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={SERVER_TIMEOUT_SECONDS}"
        # Not `splitlines`: a text of an object may hold what Unicode calls a line's end.
        for line in self._rest.text(f"{GATEWAYS}?{query}").split("\n"):
            if line:
                yield json.loads(line)
