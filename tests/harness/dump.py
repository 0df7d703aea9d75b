"""What a failed test needs to be understood: the objects of its namespace, their events, the ends of the logs."""

from __future__ import annotations

from collections.abc import Iterator

import urllib3
import yaml

from harness.cluster import Cluster
from harness.controlplane import ControlPlane
from harness.rest import ApiError, Object, Rest

LIMIT = 60_000
"""Characters; a dump beyond it is cut, as nobody reads more."""

# Derived from other objects, or in every namespace.
NOISE = frozenset({"events", "endpointslices", "endpoints", "controllerrevisions", "configmaps", "replicasets"})


def dump_namespace(cluster: Cluster, namespace: str) -> str:
    """Everything in a namespace as text. Never fails: what cannot be read is said."""
    parts = []
    try:
        parts += [_yaml(each) for each in _objects(cluster.rest, namespace)]
        parts.append("\n".join(_events(cluster.rest, namespace)) or "no events")
    except (ApiError, urllib3.exceptions.HTTPError, LookupError) as error:
        parts.append(f"the API server does not tell: {error}")
    text = "---\n".join(parts)
    if len(text) > LIMIT:
        text = f"{text[:LIMIT]}\n… {len(text) - LIMIT} more characters\n"
    return f"{text}\n{_logs(cluster)}"


def _objects(rest: Rest, namespace: str) -> Iterator[Object]:
    for version, resource in _collections(rest):
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        for item in rest.items(f"{prefix}/namespaces/{namespace}/{resource['name']}"):
            item["metadata"].pop("managedFields", None)
            yield {"apiVersion": version, "kind": resource["kind"], **item}


def _collections(rest: Rest) -> Iterator[tuple[str, Object]]:
    """Every kind that a namespace can hold, in its preferred version."""
    versions = ["v1", *(group["preferredVersion"]["groupVersion"] for group in rest.get("/apis")["groups"])]
    for version in versions:
        for resource in rest.get(f"/apis/{version}" if "/" in version else f"/api/{version}")["resources"]:
            if resource["namespaced"] and "list" in resource["verbs"] and resource["name"] not in NOISE:
                yield version, resource


def _events(rest: Rest, namespace: str) -> Iterator[str]:
    events = rest.items(f"/api/v1/namespaces/{namespace}/events")
    for event in sorted(events, key=lambda each: each["metadata"]["creationTimestamp"]):
        about = event["involvedObject"]
        when, message = event["metadata"]["creationTimestamp"], event.get("message", "")
        yield f"{when} {event['type']} {event['reason']} {about['kind']}/{about.get('name')}: {message}"


def _logs(cluster: Cluster) -> str:
    if not isinstance(cluster, ControlPlane):
        return ""
    return "\n".join(f"==> {name} <==\n{_log(cluster, name)}" for name in cluster.processes)


def _log(cluster: ControlPlane, name: str) -> str:
    try:
        return cluster.log_tail(name)
    except OSError as error:
        # What holds a node's namespaces writes nothing.
        return f"no log: {error.strerror}"


def _yaml(document: Object) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
