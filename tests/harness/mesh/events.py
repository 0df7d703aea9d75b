"""
Events in the life of an exit, the same whoever makes it (`exits`): each returns what was observed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from harness.gateways import destination
from harness.mesh.exits import Exit
from harness.mesh.scene import STEADY, Observation, Scene
from harness.rest import Object

HTTP: Final[list[Object]] = [{"port": 80, "protocol": "HTTP"}]
PLAIN: Final = {"gateway": {"replicas": 1}}
REMOVED: Final = "host-0.example.com"

Event = Callable[[Scene, Exit], Observation]


def created(scene: Scene, exit_: Exit) -> Observation:
    """Where there was none."""
    with scene.observed() as seen:
        seen.wait_for(20)
        exit_.put(STEADY, **scene.spec(**PLAIN))
        seen.wait_for(75)
    return seen


def deleted(scene: Scene, exit_: Exit) -> Observation:
    exit_.put(STEADY, **scene.spec(**PLAIN))
    with scene.observed() as seen:
        seen.wait_for(75, ok=True)
        exit_.remove()
        seen.wait_for(50)
    return seen


def another_destination(scene: Scene, exit_: Exit) -> Observation:
    """Added and removed."""
    exit_.put(STEADY, **scene.spec(**PLAIN))
    with scene.observed() as seen:
        exit_.put(STEADY, destination("other", "other.example.com"), **scene.spec(**PLAIN))
        seen.wait_for(50)
        exit_.put(STEADY, **scene.spec(**PLAIN))
        seen.wait_for(50)
    return seen


def reclassed(scene: Scene, exit_: Exit) -> Observation:
    """From a gateway of its own to a shared one and back."""
    scene.add_shared_gateway()
    exit_.put(STEADY, **scene.spec())
    with scene.observed() as seen:
        seen.wait_for(25, ok=True)
        exit_.put(STEADY, **scene.spec(className=scene.shared))
        seen.wait_for(50)
        exit_.put(STEADY, **scene.spec())
        seen.wait_for(50)
    return seen


def one_of_sixty_removed(scene: Scene, exit_: Exit) -> Observation:
    """Seen by those who call the host that goes."""
    return _removed(scene, exit_, REMOVED)


def sixty_less_one(scene: Scene, exit_: Exit) -> Observation:
    """Seen by those who call another host."""
    return _removed(scene, exit_, "host-1.example.com")


def sixty_deleted(scene: Scene, exit_: Exit) -> Observation:
    """All of them at once, seen by those who call one."""
    exit_.put(*_sixty(), **scene.spec(**PLAIN))
    scene.mesh.settle()
    with scene.observed(REMOVED) as seen:
        seen.wait_for(50, ok=True)
        exit_.remove()
        seen.wait_for(50)
    return seen


def namespace_deleted(scene: Scene, exit_: Exit) -> Observation:
    """The exit's own, with all that is in it."""
    exit_.put(STEADY, **scene.spec(gateway={"replicas": 1, "terminationGracePeriodSeconds": 10}))
    path = f"/api/v1/namespaces/{scene.namespace}"
    with scene.observed() as seen:
        seen.wait_for(50, ok=True)
        scene.mesh.cluster.rest.delete(path)
        scene.wait_gone()
        seen.wait_for(50)
    return seen


EVENTS: Final[dict[str, Event]] = {
    "created": created,
    "deleted": deleted,
    "another destination added, removed": another_destination,
    "class changed to a shared gateway and back": reclassed,
    "one of 60 hosts removed, the host itself": one_of_sixty_removed,
    "one of 60 hosts removed, another host": sixty_less_one,
    "60 hosts deleted": sixty_deleted,
    "namespace deleted": namespace_deleted,
}


def _removed(scene: Scene, exit_: Exit, host: str) -> Observation:
    exit_.put(*_sixty(), **scene.spec(**PLAIN))
    # The event is what comes now: to tell proxies of sixty hosts takes a while.
    scene.mesh.settle()
    with scene.observed(host) as seen:
        seen.wait_for(25, ok=True)
        exit_.put(*_sixty(less=REMOVED), **scene.spec(**PLAIN))
        seen.wait_for(75)
    return seen


def _sixty(less: str = "") -> list[Object]:
    hosts = [f"host-{number}.example.com" for number in range(60)]
    groups = [[host for host in hosts[start : start + 15] if host != less] for start in range(0, 60, 15)]
    return [destination(f"part-{number}", *group, ports=HTTP) for number, group in enumerate(groups)]
