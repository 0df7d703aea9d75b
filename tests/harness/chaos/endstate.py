"""
How a story ended: every EgressGateway, every child, and other people's objects, without what differs by chance.

Two runs of a story end alike when this finds no difference. What is at rest is asked of the cluster, not of a clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from egressgateway.contention.rights import CLAIMS, read_rights
from egressgateway.facts import places_of
from egressgateway.names import (
    ANNOTATION_DIGEST,
    CHILD_SELECTOR,
    FINALIZER,
    LABEL_GATEWAY,
    LABEL_NAMESPACE,
)
from egressgateway.refs import CHILD_RESOURCES, EGRESS_GATEWAY, Resource
from harness.chaos import world
from harness.chaos.story import HELD, LONG, is_at_rest
from harness.controlplane import ControlPlane
from harness.gateways import in_parallel, items
from harness.objects import path_of
from harness.rest import ApiError, Object
from harness.wait import eventually

State = dict[str, str]
"""Normalised objects as JSON, by namespace, kind and name."""

TOO_MANY_REQUESTS: Final = 429

LOOK_SECONDS: Final = 1.0
SAME_LOOKS: Final = 3
"""So many looks in a row that find the same are an end: the operator's own waits are shorter."""

_CHANCE: Final = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields", "generation"}
)
_TIMES: Final = frozenset({"lastTransitionTime", "observedGeneration"})
_GIVEN: Final = frozenset({"clusterIP", "clusterIPs", "healthCheckNodePort"})
# The digest covers the owner's uid; the other one counts the templates that a Deployment has had.
_COUNTED: Final = frozenset({ANNOTATION_DIGEST, "deployment.kubernetes.io/revision"})


def settled(plane: ControlPlane) -> State:
    """
    The state once every object is at rest and nothing changes any more.

    Raises:
        TimeoutError: it never came to rest; says what was not.
    """
    eventually(lambda: not unfinished(plane), timeout=LONG, interval=LOOK_SECONDS, what="objects at rest")
    looks: list[State] = []

    def unchanged() -> bool:
        looks.append(state(plane))
        return len(looks) >= SAME_LOOKS and all(each == looks[-1] for each in looks[-SAME_LOOKS:])

    eventually(unchanged, timeout=LONG, interval=LOOK_SECONDS, what="a state that stays")
    assert not unfinished(plane), unfinished(plane)
    return looks[-1]


def ends_like(plane: ControlPlane, expected: State) -> None:
    """
    Wait until the state is the expected one, and stays.

    Raises:
        AssertionError: it is another one; names the objects that differ, with both contents.
    """
    try:
        eventually(lambda: state(plane) == expected, timeout=LONG, interval=LOOK_SECONDS)
        for _ in range(SAME_LOOKS):
            assert state(plane) == expected
    except TimeoutError:
        found = "\n".join(differences(expected, state(plane)))
        raise AssertionError(f"the end differs from that of an undisturbed run:\n{found}") from None


def differences(expected: State, found: State) -> Iterator[str]:
    """A line for each object that is missing, too much, or another, and then one for each value that differs."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"missing: {name}"
        elif name not in expected:
            yield f"too much: {name}"
        elif expected[name] != found[name]:
            yield f"different: {name}"
            was, is_ = set(_leaves(json.loads(expected[name]))), set(_leaves(json.loads(found[name])))
            yield from (f"  undisturbed: {each}" for each in sorted(was - is_))
            yield from (f"  disturbed:   {each}" for each in sorted(is_ - was))


def state(plane: ControlPlane) -> State:
    """All EgressGateways, children, and what `world.foreign` made."""
    found = {_name(each): _normalised(each) for each in [*gateways(plane), *owned(plane)]}
    return found | {f"foreign {_name(each)}": _normalised(_read(plane, each)) for each in world.foreign()}


def unfinished(plane: ControlPlane) -> list[str]:
    """EgressGateways that are not at rest, or on their way out without anybody else who holds them."""
    return [
        _name(each)
        for each in gateways(plane)
        if (FINALIZER in each["metadata"].get("finalizers", ()) and not is_at_rest(each))
        or ("deletionTimestamp" in each["metadata"] and each["metadata"].get("finalizers") != [HELD])
    ]


def orphans(plane: ControlPlane) -> list[str]:
    """Objects with our labels whose EgressGateway does not exist."""
    alive = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in gateways(plane)}
    return [
        _name(each)
        for each in owned(plane)
        if (each["metadata"]["labels"].get(LABEL_NAMESPACE), each["metadata"]["labels"].get(LABEL_GATEWAY)) not in alive
    ]


def no_orphans(plane: ControlPlane) -> None:
    """
    Wait until nothing is left of objects that are gone.

    Raises:
        AssertionError: something stays.
    """
    try:
        eventually(lambda: not orphans(plane), timeout=LONG, interval=LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"orphans: {orphans(plane)}") from None


def wipe(plane: ControlPlane) -> None:
    """
    Delete every EgressGateway and wait until nothing of them is left; an operator has to run.

    Raises:
        TimeoutError: something stays.
    """

    def end(gateway: Object) -> None:
        path = path_of(gateway)
        try:
            plane.rest.delete(path)
            if HELD in gateway["metadata"].get("finalizers", ()):
                release(plane, gateway)
        except ApiError as error:
            if error.code != 404:
                raise

    in_parallel(end, gateways(plane))
    eventually(
        lambda: not gateways(plane) and not owned(plane), timeout=LONG, interval=LOOK_SECONDS, what="an empty cluster"
    )


def release(plane: ControlPlane, gateway: Object) -> None:
    """Take the finalizer of `story.HELD` off, by nobody's leave."""
    path = path_of(gateway)
    held = plane.rest.get(path)["metadata"].get("finalizers", [])
    plane.rest.merge(path, {"metadata": {"finalizers": [each for each in held if each != HELD]}})


