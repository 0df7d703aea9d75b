"""What is said of several parts is said once, and of which."""

from __future__ import annotations

from egressgateway.status.messages import told_once


def test_the_same_words_name_all_of_their_parts() -> None:
    """A consequence that several parts share is one sentence; each other keeps its own."""
    told = [("a", "not yet"), ("b", "not yet"), ("c", "never"), ("a", "not yet")]
    assert told_once(told) == "a, b: not yet; c: never"


def test_of_many_parts_some_are_named() -> None:
    """64 names of 40 characters would leave no room for what is wrong and what to do."""
    told = [(f"{number:040}", "there is no Secret bank-client; create it") for number in range(64)]
    assert told_once(told) == f"{0:040}, {1:040}, {2:040} and 61 more: there is no Secret bank-client; create it"


def test_what_is_missing_is_told_of_the_first_field() -> None:
    """One Secret that three ports name is one cause; a mistake in each of three fields is three."""
    told = [("a", f"spec.destinations[0].ports[{port}].tls.credentialName: no Secret x: create it") for port in (0, 1)]
    told += [("b", "spec.destinations[1].ports[0].tls.credentialName: no Secret x: create it"), ("b", "no pod")]
    first = "spec.destinations[0].ports[0].tls.credentialName: no Secret x: create it"
    assert told_once(told, whatever_field=True) == f"a, b: {first}; b: no pod"
    assert told_once(told).count("no Secret x") == 3


def test_messages_of_one_part_follow_its_name_once() -> None:
    """Several things about one part stand behind one name, and without a name stand alone."""
    assert told_once([("a", "one"), ("a", "two")]) == "a: one; two"
    assert told_once([("", "one"), ("", "two"), ("", "one")]) == "one; two"
