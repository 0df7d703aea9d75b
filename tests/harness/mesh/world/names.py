"""
The world's names. Each gets an address of its own, so that a server can tell which was meant even where no byte says
it.

The beginning of a name says what is wrong with it: `absent-` is not known to DNS, `dead-` leads where nobody answers,
`wrong-` has a certificate for another name, `expired-` one that was good until lately, `private-` one of an authority
that systems do not trust, `fixed-` one of its own name, whichever name the client asks for in the handshake,
`status-503-` answers every HTTP request so, and `http1-` speaks HTTP/1.1 alone. A name that was healed is known to DNS
and answers as others do.

Others tell where they lead. The first label `at-10-128-0-5` is that address, `at-fd00--5` is fd00::5. The world's
servers answer at addresses of `INNER_NETWORK` and at `METADATA_IP`, and do not know there which name was meant; they
answer at `at-198-19-200-5`, too, for a host whose address must be known beforehand. `dual-` has an address of IPv6 as
well, `six-` has no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Final

from harness.mesh.dns import NAME_ERROR, Query
from harness.mesh.layout import DEAD_NETWORK, WORLD_NETWORK, WORLD_NETWORK_6

HEALED: Final = "healed"
"""Directory with a file for each name that was healed."""

FIXED: Final = "fixed-"
"""How names begin whose servers have one certificate."""

HTTP1: Final = "http1-"
"""How names begin whose servers know nothing of HTTP/2."""

_AT: Final = re.compile(r"at-([0-9a-f-]+)\.")

NOT_OURS = ("local", "internal", "invalid", "localhost", "svc", "test-absent")
"""Last labels that no name outside of a cluster has."""


class Names:
    """Names by address and back. A name keeps its address until the world ends."""

    def __init__(self, directory: Path) -> None:
        self._healed = directory / HEALED
        self._by_name: dict[str, str] = {}
        self._by_address: dict[str, str] = {}
        self._alive = _addresses(WORLD_NETWORK, skip=256)
        self._dead = _addresses(DEAD_NETWORK, skip=1)

    async def resolve(self, message: bytes) -> bytes:
        """The answer to a DNS query."""
        query = Query.parse(message)
        labels = query.name.split(".")
        if len(labels) < 2 or labels[-1] in NOT_OURS or self._is_absent(query.name):
            return query.answer((), NAME_ERROR)
        return query.answer(self.addresses_of(query.name))

    def addresses_of(self, name: str) -> list[str]:
        """What DNS says of a name that it knows."""
        if told := _address_in(name):
            return [told]
        own = self.address_of(name)
        # The same number in the other network: as little likely to be another name's.
        twin = str(WORLD_NETWORK_6[int(ip_address(own)) - int(WORLD_NETWORK.network_address)])
        if name.startswith(("six-", "dual-")):
            self._by_address[twin] = name
        return {"six": [twin], "dual": [own, twin]}.get(name.partition("-")[0], [own])

    def address_of(self, name: str) -> str:
        """The name's own address of IPv4, given to it when it is first asked for."""
        if name not in self._by_name:
            address = next(self._dead if name.startswith("dead-") else self._alive)
            self._by_name[name], self._by_address[address] = address, name
        return self._by_name[name]

    def status_of(self, name: str) -> int | None:
        """The status with which a host always answers, if it is one of those."""
        found = re.match(r"status-(\d{3})-", name)
        return int(found[1]) if found and not self._is_healed(name) else None

    def _is_absent(self, name: str) -> bool:
        return name.startswith("absent-") and not self._is_healed(name)

    def _is_healed(self, name: str) -> bool:
        return (self._healed / name).exists()

    def name_of(self, address: str) -> str | None:
        """The name that was given this address."""
        return self._by_address.get(address)


def _address_in(name: str) -> str:
    """The address that is written in a name's first label, with hyphens; empty if there is none."""
    found = _AT.match(name)
    parts = found[1].split("-") if found else []
    dotted = len(parts) == 4 and all(each.isdecimal() for each in parts)
    with suppress(ValueError):
        return str(ip_address(".".join(parts) if dotted else ":".join(parts)))
    return ""


def _addresses(network: IPv4Network, skip: int) -> Iterator[str]:
    return (
        str(network[number])
        for number in range(skip, network.num_addresses - 1)
        if network[number] not in DEAD_NETWORK or network == DEAD_NETWORK
    )
