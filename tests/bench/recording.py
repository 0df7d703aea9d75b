"""
What the operator sends for one object, kept byte by byte, and made into the same writes for others.

Recorded between a real operator and the API server, so the comparison never lags behind what the operator does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.samples import sample
from egressgateway.refs import EGRESS_GATEWAY, Key
from harness.controlplane import ControlPlane
from harness.faultproxy import FaultProxy, Record
from harness.gateways import NAMESPACES, Gateways
from harness.operator import OperatorProcess
from harness.release import operator_kubeconfig
from harness.wait import eventually

SAMPLE = "recorded-sample"
"""Namespace and name of the recorded object: long enough to be found nowhere else in its children."""

KEY = Key(f"in-{SAMPLE}", SAMPLE)

_CONTENT_TYPES = {"apply": "application/apply-patch+yaml", "merge": "application/merge-patch+json"}


@dataclass(frozen=True, slots=True)
class Write:
    """One write to send. `of_child` tells children from patches of the EgressGateway."""

    method: str
    target: str
    body: bytes
    content_type: str
    of_child: bool


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything that the operator wrote for one object, in order; its uid stands in the bodies."""

    writes: tuple[Write, ...]
    uid: str

    @property
    def children(self) -> int:
        return sum(write.of_child for write in self.writes)

    def for_object(self, namespace: str, name: str, uid: str) -> Iterator[Write]:
        """The same writes for another object."""
        for write in self.writes:
            target = _renamed(write.target, namespace, name)
            body = _renamed(write.body.decode(), namespace, name).replace(self.uid, uid).encode()
            yield Write(write.method, target, body, write.content_type, write.of_child)


def record(plane: ControlPlane, directory: Path, kind: str) -> Recording:
    """Let an operator serve one object through a proxy, and keep what it wrote; the object is deleted afterwards."""
    plane.rest.create(NAMESPACES, {"metadata": {"name": f"in-{SAMPLE}"}})
    gateways = Gateways(plane, f"in-{SAMPLE}")
    with (
        TemporaryDirectory(dir=directory) as temporary,
        FaultProxy(operator_kubeconfig(plane), Path(temporary) / "kubeconfig", keep_bodies=True) as proxy,
        OperatorProcess(proxy.kubeconfig, Path(temporary) / "log") as operator,
    ):
        plane.rest.apply(EGRESS_GATEWAY.path(*KEY), sample(kind, KEY))
        gateways.wait_ready(SAMPLE)
        eventually(operator.is_idle, what="an idle operator")
        records = proxy.requests
        uid = gateways.get(SAMPLE)["metadata"]["uid"]
        gateways.delete(SAMPLE)
        gateways.wait_gone(SAMPLE)
    return Recording(tuple(_write(each) for each in records if _is_for_the_object(each)), uid)


def _is_for_the_object(each: Record) -> bool:
    return each.method == "PATCH" and SAMPLE in each.path and each.status in (200, 201)


def _write(each: Record) -> Write:
    body = json.loads(each.request_body)
    of_child = "/egressgateways/" not in each.path
    if not of_child:
        # What makes the operator's patch conditional; another object has other versions.
        body["metadata"].pop("resourceVersion")
    kind = "apply" if "force=true" in each.query else "merge"
    target = f"{each.path}?{each.query}" if each.query else each.path
    return Write(each.method, target, json.dumps(body).encode(), _CONTENT_TYPES[kind], of_child)


def _renamed(text: str, namespace: str, name: str) -> str:
    return text.replace(f"in-{SAMPLE}", namespace).replace(SAMPLE, name)
