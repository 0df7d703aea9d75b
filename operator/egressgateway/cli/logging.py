"""
Logs: one line per record, as JSON for machines or short for people.

Code logs a constant message and passes variable values as `extra={"fields": {...}}` (a record's own attributes cannot
be named `name`). Each line also has what `engine.process.log` knows of the current reconcile.

No record can begin a new line or send an escape sequence to a terminal: hosts and messages come from users.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from egressgateway.engine.process.log import reconcile_fields

# Everything that some reader takes for the end of a line, that a terminal would interpret, or that cannot be encoded.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# What these log at INFO, kopf does for each event, or each request of a probe.
QUIET = ("kopf", "kopf.objects", "aiohttp.access", "kubernetes", "asyncio")

Format = Literal["json", "human"]


def configure_logging(format_: Format, level: str, stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (default: stderr), from `level` on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format_ == "json" else HumanFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    quiet = max(logging.getLevelNamesMapping()[level], logging.WARNING)
    for name in QUIET:
        logging.getLogger(name).setLevel(quiet)


class JsonFormatter(logging.Formatter):
    """`ts`, `level`, `logger`, `message`, the fields, and `exception` with the trace."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in _fields(record).items() if name not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # Not orjson: it refuses half a surrogate pair, and a log line must not fail. ASCII leaves little to escape.
        return _escape(json.dumps(line, default=str))


class HumanFormatter(logging.Formatter):
    """Time, level, logger, message, then `name=value`; a trace below, indented."""

    def format(self, record: logging.LogRecord) -> str:
        logger = record.name.removeprefix("egressgateway.")
        time = _timestamp(record)[11:23]
        fields = "".join(f"  {name}={_shown(value)}" for name, value in _fields(record).items() if value != "")
        line = f"{time} {record.levelname:<7} {logger:<16} {_escape(record.getMessage())}{fields}"
        if record.exc_info:
            trace = self.formatException(record.exc_info).split("\n")
            line += "".join(f"\n    {_escape(part)}" for part in trace)
        return line


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", None)
    if isinstance(fields, dict):
        return dict(reconcile_fields.get()) | fields
    # kopf's loggers of one object say it in this way.
    reference = getattr(record, "k8s_ref", None)
    if isinstance(reference, dict):
        return {name: reference[name] for name in ("kind", "namespace", "name") if reference.get(name)}
    return dict(reconcile_fields.get())


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(value: object) -> str:
    text = _escape(str(value))
    return f'"{text}"' if " " in text else text


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
