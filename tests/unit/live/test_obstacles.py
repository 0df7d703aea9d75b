"""Why pods do not start, as Deployments and pods tell it: the texts are those of real clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from egressgateway.engine.cache.references import keep_of_pod
from egressgateway.facts import PodFacts
from egressgateway.live.obstacles import (
    LONGEST_OBSTACLE,
    cause_of,
    common_obstacle,
    is_overdue,
    is_rolling,
    pod_obstacle,
    rollout_obstacle,
)
from egressgateway.refs import Manifest


def deployment(*conditions: dict[str, str], replicas: int = 2, **status: Any) -> Manifest:
    return {"spec": {"replicas": replicas}, "status": {"conditions": list(conditions), **status}}


def refused(message: str) -> dict[str, str]:
    """The condition of a Deployment whose ReplicaSet cannot create a pod."""
    return {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}


def pod(image: str = "proxyv2", *, scheduled: dict[str, str] | None = None, **container: Any) -> Manifest:
    conditions = [{"type": "PodScheduled", "status": "True"} | (scheduled or {})]
    return {
        "metadata": {"namespace": "shop", "name": "p"},
        "spec": {"containers": [{"name": "istio-proxy", "image": image}]},
        "status": {
            "phase": "Pending",
            "conditions": conditions,
            "containerStatuses": [{"name": "istio-proxy", "image": image, **container}] if container else [],
        },
    }


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}, **more}


QUOTA = "exceeded quota: pods, requested: pods=1, used: pods=2, limited: pods=2"
LIMIT = "maximum memory usage per Container is 64Mi, but limit is 1Gi"
SECURITY = 'violates PodSecurity "restricted:latest": seccompProfile (pod or container "istio-proxy" must set it)'
WEBHOOK = (
    'Internal error occurred: failed calling webhook "namespace.sidecar-injector.istio.io": failed to call webhook: '
    'Post "https://istiod.istio-system.svc:443/inject?timeout=10s": no endpoints available for service "istiod"'
)


@pytest.mark.parametrize("why", [QUOTA, LIMIT, SECURITY])
def test_what_forbids_a_pod_is_said_without_the_name_of_the_pod(why: str) -> None:
    """The name differs with each attempt."""
    found = rollout_obstacle(deployment(refused(f'pods "partners-egress-6d5f7c-x2x9k" is forbidden: {why}')))
    assert found == f"the cluster cannot create a pod: {why}"


def test_webhook_that_does_not_answer_is_said_in_the_servers_words() -> None:
    """The injector's, above all: without it no pod comes."""
    assert rollout_obstacle(deployment(refused(WEBHOOK))) == f"the cluster cannot create a pod: {WEBHOOK}"


@pytest.mark.parametrize(
    "conditions",
    [(), ({"type": "ReplicaFailure", "status": "False"},), ({"type": "Available", "status": "False"},)],
)
def test_a_deployment_whose_pods_are_created_has_no_obstacle(conditions: tuple[dict[str, str], ...]) -> None:
    """Not even while none is available."""
    assert rollout_obstacle(deployment(*conditions)) == ""


