"""A real API server and the models agree: on every document of the corpus, and on every small change of a full one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from apicases.corpus import Document, corpus, full_objects, model_errors, shared_cases
from apicases.mutations import mutations
from harness.cluster import Cluster
from harness.rest import ApiError

pytestmark = pytest.mark.controlplane

CLASSES = "/apis/egressgateway.dev/v1alpha1/egressgatewayclasses"
GATEWAYS = "/apis/egressgateway.dev/v1alpha1/namespaces/default/egressgateways"
Ask = Callable[[dict[str, Any]], str]


@pytest.fixture
def ask(cluster: Cluster) -> Ask:
    """What the API server says against an object, without storing it; empty when it accepts the object."""

    def ask(manifest: dict[str, Any]) -> str:
        body = copy.deepcopy(manifest)
        body["metadata"].pop("namespace", None)
        path = GATEWAYS if manifest["kind"] == "EgressGateway" else CLASSES
        try:
            cluster.rest.create(f"{path}?dryRun=All&fieldValidation=Strict", body)
        except ApiError as error:
            if error.code in (400, 422):
                return error.message
            raise
        return ""

    return ask


@pytest.mark.parametrize("document", corpus("valid"), ids=str)
def test_valid_document_is_accepted(ask: Ask, document: Document) -> None:
    """What the contract allows passes."""
    assert ask(document.manifest) == ""


@pytest.mark.parametrize("document", corpus("invalid"), ids=str)
def test_invalid_document_is_refused_in_words(ask: Ask, document: Document) -> None:
    """What the contract refuses is refused for the reason that the document names."""
    assert document.want
    assert document.want in ask(document.manifest)


@pytest.mark.parametrize("document", shared_cases() or [None], ids=str)
def test_shared_case_has_its_verdict(ask: Ask, document: Document | None) -> None:
    """The worked cases of the contract apply unchanged, those of refused-by-schema do not."""
    if document is None:
        pytest.skip("the project's worked cases are not beside the repository")
    assert bool(ask(document.manifest)) == document.label.startswith("refused-by-schema")


@pytest.mark.parametrize("document", full_objects(), ids=str)
def test_mutation_has_the_same_verdict(ask: Ask, document: Document) -> None:
    """Bounds, types, odd texts: the models accept what the API server accepts, and nothing else."""
    assert ask(document.manifest) == ""
    differing = []
    for mutation in mutations(document):
        refusal, errors = ask(mutation.manifest), model_errors(mutation.manifest)
        if bool(refusal) != bool(errors) or (mutation.want or "") not in refusal:
            differing.append((mutation.label, refusal[:300], errors))
    assert differing == []


def largest_spec() -> dict[str, Any]:
    """A spec at the limits of the contract: 64 destinations with 512 hosts and ports, 32 entries in `access`."""
    ports = [{"port": 1000, "protocol": "HTTP"}]
    names = [f"destination-{number:02}-{'x' * 25}" for number in range(64)]
    return {
        "destinations": [
            {"name": name, "hosts": [f"h{number}.{name}.{'long.' * 30}example" for number in range(8)], "ports": ports}
            for name in names
        ],
        "access": {
            "from": [
                {"namespaces": [f"namespace-{number}" for number in range(128)], "destinations": names, "paths": ["/*"]}
                for _ in range(32)
            ]
        },
    }


def test_largest_spec_is_within_the_budget(ask: Ask) -> None:
    """What the bounds allow can be stored: the rules cost less at run time than the API server grants them."""
    manifest = {
        "apiVersion": "egressgateway.dev/v1alpha1",
        "kind": "EgressGateway",
        "metadata": {"name": "large"},
        "spec": largest_spec(),
    }
    assert model_errors(manifest) == []
    assert ask(manifest) == ""


@pytest.fixture
def shared_class(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """A stored class with a shared gateway, named after the test's namespace."""
    spec = {"shared": {"namespace": "a", "service": "b", "selector": {"c": "d"}}}
    body = {"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGatewayClass", "metadata": {"name": namespace}}
    return cluster.rest.create(CLASSES, {**body, "spec": spec})


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"provider": "APISIX"}, "provider cannot be changed: make a new class"),
        ({"shared": {"namespace": "other"}}, "the gateway of a class cannot be changed: make a new class"),
        ({"shared": {"service": "other"}}, "the gateway of a class cannot be changed: make a new class"),
        ({"shared": None}, "the gateway of a class cannot be changed: make a new class"),
    ],
)
def test_class_keeps_provider_and_gateway(
    cluster: Cluster, shared_class: dict[str, Any], change: dict[str, Any], want: str
) -> None:
    """What decides where running traffic goes cannot be changed under the objects that use it."""
    with pytest.raises(ApiError, match=want):
        cluster.rest.merge(f"{CLASSES}/{shared_class['metadata']['name']}", {"spec": change})


@pytest.mark.parametrize("change", [{"provider": "Istio"}, {"shared": {"selector": {"e": "f"}}}, {"mtls": "Disabled"}])
def test_class_may_change_the_rest(cluster: Cluster, shared_class: dict[str, Any], change: dict[str, Any]) -> None:
    """Writing the default out, another selector, another limit: all that moves no traffic to another gateway."""
    changed = cluster.rest.merge(f"{CLASSES}/{shared_class['metadata']['name']}", {"spec": change})
    assert changed["metadata"]["generation"] == 2


def test_new_object_waits_for_the_operator(cluster: Cluster, namespace: str) -> None:
    """The API server itself writes the status of a new object: nothing is known of it yet."""
    spec = {"destinations": [{"name": "a", "hosts": ["a.example"], "ports": [{"port": 443, "protocol": "TLS"}]}]}
    body = {
        "apiVersion": "egressgateway.dev/v1alpha1",
        "kind": "EgressGateway",
        "metadata": {"name": "new"},
        "spec": spec,
    }
    path = GATEWAYS.replace("/default/", f"/{namespace}/")
    status = cluster.rest.create(path, body)["status"]
    assert status["observedGeneration"] == -1
    assert {(item["status"], item["reason"]) for item in status["conditions"]} == {("Unknown", "Pending")}
    assert [item["type"] for item in status["conditions"]] == ["Accepted", "ResolvedRefs", "Programmed", "Ready"]


def test_explain_reads_well(cluster: Cluster) -> None:
    """kubectl explain says what the fields of TLS mean, their defaults and their limits."""
    text = " ".join(cluster.kubectl("explain", "egressgateway.spec.destinations.ports.tls").stdout.split())
    for words in (
        "TLS that the gateway opens to the destination, so that clients may speak plain text to the gateway.",
        "A Secret of the object's namespace: the client certificate for `Mutual`, where it is required",
        "`Simple`: only the destination shows a certificate",
        "Names of which the destination's certificate must hold one: at most 8. Default: the host.",
        "`true` accepts every certificate of the destination. Default: `false`.",
        "mode <string> -required-",
    ):
        assert words in text
