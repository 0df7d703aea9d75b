"""What the operator will write for the objects of files: the same plan, the same templates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egressgateway.errors import SourceError
from egressgateway.plan.build import build_plan
from egressgateway.plan.ir import Child
from egressgateway.refs import Key, Manifest
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import render_child
from egressgateway.tool.judge import Judged
from egressgateway.tool.output.structured import as_yaml


@dataclass(frozen=True, slots=True)
class Written:
    """One object that will be written. `values` are what its template gets."""

    owner: Key
    child: Child
    manifest: Manifest

    @property
    def file_name(self) -> str:
        """Name of a file for it alone: kinds and names of Kubernetes hold no `/`."""
        ref = self.child.ref
        return f"{ref.namespace}_{ref.kind.lower()}_{ref.name}.yaml"

    @property
    def values(self) -> dict[str, Any]:
        return {
            "object": self.child.ref._asdict(),
            "stage": self.child.stage.name.lower(),
            "template": self.child.template,
            "values": dict(self.child.values),
            "overlay": dict(self.child.overlay),
        }


def written_for(judged: Iterable[Judged], kinds: Collection[str] = ()) -> Iterator[Written]:
    """
    Every object, in the order in which the operator writes them; of some `kinds` alone, if there are any, in any case.

    Nothing for a section that is rejected: on a cluster what runs of it stays as it is.
    """
    renderer, wanted = Renderer(), {kind.casefold() for kind in kinds}
    for each in judged:
        spec = each.facts.gateway.spec
        if spec is None or spec.suspend:
            continue
        for child in build_plan(each.facts, each.acceptance).children:
            if not wanted or child.ref.kind.casefold() in wanted:
                yield Written(each.key, child, render_child(renderer, child).manifest)


def as_stream(manifests: Iterable[Any]) -> str:
    """Documents for `kubectl`."""
    return "\n".join(f"---\n{as_yaml(each)}" for each in manifests)


def split_into(directory: Path, written: Iterable[Written]) -> list[Path]:
    """
    One file for each object, in a directory that is made if it is not there.

    Raises:
        SourceError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        files = []
        for each in written:
            files.append(directory / each.file_name)
            files[-1].write_text(as_yaml(each.manifest) + "\n", encoding="utf-8")
    except OSError as error:
        raise SourceError(f"{directory}: {error.strerror}") from error
    return files
