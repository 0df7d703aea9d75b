"""
Children of a plan become objects ready to be written: rendered, named, digested.

An object is rendered anew only when its template or one of its values changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from egressgateway.errors import InvariantError
from egressgateway.names import ANNOTATION_DIGEST
from egressgateway.plan.ir import Child
from egressgateway.refs import Key, Manifest, ObjectRef, ref_of
from egressgateway.render.digest import digest_of
from egressgateway.render.environment import Renderer
from egressgateway.render.overlay import overlaid
from egressgateway.stages import Stage


@dataclass(frozen=True, slots=True)
class Desired:
    """One object as it should be. `digest` covers all of `manifest` except the annotation with the digest."""

    ref: ObjectRef
    stage: Stage
    section: str
    manifest: Manifest
    digest: str


def render_child(renderer: Renderer, child: Child) -> Desired:
    """
    The object that `child` describes.

    Raises:
        TemplateError: the template does not render.
        InvariantError: the template describes another object than the plan names.
    """
    manifest = overlaid(renderer.render(child.template, dict(child.values)), child.overlay)
    if ref_of(manifest) != child.ref:
        raise InvariantError(f"{child.template} describes {ref_of(manifest)}, the plan names {child.ref}")
    digest = digest_of(manifest)
    metadata = manifest["metadata"]
    # Parts of the manifest are shared with other objects of its shape.
    annotated = {**metadata, "annotations": {**metadata.get("annotations", {}), ANNOTATION_DIGEST: digest}}
    return Desired(child.ref, child.stage, child.section, {**manifest, "metadata": annotated}, digest)


MOST_REMEMBERED: Final = 8_192
"""Children, at eleven kilobytes of memory each (measured); those of the EgressGateway rendered last always stay."""


class RenderCache:
    """
    What was rendered last for each child, so that a reconcile that changes nothing renders nothing.

    Beyond `most` children, those of the EgressGateways that were used least recently are forgotten.
    """

    def __init__(self, renderer: Renderer, *, most: int = MOST_REMEMBERED) -> None:
        self._renderer = renderer
        self._most = most
        self._last: dict[Key, dict[ObjectRef, tuple[Child, Desired]]] = {}
        self._count = 0

    def render(self, key: Key, children: Iterable[Child]) -> tuple[Desired, ...]:
        """All children of one EgressGateway; its former children are forgotten."""
        return tuple(self.one_by_one(key, children))

    def one_by_one(self, key: Key, children: Iterable[Child]) -> Iterator[Desired]:
        """The same, for a caller that has other work between two children. The caller must consume it to its end."""
        last = self._last.get(key, {})
        rendered: dict[ObjectRef, tuple[Child, Desired]] = {}
        for child in children:
            rendered[child.ref] = child, self._render(child, last.get(child.ref))
            yield rendered[child.ref][1]
        self.forget(key)
        self._last[key] = rendered
        self._count += len(rendered)
        while self._count > self._most and len(self._last) > 1:
            self.forget(next(iter(self._last)))

    def forget(self, key: Key) -> None:
        """The EgressGateway `key` is gone, or there is no memory for it."""
        self._count -= len(self._last.pop(key, ()))

    def _render(self, child: Child, last: tuple[Child, Desired] | None) -> Desired:
        return last[1] if last is not None and last[0] == child else render_child(self._renderer, child)
