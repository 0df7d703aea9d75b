"""
What a change of files means: in destinations and clients first, then in the objects that are written.

Both sides are judged like any files; what a class allows or forbids on one side alone is part of the difference.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from egressgateway.api.destination import Destination, DestinationPort
from egressgateway.api.tls import TlsMode
from egressgateway.names import ANNOTATION_DIGEST, workload_name
from egressgateway.refs import EGRESS_GATEWAY, Key, Manifest, ObjectRef
from egressgateway.tool.judge import Judged, judge
from egressgateway.tool.output.structured import as_yaml
from egressgateway.tool.rendered import written_for
from egressgateway.tool.world import World

_ALL: Final = {"*": "every namespace"}


class Kind(StrEnum):
    """What became of something."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a destination or of an exposed host; `section` is empty for the rest of the object."""

    section: str
    kind: Kind
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObjectDifference:
    """
    What becomes of one EgressGateway.

    Attributes:
        gateway: its class and provider, in words.
        objects: what is written, by what becomes of it.
        restarts: pods of its own gateway are replaced, one after the other.
        lines: the difference of the objects, as `diff -u` shows it.
    """

    key: Key
    gateway: str
    changes: tuple[Change, ...]
    objects: Mapping[Kind, tuple[ObjectRef, ...]] = field(default_factory=dict)
    restarts: bool = False
    lines: tuple[str, ...] = ()

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(EGRESS_GATEWAY.kind, *self.key)


def differences(old: World, new: World, now: datetime) -> Iterator[ObjectDifference]:
    """Every EgressGateway for which something changes."""
    for key in sorted(old.gateways.keys() | new.gateways.keys()):
        before = judge(old, key, now) if key in old.gateways else None
        after = judge(new, key, now) if key in new.gateways else None
        found = _difference(key, before, after)
        if found.changes or found.objects:
            yield found


def _difference(key: Key, before: Judged | None, after: Judged | None) -> ObjectDifference:
    if any(map(_is_invalid, (before, after))):
        words = "the file was not valid" if _is_invalid(before) else "the file is not valid: see egressgw validate"
        return ObjectDifference(key, _gateway(after or before), (Change("", Kind.CHANGED, (words,)),))
    changes = tuple(_changes(_side(before), _side(after)))
    # What stands of a suspended object stays, whatever its spec says.
    frozen = any(map(_is_suspended, (before, after)))
    had, has = ({}, {}) if frozen else (_objects(before), _objects(after))
    kinds = {
        Kind.ADDED: tuple(sorted(has.keys() - had.keys())),
        Kind.CHANGED: tuple(sorted(ref for ref in has.keys() & had.keys() if has[ref] != had[ref])),
        Kind.REMOVED: tuple(sorted(had.keys() - has.keys())),
    }
    deployment = ObjectRef("Deployment", key.namespace, workload_name(key))
    return ObjectDifference(
        key,
        _gateway(after or before),
        changes,
        {kind: refs for kind, refs in kinds.items() if refs},
        _template(had.get(deployment)) != _template(has.get(deployment)) and deployment in had and deployment in has,
        tuple(line for refs in kinds.values() for ref in refs for line in _lines(ref, had.get(ref), has.get(ref))),
    )


def _is_invalid(judged: Judged | None) -> bool:
    """Then nothing is known of its destinations, and the API server keeps what it has."""
    return judged is not None and judged.facts.gateway.spec is None


