"""Names and labels of children: within the limits, and no two alike."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from egressgateway.names import (
    child_labels,
    hop_name,
    section_name,
    selector_labels,
    short_hash,
    sni_name,
    workload_name,
)
from egressgateway.refs import Key
from unit.golden.cases import case_names, run_named

LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", fullmatch=True)
NAMESPACES = st.from_regex(LABEL, fullmatch=True)
PARTS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
HOSTS = (
    st.lists(st.from_regex(LABEL, fullmatch=True), min_size=2, max_size=8)
    .map(".".join)
    .filter(lambda host: len(host) <= 253)
)
PORTS = st.integers(1, 65535)
FAMILIES = st.sampled_from(["http", "tls", "tcp"])


@given(name=NAMES, namespace=NAMESPACES, part=PARTS, host=HOSTS, family=FAMILIES, port=PORTS)
def test_names_keep_the_limits_of_kubernetes_and_dns(  # noqa: PLR0917  (one draw each)
    name: str, namespace: str, part: str, host: str, family: str, port: int
) -> None:
    """Whatever the API lets through, no name needs cutting by somebody who does not know what it means."""
    key = Key(namespace, name)
    assert re.fullmatch(LABEL, workload_name(key))
    assert re.fullmatch(LABEL, hop_name(host, family, port))
    assert len(section_name(key, "destinations", part, "clients", host)) <= 253
    sni = sni_name(key, host, family, port)
    assert len(sni) <= 253
    assert all(re.fullmatch(LABEL, label) for label in sni.split("."))
    assert all(len(value) <= 63 for value in child_labels(key).values())


WAYS = st.tuples(NAMESPACES, NAMES, HOSTS, FAMILIES, PORTS)


@given(one=WAYS, other=WAYS)
def test_private_names_are_equal_only_for_one_way_of_one_gateway(
    one: tuple[str, str, str, str, int], other: tuple[str, str, str, str, int]
) -> None:
    """Two gateways never share an upstream cluster, two ways of one never a filter chain."""
    names = {sni_name(Key(namespace, name), host, family, port) for namespace, name, host, family, port in (one, other)}
    assert len(names) == len({one, other})


def test_private_name_of_a_long_host_does_not_meet_that_of_a_short_one() -> None:
    """A hash stands for a host that is too long; no host looks like a hash, because each has a dot."""
    long = ".".join(["a" * 63] * 3 + ["b" * 61])
    name = sni_name(Key("n" * 63, "g" * 50), long, "tls", 65535)
    assert len(name) <= 253
    assert name != sni_name(Key("n" * 63, "g" * 50), long[1:], "tls", 65535)
    assert re.match(r"tls-65535\.[0-9a-f]{32}\.g", name)


def test_names_that_read_alike_are_told_apart_by_their_hash() -> None:
    """`a-b` + `c` and `a` + `b-c`; the same part of another namespace, list or leg."""
    names = {
        section_name(Key("shop", "a-b"), "destinations", "c"),
        section_name(Key("shop", "a"), "destinations", "b-c"),
        section_name(Key("lab", "a"), "destinations", "b-c"),
        section_name(Key("shop", "a"), "expose", "b-c"),
        section_name(Key("shop", "a"), "destinations", "b-c", "clients"),
        section_name(Key("shop", "a"), "destinations", "b-c", "clients", "x"),
    }
    assert len(names) == 6
    assert short_hash("a", "bc") != short_hash("ab", "c")


def test_hop_names_of_hosts_that_are_cut_alike_differ() -> None:
    """Two long hosts with a common beginning have one readable part and two names."""
    one, other = ("x" * 60 + ".example.com", "x" * 60 + ".example.org")
    assert hop_name(one, "http", 80)[:54] == hop_name(other, "http", 80)[:54]
    assert hop_name(one, "http", 80) != hop_name(other, "http", 80)
    assert hop_name("a.b.com", "http", 80) != hop_name("a-b.com", "http", 80)


def test_the_selector_fits_this_gateways_pods_alone() -> None:
    """A gateway of the same name in another namespace is another gateway."""
    assert selector_labels(Key("a", "x")).items() <= child_labels(Key("a", "x")).items()
    assert not selector_labels(Key("a", "x")).items() <= child_labels(Key("b", "x")).items()


def test_no_two_children_of_a_plan_share_a_name() -> None:
    """In every golden case."""
    for name in case_names():
        refs = [child.ref for child in run_named(name).plan.children]
        assert len(refs) == len(set(refs)), name
