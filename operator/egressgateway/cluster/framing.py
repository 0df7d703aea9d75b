"""Lines from a byte stream: a watch sends one JSON document per line, and the network splits it anywhere."""

from __future__ import annotations


class LineFramer:
    """
    Collects chunks and gives back whole lines, of any length.

    aiohttp's own `readline` fails on a line beyond its buffer; an object may be 1.5 MiB (etcd's limit) and more
    as JSON.
    """

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Lines that `chunk` completes, without their ends and without empty ones."""
        # Joined only once per line: appending to one buffer would copy a big line again for each of its chunks.
        if b"\n" not in chunk:
            self._pending.append(chunk)
            return []
        *lines, rest = b"".join((*self._pending, chunk)).split(b"\n")
        self._pending = [rest] if rest else []
        return [line for line in lines if line]