@pytest.mark.parametrize(
    ("status", "rolling"),
    [
        ({}, True),
        ({"replicas": 2, "updatedReplicas": 2, "readyReplicas": 1}, True),
        ({"replicas": 3, "updatedReplicas": 1, "readyReplicas": 2}, True),
        ({"replicas": 3, "updatedReplicas": 2, "readyReplicas": 3}, True),
        ({"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, False),
    ],
    ids=["new", "one lost", "first of the new", "last of the old", "at rest"],
)
def test_a_rollout_ends_when_all_pods_are_ready_and_new(status: dict[str, int], rolling: bool) -> None:
    """Only until then pods are looked at."""
    assert is_rolling(deployment(**status)) is rolling


def test_rollout_is_overdue_when_its_controller_says_so() -> None:
    """By the Deployment's own deadline."""
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    assert [is_overdue(each) for each in (deployment(late), deployment())] == [True, False]


UNSCHEDULABLE = {
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No victims found.",
}
NOT_INJECTED = (
    'the mesh has not injected its proxy into a pod, whose image is still "auto": check that its injector runs, and '
    "that it selects the namespace"
)
NOT_FOUND = 'failed to pull and unpack image "registry.example/proxy:1": not found'
BACK_OFF = f'Back-off pulling image "registry.example/proxy:1": ErrImagePull: {NOT_FOUND}'


@pytest.mark.parametrize(
    ("found", "obstacle"),
    [
        (pod(scheduled=UNSCHEDULABLE), "no node takes a pod: 0/2 nodes are available: 2 Insufficient cpu"),
        (
            pod("registry.example/proxy:1", **waiting("ErrImagePull", NOT_FOUND)),
            f'the image "registry.example/proxy:1" cannot be had: {NOT_FOUND}',
        ),
        (
            pod("registry.example/proxy:1", **waiting("ImagePullBackOff", BACK_OFF)),
            f'the image "registry.example/proxy:1" cannot be had: {NOT_FOUND}',
        ),
        (
            pod("x", **waiting("ImagePullBackOff", 'Back-off pulling image "x"')),
            'the image "x" cannot be had: ImagePullBackOff',
        ),
        (
            pod(
                **waiting(
                    "CrashLoopBackOff",
                    "back-off 2m40s restarting failed container=istio-proxy",
                    lastState={"terminated": {"exitCode": 1, "reason": "Error"}},
                )
            ),
            "container istio-proxy ends again and again, last with exit code 1 (Error); its log says why",
        ),
        (
            pod(**waiting("CreateContainerConfigError", 'secret "token" not found')),
            'container istio-proxy cannot be started: CreateContainerConfigError: secret "token" not found',
        ),
        (pod("auto", **waiting("ErrImagePull", "pull access denied")), NOT_INJECTED),
        (
            pod("docker.io/library/auto:latest", **waiting("ImagePullBackOff", "pull access denied")),
            NOT_INJECTED,
        ),
        (pod("auto", **waiting("ContainerCreating")), ""),
        (pod(state={"running": {}}), ""),
        (pod(), ""),
    ],
    ids=[
        "no room",
        "no image",
        "no image, later",
        "no image, older kubelet",
        "crashes",
        "cannot start",
        "not injected",
        "not injected, later",
        "on its way",
        "runs",
        "new",
    ],
)
def test_a_pod_says_why_it_does_not_start(found: Manifest, obstacle: str) -> None:
    """The pod itself, and what is kept of it."""
    assert pod_obstacle(found) == obstacle
    assert pod_obstacle(keep_of_pod(found)) == obstacle


def test_init_containers_are_looked_at_too() -> None:
    """A pod whose first step does not start has containers that wait without a word."""
    found = pod(**waiting("PodInitializing"))
    found["status"]["initContainerStatuses"] = [{"name": "setup", **waiting("CreateContainerError", "no")}]
    assert pod_obstacle(keep_of_pod(found)) == "container setup cannot be started: CreateContainerError: no"


@pytest.mark.parametrize("text", ["x" * 5000, "a\nb\tc\x00\x1b[31m", "", None, 7, ["a"]])
def test_text_of_others_is_one_line_of_a_bounded_length(text: Any) -> None:
    """Whatever wrote it: a webhook may answer with a page."""
    found = [
        rollout_obstacle(deployment(refused(text))),
        pod_obstacle(pod(scheduled={"status": "False", "message": text})),
        pod_obstacle(keep_of_pod(pod(**waiting("ErrImagePull", text)))),
        pod_obstacle(keep_of_pod(pod(**waiting("CreateContainerError", text)))),
    ]
    assert all(each and len(each) <= LONGEST_OBSTACLE and each.isprintable() for each in found), found


def test_what_keeps_most_pods_is_said_first() -> None:
    """One pod of ten has a reason of its own; the others share the one that matters."""
    known = PodFacts("shop", "p", "egress", ready=False)
    pods = [replace(known, obstacle=each) for each in ("b", "a", "b", "", "")]
    assert common_obstacle(pods) == "b"
    assert common_obstacle(pods[:2]) == "a"
    assert common_obstacle([known]) == ""


def test_a_cause_is_one_whatever_it_counts() -> None:
    """An event for each number would be one for each attempt."""
    assert cause_of("used: pods=2") == cause_of("used: pods=31") != cause_of("used: cpu=2")
