"""Log lines for machines and for people, safe against what users write."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from egressgateway.cli.logging import configure_logging
from egressgateway.engine.process.log import reconcile_fields

log = logging.getLogger("egressgateway.engine.process.worker")


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Leave the loggers as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def fail() -> None:
    """Log an exception with its trace."""
    try:
        dict[str, str]()["bug"]
    except KeyError:
        log.exception("Failed")


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_json_line_has_the_fields(stream: io.StringIO) -> None:
    """Time, level, logger and message first; what varies under its own names."""
    configure_logging("json", "INFO", stream)
    log.info("Reconciled", extra={"fields": {"namespace": "shop", "name": "out", "duration": 0.5}})
    log.debug("not shown")
    [line] = parsed(stream)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "egressgateway.engine.process.worker",
        "message": "Reconciled",
        "namespace": "shop",
        "name": "out",
        "duration": 0.5,
    }


def test_fields_of_the_reconcile_are_on_each_line(stream: io.StringIO) -> None:
    """A line within a reconcile names its object though the caller does not; a field of the line wins."""
    configure_logging("json", "INFO", stream)
    token = reconcile_fields.set({"namespace": "shop", "name": "out"})
    log.info("plain")
    log.info("own", extra={"fields": {"name": "child"}})
    reconcile_fields.reset(token)
    log.info("outside")
    first, second, third = parsed(stream)
    assert (first["namespace"], first["name"]) == ("shop", "out")
    assert (second["namespace"], second["name"]) == ("shop", "child")
    assert "name" not in third


@pytest.mark.parametrize("format_", ["json", "human"])
@pytest.mark.parametrize("evil", ["a\nb", "a\r\nb", "a\x1b[31mb", "a\u2028b", "a\x85b", "a\x00b", "\udc80"])
def test_no_value_forges_a_line(stream: io.StringIO, format_: Any, evil: str) -> None:
    """Whatever is in message or field, one record is one line without control characters."""
    configure_logging(format_, "INFO", stream)
    log.info(evil.encode("utf-8", "replace").decode(), extra={"fields": {"host": evil}})
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert not set(text[:-1]) & set("\n\r\x00\x1b\x85\u2028")
    assert len(text.splitlines()) == 1


def test_trace_is_one_json_field(stream: io.StringIO) -> None:
    """A trace stays with its record."""
    configure_logging("json", "INFO", stream)
    fail()
    [line] = parsed(stream)
    assert line["exception"].startswith("Traceback")
    assert "KeyError: 'bug'" in line["exception"]


def test_human_line_reads_well(stream: io.StringIO) -> None:
    """Short for a terminal: values with spaces are quoted, empty ones left out, a trace is indented."""
    configure_logging("human", "INFO", stream)
    log.warning("Cut off", extra={"fields": {"kind": "Service", "namespace": "", "error": "no way"}})
    fail()
    first, second, *trace = stream.getvalue().splitlines()
    assert first[12:] == ' WARNING engine.process.worker Cut off  kind=Service  error="no way"'
    assert "Failed" in second
    assert all(line.startswith("    ") for line in trace)
    assert trace[-1].strip() == "KeyError: 'bug'"


def test_chatter_of_libraries_is_tamed(stream: io.StringIO) -> None:
    """kopf says something for each event, aiohttp for each probe: only their warnings are kept."""
    configure_logging("json", "DEBUG", stream)
    for name in ("kopf.objects", "aiohttp.access", "kopf._core.reactor.queueing"):
        logging.getLogger(name).info("chatter")
    logging.getLogger("kopf.objects").warning("trouble", extra={"k8s_ref": {"namespace": "shop", "name": "out"}})
    [line] = parsed(stream)
    assert (line["message"], line["namespace"], line["name"]) == ("trouble", "shop", "out")
