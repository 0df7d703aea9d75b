"""
What is said of files is what the status says: section, reason and message, for everything that the project has.

The operator's side is its reconciler with a status that it wrote; the tool's side is YAML with nothing else around it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import pytest
import yaml

from apicases.corpus import corpus, full_objects
from egressgateway.refs import Key, Manifest
from egressgateway.status.messages import cut
from egressgateway.tool.diagnostic import Diagnostic
from egressgateway.tool.documents import read_text
from egressgateway.tool.shape import shape_mistakes
from egressgateway.tool.validate import validate
from egressgateway.tool.world import Scope
from unit.golden.cases import case_named, case_names
from unit.tool.files import NOW
from unit.tool.operator_says import statuses

CREATED = "2025-01-01T00:00:00Z"
JUDGED = ("Accepted", "ResolvedRefs")


def stored(manifest: Manifest, number: int) -> Manifest:
    """An object with what an API server would have added, and no status."""
    fixed = {"uid": f"file-{number}", "resourceVersion": "1", "generation": 1, "creationTimestamp": CREATED}
    metadata = {**manifest["metadata"], **fixed}
    if manifest["kind"] == "EgressGateway":
        metadata.setdefault("namespace", "default")
    return {name: value for name, value in manifest.items() if name != "status"} | {"metadata": metadata}


def said_of(objects: Iterable[Manifest]) -> dict[Key, list[Diagnostic]]:
    """What the tool says: by object, all that has a reason of the status."""
    text = yaml.dump_all(objects, Dumper=yaml.CSafeDumper)
    reading = read_text(text, "all.yaml")
    assert reading.mistakes == ()
    report = validate(reading, Scope(complete=True), NOW)
    found: dict[Key, list[Diagnostic]] = {}
    for each in report.diagnostics:
        if each.object is not None and each.object.kind == "EgressGateway" and each.code.reason is not None:
            found.setdefault(Key(each.object.namespace, each.object.name), []).append(each)
    return found


def disagreements(objects: list[Manifest]) -> list[str]:
    """Where the two differ."""
    said, status_of = said_of(deepcopy(objects)), statuses(deepcopy(objects), NOW)
    assert status_of
    return [each for key, status in status_of.items() for each in _disagreements(key, status, said.get(key, []))]


def _disagreements(key: Key, status: Mapping[str, Any], said: list[Diagnostic]) -> Iterable[str]:
    sections = _sections(status)
    for each in said:
        if each.code.reason == "Suspended":
            continue
        conditions = sections.get(each.section, []) if each.section else status["conditions"]
        # The status joins messages, and cuts the end of what becomes too long.
        # Of several fields that miss one thing, it names the first.
        cause = each.message.removeprefix(f"{each.field}: ") if each.code.code.startswith("EGW2") else each.message
        shown = cut(cause, 200).rstrip("…")
        if not any(shown in told["message"] or told["message"].endswith("…") for told in conditions):
            yield f"{key} {each.section}: only the tool says {each.code.reason}: {each.message}"
    for section, conditions in {"": status["conditions"], **sections}.items():
        for told in conditions:
            if told["type"] not in JUDGED or told["status"] != "False" or told["reason"] == "Pending":
                continue
            about = [each for each in said if each.section == section or not section or not each.section]
            if not any(str(each.code.reason) == told["reason"] for each in about):
                yield f"{key} {section}: only the status says {told['type']} {told['reason']}: {told['message']}"


def _sections(status: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found = {each["name"]: each["conditions"] for each in status.get("destinations", ())}
    return found | {f"expose.{each['name']}": each["conditions"] for each in status.get("expose", ())}


def _documents() -> list[tuple[str, Manifest]]:
    documents = [*corpus("valid"), *corpus("invalid"), *full_objects()]
    return [(str(each), each.manifest) for each in documents if each.manifest["kind"] == "EgressGateway"]


def _is_readable(manifest: Manifest) -> bool:
    """Whether the API server would take it into its store under any schema."""
    [document] = read_text(yaml.dump(manifest, Dumper=yaml.CSafeDumper), "f").documents
    return not shape_mistakes(document)


CORPUS = [pytest.param(manifest, id=label) for label, manifest in _documents() if _is_readable(manifest)]


@pytest.mark.parametrize("manifest", CORPUS)
def test_tool_and_status_say_the_same_of_the_corpus(manifest: Manifest) -> None:
    """Every document that the API accepts or refuses."""
    assert disagreements([stored(manifest, 0)]) == []


@pytest.mark.parametrize("name", case_names())
def test_tool_and_status_say_the_same_of_a_golden_case(name: str) -> None:
    """The objects of the case, as if they had just been created."""
    case = case_named(name)
    objects = [{"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGateway", **case.gateway}]
    if case.class_ is not None:
        objects.append({"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGatewayClass", **case.class_})
    for namespace, labels in case.namespaces.items():
        objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    found = (each for each in case.references.objects.values() if each is not None)
    objects += [each for each in found if each["kind"] in ("Secret", "Service") and each.get("apiVersion")]
    assert disagreements([stored(each, number) for number, each in enumerate(objects)]) == []


HOSTS = ("a.example.com", "b.example.com", "*.example.com", "db.example.org", "payments.shop", "co.uk")
PORTS: tuple[Manifest, ...] = (
    {"port": 80, "protocol": "HTTP"},
    {"port": 443, "protocol": "TLS"},
    {"port": 5432, "protocol": "TCP"},
    {"port": 5432, "protocol": "TLS"},
    {"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Simple", "credentialName": "ca"}},
    {"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Mutual", "credentialName": "client"}},
    {"port": 8080, "protocol": "GRPC", "targetPort": 8443, "tls": {"mode": "Simple", "insecureSkipVerify": True}},
)
CLASS_FIELDS: tuple[Manifest, ...] = (
    {},
    {"allowedHosts": ["*.example.com"]},
    {"allowedConsumers": {"from": "All"}},
    {"deniedFeatures": ["TCP", "Wildcards", "InsecureSkipVerify"]},
    {"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "web"}}}},
    {"trial": {"allowedHosts": []}},
)
NAMESPACES = ("shop", "bank", "web")


def generated(seed: int) -> list[Manifest]:
    """A set of objects that may want the same, under classes that may forbid it."""
    dice = random.Random(seed)
    objects: list[Manifest] = []
    for name in dice.sample(NAMESPACES, dice.randint(1, 3)):
        labels = {"kubernetes.io/metadata.name": name, **({"team": "web"} if dice.random() < 0.5 else {})}
        objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    for name in ("standard", "data"):
        if dice.random() < 0.6:
            marked = {"egressgateway.dev/is-default-class": "true"} if dice.random() < 0.5 else {}
            spec: Manifest = {}
            for _ in range(dice.randint(0, 2)):
                spec |= dice.choice(CLASS_FIELDS)
            objects.append(_ours("EgressGatewayClass", {"name": name, "annotations": marked}, spec))
    for number in range(dice.randint(1, 4)):
        metadata = {"name": f"g{number}", "namespace": dice.choice(NAMESPACES)}
        objects.append(_ours("EgressGateway", metadata, _generated_spec(dice)))
    if dice.random() < 0.5:
        secret = {"name": "client", "namespace": dice.choice(NAMESPACES)}
        objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": secret, "data": {"tls.crt": "eA=="}})
    return [stored(each, number) for number, each in enumerate(objects)]


def _generated_spec(dice: random.Random) -> Manifest:
    destinations = []
    for number in range(dice.randint(1, 3)):
        host = dice.choice(HOSTS)
        destination: Manifest = {"name": f"d{number}", "hosts": [host], "ports": [dice.choice(PORTS)]}
        if host.startswith("*."):
            destination["wildcard"] = {"strategy": "DynamicResolution"}
        if dice.random() < 0.1:
            destination["expiresAt"] = dice.choice(["2025-06-01T00:00:00Z", "2027-06-01T00:00:00Z"])
        destinations.append(destination)
    spec: Manifest = {"destinations": destinations}
    if dice.random() < 0.3:
        spec["className"] = dice.choice(["standard", "data", "gone"])
    if dice.random() < 0.4:
        entry = dice.choice(
            [
                {"namespaces": ["shop", "bank"]},
                {"namespaceSelector": {"matchLabels": {"team": "web"}}},
                {"paths": ["/v1"]},
            ]
        )
        spec["access"] = {"from": [entry]}
    return spec


def _ours(kind: str, metadata: Manifest, spec: Manifest) -> Manifest:
    return {"apiVersion": "egressgateway.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("seed", range(100))
def test_tool_and_status_say_the_same_of_generated_sets(seed: int) -> None:
    """Objects that want the same hosts and ports, for the same clients, by classes that forbid some of it."""
    assert disagreements(generated(seed)) == []


def test_generated_sets_have_what_there_is_to_disagree_about() -> None:
    """Without conflicts, refusals and missing Secrets the test above would pass for nothing."""
    seen = {each.code.reason for seed in range(100) for found in said_of(generated(seed)).values() for each in found}
    assert seen >= {"HostConflict", "HostNotAllowed", "FeatureNotAllowed", "SecretNotFound", "ClassNotFound", "Expired"}
