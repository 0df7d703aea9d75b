"""Custom resource definitions: read from files, applied, and waited for until the API server serves them all."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from harness.rest import ApiError, Object, Rest
from harness.wait import eventually

Kind = tuple[str, str, str]
"""Group, version, plural."""

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def read_definitions(files: Iterable[Path]) -> list[Object]:
    """Every CustomResourceDefinition in YAML files; other objects there are left out."""
    # libyaml's loader: Istio's file is a megabyte, which the Python one reads for seconds.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = (each for file in files for each in yaml.load_all(file.read_text(), Loader=loader))
    return [each for each in documents if each and each.get("kind") == "CustomResourceDefinition"]


def install_definitions(rest: Rest, definitions: list[Object]) -> None:
    """
    Apply definitions and wait until each kind can be used.

    Raises:
        ApiError: the server refuses one, with its words.
        TimeoutError: a kind is not served in time.
    """
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: rest.apply(f"{DEFINITIONS}/{each['metadata']['name']}", each), definitions))
    wanted = {kind for each in definitions for kind in _kinds(each)}
    # Discovery lists a kind once its definition is Established, and the garbage collector goes by it.
    eventually(lambda: wanted <= _discovered(rest, {(group, version) for group, version, _ in wanted}), what="CRDs")


def _kinds(definition: Object) -> set[Kind]:
    spec = definition["spec"]
    return {(spec["group"], each["name"], spec["names"]["plural"]) for each in spec["versions"] if each["served"]}


def _discovered(rest: Rest, versions: set[tuple[str, str]]) -> set[Kind]:
    return {(*version, plural) for version in versions for plural in _plurals(rest, *version)}


def _plurals(rest: Rest, group: str, version: str) -> list[str]:
    try:
        return [resource["name"] for resource in rest.get(f"/apis/{group}/{version}")["resources"]]
    except ApiError as error:
        if error.code == 404:
            return []
        raise
