"""
Which EgressGateways a change of a namespace concerns: only those whose consumers it changes.

A selector is matched once against a namespace, however many objects have it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from egressgateway.api.selector import LabelSelector
from egressgateway.contention.asks import Ask, asks_of
from egressgateway.contention.raw import entries_of, mappings_in, texts_of
from egressgateway.facts import NEVER, Rights, Since
from egressgateway.namespaces import EVERY_NAMESPACE, NamespaceLabels, matches, moving, selector_key
from egressgateway.refs import Key, Manifest
from egressgateway.selector_index import SelectorIndex


@dataclass(frozen=True, slots=True)
class Interest:
    """
    What of an EgressGateway a change of a namespace can affect.

    Attributes:
        home: the namespace that it is in, alone.
        namespaces: others that it names, or has claimed something in: what runs there may have to be withdrawn.
        selectors: those that ask for something.
        everyone: it asks for every namespace, or has claimed something in every one.
        lists_everyone: and has to list them one by one, so that each new one changes what is written.
        last_labels: of names of external hosts: `db.corp` means a Service to pods once there is a namespace `corp`.
        class_names: the class that it names, None for the default one; and the one that served it last.
    """

    home: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    selectors: tuple[LabelSelector, ...] = ()
    everyone: bool = False
    lists_everyone: bool = False
    last_labels: frozenset[str] = frozenset()
    class_names: frozenset[str | None] = frozenset()


NO_INTEREST = Interest()


@dataclass(frozen=True, slots=True)
class ClassReach:
    """
    What of a class decides which namespaces its objects reach.

    Attributes:
        consent: selector of the namespaces that they may serve; None where labels do not matter.
        home: selector of the namespaces in which they may be; None for every namespace.
        in_each_namespace: they have a child in each namespace that they serve, as with a shared gateway.
    """

    consent: LabelSelector | None = None
    home: LabelSelector | None = None
    in_each_namespace: bool = False


def interest_of(gateway: Manifest, rights: Rights) -> Interest:
    """The interest of an object that has claimed `rights`."""
    asks, own, claimed = asks_of(gateway), gateway["metadata"]["namespace"], rights.places
    everyone = any(ask.of_everyone for ask in asks)
    named = frozenset(name for ask in asks for name in ask.namespaces)
    return Interest(
        home=frozenset({own}),
        namespaces=(named | claimed) - {own, EVERY_NAMESPACE},
        selectors=tuple(ask.selector for ask in asks if ask.selector is not None and not ask.of_everyone),
        everyone=everyone or EVERY_NAMESPACE in claimed,
        lists_everyone=everyone and _lacks_everyone(gateway, asks, rights),
        last_labels=last_labels_of(gateway),
        class_names=_class_names(gateway),
    )


def last_labels_of(gateway: Manifest) -> frozenset[str]:
    """Last labels of all names in a spec that have to be external: a namespace of that name makes a Service of one."""
    names = (name for each in entries_of(gateway, "destinations") for name in _external_names(each))
    return frozenset(name.lower().rstrip(".").rpartition(".")[2] for name in names)


def _external_names(destination: Mapping[str, Any]) -> Iterator[str]:
    yield from texts_of(destination, "hosts")
    yield from texts_of(destination, "aliases")
    for endpoint in mappings_in(destination, "endpoints"):
        yield str(endpoint.get("address", ""))
    wildcard = destination.get("wildcard")
    if isinstance(wildcard, dict):
        yield str(wildcard.get("server", ""))
    for port in mappings_in(destination, "ports"):
        tls = port.get("tls")
        if isinstance(tls, dict):
            yield str(tls.get("sni", ""))
            yield from texts_of(tls, "subjectAltNames")


def _class_names(gateway: Manifest) -> frozenset[str | None]:
    named = (gateway.get("spec") or {}).get("className")
    last = (gateway.get("status") or {}).get("className")
    return frozenset({named, last} if last else {named})


Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Changes:
    """
    What a new table of namespaces means to EgressGateways.

    Attributes:
        affected: by namespace, the objects whose plan it can change.
        moved: objects whose selectors match other namespaces than before.
    """

    affected: Mapping[str, set[Key]]
    moved: set[Key]


class InterestIndex:
    """The interests of all EgressGateways."""

    def __init__(self) -> None:
        self._filed: dict[Key, Interest] = {}
        self._by_home: dict[str, set[Key]] = {}
        self._by_namespace: dict[str, set[Key]] = {}
        self._by_last_label: dict[str, set[Key]] = {}
        self._by_selector: dict[Hashable, set[Key]] = {}
        self._selectors = SelectorIndex()
        self._everyone: set[Key] = set()

    def put(self, key: Key, interest: Interest) -> None:
        """From now on `key` has this interest; `NO_INTEREST` when the object is gone."""
        old = self._filed.pop(key, NO_INTEREST)
        if interest != NO_INTEREST:
            self._filed[key] = interest
        if old == interest:
            return
        _reindex(self._by_home, key, old.home, interest.home)
        _reindex(self._by_namespace, key, old.namespaces, interest.namespaces)
        _reindex(self._by_last_label, key, old.last_labels, interest.last_labels)
        for selector in old.selectors:
            self._forget_selector(key, selector)
        for selector in interest.selectors:
            self._by_selector.setdefault(selector_key(selector), set()).add(key)
            self._selectors.put(selector_key(selector), selector)
        self._everyone.discard(key)
        if interest.everyone:
            self._everyone.add(key)

    def changes(
        self, before: NamespaceLabels, after: NamespaceLabels, classes: Mapping[str | None, ClassReach]
    ) -> Changes:
        """
        The effect of the step from one table to the next.

        Args:
            classes: those for whose objects labels of other namespaces, or new namespaces, matter; None is the default
            class.
        """
        moved, affected = set[Key](), defaultdict[str, set[Key]](set)
        for name in after.changed:
            for selector_id, _ in moving(self._selectors, before.get(name), after.get(name)):
                affected[name] |= self._by_selector[selector_id]
                moved |= self._by_selector[selector_id]
        listing = {key for key in self._everyone if self._lists(key, classes)}
        for name in after.changed:
            if (name in before) != (name in after):
                affected[name] |= self._by_namespace.get(name, set()) | self._by_last_label.get(name, set()) | listing
        for name in after.changed:
            if inside := self._inside(name, before.get(name), after.get(name), classes):
                affected[name] |= inside
        for class_name, reach in classes.items():
            if reach.consent is None:
                continue
            for name in after.changed:
                old, new = before.get(name), after.get(name)
                if matches(reach.consent, old) != matches(reach.consent, new):
                    affected[name] |= {
                        key for key in self._asking_for(name, old, new) if class_name in self._filed[key].class_names
                    }
        return Changes({name: keys for name, keys in affected.items() if keys}, moved)

    def _inside(
        self, name: str, old: Labels | None, new: Labels | None, classes: Mapping[str | None, ClassReach]
    ) -> set[Key]:
        """
        Objects in a namespace that its change concerns: all if it comes or goes, else those that its labels concern.
        """
        inside = self._by_home.get(name, set())
        if old is None or new is None or _injects(old) != _injects(new):
            return set(inside)
        return {
            key
            for key in inside
            for reach in self._reaches(key, classes)
            if reach.home is not None and reach.home.matches(old) != reach.home.matches(new)
        }

    def _lists(self, key: Key, classes: Mapping[str | None, ClassReach]) -> bool:
        """Whether each new namespace changes what is written for `key`; where its class selects some, only those do."""
        reaches = self._reaches(key, classes)
        in_each = self._filed[key].lists_everyone or any(reach.in_each_namespace for reach in reaches)
        return in_each and not any(reach.consent is not None for reach in reaches)

    def _reaches(self, key: Key, classes: Mapping[str | None, ClassReach]) -> list[ClassReach]:
        return [classes[name] for name in self._filed[key].class_names if name in classes]

    def _asking_for(self, name: str, old: Labels | None, new: Labels | None) -> Iterator[Key]:
        yield from self._by_namespace.get(name, ())
        yield from self._everyone
        for labels in (old, new):
            for selector_id, selector in self._selectors.may_match(labels or {}):
                if matches(selector, labels):
                    yield from self._by_selector[selector_id]

    def _forget_selector(self, key: Key, selector: LabelSelector) -> None:
        filed = selector_key(selector)
        keys = self._by_selector.get(filed, set())
        keys.discard(key)
        if not keys:
            self._by_selector.pop(filed, None)
            self._selectors.remove(filed)


def _injects(labels: Labels) -> bool:
    """Whether Istio injects pods there (Istio "Installing the Sidecar": `istio-injection`)."""
    return labels.get("istio-injection") != "disabled"


def _lacks_everyone(gateway: Manifest, asks: tuple[Ask, ...], rights: Rights) -> bool:
    """Whether something that is asked for everyone is not claimed for everyone: others have it in some namespace."""
    whole = {name for name, since in rights.names.items() if _is_whole(since)}
    for destination in entries_of(gateway, "destinations"):
        granted = (ask for ask in asks if not ask.destinations or destination.get("name") in ask.destinations)
        names = {*texts_of(destination, "hosts"), *texts_of(destination, "aliases")}
        if any(ask.of_everyone for ask in granted) and not names <= whole:
            return True
    return not all(_is_whole(since) for since in rights.ports.values() if EVERY_NAMESPACE in since)


def _is_whole(since: Since) -> bool:
    return EVERY_NAMESPACE in since and NEVER not in since.values()


def _reindex(filed: dict[str, set[Key]], key: Key, old: frozenset[str], new: frozenset[str]) -> None:
    for name in old - new:
        keys = filed[name]
        keys.discard(key)
        if not keys:
            del filed[name]
    for name in new - old:
        filed.setdefault(name, set()).add(key)