def _is_suspended(judged: Judged | None) -> bool:
    spec = judged.facts.gateway.spec if judged is not None else None
    return spec is not None and bool(spec.suspend)


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of the comparison: destinations with their clients, exposed hosts, the rest of the spec as JSON."""

    destinations: Mapping[str, Destination] = field(default_factory=dict)
    consumers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exposed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)


def _side(judged: Judged | None) -> _Side:
    spec = judged.facts.gateway.spec if judged is not None else None
    if judged is None or spec is None:
        return _Side()
    raw = spec.as_json()
    named = [*(each.name for each in spec.destinations), *(f"expose.{each.name}" for each in spec.expose)]
    return _Side(
        {each.name: each for each in spec.destinations},
        judged.acceptance.consumers,
        {name: _refusals(judged, name) for name in named},
        {each["name"]: each for each in raw.get("expose", ())},
        {name: value for name, value in raw.items() if name not in ("destinations", "expose")},
    )


def _refusals(judged: Judged, section: str) -> tuple[str, ...]:
    """Codes for which a section is not served."""
    if not judged.acceptance.is_rejected(section):
        return ()
    found = (each for each in judged.diagnostics if each.section in ("", section) and each.code.reason is not None)
    return tuple(dict.fromkeys(f"{each.code.code} {each.code.reason}" for each in found))


def _changes(before: _Side, after: _Side) -> Iterator[Change]:
    for name in _in_order(before.destinations, after.destinations):
        had, has = before.destinations.get(name), after.destinations.get(name)
        if has is None and had is not None:
            yield Change(name, Kind.REMOVED, (_described(had), _clients(before, name)))
        elif has is not None and had is None:
            yield Change(name, Kind.ADDED, (_described(has), _clients(after, name), *_refused(after, name)))
        elif has is not None and had is not None:
            words = (*_edits(had, has), *_moved_clients(before, after, name), *_judged_otherwise(before, after, name))
            if words:
                yield Change(name, Kind.CHANGED, words)
    for name in _in_order(before.exposed, after.exposed):
        yield from _exposed(before, after, name)
    words = tuple(f"{each} changes" for each in _in_order(before.rest, after.rest) if _differs(before, after, each))
    if words:
        yield Change("", Kind.CHANGED, words)


def _exposed(before: _Side, after: _Side, name: str) -> Iterator[Change]:
    section, had, has = f"expose.{name}", before.exposed.get(name), after.exposed.get(name)
    hosts = ", ".join((has or had or {}).get("hosts", ()))
    if had is None or has is None:
        yield Change(section, Kind.ADDED if had is None else Kind.REMOVED, (hosts, *_refused(after, section)))
        return
    words = tuple(f"{each} changes" for each in _in_order(had, has) if had.get(each) != has.get(each))
    words += tuple(_judged_otherwise(before, after, section))
    if words:
        yield Change(section, Kind.CHANGED, words)


def _edits(had: Destination, has: Destination) -> Iterator[str]:
    """What an author has changed of a destination."""
    yield from _of_sets("host", had.names, has.names)
    yield from _of_sets("port", map(_port, had.ports), map(_port, has.ports))
    old, new = had.as_json(), has.as_json()
    told = ("name", "hosts", "aliases")
    fields = [each for each in _in_order(old, new) if each not in told and old.get(each) != new.get(each)]
    same_ports = [_port(each) for each in had.ports] == [_port(each) for each in has.ports]
    yield from (f"{each} changes" for each in fields if each != "ports" or same_ports)


def _moved_clients(before: _Side, after: _Side, name: str) -> Iterator[str]:
    had, has = before.consumers.get(name, frozenset()), after.consumers.get(name, frozenset())
    yield from (f"clients + {_namespace(each)}" for each in sorted(has - had))
    yield from (f"clients - {_namespace(each)}" for each in sorted(had - has))


def _judged_otherwise(before: _Side, after: _Side, name: str) -> Iterator[str]:
    """What a class or another object does to a destination that nobody has edited."""
    had, has = before.refused.get(name, ()), after.refused.get(name, ())
    if has and has != had:
        yield f"not served any more: {', '.join(has)}" if not had else f"not served: {', '.join(has)}"
    elif had and not has:
        yield "served from now on"


def _refused(side: _Side, name: str) -> tuple[str, ...]:
    found = side.refused.get(name, ())
    return (f"not served: {', '.join(found)}",) if found else ()


def _described(destination: Destination) -> str:
    hosts, ports = ", ".join(destination.names), "; ".join(map(_port, destination.ports))
    return f"{hosts} on {ports}"


def _port(port: DestinationPort) -> str:
    text = f"{port.port}/{port.protocol}"
    if port.target_port is not None and port.target_port != port.port:
        text += f" → {port.target_port}"
    if port.tls is not None:
        text += ", mutual TLS" if port.tls.mode is TlsMode.MUTUAL else ", TLS by the gateway"
    return text


def _clients(side: _Side, name: str) -> str:
    found = sorted(map(_namespace, side.consumers.get(name, ())))
    return f"clients: {', '.join(found) or 'none'}"


def _namespace(name: str) -> str:
    return _ALL.get(name, name)


def _of_sets(what: str, had: Iterable[str], has: Iterable[str]) -> Iterator[str]:
    old, new = tuple(had), tuple(has)
    yield from (f"{what} + {each}" for each in new if each not in old)
    yield from (f"{what} - {each}" for each in old if each not in new)


def _in_order(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*new, *old)))


def _differs(before: _Side, after: _Side, name: str) -> bool:
    return bool(before.rest.get(name) != after.rest.get(name))


def _gateway(judged: Judged | None) -> str:
    if judged is None:
        return ""
    class_ = judged.facts.class_
    provider = f", {class_.spec.data_plane}" if class_.spec is not None else ""
    return f"class {class_.name}{provider}" if class_.name else f"built-in class{provider}"


def _objects(judged: Judged | None) -> dict[ObjectRef, Manifest]:
    written = written_for([judged]) if judged is not None else ()
    return {each.child.ref: _without_digest(each.manifest) for each in written}


def _without_digest(manifest: Manifest) -> Manifest:
    """What changes with everything else, and whose owner is no object of a cluster."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "ownerReferences"}
    annotations = {name: value for name, value in metadata["annotations"].items() if name != ANNOTATION_DIGEST}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _template(deployment: Manifest | None) -> Any:
    return None if deployment is None else deployment["spec"]["template"]


def _lines(ref: ObjectRef, had: Manifest | None, has: Manifest | None) -> Iterator[str]:
    old, new = (as_yaml(each).splitlines() if each is not None else [] for each in (had, has))
    yield from difflib.unified_diff(old, new, f"{ref} before", f"{ref} after", lineterm="")
