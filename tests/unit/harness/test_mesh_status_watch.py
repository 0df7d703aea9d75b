"""The watch of the lie detector follows every object, through everything that a server may do, and ends at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from egressgateway.refs import EGRESS_GATEWAY
from harness.kubeconfig import Access
from harness.mesh.detector import StatusWatch
from harness.wait import eventually

NAME = "exits", "exit"


class Server(ThreadingHTTPServer):
    """An API server that lists `items`, and tells watches what is put into `events`; None ends a watch."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.items: list[dict[str, Any]] = []
        self.events: Queue[dict[str, Any] | None] = Queue()
        self.ended = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        assert path == EGRESS_GATEWAY.path(None)
        self.send_response(200)
        self.end_headers()
        if "watch=1" not in query:
            listed = {"metadata": {"resourceVersion": "1"}, "items": self.server.items}
            self.wfile.write(json.dumps(listed).encode())
            return
        while not self.server.ended.is_set():
            try:
                event = self.server.events.get(timeout=0.05)
            except Empty:
                continue
            if event is None:
                return
            self.wfile.write(json.dumps(event).encode() + b"\n")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def kubeconfig(server: Server, tmp_path: Path) -> Path:
    return Access(f"http://127.0.0.1:{server.server_port}").write(tmp_path / "kubeconfig")


def manifest(version: int) -> dict[str, Any]:
    namespace, name = NAME
    return {"metadata": {"namespace": namespace, "name": name, "resourceVersion": str(version)}}


def event(type_: str, version: int) -> dict[str, Any]:
    return {"type": type_, "object": manifest(version)}


def versions(watch: StatusWatch) -> list[str | None]:
    return [each.manifest and each.manifest["metadata"]["resourceVersion"] for each in watch.seen if each.name == NAME]


def test_each_state_is_noted(server: Server, kubeconfig: Path) -> None:
    """What is there, what changes, and the end; a watch that the server ends goes on where it was."""
    server.items = [manifest(1)]
    with StatusWatch(kubeconfig) as watch:
        server.events.put(event("MODIFIED", 2))
        server.events.put(None)
        server.events.put(event("MODIFIED", 3))
        server.events.put(event("DELETED", 4))
        eventually(lambda: len(versions(watch)) == 4)
    assert versions(watch) == ["1", "2", "3", None]
    times = [each.at for each in watch.seen]
    assert times == sorted(times)


def test_object_that_went_unseen_is_gone(server: Server, kubeconfig: Path) -> None:
    """After a version that is too old everything is listed again, and tells nothing of what ended meanwhile."""
    server.items = [manifest(1)]
    with StatusWatch(kubeconfig) as watch:
        eventually(lambda: versions(watch) == ["1"])
        server.items = []
        server.events.put({"type": "ERROR", "object": {"code": 410}})
        eventually(lambda: versions(watch) == ["1", None])


def test_watch_that_hears_nothing_ends(server: Server, kubeconfig: Path) -> None:
    """Or a block would wait for a server that has nothing to tell."""
    with StatusWatch(kubeconfig) as watch:
        pass
    assert watch.seen == []
