"""
Children beyond the workload: their names, labels and owners, whichever provider plans them.

Templates are in the folder `istio` unless the name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from egressgateway.live.children import section_of
from egressgateway.names import DESTINATIONS, LABEL_PART, remote_name, section_name
from egressgateway.plan.ir import Child, Owner
from egressgateway.plan.pods.workload import common_values, stage_labels
from egressgateway.refs import Manifest, ObjectRef
from egressgateway.stages import Stage


def shared_child(  # noqa: PLR0913, PLR0917  (what tells a child from others, and its values)
    owner: Owner, name: str, kind: str, stage: Stage, values: Mapping[str, Any], template: str | None = None
) -> Child:
    """A child that serves every section."""
    return _child(owner, ObjectRef(kind, owner.key.namespace, name), stage, "", values, template or kind.lower())


def remote_child(  # noqa: PLR0913, PLR0917  (likewise)
    owner: Owner, namespace: str, kind: str, what: str, stage: Stage, values: Mapping[str, Any], template: str
) -> Child:
    """A child in another namespace, where no owner reference works: its labels name the owner."""
    return _child(owner, ObjectRef(kind, namespace, remote_name(owner.key, what)), stage, "", values, template)


def section_child(  # noqa: PLR0913, PLR0917  (what tells a child from others, and its values)
    owner: Owner,
    kind: str,
    stage: Stage,
    section: str,
    within: tuple[str, ...],
    values: Mapping[str, Any],
    template: str,
) -> Child:
    """A child that belongs to one destination or exposed host."""
    list_, _, name = section.rpartition(".")
    child_name = section_name(owner.key, list_ or DESTINATIONS, name, *within)
    return _child(owner, ObjectRef(kind, owner.key.namespace, child_name), stage, section, values, template)


def live_child(owner: Owner, found: Manifest, stage: Stage, values: Mapping[str, Any], template: str) -> Child:
    """A child of a section, under the name that it already has."""
    ref = ObjectRef(found["kind"], owner.key.namespace, found["metadata"]["name"])
    return _child(owner, ref, stage, section_of(found), values, template)


def labelled(child: Child, labels: Mapping[str, str]) -> Child:
    """`child` with further labels, which other controllers read."""
    return replace(child, values={**child.values, "labels": {**child.values["labels"], **labels}}) if labels else child


def _child(  # noqa: PLR0913, PLR0917  (likewise)
    owner: Owner, ref: ObjectRef, stage: Stage, section: str, values: Mapping[str, Any], template: str
) -> Child:
    common = common_values(owner)
    owned: dict[str, Any] = {} if ref.namespace == owner.key.namespace else {"owner_references": []}
    labels = stage_labels(owner.key, stage)
    return Child(
        ref=ref,
        stage=stage,
        section=section,
        template=f"{template if '/' in template else f'istio/{template}'}.yaml.j2",
        values={
            **common,
            **owned,
            "namespace": ref.namespace,
            "name": ref.name,
            "labels": {**labels, LABEL_PART: section} if section else labels,
            **values,
        },
    )
