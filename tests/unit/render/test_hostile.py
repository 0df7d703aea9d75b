"""Hostile texts in every place of every golden case: refused, or a text in the document and nothing more."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from egressgateway.api.gateway_class import ProviderName
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.api.validation import parse_spec
from egressgateway.facts import Facts
from egressgateway.names import ANNOTATION_DIGEST
from egressgateway.plan.accept import accept
from egressgateway.plan.build import build_plan
from egressgateway.plan.ir import Child
from egressgateway.refs import Manifest, ObjectRef
from egressgateway.render.manifests import render_child
from unit.golden.cases import RENDERER, case_named, case_names, run_named
from unit.render.attacks import ATTACKS, HEADERS, LABELS

EXAMPLES = 20_800
SHARES = 8
SEED = 5
NO_LIMIT = "0s"
COMPOSED = re.compile(r"(?:[A-Za-z0-9.*:|/_-]|\\[.-])*")
"""
Names that the planner composes of hosts, parts and namespaces: nothing in them means anything to YAML or Envoy. In
regular expressions a dot or a dash is escaped.
"""

CLUSTER = "outbound|"
"""Begins the names that istiod gives clusters: composed ones, and the only keys of that kind."""

FREE_MAPS = frozenset({"podLabels", "podAnnotations", "nodeSelector", "annotations", "matchLabels"})
"""Fields whose keys are an author's, too."""

Way = tuple[str | int, ...]
Documents = Mapping[ObjectRef, tuple[Child, Manifest]]
"""What a plan's children are rendered as."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text of a spec stands; with `is_key` the last step itself is the text."""

    way: Way
    is_key: bool = False