def gateways(plane: ControlPlane) -> list[Object]:
    """Every EgressGateway."""
    return _listed(plane, EGRESS_GATEWAY)


def owned(plane: ControlPlane) -> list[Object]:
    """Every object, of all kinds that the operator writes, that carries the label of its children."""
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda resource: _listed(plane, resource, CHILD_SELECTOR), CHILD_RESOURCES)
        return [each for listed in found for each in listed]


def _listed(plane: ControlPlane, resource: Resource, selector: str = "") -> list[Object]:
    head = {"apiVersion": resource.api_version, "kind": resource.kind}
    try:
        return [{**head, **each} for each in items(plane, resource, None, selector)]
    except ApiError as error:
        if error.code != TOO_MANY_REQUESTS:
            raise
        # Said of a kind that has just come or is about to go: `eventually` asks again.
        raise LookupError(str(error)) from error


def _read(plane: ControlPlane, manifest: Object) -> Object:
    try:
        return plane.rest.get(path_of(manifest))
    except ApiError as error:
        if error.code != 404:
            raise
        return {"kind": manifest["kind"], "metadata": {"name": "missing"}}


def _name(manifest: Object) -> str:
    metadata = manifest["metadata"]
    return f"{metadata['namespace']} {manifest['kind']} {metadata['name']}"


def _normalised(manifest: Object) -> str:
    """Without what the server counts, addresses that it hands out, times, and status other than ours."""
    metadata = _without(manifest["metadata"], _CHANCE)
    metadata["annotations"] = _without(metadata.get("annotations", {}), _COUNTED)
    for owner in metadata.get("ownerReferences", []):
        owner["uid"] = ""
    left_out = {"apiVersion", "kind", "metadata", "status", "spec"}
    content = {
        **_without(manifest, left_out),
        "metadata": metadata,
        "spec": _without(manifest.get("spec", {}), _GIVEN),
    }
    if manifest["kind"] == EGRESS_GATEWAY.kind:
        content["status"] = _normalised_status(manifest.get("status") or {})
    return json.dumps(content, sort_keys=True)


def _normalised_status(status: Object) -> Object:
    """Of claims it counts what is claimed where: how they are written down depends on when each was made."""
    rights = read_rights(status)
    claims = {
        "hosts": {name: sorted(places_of(since)) for name, since in rights.names.items()},
        "ports": {str(port): sorted(places_of(since)) for port, since in rights.ports.items()},
        "exposed": sorted(map(str, rights.exposed)),
    }
    content: Object = _deeply_without(_without(status, {*CLAIMS}), _TIMES)
    for address in content.get("addresses", []):
        address["value"] = ""
    return {**content, "claims": claims}


def _leaves(value: Any, path: str = "") -> Iterator[str]:
    """Each value that holds no others, with its place."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{path}[{index}]")
    else:
        yield f"{path}: {value}"


def _without(mapping: Object, keys: frozenset[str] | set[str]) -> Object:
    return {key: value for key, value in mapping.items() if key not in keys}


def _deeply_without(value: Any, keys: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: _deeply_without(each, keys) for key, each in value.items() if key not in keys}
    return [_deeply_without(each, keys) for each in value] if isinstance(value, list) else value
