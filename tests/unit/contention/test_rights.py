"""The record of claims in a status: what is written is read again, and nonsense is no claim."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from egressgateway.api.status import EgressGatewayStatus
from egressgateway.contention.rights import as_ports, is_recorded, read_claims, read_rights, read_since, rights_fields
from egressgateway.facts import NEVER, Claimed, ClaimedPort, Ports, Rights
from unit.contention.claimants import HOST, days
from unit.plan.world import NOW

AT = "2026-01-01T00:00:00Z"
DATABASE = ClaimedPort(5432, tcp=True)


def test_claims_of_the_same_namespaces_need_no_scope() -> None:
    """So a status stays as small as it was, and an older one says the same."""
    rights = Rights(
        {HOST: {"shop": days(3), "lab": days(1)}, "b.example.com": {"shop": days(2), "lab": days(1)}},
        {DATABASE: {"shop": days(2), "lab": days(1)}},
    )
    fields = rights_fields(rights)
    assert "scopedClaims" not in fields
    assert fields["portClaims"] == [{"port": 5432, "tcp": True, "claimedAt": "2025-12-30T00:00:00Z"}]
    assert read_rights(fields) == rights


def test_a_claim_in_fewer_namespaces_is_scoped() -> None:
    """The others stand for themselves."""
    rights = Rights({HOST: {"shop": NOW}, "b.example.com": {"shop": NOW, "lab": NOW}})
    fields = rights_fields(rights)
    assert fields["scopedClaims"] == [{"since": AT, "namespaces": ["shop"], "hosts": [HOST]}]
    assert read_rights(fields) == rights


NAMES = st.sampled_from([HOST, "b.example.com", "*.example.org"])
PORTS = st.builds(ClaimedPort, st.sampled_from([80, 443, 5432]), st.booleans())
TIMES = st.builds(lambda seconds: NOW - timedelta(seconds=seconds), st.integers(0, 4))
PLACES = st.dictionaries(st.sampled_from(["shop", "lab", "bank"]), TIMES, min_size=1)


@st.composite
def since(draw: st.DrawFn) -> dict[str, Any]:
    places = draw(PLACES)
    if draw(st.booleans()):
        places |= {"*": draw(TIMES)} | dict.fromkeys(draw(st.sets(st.sampled_from(["x", "y"]))), NEVER)
    return places


@given(st.dictionaries(NAMES, since()), st.dictionaries(PORTS, since()), st.dictionaries(NAMES, TIMES))
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_again(names: Any, ports: Any, exposed: Any) -> None:
    """Claim by claim, namespace by namespace, to the second; and the schema of the status takes it."""
    rights = Rights(names, ports, {Claimed(host, "a/b"): at for host, at in exposed.items()})
    fields = rights_fields(rights)
    assert read_rights(fields or {"portClaims": []}) == rights
    assert is_recorded(rights, fields)
    EgressGatewayStatus.model_validate(fields)


def test_a_status_of_old_claims_the_ports_of_the_names_that_it_claims() -> None:
    """Operators before `portClaims` gave a port to the object whose clients had it, and claimed its hosts."""
    old = {"claims": [{"host": HOST, "claimedAt": AT}], "consumers": [{"namespace": "shop", "since": AT}]}
    wanted = [([HOST], [DATABASE]), (["refused.example.com"], [ClaimedPort(6379, tcp=True)])]
    assert read_rights(old, wanted).ports == {DATABASE: {"shop": NOW}}
    assert read_rights({**old, "portClaims": []}, wanted).ports == {}


def test_claims_that_cannot_be_read_are_none() -> None:
    """Nonsense in a status is no claim, and no crash."""
    broken: list[Any] = [
        {"host": "x"},
        {"claimedAt": "y"},
        {"host": "z", "claimedAt": 5},
        {"host": "w", "claimedAt": "soon"},
        7,
    ]
    good = {"host": HOST, "claimedAt": AT}
    assert read_claims({"claims": [*broken, good]}) == {Claimed(HOST): NOW}
    assert read_claims({"claims": [{**good, "gateway": "a/b"}]}) == {Claimed(HOST, "a/b"): NOW}
    assert read_claims({}) == read_claims({"claims": None}) == read_claims({"claims": "x"}) == {}


def test_consumers_that_cannot_be_read_are_none() -> None:
    """The same of consumers."""
    broken: list[Any] = [{"namespace": "x"}, {"since": AT}, {"namespace": "y", "since": 5}, 7]
    good = {"namespace": "shop", "since": AT}
    assert read_since({"consumers": [*broken, good]}) == {"shop": NOW}
    assert read_since({}) == read_since({"consumers": None}) == {}


def test_scopes_and_ports_that_cannot_be_read_are_none() -> None:
    """A scope that is broken leaves the claim as narrow as what can be read of it."""
    status = {
        "claims": [{"host": HOST, "claimedAt": AT}],
        "consumers": [{"namespace": "shop", "since": AT}],
        "portClaims": [{"port": "x", "claimedAt": AT}, {"port": 80}, 3, {"port": 443, "claimedAt": AT}],
        "scopedClaims": [{"since": AT}, {"since": "soon", "namespaces": ["lab"], "hosts": [HOST]}, "x"],
    }
    assert read_rights(status) == Rights({HOST: {"shop": NOW}}, {ClaimedPort(443, tcp=False): {"shop": NOW}})


def test_recorded_means_every_claim_in_every_namespace() -> None:
    """The first child is written only then."""
    rights = Rights({HOST: {"shop": NOW}}, {DATABASE: {"shop": NOW}})
    fields = rights_fields(rights)
    assert is_recorded(rights, fields)
    for missing in ("claims", "portClaims", "consumers"):
        assert not is_recorded(rights, {name: value for name, value in fields.items() if name != missing}), missing
    assert not is_recorded(Rights({HOST: {"shop": NOW, "lab": NOW}}), fields)
    assert not is_recorded(Rights(exposed={Claimed(HOST, "a/b"): NOW}), fields)
    everybody = Rights({HOST: {"*": NOW}})
    assert not is_recorded(Rights({HOST: {"*": NOW, "shop": NEVER}}), rights_fields(everybody))


def test_ports_by_number() -> None:
    """What is excluded is not claimed."""
    table = {DATABASE: {"*": NOW, "lab": NEVER}, ClaimedPort(443, tcp=False): {"shop": NOW}}
    assert as_ports(table) == Ports({5432: frozenset("*")}, {443: frozenset({"shop"})})
