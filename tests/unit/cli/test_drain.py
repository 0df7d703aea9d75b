"""`egressgw drain`: what it waits for, what it leaves alone, and what it says; with calls answered by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from egressgateway.cli.drain import Drain, DrainError, _left, delete_all, release_all
from egressgateway.cluster.request import Request
from egressgateway.errors import Conflict, NotFound
from egressgateway.plan.names import FINALIZER
from egressgateway.refs import Manifest
from egressgateway.settings import LeaseSettings

DRAIN = Drain(LeaseSettings(namespace="system"))


def gateway(name: str, *, deleting: bool = False, remote: bool = False) -> Manifest:
    metadata: dict[str, Any] = {"namespace": "shop", "name": name, "uid": name, "resourceVersion": "1"}
    metadata["finalizers"] = ["somebody.else/holds", FINALIZER]
    status = {"remoteChildren": [{"kind": "VirtualService"}]} if remote else {}
    return {"metadata": {**metadata, **({"deletionTimestamp": "now"} if deleting else {})}, "status": status}


class Server:
    """Holds objects and a Lease, and remembers the calls. `refuse` may raise in place of an answer to a write."""

    def __init__(self, *gateways: Manifest, lease: Manifest | None = None) -> None:
        self.gateways = {each["metadata"]["name"]: each for each in gateways}
        self.lease = lease
        self.calls: list[str] = []
        self.refuse: Callable[[Request], None] = lambda _: None

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        self.calls.append(request.call)
        if request.resource == "leases":
            if self.lease is None:
                raise NotFound(request.call, "not found")
            return self.lease
        if request.verb == "list":
            return {"items": list(self.gateways.values())}
        self.refuse(request)
        name = request.path.rpartition("/")[2]
        if request.verb == "delete":
            del self.gateways[name]
        else:
            self.gateways[name]["metadata"] |= orjson.loads(request.body or b"{}")["metadata"]
        return {}

    @property
    def writes(self) -> list[str]:
        return [call for call in self.calls if call.startswith(("patch", "delete"))]


async def test_our_finalizer_goes_and_others_stay() -> None:
    """Objects are kept, with what others hold them by."""
    server, said = Server(gateway("one"), gateway("two", remote=True)), list[str]()
    await release_all(server, DRAIN, said.append)
    assert [each["metadata"]["finalizers"] for each in server.gateways.values()] == [["somebody.else/holds"]] * 2
    assert said[0].startswith("shop/two: children in other namespaces outlive them")
    assert said[1].startswith("2 EgressGateways let go of")


async def test_object_on_its_way_out_is_not_let_go_while_it_steers_others() -> None:
    """Nobody would remove what is in other namespaces: better an uninstall that fails than a black hole."""
    stuck = [gateway(name, deleting=True, remote=True) for name in ("two", "four")]
    server, said = Server(gateway("one"), *stuck, gateway("three", deleting=True)), list[str]()
    with pytest.raises(DrainError, match=r"^shop/two, shop/four: not let go of: being deleted"):
        await release_all(server, DRAIN, said.append)
    # It stopped at the first of them, and held up everybody else.
    assert [name for name, each in server.gateways.items() if FINALIZER in each["metadata"]["finalizers"]] == [
        "two",
        "four",
    ]
    assert said == ["2 EgressGateways let go of; they and their gateways stay as they are"]


def test_the_end_of_the_time_says_what_is_left_and_what_to_do() -> None:
    """Each way by what it waits for: an operator that is there, or one that is gone."""
    held, released = gateway("one"), gateway("two")
    released["metadata"]["finalizers"] = []
    kept = _left([held, released], DRAIN, deleted=False)
    assert kept.startswith("shop/one: not let go of after 120 seconds;")
    assert "does an operator still renew the Lease system/egressgateway-operator? Stop it, then drain again" in kept
    assert _left([released], DRAIN, deleted=False).startswith("not done after 120 seconds, and nothing is left")
    deleted = _left([held, released], DRAIN, deleted=True)
    assert deleted.startswith("shop/one, shop/two: still there after 120 seconds; see whether an operator runs")
    assert deleted.endswith("what their status says, then drain again")


async def test_object_that_changes_meanwhile_is_let_go_at_the_next_look() -> None:
    """A conflict is no failure, and no finalizer of others is lost by it."""
    server, refusals = Server(gateway("one")), [Conflict("patch", "changed")]

    def refuse_once(_: Request) -> None:
        if refusals:
            raise refusals.pop()

    server.refuse = refuse_once
    said: list[str] = []
    await release_all(server, DRAIN, said.append)
    assert len(server.writes) == 2
    assert said == ["1 EgressGateways let go of; they and their gateways stay as they are"]


async def test_nothing_is_written_while_an_operator_leads() -> None:
    """It would put the finalizer on again; a holder that never renews is waited for as long as its Lease lasts."""
    lease = {"spec": {"holderIdentity": "operator-0", "leaseDurationSeconds": 1, "renewTime": "then"}}
    server, said = Server(gateway("one"), lease=lease), list[str]()
    await release_all(server, DRAIN, said.append)
    looked = [call for call in server.calls if call.startswith("get")]
    assert len(looked) > 2
    assert server.calls[: len(looked)] == looked
    assert said[0] == "waiting for the end of operator-0"


async def test_without_the_definitions_there_is_nothing_to_do() -> None:
    """An uninstall after the CRDs are gone succeeds."""

    class Bare(Server):
        async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
            raise NotFound(request.call, "the server could not find the requested resource")

    said: list[str] = []
    await release_all(Bare(), DRAIN, said.append)
    await delete_all(Bare(), DRAIN, said.append)
    assert said[0].startswith("0 EgressGateways let go of")
    assert said[1:] == ["deleting 0 EgressGateways", "all of them are gone"]
