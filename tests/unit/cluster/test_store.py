"""What an informer knows."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from egressgateway.cluster.store import Change, Store, is_older
from egressgateway.refs import Manifest


def thing(name: str, version: int | str, namespace: str = "shop", **rest: Any) -> dict[str, Any]:
    labels = {"owner": rest.pop("owner")} if "owner" in rest else {}
    metadata = {"namespace": namespace, "name": name, "resourceVersion": str(version), "labels": labels}
    return {"metadata": metadata | rest}


def events(changes: list[Change]) -> list[tuple[str, str]]:
    return sorted((change.event, change.object["metadata"]["name"]) for change in changes)


def by_owner(manifest: dict[str, Any]) -> str | None:
    owner: str | None = manifest["metadata"]["labels"].get("owner")
    return owner


def test_put_tells_added_then_modified() -> None:
    """Each new version is one change, with both sides."""
    store = Store()
    first, second = thing("a", 1), thing("a", 2)
    assert store.put(first) == Change("ADDED", None, first, False)
    assert store.put(second) == Change("MODIFIED", first, second, False)
    assert store.get("shop", "a") is second


def test_put_of_an_older_or_equal_version_is_ignored() -> None:
    """An event that comes late, and the echo of our own write, change nothing."""
    store = Store()
    store.put(thing("a", 10))
    assert store.put(thing("a", 9)) is None
    assert store.put(thing("a", 10)) is None
    assert store.put(thing("a", 100)) is not None, "versions are compared as numbers"


@pytest.mark.parametrize("as_text", [False, True])
def test_what_is_known_is_told_by_its_version_alone(as_text: bool) -> None:
    """Most of what arrives is known: the event of each write, and the objects of a list."""
    trimmed: list[str] = []

    def trim(manifest: dict[str, Any]) -> dict[str, Any]:
        trimmed.append(manifest["metadata"]["resourceVersion"])
        return manifest

    store = Store(trim=trim, as_text=as_text)
    for version in ("3", 'x\n"1'):
        store.put(thing("a", version))
        assert store.put(thing("a", version)) is None
        store.begin_list()
        assert store.replace([thing("a", version)]) == []
        assert store.get("shop", "a") == thing("a", version)
    assert trimmed == ["3", 'x\n"1']


def test_versions_that_are_no_numbers_are_not_compared() -> None:
    """A server with other versions gets every event through."""
    store = Store()
    store.put(thing("a", "zz"))
    assert store.put(thing("a", "aa")) is not None
    assert not is_older(thing("a", "aa"), thing("a", "5"))


def test_managed_fields_are_dropped() -> None:
    """Half of an object that nobody reads is not kept."""
    store = Store()
    store.put(thing("a", 1, managedFields=[{"manager": "x"}]))
    store.begin_list()
    store.replace([thing("b", 1, managedFields=[{}]), thing("a", 2, managedFields=[{}])])
    assert [("managedFields" in each["metadata"]) for each in store] == [False, False]


def test_trim_sees_managed_fields() -> None:
    """It may keep what it reads of them; the rest goes, also of what a trim leaves as it is."""
    seen = []

    def trim(manifest: Manifest) -> Manifest:
        seen.append("managedFields" in manifest["metadata"])
        return manifest

    store = Store(trim=trim)
    store.put(thing("a", 1, managedFields=[{"manager": "x"}]))
    store.begin_list()
    store.replace([store.gathering()(thing("a", 2, managedFields=[{}]))])
    assert seen == [True, True, False]
    assert ["managedFields" in each["metadata"] for each in store] == [False]


def test_remove_of_a_predecessor_spares_the_successor() -> None:
    """A late DELETED of an older object of the same name does not remove the new one."""
    store = Store()
    new = thing("a", 20)
    store.put(new)
    assert store.remove(thing("a", 15)) is None
    assert store.remove(thing("a", 21)) == Change("DELETED", new, None, False)
    assert store.remove(thing("a", 21)) is None
    assert len(store) == 0


def test_index_follows_the_objects() -> None:
    """An object is found under its owner, and only under the current one."""
    store = Store(by_owner)
    store.put(thing("a", 1, owner="x"))
    store.put(thing("b", 1, owner="x"))
    store.put(thing("free", 1))
    assert [each["metadata"]["name"] for each in store.by_index("x")] == ["a", "b"]
    store.put(thing("a", 2, owner="y"))
    store.remove(thing("b", 2))
    assert store.by_index("x") == ()
    assert [each["metadata"]["name"] for each in store.by_index("y")] == ["a"]


def test_replace_tells_what_appeared_changed_and_vanished() -> None:
    """A relist gives the changes that the watch missed, and none for what stayed."""
    store = Store()
    for each in (thing("gone", 1), thing("same", 2), thing("changed", 3)):
        store.put(each)
    store.begin_list()
    changes = store.replace([thing("same", 2), thing("changed", 5), thing("new", 6)])
    assert events(changes) == [("ADDED", "new"), ("DELETED", "gone"), ("MODIFIED", "changed")]
    assert all(change.listed for change in changes)


def test_an_unchanged_object_of_a_list_is_one_step_too() -> None:
    """A list of thousands that brings nothing new takes time, and its reader gives others their turn by the step."""
    store = Store()
    store.replace([thing("a", 1), thing("b", 1), thing("gone", 1)])
    steps = list(store.replacing([thing("a", 1), thing("b", 2)]))
    assert [step and step.event for step in steps] == [None, "MODIFIED", "DELETED"]


def test_replace_of_one_namespace_leaves_the_others() -> None:
    """A list of one namespace says nothing about another."""
    store = Store()
    store.put(thing("a", 1, namespace="one"))
    store.put(thing("b", 2, namespace="two"))
    store.begin_list("one")
    assert events(store.replace([], "one")) == [("DELETED", "a")]
    assert store.get("two", "b") is not None


def test_replace_keeps_what_was_written_while_listing() -> None:
    """The answer to a write that came after the list was taken is newer than the list."""
    store = Store()
    store.begin_list()
    store.put(thing("ours", 50))
    store.put(thing("created", 51))
    assert store.replace([thing("ours", 40)]) == []
    assert sorted(each["metadata"]["resourceVersion"] for each in store) == ["50", "51"]


def test_replace_after_a_restore_goes_back() -> None:
    """After a restore of etcd the list is the truth, though its versions are lower."""
    store = Store()
    store.put(thing("a", 900))
    store.put(thing("b", 901))
    store.begin_list()
    assert events(store.replace([thing("a", 100)])) == [("DELETED", "b"), ("MODIFIED", "a")]


def test_trim_is_applied_before_anything_is_kept_or_told() -> None:
    """From a watch and from a list alike: what must not be known is in no change, either."""
    store = Store(trim=lambda manifest: {"metadata": manifest["metadata"]})
    assert store.put({**thing("a", 1), "secret": "x"}) == Change("ADDED", None, thing("a", 1), False)
    store.begin_list()
    [change] = store.replace([{**thing("a", 2), "secret": "y"}])
    assert (change.old, change.new) == (thing("a", 1), thing("a", 2))
    assert list(store) == [thing("a", 2)]


def test_revision_grows_with_every_change_and_only_then() -> None:
    """What was computed from all objects holds for as long as it stands still."""
    store = Store()
    seen = [store.revision]
    for step in (
        lambda: store.put(thing("a", 1)),
        lambda: store.put(thing("a", 2)),
        lambda: store.remove(thing("a", 3)),
        lambda: store.replace([thing("b", 4)]),
    ):
        step()
        seen.append(store.revision)
    assert sorted(set(seen)) == seen
    store.put(thing("b", 4))
    store.remove(thing("gone", 5))
    store.replace([thing("b", 4)])
    assert store.revision == seen[-1]


def names(store: Store) -> list[str]:
    return sorted(each["metadata"]["name"] for each in store)


def test_replace_does_not_bring_back_what_was_deleted_while_listing() -> None:
    """
    The pages show a moment before the deletion, and nobody tells of that a second time.

    The ghost stayed until the next list, ten minutes later, and its claims blocked others.
    """
    store = Store()
    store.put(thing("a", 10, uid="u"))
    store.begin_list()
    store.remove(thing("a", 12, uid="u"))
    assert store.replace([thing("a", 10, uid="u")]) == []
    assert names(store) == []


def test_replace_does_not_bring_back_what_came_and_went_while_listing() -> None:
    """Of an object that was not known before either."""
    store = Store()
    store.begin_list("shop")
    store.put(thing("a", 11, uid="u"))
    store.remove(thing("a", 13, uid="u"))
    store.remove(thing("b", 14, uid="never seen"))
    assert store.replace([thing("a", 12, uid="u"), thing("b", 9, uid="never seen")], "shop") == []
    assert names(store) == []


def test_replace_takes_the_successor_of_what_was_deleted_while_listing() -> None:
    """A new object of the same name has another uid, whichever of list and watch tells of it first."""
    store = Store()
    store.put(thing("a", 10, uid="old"))
    store.begin_list()
    store.remove(thing("a", 12, uid="old"))
    assert events(store.replace([thing("a", 13, uid="new")])) == [("ADDED", "a")]
    store.begin_list()
    store.remove(thing("a", 14, uid="new"))
    store.put(thing("a", 15, uid="newer"))
    assert store.replace([thing("a", 13, uid="new")]) == []
    assert [each["metadata"]["uid"] for each in store] == ["newer"]


def test_deletions_before_a_list_do_not_count_for_it() -> None:
    """What a list shows that was asked for afterwards is there: versions after a restore of etcd say nothing."""
    store = Store()
    store.put(thing("a", 10, uid="u"))
    store.begin_list()
    store.remove(thing("a", 12, uid="u"))
    store.begin_list()
    assert events(store.replace([thing("a", 5, uid="u")])) == [("ADDED", "a")]


def test_late_answer_to_a_write_does_not_bring_the_object_back() -> None:
    """DELETED came before the answer that shows the object as it was: by a watch, or by a list without it."""
    for listed in (False, True):
        store = Store()
        store.put(thing("a", 10, uid="u"))
        with store.asking() as asked:
            if listed:
                store.begin_list()
                store.replace([])
            else:
                store.remove(thing("a", 12, uid="u"))
            assert store.put(thing("a", 11, uid="u"), asked) is None
        assert names(store) == []


def test_answer_is_kept_unless_its_own_object_was_deleted() -> None:
    """A deletion of another object of that name, or one before the request, is none of its business."""
    store = Store()
    store.remove(thing("a", 5, uid="u"))
    with store.asking() as asked:
        store.remove(thing("a", 6, uid="predecessor"))
        assert store.put(thing("a", 11, uid="u"), asked) is not None


def test_watch_may_bring_back_what_it_had_taken_away() -> None:
    """A watch by labels says DELETED of an object that lost its label, and ADDED when it has it again."""
    store = Store()
    store.put(thing("a", 10, uid="u"))
    with store.asking() as asked:
        store.remove(thing("a", 12, uid="u"))
        assert store.put(thing("a", 13, uid="u")) is not None
        assert store.put(thing("a", 14, uid="u"), asked) is not None


def test_nothing_is_remembered_of_deletions_when_nobody_waits() -> None:
    """Neither after an answer, nor after a request that failed, nor after a list that was begun anew."""
    store = Store()
    store.begin_list()
    store.begin_list()
    store.replace([])
    with suppress(ZeroDivisionError), store.asking():
        assert store._asked
        _ = 1 / 0
    assert not store._asked


def test_what_is_stored_between_two_changes_of_a_list_stays() -> None:
    """While a long list is taken over others have their turn: what they store or delete is newer than the list."""
    store = Store()
    for name in "abc":
        store.put(thing(name, 1, uid=name))
    store.begin_list()
    changes = filter(None, store.replacing([thing(name, 2, uid=name) for name in "abcd"]))
    assert next(changes).object["metadata"]["name"] == "a"
    store.put(thing("b", 5, uid="b"))
    store.put(thing("new", 4, uid="new"))
    store.remove(thing("c", 3, uid="c"))
    assert events(list(changes)) == [("ADDED", "d")]
    assert sorted((each["metadata"]["name"], each["metadata"]["resourceVersion"]) for each in store) == [
        ("a", "2"),
        ("b", "5"),
        ("d", "2"),
        ("new", "4"),
    ]


def test_objects_kept_as_text_are_what_was_put() -> None:
    """By name, by index, one by one, and as the old side of a change; who changes what he got changes his copy."""
    store = Store(index=by_owner, as_text=True)
    store.put(thing("a", 1, owner="x", note="grüße"))
    found = store.get("shop", "a")
    assert found == thing("a", 1, owner="x", note="grüße")
    assert store.by_index("x") == tuple(store) == (found,)
    found["metadata"]["name"] = "changed"
    change = store.put(thing("a", 2))
    assert change == Change("MODIFIED", thing("a", 1, owner="x", note="grüße"), thing("a", 2), False)
    assert store.by_index("x") == ()
