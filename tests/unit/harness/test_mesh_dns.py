"""The name servers of the mesh tier: every name of the world has an address, but those that are called absent."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest

from harness.mesh.dns import NAME_ERROR, NO_ERROR, Query
from harness.mesh.layout import DEAD_NETWORK, WORLD_NETWORK, WORLD_NETWORK_6
from harness.mesh.world.names import HEALED, Names

AAAA = 28


def query(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def read(answer: bytes) -> tuple[int, list[IPv4Address]]:
    """Code and addresses."""
    _, flags, _, count, _, _ = struct.unpack_from("!HHHHHH", answer)
    return flags & 0xF, [IPv4Address(answer[len(answer) - 16 * index - 4 :][:4]) for index in range(count)]


@pytest.fixture
def names(tmp_path: Path) -> Names:
    return Names(tmp_path)


async def test_names_have_addresses_of_their_own(names: Names) -> None:
    """Two names differ in address, one name keeps its own, and the address leads back to the name."""
    (code, [one]), (_, [other]) = [read(await names.resolve(query(each))) for each in ("a.example", "b.example")]
    assert code == NO_ERROR
    assert one != other
    assert one in WORLD_NETWORK
    assert read(await names.resolve(query("A.example")))[1] == [one]
    assert names.name_of(str(other)) == "b.example"


@pytest.mark.parametrize("name", ["absent-x.example", "x.internal", "svc.ns.svc.cluster.local", "single"])
async def test_names_that_nobody_has(names: Names, name: str) -> None:
    """DNS says so."""
    assert read(await names.resolve(query(name))) == (NAME_ERROR, [])


async def test_dead_names_lead_where_nobody_lives(names: Names) -> None:
    """They resolve, to addresses of another network than those of the living."""
    _, [address] = read(await names.resolve(query("dead-x.example")))
    assert address in IPv4Network(DEAD_NETWORK)


async def test_other_types_have_no_records_and_no_error(names: Names) -> None:
    """A client that asks for IPv6 first goes on with IPv4."""
    assert read(await names.resolve(query("a.example", AAAA))) == (NO_ERROR, [])


@pytest.mark.parametrize("message", [b"", b"\0" * 11, query("a.example")[:-5]])
def test_cut_message_is_refused(message: bytes) -> None:
    """Nothing is answered to what is no query."""
    with pytest.raises(ValueError, match=r"cut|query"):
        Query.parse(message)


def test_host_may_always_answer_with_one_status(names: Names) -> None:
    """By its name."""
    assert names.status_of("status-503-api.example") == 503
    assert names.status_of("api.example") is None


async def test_healed_names_are_as_others(names: Names, tmp_path: Path) -> None:
    """From the moment on at which they are, and no other name with them."""
    for name in ("absent-x.example", "status-503-x.example"):
        (tmp_path / HEALED).mkdir(exist_ok=True)
        (tmp_path / HEALED / name).touch()
    assert read(await names.resolve(query("absent-x.example")))[0] == NO_ERROR
    assert read(await names.resolve(query("absent-y.example")))[0] == NAME_ERROR
    assert names.status_of("status-503-x.example") is None
    assert names.status_of("status-503-y.example") == 503


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("at-10-128-0-5.corp.example", "10.128.0.5"),
        ("at-127-0-0-1.corp.example", "127.0.0.1"),
        ("at-169-254-169-254.example", "169.254.169.254"),
    ],
)
async def test_names_that_tell_where_they_lead(names: Names, name: str, address: str) -> None:
    """The world may say of its names what it likes, as DNS everywhere."""
    assert read(await names.resolve(query(name))) == (NO_ERROR, [IPv4Address(address)])


async def test_name_that_tells_nothing_is_as_others(names: Names) -> None:
    """`at-` alone makes no address."""
    code, [address] = read(await names.resolve(query("at-bad-cafe.example")))
    assert (code, address in WORLD_NETWORK) == (NO_ERROR, True)


async def test_names_with_addresses_of_ipv6(names: Names) -> None:
    """`six-` has no other, `dual-` both, and either leads back to the name."""
    assert read(await names.resolve(query("six-a.example"))) == (NO_ERROR, [])
    assert len(read(await names.resolve(query("dual-a.example")))[1]) == 1
    for name in ("six-a.example", "dual-a.example"):
        address = IPv6Address((await names.resolve(query(name, AAAA)))[-16:])
        assert address in WORLD_NETWORK_6
        assert names.name_of(str(address)) == name
    assert (await names.resolve(query("at-fd00--5.example", AAAA)))[-16:] == IPv6Address("fd00::5").packed
