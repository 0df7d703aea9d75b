"""What an informer knows."""

from __future__ import annotations

from typing import Any

from egressgateway.cluster.store import Change, Store, is_older


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
