"""
What keeps a gateway's pods from starting, in one clause with the cluster's own words. Pure.

The Deployment's conditions say why no pod can be created, the pods themselves why they do not start. Both texts are
written by others: they are cleaned, cut, and stripped of what differs from one attempt to the next, so that one cause
has one text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from egressgateway.facts import PodFacts
from egressgateway.refs import Manifest

LONGEST_OBSTACLE: Final = 300
"""Characters: a condition has 512, and says more than this."""

UNINJECTED_IMAGE: Final = "auto"
"""The image of a gateway's container until the mesh's injector replaces it (templates/workload/deployment.yaml.j2)."""

STATUS_FIELDS: Final = ("initContainerStatuses", "containerStatuses")

_IMAGE_REASONS: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_ON_ITS_WAY: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
_ENDS: Final = "CrashLoopBackOff"

_NOT_INJECTED: Final = (
    f'the mesh has not injected its proxy into a pod, whose image is still "{UNINJECTED_IMAGE}": check that its '
    "injector runs, and that it selects the namespace"
)

_FORBIDDEN_POD: Final = re.compile(r'\Apods "[^"]*" is forbidden: ')
_BACK_OFF: Final = re.compile(r'\ABack-off pulling image "[^"]*"(?:: \w+)?(?:: )?')
_PREEMPTION: Final = re.compile(r"\.? preemption: .*\Z", re.S)
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\u00a0-\uffff]+")
_SPACES: Final = re.compile(r"\s+")
_NUMBER: Final = re.compile(r"\d+")


def rollout_obstacle(deployment: Manifest) -> str:
    """Why a Deployment's controller makes no pods; empty where it makes them."""
    failure = _condition(deployment, "ReplicaFailure")
    if failure.get("status") != "True":
        return ""
    why = _FORBIDDEN_POD.sub("", _cleaned(failure.get("message")))
    return _cut(f"the cluster cannot create a pod: {why or failure.get('reason') or 'no reason is given'}")


def is_rolling(deployment: Manifest) -> bool:
    """Whether pods of a Deployment are missing, not ready, or of an older template."""
    status, wanted = _mapping(deployment.get("status")), _wanted(deployment)
    ready, updated = _number(status.get("readyReplicas")), _number(status.get("updatedReplicas"))
    return ready < wanted or updated < wanted or _number(status.get("replicas")) > wanted


def is_overdue(deployment: Manifest) -> bool:
    """Whether the Deployment's controller waits for its pods no longer: `progressDeadlineSeconds` have passed."""
    return _condition(deployment, "Progressing").get("status") == "False"


def pod_obstacle(pod: Manifest) -> str:
    """Why a pod does not start; empty while it starts, and once it runs."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        # The second half says what no preemption would change; the first half names what is missing.
        why = _PREEMPTION.sub("", _cleaned(scheduled.get("message"))).rstrip(".")
        return _cut(f"no node takes a pod: {why or scheduled.get('reason') or 'no reason is given'}")
    return next(filter(None, map(_container_obstacle, _containers(pod))), "")


def common_obstacle(pods: Iterable[PodFacts]) -> str:
    """What keeps most of the pods from starting; empty where nothing keeps any."""
    found = Counter(pod.obstacle for pod in pods if pod.obstacle)
    return min(found, key=lambda obstacle: (-found[obstacle], obstacle), default="")


def cause_of(obstacle: str) -> str:
    """An obstacle without its numbers, which differ from one moment to the next: one cause is one event."""
    return _NUMBER.sub("#", obstacle)


def keep_of_containers(pod: Manifest) -> dict[str, list[dict[str, Any]]]:
    """Of the statuses of a pod's containers, what `pod_obstacle` reads; nothing of those that run."""
    return {
        field: kept
        for field in STATUS_FIELDS
        if (kept := [_kept_status(each) for each in _listed(_mapping(pod.get("status")).get(field)) if _waits(each)])
    }


def _container_obstacle(status: Mapping[str, Any]) -> str:
    name, waiting = status.get("name"), _waiting(status)
    reason, message = str(waiting.get("reason") or ""), _cleaned(waiting.get("message"))
    if reason in _ON_ITS_WAY:
        return ""
    if reason in _IMAGE_REASONS and _is_uninjected(status):
        return _NOT_INJECTED
    if reason in _IMAGE_REASONS:
        why = _BACK_OFF.sub("", message)
        return _cut(f'the image "{_cleaned(status.get("image"))}" cannot be had: {why or reason}')
    if reason == _ENDS:
        ended = _mapping(_mapping(status.get("lastState")).get("terminated"))
        how = f", last with exit code {_number(ended.get('exitCode'))} ({ended.get('reason')})" if ended else ""
        return _cut(f"container {name} ends again and again{how}; its log says why")
    return _cut(f"container {name} cannot be started: {reason}{f': {message}' if message else ''}")


def _is_uninjected(status: Mapping[str, Any]) -> bool:
    """A container runtime may have completed the name: `docker.io/library/auto:latest`."""
    return _cleaned(status.get("image")).rsplit("/", 1)[-1].removesuffix(":latest") == UNINJECTED_IMAGE


def _kept_status(status: Mapping[str, Any]) -> dict[str, Any]:
    waiting = _waiting(status)
    ended = _mapping(_mapping(status.get("lastState")).get("terminated"))
    # The text before the cause may name the image twice, and a registry's name alone may have 253 characters.
    message = _cleaned(waiting.get("message"))[: 4 * LONGEST_OBSTACLE]
    kept = {
        "name": status.get("name"),
        "image": _cleaned(status.get("image"))[:LONGEST_OBSTACLE],
        "state": {"waiting": {"reason": waiting.get("reason"), "message": message}},
    }
    if ended:
        kept["lastState"] = {"terminated": {name: ended.get(name) for name in ("exitCode", "reason")}}
    return kept


def _waits(status: Mapping[str, Any]) -> bool:
    return str(_waiting(status).get("reason") or "") not in _ON_ITS_WAY


def _waiting(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(status.get("state")).get("waiting"))


def _containers(pod: Manifest) -> Iterator[Mapping[str, Any]]:
    for field in STATUS_FIELDS:
        yield from _listed(_mapping(pod.get("status")).get(field))


def _condition(manifest: Manifest, type_: str) -> Mapping[str, Any]:
    found = _listed(_mapping(manifest.get("status")).get("conditions"))
    return next((each for each in found if each.get("type") == type_), {})


def _wanted(deployment: Manifest) -> int:
    return _number(_mapping(deployment.get("spec")).get("replicas"))


def _cleaned(text: Any) -> str:
    """One line of printable text."""
    return _SPACES.sub(" ", _UNPRINTABLE.sub(" ", text)).strip() if isinstance(text, str) else ""


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_OBSTACLE else text[: LONGEST_OBSTACLE - 1] + "…"


def _number(found: Any) -> int:
    return found if isinstance(found, int) else 0


def _listed(found: Any) -> list[Mapping[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
