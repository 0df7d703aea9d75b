"""The link between this machine and a test network: a /30 that nobody else on the machine has."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Network
from random import SystemRandom
from typing import Final

NETWORKS: Final = IPv4Network("198.18.0.0/16")
"""The links are parts of it. (RFC 2544: routed nowhere.)"""


@dataclass(frozen=True, slots=True)
class Link:
    """The two ends of a link."""

    device: str
    """The machine's, named after the test network."""

    host: str
    """The machine's address."""

    node: str
    """The address of the other end."""


def free_link(device: str) -> Link:
    """A link whose addresses nobody on this machine has."""
    shown = ["ip", "-4", "route", "show", "table", "all"]
    taken = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    while True:
        number = SystemRandom().randrange(NETWORKS.num_addresses // 4) * 4
        host, node = str(NETWORKS[number + 1]), str(NETWORKS[number + 2])
        if host not in taken:
            return Link(device, host, node)
