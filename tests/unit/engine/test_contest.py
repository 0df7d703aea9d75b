"""
Two objects claim one host: the twelve ways in which that can come about and end, each with and without restarts.

`ARRIVALS`: each object is made with the host, or made without it and edited later. `ENDS`: the winner is deleted, lets
go of the host by an edit, or stays, while the loser is deleted. Always the earliest claim wins, and nobody moves twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressgateway.refs import Key
from unit.engine.contest import Contest

HOST = "contested.example.com"
ARRIVALS = ("made", "edited")
ENDS = ("deleted", "let-go", "stays")
INTERLEAVINGS = list(itertools.product(ARRIVALS, ARRIVALS, ENDS))
SHOP = "shop"
FIRST = Key(SHOP, "first")
PLACES = {
    "same-namespace": (Key(SHOP, "second"), ()),
    "cross-namespace": (Key("platform", "second"), (SHOP, "platform")),
}
MOST_STATUS_WRITES = 3
"""
For one event: what is seen at once, what is true once children stand, what is true once clients are steered. A name
that moves within a namespace costs one more: from then on the old claim stands behind the new one.
"""


@pytest.fixture
def contest() -> Iterator[Contest]:
    it = Contest(SHOP, "platform", "lab")
    yield it
    it.close()


def arrive(contest: Contest, how: str, key: Key, consumers: tuple[str, ...]) -> None:
    """The object claims the host; when it is edited, it was there before."""
    if how == "made":
        contest.create(key, HOST, consumers=consumers)
    else:
        contest.edit(key, HOST, consumers=consumers)


def holder(contest: Contest) -> Key | None:
    """Whose routes steer the host for the common consumer."""
    found = contest.steers().get((HOST, SHOP), frozenset())
    assert len(found) <= 1
    return next(iter(found), None)


class Steps:
    """Lets events be followed by a settled operator, with or without a restart before each."""

    def __init__(self, contest: Contest, *, restarts: bool, backwards: bool) -> None:
        self.contest = contest
        self._restarts = restarts
        self._backwards = backwards

    def settle(self, untouched: Key | None = None) -> None:
        """Settle; not a single child, nor the status, of `untouched` is written on the way."""
        if self._restarts:
            self.contest.stop()
            self.contest.start()
        before = (0, 0) if untouched is None else self._writes_of(untouched)
        statuses = self.contest.status_writes.total()
        self.contest.settle(backwards=self._backwards)
        if untouched is not None:
            assert self._writes_of(untouched) == before
        assert self.contest.status_writes.total() - statuses <= 2 * MOST_STATUS_WRITES + 1
        assert self.contest.offences == []

    def _writes_of(self, key: Key) -> tuple[int, int]:
        return self.contest.writes_to(key), self.contest.status_writes[key]


WAYS = ["running-in-order", "running-backwards", "restarted-in-order", "restarted-backwards"]


@pytest.fixture
def steps(contest: Contest, request: pytest.FixtureRequest) -> Steps:
    restarts, backwards = request.param
    return Steps(contest, restarts=restarts, backwards=backwards)


@pytest.mark.parametrize("steps", list(itertools.product([False, True], repeat=2)), ids=WAYS, indirect=True)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("interleaving", INTERLEAVINGS, ids=map("-".join, INTERLEAVINGS))
def test_earliest_claim_wins_in_every_interleaving(
    steps: Steps, interleaving: tuple[str, str, str], place: str
) -> None:
    """The first to claim has the host until it lets go; the other gets it then, and nothing moves before."""
    contest, (one, other, end), (second, consumers) = steps.contest, interleaving, PLACES[place]
    # The loser is the older object where it can be: age gives no right to a name that somebody claimed before.
    for key, how, theirs in ((second, other, consumers), (FIRST, one, ())):
        if how == "edited":
            contest.create(key, consumers=theirs)
    steps.settle()

    arrive(contest, one, FIRST, ())
    steps.settle()
    assert holder(contest) == FIRST
    assert contest.verdict(FIRST)[0] == "True"

    arrive(contest, other, second, consumers)
    steps.settle(untouched=FIRST)
    assert holder(contest) == FIRST
    status, message = contest.verdict(second)
    assert (status, str(FIRST) in message, HOST in message) == ("False", True, True)

    steps.settle(untouched=FIRST)
    assert contest.verdict(second) == (status, message)

    if end == "stays":
        contest.delete(second)
        steps.settle(untouched=FIRST)
        assert not contest.exists(second)
        assert holder(contest) == FIRST
        return
    if end == "deleted":
        contest.delete(FIRST)
    else:
        contest.edit(FIRST)
    steps.settle()
    assert holder(contest) == second
    assert contest.verdict(second)[0] == "True"
    assert contest.exists(FIRST) == (end == "let-go")

    # Who comes back stands behind who took over.
    if end == "deleted":
        contest.create(FIRST, HOST)
    else:
        contest.edit(FIRST, HOST)
    steps.settle(untouched=second)
    assert holder(contest) == second
    assert str(second) in contest.verdict(FIRST)[1]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("backwards", [False, True], ids=["in-order", "backwards"])
def test_claims_made_while_nobody_looked_go_by_age(contest: Contest, place: str, backwards: bool) -> None:
    """Both came while the operator was down: the older object wins, whichever is looked at first."""
    second, consumers = PLACES[place]
    contest.stop()
    contest.create(second, HOST, consumers=consumers)
    contest.create(FIRST, HOST)
    contest.start()
    contest.settle(backwards=backwards)
    assert holder(contest) == second
    assert contest.verdict(FIRST)[0] == "False"
    assert contest.offences == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("backwards", [False, True], ids=["in-order", "backwards"])
def test_restored_objects_keep_what_they_steer(contest: Contest, place: str, backwards: bool) -> None:
    """With every status wiped and the operator new, who steers the name has it, not the older object."""
    second, consumers = PLACES[place]
    contest.create(second, consumers=consumers)
    contest.create(FIRST, HOST)
    contest.settle()
    contest.edit(second, HOST, consumers=consumers)
    contest.settle()
    assert holder(contest) == FIRST

    contest.stop()
    contest.wipe_status(FIRST, second)
    contest.start()
    before = contest.server.writes.copy()
    contest.settle(backwards=backwards)
    assert contest.server.writes == before
    assert holder(contest) == FIRST
    assert contest.verdict(FIRST)[0] == "True"
    assert contest.verdict(second)[0] == "False"
    assert contest.offences == []


def test_loss_in_one_namespace_leaves_the_others_served(contest: Contest) -> None:
    """A host is lost where somebody was first, and nowhere else."""
    central = Key("platform", "central")
    contest.create(Key("lab", "own"), HOST)
    contest.create(central, HOST, consumers=(SHOP,))
    contest.settle()
    before = contest.writes_to(Key("lab", "own"))
    contest.edit(central, HOST, consumers=(SHOP, "lab"))
    contest.settle()
    assert contest.steers()[HOST, "lab"] == {Key("lab", "own")}
    assert contest.steers()[HOST, SHOP] == {central}
    assert contest.writes_to(Key("lab", "own")) == before
    status, message = contest.verdict(central)
    assert status == "False"
    assert "lab/own" in message


def test_a_steer_whose_claim_was_lost_is_waited_for(contest: Contest) -> None:
    """Restored without a status and edited while nobody looked: the other takes the name when its routes are gone."""
    holder_, waiting = Key("lab", "third"), FIRST
    contest.create(holder_, HOST)
    contest.create(waiting, HOST, consumers=(SHOP, "lab"))
    contest.settle()
    assert contest.steers()[HOST, "lab"] == {holder_}
    contest.stop()
    contest.wipe_status(holder_, waiting)
    contest.edit(holder_, "other.example.com")
    contest.start()
    contest.settle(backwards=True)
    assert contest.steers()[HOST, "lab"] == {waiting}
    assert contest.offences == []


def test_a_name_is_free_when_its_routes_are_gone(contest: Contest) -> None:
    """An edit that lets go of one name and takes another is carried out in one burst, which may have to wait."""
    leaving, waiting = Key("lab", "third"), Key("platform", "second")
    contest.create(leaving, "*.example.com")
    contest.create(waiting, "*.example.com", consumers=(SHOP, "platform", "lab"))
    contest.settle()
    assert contest.steers()["*.example.com", "lab"] == {leaving}
    contest.edit(leaving, "other.example.org")
    contest.settle()
    assert contest.steers()["*.example.com", "lab"] == {waiting}
    assert contest.offences == []


@pytest.mark.parametrize("backwards", [False, True], ids=["in-order", "backwards"])
def test_two_objects_that_swap_their_names_end_with_them_swapped(contest: Contest, backwards: bool) -> None:
    """Neither asks for what it has any more, so neither keeps it until it gets what the other has."""
    other, second = Key(SHOP, "second"), "other.example.com"
    contest.create(FIRST, HOST)
    contest.create(other, second)
    contest.settle()
    contest.edit(FIRST, second)
    contest.edit(other, HOST)
    contest.settle(backwards=backwards)
    assert contest.offences == []
    assert contest.steers()[HOST, SHOP] == {other}
    assert contest.steers()[second, SHOP] == {FIRST}


@pytest.mark.parametrize("backwards", [False, True], ids=["in-order", "backwards"])
def test_who_is_suspended_keeps_what_it_has_and_is_in_nobodys_way_for_more(contest: Contest, backwards: bool) -> None:
    """It lets go of nothing and takes nothing, whatever its spec says by now; resumed, it stands behind who came."""
    other, second = Key(SHOP, "second"), "other.example.com"
    contest.create(FIRST, HOST)
    contest.settle()
    contest.suspend(FIRST)
    contest.edit(FIRST, second)
    contest.create(other, HOST, second)
    contest.settle(backwards=backwards)
    assert (contest.steers()[HOST, SHOP], contest.steers()[second, SHOP]) == ({FIRST}, {other})
    assert contest.misplaced() == []

    contest.suspend(FIRST, suspended=False)
    contest.settle(backwards=backwards)
    assert (contest.steers()[HOST, SHOP], contest.steers()[second, SHOP]) == ({other}, {other})
    assert contest.misplaced() == []
    assert contest.offences == []


@pytest.mark.parametrize("backwards", [False, True], ids=["in-order", "backwards"])
def test_an_alias_is_a_name_like_any_other(contest: Contest, backwards: bool) -> None:
    """Lost to another object it takes its whole destination along, for one host cannot be half there."""
    other = Key(SHOP, "second")
    contest.create(FIRST, HOST)
    contest.create(other, aliases=[HOST])
    contest.settle(backwards=backwards)
    assert contest.steers()[HOST, SHOP] == {FIRST}
    assert ("second.shop.also.example", SHOP) not in contest.steers()
    assert contest.misplaced() == []

    contest.delete(FIRST)
    contest.settle(backwards=backwards)
    assert contest.steers()[HOST, SHOP] == contest.steers()["second.shop.also.example", SHOP] == {other}
    assert contest.misplaced() == []
    assert contest.offences == []


@pytest.mark.parametrize("backwards", [False, True], ids=["in-order", "backwards"])
def test_two_objects_that_swap_aliases_end_with_them_swapped(contest: Contest, backwards: bool) -> None:
    """The host of each stays as it is; its alias, which nobody asks of it any more, is not kept with it."""
    other, second = Key(SHOP, "second"), "other.example.com"
    contest.create(FIRST, aliases=[HOST])
    contest.create(other, aliases=[second])
    contest.settle()
    contest.edit(FIRST, aliases=[second])
    contest.edit(other, aliases=[HOST])
    contest.settle(backwards=backwards)
    assert contest.offences == []
    assert contest.steers()[HOST, SHOP] == {other}
    assert contest.steers()[second, SHOP] == {FIRST}
    assert contest.misplaced() == []


KEYS = (FIRST, Key("platform", "second"), Key("lab", "third"))
HOSTS = (HOST, "other.example.com", "*.example.com")
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "delete", "restart", "restore", "suspend"]),
        st.sampled_from(KEYS),
        st.lists(st.sampled_from(HOSTS), max_size=2, unique=True),
        st.sampled_from([(), (SHOP,), (SHOP, "lab"), (SHOP, "platform", "lab")]),
        st.booleans(),  # whether the operator sees this event before the next one
        st.booleans(),
        st.booleans(),  # whether names are asked for as aliases, where they can be
    ),
    min_size=2,
    max_size=10,
)
Event = tuple[str, Key, list[str], tuple[str, ...], bool, bool, bool]


@given(EVENTS)
@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_events_end_with_one_holder_of_each_name(events: list[Event]) -> None:
    """Whatever happens to three objects in three namespaces: all comes to rest, each name with one that asks for it."""
    contest = Contest(SHOP, "platform", "lab")
    settled = True
    try:
        for event in events:
            before = contest.steers() if settled and event[0] in ("restart", "restore") else {}
            play(contest, event)
            settled = event[4]
            if settled:
                contest.settle(backwards=event[5])
                after = contest.steers()
                assert {place: after.get(place) for place in before} == before
                assert contest.misplaced() == []
            assert contest.offences == []
        contest.settle()
        assert contest.misplaced() == []
        for key in contest.everybody():
            if contest.is_suspended(key):
                contest.suspend(key, suspended=False)
        contest.settle()
        assert contest.misplaced() == []
        writes, statuses = len(contest.server.writes), contest.status_writes.total()
        contest.stop()
        contest.start()
        contest.settle()
        assert contest.offences == []
        assert (len(contest.server.writes), contest.status_writes.total()) == (writes, statuses)
    finally:
        contest.close()


def play(contest: Contest, event: Event) -> None:
    what, key, names, consumers, *_, as_aliases = event
    alive = contest.exists(key) and not contest.is_ending(key)
    aliases = [name for name in names if as_aliases and not name.startswith("*")]
    hosts = [name for name in names if name not in aliases]
    if what in ("restart", "restore"):
        contest.stop()
        if what == "restore":
            contest.wipe_status(*contest.everybody())
        contest.start()
    elif what == "put" and not contest.exists(key):
        contest.create(key, *hosts, consumers=consumers, aliases=aliases)
    elif what == "put" and alive:
        contest.edit(key, *hosts, consumers=consumers, aliases=aliases)
    elif what == "delete" and alive:
        contest.delete(key)
    elif what == "suspend" and alive:
        contest.suspend(key, suspended=not contest.is_suspended(key))


SIBLINGS = (FIRST, Key(SHOP, "second"), Key("lab", "third"))
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "put", "delete", "restart", "restore", "suspend"]),
        st.sampled_from(SIBLINGS),
        st.lists(st.sampled_from(HOSTS[:2]), max_size=2, unique=True),
        st.sampled_from([(), (), (SHOP,), (SHOP, "lab")]),
        st.sampled_from([0, 0, 1, 2, 3, 5, 8, 13, None]),  # passes before the next event; None: until all is at rest
        st.booleans(),
        st.booleans(),  # whether names are asked for as aliases
    ),
    min_size=3,
    max_size=12,
)
Move = tuple[str, Key, list[str], tuple[str, ...], int | None, bool, bool]


@given(MOVES)
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_events_end_with_one_holder_of_each_name_that_moves(moves: list[Move]) -> None:
    """Two objects are of one namespace, and may both have a way for a name; not with the third, and not at rest."""
    contest = Contest(SHOP, "lab")
    contest.shares_for_a_while = True
    try:
        for what, key, names, consumers, passes, backwards, as_aliases in moves:
            play(contest, (what, key, names, consumers, False, False, as_aliases))
            contest.settle(backwards=backwards) if passes is None else contest.step(passes)
            assert contest.offences == []
            assert passes is not None or contest.misplaced() == []
        contest.settle()
        assert contest.misplaced() == []
        for key in contest.everybody():
            if contest.is_suspended(key):
                contest.suspend(key, suspended=False)
        contest.settle()
        assert contest.misplaced() == contest.offences == []
    finally:
        contest.close()
