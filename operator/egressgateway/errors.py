"""
The error tree. Exceptions belong to I/O and to bugs; a user's mistake is a `Finding`, a value.

    EgressGatewayError
    ├── ClusterError              a call to the API server failed
    │   ├── Conflict              changed meanwhile, or exists already: look again, try again
    │   ├── NotFound              gone, or its kind is not served
    │   ├── Throttled             429: wait as long as the server asks
    │   ├── Unavailable           5xx, time-out, connection lost: back off
    │   ├── Invalid               the server refuses the object: only a change of it can help
    │   ├── TooLarge              an answer of so many bytes that it is not read: ask for less
    │   ├── Forbidden             the operator lacks a right, or the namespace is terminating
    │   └── Expired               410: the watch's resource version is too old, list again
    ├── StartError                the process cannot run here: its port is taken
    ├── SourceError               a file that a command is to read is not there, or holds nothing for it
    ├── TemplateError             a template of ours is wrong
    └── InvariantError            the code contradicts itself

`cluster.errors` alone turns HTTP answers into these.
"""

from __future__ import annotations


class EgressGatewayError(Exception):
    """Base of everything that this package raises on purpose."""


class ClusterError(EgressGatewayError):
    """The API server did not carry out a call. `call` names verb and object, `reason` is the server's."""

    def __init__(self, call: str, message: str, *, reason: str = "", code: int | None = None) -> None:
        super().__init__(f"{call}: {message}")
        self.call = call
        self.message = message
        self.reason = reason
        self.code = code


class Conflict(ClusterError):
    """409: another client changed or created the object first."""


class NotFound(ClusterError):
    """404: the object is gone, or its kind is not served (CRD missing)."""


class Throttled(ClusterError):
    """429: the server asks to wait `retry_after` seconds."""

    def __init__(self, call: str, message: str, *, retry_after: float, reason: str = "") -> None:
        super().__init__(call, message, reason=reason, code=429)
        self.retry_after = retry_after


class Unavailable(ClusterError):
    """5xx, a time-out or a lost connection: nothing is known about the outcome. `retry_after` in seconds, if told."""

    def __init__(
        self, call: str, message: str, *, reason: str = "", code: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(call, message, reason=reason, code=code)
        self.retry_after = retry_after


class Invalid(ClusterError):
    """400 or 422: the server rejects the object, with its message."""


class TooLarge(ClusterError):
    """The answer is larger than its caller can hold; it was not read to its end."""


class Forbidden(ClusterError):
    """401 or 403: a right is missing, or the namespace is terminating."""


class Expired(ClusterError):
    """410: the resource version of a watch or of a list page is too old."""


class StartError(EgressGatewayError):
    """A precondition of the process is missing. The message names the remedy."""


class SourceError(EgressGatewayError):
    """A file cannot be read, or holds nothing to answer from. The message names it."""


class TemplateError(EgressGatewayError):
    """A template of ours does not render. `template` and `line` say where."""

    def __init__(self, template: str, message: str, line: int | None = None) -> None:
        super().__init__(f"{template}:{line}: {message}" if line else f"{template}: {message}")
        self.template = template
        self.line = line


class InvariantError(EgressGatewayError):
    """Something that the code relies on does not hold."""
