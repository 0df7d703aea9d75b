"""Who meets whom: by name, by name on a gateway, by TCP port."""

from __future__ import annotations

from egressgateway.contention.claim_index import ClaimIndex
from egressgateway.contention.requested import BY_CLASS, NOTHING, Requested
from egressgateway.facts import Claimed
from egressgateway.refs import Key

ME, SISTER, FAR = Key("shop", "me"), Key("shop", "sister"), Key("lab", "far")


SHOP = frozenset({"shop"})


def names(*hosts: str, places: frozenset[str] = SHOP) -> Requested:
    return Requested(dict.fromkeys(hosts, places))


def ports(*, tcp: tuple[int, ...] = (), named: tuple[int, ...] = (), places: frozenset[str] = SHOP) -> Requested:
    return Requested(tcp_ports=dict.fromkeys(tcp, places), named_ports=dict.fromkeys(named, places))


def index_of(**requested: Requested) -> ClaimIndex:
    index = ClaimIndex()
    for name, each in requested.items():
        index.put({"me": ME, "sister": SISTER, "far": FAR}[name], each)
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
    index = index_of(
        far=ports(
            tcp=(
                5432,
                6379,
            )
        )
    )
    assert index.contenders_of(ME, ports(tcp=(5432,))) == {FAR}
    assert index.contenders_of(ME, ports(tcp=(1521,))) == frozenset()


def test_a_port_meets_where_one_of_the_two_speaks_tcp() -> None:
    """TCP takes the port for every host; two that name their hosts share it."""
    index = index_of(far=ports(tcp=(5432,), named=(443,)))
    assert index.contenders_of(ME, ports(named=(5432,))) == {FAR}
    assert index.contenders_of(ME, ports(tcp=(443,))) == {FAR}
    assert index.contenders_of(ME, ports(named=(443,))) == frozenset()


def test_filing_anew_replaces_what_was_filed() -> None:
    """What was given up is nobody's any more."""
    claimed = Claimed("x.example.com", "ingress/public")
    everything = Requested({"a.example.com": SHOP}, frozenset({claimed}), {5432: SHOP})
    index = index_of(far=everything)
    index.put(FAR, names("b.example.com"))
    assert index.contenders_of(ME, everything) == frozenset()
    assert index.contenders_of(ME, names("b.example.com")) == {FAR}
    index.put(FAR, NOTHING)
    assert index.contenders_of(ME, names("b.example.com")) == frozenset()


def test_wanting_a_host_includes_wildcards_above_it() -> None:
    """Somebody else's route for one name takes it from whoever serves all of them."""
    index = index_of(me=names("a.example.com"), sister=names("*.example.com"), far=names("b.example.com"))
    assert index.wanting({"a.example.com": SHOP}) == {ME, SISTER}
    assert index.wanting({"*.example.com": SHOP}) == {SISTER}


LAB, EVERYONE = frozenset({"lab"}), frozenset({"*"})


def test_two_without_a_consumer_namespace_in_common_do_not_meet() -> None:
    """Objects that have port 5432, each for a namespace of its own: a new one concerns none of them."""
    index = index_of(far=names("a.example.com", places=LAB), sister=ports(tcp=(5432,), places=LAB))
    for places, contenders in ((SHOP, set()), (LAB, {FAR, SISTER}), (EVERYONE, {FAR, SISTER})):
        wanted = names("a.example.com", places=places) | ports(tcp=(5432,), places=places)
        assert index.contenders_of(ME, wanted) == contenders
        assert index.wanting({"a.example.com": places}) == contenders - {SISTER}
        assert index.waiting_for({"*.example.com": places}) == contenders - {SISTER}


def test_one_for_every_namespace_meets_all() -> None:
    """Whichever of them is looked for."""
    every = {"far": names("a.example.com", places=EVERYONE), "sister": ports(named=(443,), places=EVERYONE)}
    index = index_of(**every)
    assert index.contenders_of(ME, names("a.example.com") | ports(tcp=(443,))) == {FAR, SISTER}


def test_a_namespace_that_is_given_up_is_filed_no_more() -> None:
    """And what is asked for nobody meets those for everyone alone."""
    index = index_of(far=names("a.example.com", places=SHOP | LAB))
    index.put(FAR, names("a.example.com", places=LAB))
    assert index.contenders_of(ME, names("a.example.com")) == frozenset()
    assert index.contenders_of(ME, names("a.example.com", places=LAB)) == {FAR}
    assert index.contenders_of(ME, names("a.example.com", places=frozenset())) == frozenset()


def test_an_object_for_very_many_is_filed_as_one_for_everyone() -> None:
    """One of a thousand names and five hundred namespaces must not hold up everybody else's."""
    many = frozenset(f"ns-{number}" for number in range(500))
    index = index_of(far=names(*(f"{number}.example.com" for number in range(10)), places=many))
    assert index.contenders_of(ME, names("3.example.com")) == {FAR}


def test_nothing_is_left_of_namespaces_and_gateways_that_nobody_names_any_more() -> None:
    """An author may name ever new ones, edit by edit."""
    index = ClaimIndex()
    for number in range(50):
        places = frozenset({f"ns-{number}"})
        exposed = Requested(exposed=frozenset({Claimed("a.example.com", f"x/{number}")}))
        index.put(ME, names("a.example.com", places=places) | ports(tcp=(5432,), places=places) | exposed)
    assert len(index._scopes) == 1
    assert len(index._exposed) == 1
    index.put(ME, NOTHING)
    assert not index._scopes
    assert not index._exposed


def test_hosts_exposed_by_class_meet_claims_on_an_ingress_class() -> None:
    """Which ingress class it is only the class says: whoever may have the host is looked at."""
    claimed = Requested(exposed=frozenset({Claimed("a.example.com", "IngressClass/public")}))
    asked = Requested(exposed=frozenset({Claimed("a.example.com", BY_CLASS)}))
    assert index_of(far=claimed).contenders_of(ME, asked) == {FAR}
    assert index_of(far=asked).contenders_of(ME, claimed) == {FAR}
    on_istio = Requested(exposed=frozenset({Claimed("a.example.com", "ingress/public")}))
    assert index_of(far=on_istio).contenders_of(ME, asked) == frozenset()
