"""Who meets whom: by name, by name on a gateway, by TCP port."""

from __future__ import annotations

from egressgateway.engine.cache.claim_index import ClaimIndex
from egressgateway.engine.cache.requested import NOTHING, Requested
from egressgateway.facts import Claimed
from egressgateway.refs import Key

ME, SISTER, FAR = Key("shop", "me"), Key("shop", "sister"), Key("lab", "far")


def names(*hosts: str) -> Requested:
    return Requested(frozenset(hosts))


def index_of(**requested: Requested) -> ClaimIndex:
    index = ClaimIndex()
    for name, each in requested.items():
        index.file({"me": ME, "sister": SISTER, "far": FAR}[name], each)
    return index


def test_equal_names_meet_in_any_namespace() -> None:
    """And nobody is a rival of itself."""
    index = index_of(me=names("a.example.com"), sister=names("a.example.com"), far=names("a.example.com"))
    assert index.contenders_of(ME, names("a.example.com")) == {SISTER, FAR}
    assert index.contenders_of(ME, names("b.example.com")) == frozenset()


def test_wildcard_meets_names_below_it_of_other_namespaces_only() -> None:
    """Within a namespace the more specific name wins, which is no conflict."""
    index = index_of(sister=names("a.example.com"), far=names("b.example.com"))
    assert index.contenders_of(ME, names("*.example.com")) == {FAR}
    index = index_of(sister=names("*.example.com"), far=names("*.example.com"))
    assert index.contenders_of(ME, names("a.example.com")) == {FAR}
    assert index.contenders_of(ME, names("*.example.com")) == {SISTER, FAR}


def test_exposed_names_meet_on_one_gateway() -> None:
    """The same name on another gateway, or among destinations, is another thing."""
    index = index_of(far=Requested(exposed=frozenset({Claimed("a.example.com", "ingress/public")})))
    for claimed, contenders in (
        (Claimed("a.example.com", "ingress/public"), {FAR}),
        (Claimed("*.example.com", "ingress/public"), {FAR}),
        (Claimed("a.example.com", "ingress/private"), set()),
    ):
        assert index.contenders_of(ME, Requested(exposed=frozenset({claimed}))) == contenders
    assert index.contenders_of(ME, names("a.example.com")) == frozenset()


def test_tcp_ports_meet() -> None:
    """A TCP port names no host, so the number alone decides."""
    index = index_of(far=Requested(tcp_ports=frozenset({5432, 6379})))
    assert index.contenders_of(ME, Requested(tcp_ports=frozenset({5432}))) == {FAR}
    assert index.contenders_of(ME, Requested(tcp_ports=frozenset({1521}))) == frozenset()


def test_a_port_meets_where_one_of_the_two_speaks_tcp() -> None:
    """TCP takes the port for every host; two that name their hosts share it."""
    index = index_of(far=Requested(tcp_ports=frozenset({5432}), named_ports=frozenset({443})))
    assert index.contenders_of(ME, Requested(named_ports=frozenset({5432}))) == {FAR}
    assert index.contenders_of(ME, Requested(tcp_ports=frozenset({443}))) == {FAR}
    assert index.contenders_of(ME, Requested(named_ports=frozenset({443}))) == frozenset()


def test_filing_anew_replaces_what_was_filed() -> None:
    """What was given up is nobody's any more."""
    claimed = Claimed("x.example.com", "ingress/public")
    everything = Requested(frozenset({"a.example.com"}), frozenset({claimed}), frozenset({5432}))
    index = index_of(far=everything)
    index.file(FAR, names("b.example.com"))
    assert index.contenders_of(ME, everything) == frozenset()
    assert index.contenders_of(ME, names("b.example.com")) == {FAR}
    index.file(FAR, NOTHING)
    assert index.contenders_of(ME, names("b.example.com")) == frozenset()


def test_wanting_a_host_includes_wildcards_above_it() -> None:
    """Somebody else's route for one name takes it from whoever serves all of them."""
    index = index_of(me=names("a.example.com"), sister=names("*.example.com"), far=names("b.example.com"))
    assert index.wanting(["a.example.com"]) == {ME, SISTER}
    assert index.wanting(["*.example.com"]) == {SISTER}
