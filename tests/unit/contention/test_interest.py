"""Which objects a change of a namespace concerns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from egressgateway.api.scalars import parse_instant
from egressgateway.api.selector import LabelSelector
from egressgateway.contention.interest import NO_INTEREST, ClassReach, InterestIndex, interest_of
from egressgateway.facts import NEVER, Rights
from egressgateway.namespaces import NamespaceLabels
from egressgateway.refs import Key

BEFORE = NamespaceLabels({"shop": {"team": "shop"}, "lab": {"team": "lab", "env": "dev"}})
TEAM_LAB = {"namespaceSelector": {"matchLabels": {"team": "lab"}}}
NOT_DEV = {"namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["dev"]}]}}
EVERYONE = {"namespaceSelector": {}}
SINCE = parse_instant("2026-01-01T00:00:00Z")


def index_of(rights: Mapping[str, Rights] | None = None, **access: dict[str, Any]) -> InterestIndex:
    """Objects of the namespace `shop`, each with one entry of `access`, and perhaps with claims."""
    index = InterestIndex()
    for name, entry in access.items():
        destinations = [{"name": "db", "hosts": [entry.get("host", "db.example.com")]}]
        spec = {"destinations": destinations, "className": entry.get("class"), "access": {"from": [entry]}}
        gateway = {"metadata": {"namespace": "shop", "name": name}, "spec": spec}
        index.put(Key("shop", name), interest_of(gateway, (rights or {}).get(name, Rights())))
    return index


Classes = Mapping[str | None, ClassReach]


def affected(
    index: InterestIndex, name: str, labels: dict[str, str] | None, classes: Classes | None = None
) -> set[str]:
    """Names of the objects that a namespace concerns that gets these labels, or goes."""
    after = BEFORE.followed_by({name: labels})
    return {key.name for key in index.changes(BEFORE, after, classes or {}).affected.get(name, ())}


def test_a_new_namespace_concerns_those_that_select_it() -> None:
    """Whatever else has a selector sleeps on."""
    index = index_of(lab=TEAM_LAB, calm=NOT_DEV, own={})
    assert affected(index, "new", {"team": "x", "env": "dev"}) == set()
    assert affected(index, "new", {"team": "lab", "env": "dev"}) == {"lab"}
    assert affected(index, "new", {"team": "x"}) == {"calm"}


def test_a_relabelled_namespace_concerns_those_that_it_enters_or_leaves() -> None:
    """A label that no selector asks for concerns nobody."""
    index = index_of(lab=TEAM_LAB, calm=NOT_DEV)
    assert affected(index, "lab", {"team": "lab", "env": "dev", "cost": "1"}) == set()
    assert affected(index, "lab", {"team": "lab"}) == {"calm"}
    assert affected(index, "lab", {"team": "x", "env": "dev"}) == {"lab"}
    assert affected(index, "lab", None) == {"lab"}


def test_a_namespace_that_comes_or_goes_concerns_those_that_name_it() -> None:
    """By `access`, or by a host that means a Service of it to pods from now on; its labels do not matter to them."""
    index = index_of(named={"namespaces": ["new", "lab"]}, host={"host": "db.new"}, other={"namespaces": ["x"]})
    assert affected(index, "new", {}) == {"named", "host"}
    assert affected(index, "lab", None) == {"named"}
    assert affected(index, "lab", {"team": "x"}) == set()


def test_one_for_everyone_is_concerned_where_it_has_to_list_them() -> None:
    """As when another object has a name in one of them; accounts of every namespace need no list."""
    everywhere, but_one = {"*": SINCE}, {"*": SINCE, "lab": NEVER}
    rights = {"all": Rights({"db.example.com": everywhere}), "most": Rights({"db.example.com": but_one})}
    rights["accounts"] = rights["all"]
    accounts = {**EVERYONE, "serviceAccounts": ["pay"]}
    index = index_of(rights, all=EVERYONE, most=EVERYONE, accounts=accounts)
    assert affected(index, "new", {}) == {"most"}
    assert affected(index, "lab", {"team": "x"}) == set()


def test_a_class_that_consents_by_labels_concerns_its_objects() -> None:
    """Those that ask for the namespace by name, by selector or for everyone; None stands for the default class."""
    whole = Rights({"db.example.com": {"*": SINCE}})
    index = index_of(
        {"all": whole, "default": whole},
        named={"namespaces": ["new"], "class": "open"},
        all={**EVERYONE, "class": "open"},
        default=EVERYONE,
        elsewhere={"namespaces": ["x"], "class": "open"},
    )
    consent = ClassReach(LabelSelector(match_labels={"egress": "yes"}))
    assert affected(index, "new", {"egress": "yes"}, {"open": consent}) == {"named", "all"}
    assert affected(index, "new", {"egress": "yes"}, {None: consent}) == {"named", "default"}
    assert affected(index, "new", {"egress": "no"}, {"open": consent}) == {"named"}


def test_a_shared_gateway_needs_something_in_each_namespace() -> None:
    """A new one has no DestinationRule yet, and would be answered with 503."""
    whole = {"all": Rights({"db.example.com": {"*": SINCE}})}
    index = index_of(whole, all={**EVERYONE, "class": "shared"}, named={"namespaces": ["lab"], "class": "shared"})
    assert affected(index, "new", {}) == set()
    assert affected(index, "new", {}, {"shared": ClassReach(in_each_namespace=True)}) == {"all"}


def test_a_namespace_concerns_the_objects_in_it_where_its_labels_matter() -> None:
    """When it comes or goes, when Istio injects no pods any more, and where the class says by labels who may use it."""
    index = index_of(one={}, other={"class": "guarded"})
    home = {"guarded": ClassReach(home=LabelSelector(match_labels={"egress": "yes"}))}
    assert affected(index, "shop", None) == {"one", "other"}
    assert affected(index, "shop", {"team": "shop", "cost": "1"}, home) == set()
    assert affected(index, "shop", {"team": "shop", "egress": "yes"}, home) == {"other"}
    assert affected(index, "shop", {"team": "shop", "istio-injection": "disabled"}) == {"one", "other"}


def test_the_class_that_served_last_counts_too() -> None:
    """An object that names a class which does not exist is judged by that one: what it forbids must end."""
    index = InterestIndex()
    spec = {"className": "missing", "access": {"from": [{"namespaces": ["lab"]}]}}
    gateway = {"metadata": {"namespace": "shop", "name": "x"}, "spec": spec, "status": {"className": "guarded"}}
    index.put(Key("shop", "x"), interest_of(gateway, Rights()))
    label = LabelSelector(match_labels={"egress": "yes"})
    assert affected(index, "lab", {"egress": "yes"}, {"guarded": ClassReach(consent=label)}) == {"x"}
    assert affected(index, "shop", {"egress": "yes"}, {"guarded": ClassReach(home=label)}) == {"x"}
    assert affected(index, "lab", {"egress": "yes"}, {"other": ClassReach(consent=label)}) == set()


def test_what_is_claimed_counts_though_it_is_asked_for_no_more() -> None:
    """Clients may still be sent there: a class that does not consent any more must be heard."""
    index = index_of({"narrowed": Rights({"db.example.com": {"lab": SINCE}})}, narrowed={"class": "guarded"})
    consent = {"guarded": ClassReach(LabelSelector(match_labels={"team": "lab"}))}
    assert affected(index, "lab", {"team": "x"}, consent) == {"narrowed"}


def test_one_for_everyone_that_is_refused_is_concerned_by_each_namespace() -> None:
    """Too many are left to list: it is served once there are fewer."""
    assert affected(index_of(all=EVERYONE), "lab", None) == {"all"}


@pytest.mark.parametrize(
    "more",
    [
        {"endpoints": [{"address": "db.new"}]},
        {"wildcard": {"server": "db.new"}},
        {"ports": [{"port": 443, "tls": {"sni": "db.new"}}]},
        {"ports": [{"port": 443, "tls": {"subjectAltNames": ["DB.new."]}}]},
        {"aliases": ["db.new"]},
    ],
    ids=["endpoint", "server", "sni", "san", "alias"],
)
def test_every_name_that_has_to_be_external_counts(more: dict[str, Any]) -> None:
    """A namespace of its last label makes a Service of it, or nothing any more."""
    destination = {"name": "db", "hosts": ["db.example.com"], **more}
    gateway = {"metadata": {"namespace": "shop", "name": "x"}, "spec": {"destinations": [destination]}}
    index = InterestIndex()
    index.put(Key("shop", "x"), interest_of(gateway, Rights()))
    assert affected(index, "new", {}) == {"x"}
    assert affected(index, "other", {}) == set()


def test_an_object_that_is_gone_is_concerned_by_nothing() -> None:
    """And its selectors are asked about nothing any more."""
    index = index_of(lab=TEAM_LAB)
    index.put(Key("shop", "lab"), NO_INTEREST)
    assert affected(index, "new", {"team": "lab"}) == set()
    assert affected(index, "shop", None) == set()


def test_a_selector_is_asked_once_about_what_changed() -> None:
    """However many objects have it, and however many namespaces there are."""
    asked: list[str] = []

    class Counted(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    table = NamespaceLabels({f"ns-{number}": Counted(team="x") for number in range(50)})
    table.selected_by(LabelSelector(match_labels={"team": "lab"}))
    assert len(asked) == 50
    asked.clear()
    following = table.followed_by({"new": Counted(team="lab"), "ns-3": None})
    assert following.selected_by(LabelSelector(match_labels={"team": "lab"})) == {"new"}
    assert len(asked) == 1
    assert following.keys() == table.keys() - {"ns-3"} | {"new"}
    assert following.followed_by({"ns-1": {"team": "x"}, "ns-3": None}) is following