def places(node: Any, way: Way = ()) -> Iterator[Place]:
    """Every text of a spec."""
    if isinstance(node, dict):
        for key, value in node.items():
            if way and way[-1] in FREE_MAPS:
                yield Place((*way, key), is_key=True)
            yield from places(value, (*way, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from places(value, (*way, index))
    elif isinstance(node, str):
        yield Place(way)


def changed(spec: Manifest, place: Place, change: Callable[[str], str]) -> tuple[Manifest, str, str]:
    """`spec` with another text at `place`, the text before and the one now."""
    other: Any = deepcopy(spec)
    node = other
    for step in place.way[:-1]:
        node = node[step]
    last: Any = place.way[-1]
    old = last if place.is_key else node[last]
    new = change(old)
    if place.is_key:
        node[new] = node.pop(last)
    else:
        node[last] = new
    return other, old, new


@dataclass(frozen=True, slots=True)
class Subject:
    """One golden case as an author would apply it afresh, and what it is rendered as."""

    spec: Manifest
    facts: Facts
    places: tuple[Place, ...]
    documents: Documents
    findings: Counter[Any]
    known: frozenset[str]


@cache
def subjects() -> tuple[Subject, ...]:
    """Every case with a spec that the models take."""
    found = []
    for name in case_names():
        raw = case_named(name).gateway.get("spec")
        facts = run_named(name).facts
        if facts.gateway.spec is not None:
            gateway = replace(facts.gateway, status={})
            fresh = replace(facts, gateway=gateway, live={}, contenders=(), unmanaged_routes=())
            documents, findings = judged(fresh, facts.gateway.spec)
            known = frozenset(text for _, document in documents.values() for text in texts_of(document))
            found.append(Subject(raw, fresh, tuple(places(raw)), documents, findings, known))
    return tuple(found)


def judged(facts: Facts, spec: EgressGatewaySpec, known: Documents | None = None) -> tuple[Documents, Counter[Any]]:
    """
    What is rendered for a spec, and what stands against it; a consumer more or less is such a thing, too.

    Children that are equal to `known` ones are not rendered again: most of a case is not about the one text.
    """
    facts = replace(facts, gateway=replace(facts.gateway, spec=spec))
    acceptance = accept(facts)
    findings = Counter[Any]((found.condition, found.reason) for found in acceptance.findings)
    findings.update(len(served) for served in acceptance.consumers.values())
    documents = {}
    for child in build_plan(facts, acceptance).children:
        same = (known or {}).get(child.ref)
        documents[child.ref] = same if same and same[0] == child else (child, render_child(RENDERER, child).manifest)
    return documents, findings


def hostile(dice: random.Random) -> Callable[[str], str]:
    """Replaces a text by an attack, or hides an attack in it."""
    attack = dice.choice(ATTACKS)
    return dice.choice(
        (
            lambda old: attack,
            lambda old: attack,
            lambda old: old + attack,
            lambda old: attack + old,
            lambda old: f"{old[: len(old) // 2]}{attack}{old[len(old) // 2 :]}",
        )
    )


def shape(node: Any, texts: frozenset[str]) -> Any:
    """
    Keys and types of a document, without the order of lists; keys among `texts` are alike.

    How many headers are removed is left out: one that an author sets is not stripped as well.
    """
    if isinstance(node, Mapping):
        fields = (
            (key, set(value) and "text" if key == "remove" else shape(value, texts)) for key, value in node.items()
        )
        return "map", frozenset(
            ("‹›" if key in texts or key.startswith(CLUSTER) else key, inside) for key, inside in fields
        )
    if isinstance(node, (list, tuple)):
        return "list", frozenset(Counter(shape(item, texts) for item in node).items())
    return "text" if isinstance(node, str) else type(node).__name__


def texts_of(node: Any) -> Iterator[str]:
    """Every text of a document, keys among them, but for our own digest."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key != ANNOTATION_DIGEST:
                yield str(key)
                yield from texts_of(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from texts_of(item)
    elif isinstance(node, str):
        yield str(node)


def forms_of(text: str) -> set[str]:
    """As what a text may stand in a document: whole, as a prefix of a path, or with Envoy's variables escaped."""
    return {text, text.removesuffix("*"), text.replace("%", "%%")}


def offences(subject: Subject, documents: Documents, old: str, new: str) -> list[str]:
    """What of the documents is more than the text in its place."""
    texts = frozenset({old, new})
    before, after = _apart(subject.documents, documents), _apart(documents, subject.documents)
    found = []
    if Counter(shape(each, texts) for each in before) != Counter(shape(each, texts) for each in after):
        found.append("another structure")
    strange = set(texts_of(after)) - subject.known - forms_of(new)
    return found + sorted(text for text in strange if not COMPOSED.fullmatch(text))


def _apart(documents: Documents, others: Documents) -> list[Manifest]:
    """Those that are not among the others."""
    return [found[1] for ref, found in documents.items() if others.get(ref) is not found]


@pytest.mark.parametrize("share", range(SHARES))
def test_a_hostile_text_is_refused_or_stays_a_text(share: int) -> None:
    """
    20,800 in all, each in one place of one case: the models or a finding refuse it, or the documents are the same but
    for that text, whole, where the old one was.
    """
    dice = random.Random(SEED + share)
    outcome: Counter[str] = Counter()
    for _ in range(EXAMPLES // SHARES):
        subject = dice.choice(subjects())
        spec, old, new = changed(subject.spec, dice.choice(subject.places), hostile(dice))
        parsed = parse_spec(spec)
        if isinstance(parsed, tuple):
            outcome["refused by the models"] += 1
            continue
        documents, findings = judged(subject.facts, parsed, subject.documents)
        if findings != subject.findings:
            outcome["refused by a finding"] += 1
            continue
        outcome["rendered"] += 1
        if old == NO_LIMIT and new.removesuffix("s").isdecimal():
            # No attack any more: a number of seconds, for which there is a field where no limit has none.
            continue
        assert offences(subject, documents, old, new) == [], (old, new, spec)
    assert outcome["refused by the models"] > EXAMPLES / SHARES / 2
    assert outcome["rendered"] > EXAMPLES / SHARES / 50


def test_the_test_sees_what_it_looks_for() -> None:
    """A field more, an entry less, another type, a text within another: each is an offence."""
    subject = next(subject for subject in subjects() if subject.documents)
    ref, (child, first) = next(iter(subject.documents.items()))
    name, labels = ref.name, first["metadata"]["labels"]

    def seen(**changes: Any) -> list[str]:
        other = {**first, "metadata": {**first["metadata"], **changes}}
        return offences(subject, {**subject.documents, ref: (child, other)}, "old", "evil\ntext")

    assert seen() == []
    assert seen(more="evil\ntext") == ["another structure"]
    assert seen(name=7) == ["another structure"]
    assert seen(labels=dict(list(labels.items())[1:])) == ["another structure"]
    assert seen(name=f"{name} evil\ntext") == [f"{name} evil\ntext"]
    assert seen(name="evil\ntext") == []
    assert offences(subject, {}, "old", "evil") == ["another structure"]


@pytest.mark.parametrize("field", ["podLabels", "podAnnotations"])
@pytest.mark.parametrize("key", [key for key in LABELS if "." in key or key == "istio"])
def test_labels_of_tools_and_meshes_are_refused_or_go_to_the_pods_alone(field: str, key: str) -> None:
    """What makes another tool take a child for its own never stands on a child (Argo CD would prune it)."""
    subject = next(found for found in subjects() if found.documents and "gateway" not in found.spec)
    parsed = parse_spec({**subject.spec, "gateway": {field: {key: "hostile"}}})
    if isinstance(parsed, tuple):
        assert key in str(parsed)
        return
    metadata = [document["metadata"] for _, document in judged(subject.facts, parsed)[0].values()]
    assert "hostile" not in set(texts_of(metadata))


@pytest.mark.parametrize("value", HEADERS)
def test_a_header_value_is_never_a_variable_of_envoy(value: str) -> None:
    """Every `%` comes out twice, which Envoy reads as one; line breaks are refused."""
    documents = _with_header(ProviderName.ISTIO, value)
    if documents is None:
        assert "\n" in value
        return
    [routed] = {
        route["headers"]["request"]["set"]["x-a"] for document in documents for route in _routes_that_set(document)
    }
    assert routed == value.replace("%", "%%")


@pytest.mark.parametrize("value", [*HEADERS, "$remote_addr", "${http_cookie}", "a $1"])
def test_a_header_value_is_never_a_variable_of_apisix(value: str) -> None:
    """It comes out as it is, and what APISIX would read as a variable is refused."""
    documents = _with_header(ProviderName.APISIX, value)
    if documents is None:
        assert "\n" in value
        return
    routes = [found for found in documents if found["kind"] == "ApisixRoute"]
    headers = [rule["plugins"][0]["config"]["headers"] for found in routes for rule in found["spec"]["http"]]
    assert [found.get("set") for found in headers] == ([] if "$" in value else [{"x-a": value}])


def _with_header(provider: ProviderName, value: str) -> list[Manifest] | None:
    """What becomes of a destination that sets the header `x-a`; None where the models refuse it."""
    subject = next(
        found
        for found in subjects()
        if "requestHeaders" in str(found.spec)
        and found.facts.class_.spec is not None
        and found.facts.class_.spec.data_plane is provider
    )
    spec = deepcopy(subject.spec)
    owner = next(found for found in spec["destinations"] if "requestHeaders" in found)
    owner["requestHeaders"] = {"set": [{"name": "x-a", "value": value}]}
    parsed = parse_spec(spec)
    if isinstance(parsed, tuple):
        return None
    return [document for _, document in judged(subject.facts, parsed)[0].values()]


def _routes_that_set(document: Manifest) -> list[Any]:
    routes = document["spec"].get("http", ()) if document["kind"] == "VirtualService" else ()
    return [route for route in routes if "x-a" in route.get("headers", {}).get("request", {}).get("set", {})]
