"""The models give every document of the corpus its verdict; `controlplane/test_api_corpus.py` asks the API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from apicases.corpus import Document, corpus, full_objects, model_errors, shared_cases
from apicases.mutations import mutations, spec_schemas


@pytest.mark.parametrize("document", corpus("valid"), ids=str)
def test_valid_document_is_accepted(document: Document) -> None:
    """What the contract allows passes."""
    assert model_errors(document.manifest) == []


@pytest.mark.parametrize("document", corpus("invalid"), ids=str)
def test_invalid_document_is_refused_in_words(document: Document) -> None:
    """What the contract refuses is refused, with the words that the API server uses too."""
    assert document.want
    errors = model_errors(document.manifest)
    assert [error for error in errors if document.want in error], errors


def rules_in(schema: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield from schema.get("x-kubernetes-validations", [])
    children = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for child in children:
        if child is not None:
            yield from rules_in(child)


def test_every_rule_is_broken_by_some_document() -> None:
    """No rule stands untried: each message is the answer to at least one document."""
    messages = {
        rule["message"]
        for schema in spec_schemas().values()
        for rule in rules_in(schema)
        if "oldSelf" not in rule["rule"]
    }
    answers = "\n".join(error for document in corpus("invalid") for error in model_errors(document.manifest))
    assert {message for message in messages if message not in answers} == set()


@pytest.mark.parametrize("document", full_objects(), ids=str)
def test_mutation_beyond_the_schema_is_refused_in_words(document: Document) -> None:
    """One step beyond a bound, another type, a missing or unknown field: each is refused, at its place."""
    assert model_errors(document.manifest) == []
    wrong = []
    for mutation in mutations(document):
        errors = model_errors(mutation.manifest)
        if mutation.want and not any(mutation.want in error for error in errors):
            wrong.append((mutation.label, mutation.want, errors))
    assert wrong == []


@pytest.mark.parametrize("document", shared_cases() or [None], ids=str)
def test_shared_case_has_its_verdict(document: Document | None) -> None:
    """The worked cases of the contract are accepted, those of refused-by-schema refused."""
    if document is None:
        pytest.skip("the project's worked cases are not beside the repository")
    assert bool(model_errors(document.manifest)) == document.label.startswith("refused-by-schema")
