"""`egressgw drain`: what it says, asks and waits for, and what it leaves alone; with calls answered by the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from egressgateway.cli.drain import Ask, Drain, DrainError, Say, _left, drain_objects
from egressgateway.cli.leases import Found, Place
from egressgateway.cli.main import app
from egressgateway.cluster.leader_election import LEASE_LABELS, claimed
from egressgateway.cluster.request import Request
from egressgateway.errors import ClusterError, Conflict, Forbidden, Invalid, NotFound, Unavailable
from egressgateway.names import FINALIZER
from egressgateway.refs import Key, Manifest
from egressgateway.settings import LeaseSettings
from unit import objects
from unit.cluster.fake_api import write_kubeconfig
from unit.plan.world import NOW

KEEP, DELETE = Drain(), Drain(delete=True)
GOING = "are being deleted: they and their gateways will be removed before clients are moved off them"
REMOTE = "their children in other namespaces remain"


def gateway(name: str, *, deleting: bool = False, remote: bool = False) -> Manifest:
    status = {"remoteChildren": [{"kind": "VirtualService"}]} if remote else {}
    ending = {"deletionTimestamp": "now"} if deleting else {}
    finalizers = ["somebody.else/holds", FINALIZER]
    return objects.gateway(Key("shop", name), {}, status, uid=name, finalizers=finalizers, **ending)


def lease(holder: str = "", *, namespace: str = "system", seconds: int = 1) -> Manifest:
    metadata = {"namespace": namespace, "name": "release", "uid": "l", "resourceVersion": "7"}
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": "then"}
    return {"metadata": metadata, "spec": spec}


class Server:
    """Holds objects and Leases, and remembers the calls. `refuse` may raise in place of an answer."""

    def __init__(self, *gateways: Manifest, leases: tuple[Manifest, ...] = ()) -> None:
        self.gateways = {each["metadata"]["name"]: each for each in gateways}
        self.leases = {each["metadata"]["namespace"]: each for each in leases}
        self.pods: set[str] = set()
        self.requests: list[Request] = []
        self.refuse: Callable[[Request], None] = lambda _: None

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        self.requests.append(request)
        self.refuse(request)
        name = request.path.rpartition("/")[2]
        if request.resource == "leases":
            return self._lease(request)
        if request.resource == "pods":
            if name not in self.pods:
                raise NotFound(request.call, "gone")
            return {}
        if request.verb == "list":
            return {"items": list(self.gateways.values())}
        if request.verb == "delete":
            del self.gateways[name]
        else:
            self.gateways[name]["metadata"] |= orjson.loads(request.body or b"{}")["metadata"]
        return {}

    def _lease(self, request: Request) -> Manifest:
        if request.verb == "list":
            return {"items": list(self.leases.values())}
        found = next(
            (each for each in self.leases.values() if f"/{each['metadata']['namespace']}/" in request.path), None
        )
        if found is None:
            raise NotFound(request.call, "not found")
        return self.leases.pop(found["metadata"]["namespace"]) if request.verb == "delete" else found

    @property
    def writes(self) -> list[str]:
        """Calls that changed objects, or tried to."""
        return [each.call for each in self.requests if each.verb in ("patch", "delete") and each.resource != "leases"]

    def refuse_objects(self, **errors: Exception) -> None:
        """Writes to the objects of these names are answered so, each time."""

        def refuse(request: Request) -> None:
            if request.resource == "egressgateways" and request.verb != "list":
                error = errors.get(request.path.rpartition("/")[2])
                if error is not None:
                    raise error

        self.refuse = refuse


async def drained(server: Server, drain: Drain = KEEP, *, agree: bool = True) -> list[str]:
    """What it says, with questions that begin with `? `."""
    said: list[str] = []

    def ask(question: str) -> bool:
        said.append(f"? {question}")
        return agree

    try:
        await drain_objects(server, drain, say=said.append, ask=ask)
    except DrainError as error:
        said.append(f"! {error}")
    return said


def left_held(server: Server) -> list[str]:
    return [name for name, each in server.gateways.items() if FINALIZER in each["metadata"]["finalizers"]]


async def test_our_finalizer_goes_and_others_stay() -> None:
    """Objects are kept, with what others hold them by."""
    server = Server(gateway("one"), gateway("two", remote=True))
    said = await drained(server)
    assert [each["metadata"]["finalizers"] for each in server.gateways.values()] == [["somebody.else/holds"]] * 2
    assert (
        said[0]
        == "2 EgressGateways (shop/one, shop/two) will lose the operator's finalizer: they and their gateways stay"
    )
    assert any(each.startswith(f"shop/two: {REMOTE}") for each in said)
    assert said[-1].startswith("2 EgressGateways released; they and their gateways stay unchanged")


async def test_what_is_being_deleted_is_said_to_go() -> None:
    """Nothing holds it any more, and its gateway goes with it: it does not stay."""
    said = await drained(Server(gateway("one"), gateway("two", deleting=True)))
    assert said[:2] == [
        "1 EgressGateways (shop/one) will lose the operator's finalizer: they and their gateways stay",
        f"1 EgressGateways (shop/two) {GOING}",
    ]
    assert said[-2:] == [
        "1 EgressGateways released; they and their gateways stay unchanged",
        "1 EgressGateways that were being deleted are released; they and their gateways are removed",
    ]


async def test_object_on_its_way_out_is_not_let_go_while_it_steers_others() -> None:
    """Nobody would remove what is in other namespaces: better an uninstall that fails than a black hole."""
    stuck = [gateway(name, deleting=True, remote=True) for name in ("two", "four")]
    server = Server(gateway("one"), *stuck, gateway("three", deleting=True))
    said = await drained(server)
    # It stopped at the first of them, and held up everybody else.
    assert left_held(server) == ["two", "four"]
    assert "2 EgressGateways (shop/two, shop/four) are being deleted and have children in other namespaces" in said[2]
    assert said[-1].startswith(
        "! 2 not released (2 others are released): shop/four: it is being deleted, and its children"
    )


@pytest.mark.parametrize("drain", [KEEP, DELETE], ids=["keep", "delete"])
async def test_refused_object_holds_up_nobody_and_is_told_at_the_end(drain: Drain) -> None:
    """Every other is released, and every refusal is told at once with the server's words."""
    server = Server(*map(gateway, ("a", "b", "c", "d")))
    refusals = {"a": Forbidden("write a", "policy says no"), "c": Invalid("write c", "webhook says no")}
    server.refuse_objects(**refusals)
    said = await drained(server, drain)
    assert left_held(server) == ["a", "c"]
    assert said[-1].startswith("! 2 not released")
    assert "write a: policy says no; write c: webhook says no" in said[-1]


async def test_server_that_is_busy_is_asked_again() -> None:
    """That is no refusal."""
    server, busy = Server(gateway("one"), gateway("two")), [Unavailable("patch", "busy")]

    def refuse_once(request: Request) -> None:
        if request.verb == "patch" and busy:
            raise busy.pop()

    server.refuse = refuse_once
    assert (await drained(server))[-1].startswith("2 EgressGateways released")
    assert left_held(server) == []


async def test_object_that_changes_meanwhile_is_let_go_at_the_next_look() -> None:
    """A conflict is no failure, and no finalizer of others is lost by it."""
    server, refusals = Server(gateway("one")), [Conflict("patch", "changed")]

    def refuse_once(request: Request) -> None:
        if request.verb == "patch" and refusals:
            raise refusals.pop()

    server.refuse = refuse_once
    assert (await drained(server))[-1] == "1 EgressGateways released; they and their gateways stay unchanged"
    assert len(server.writes) == 2


@pytest.mark.parametrize("drain", [KEEP, DELETE], ids=["keep", "delete"])
async def test_nothing_is_changed_unless_somebody_agrees(drain: Drain) -> None:
    """It asks after it has said what will become of what."""
    server = Server(gateway("one"), leases=(lease("operator-0"),))
    said = await drained(server, drain, agree=False)
    assert said[-2].startswith("? ")
    assert said[-1] == "! nothing was changed"
    assert server.writes == []
    assert [each.verb for each in server.requests] == ["list", "list"]


@pytest.mark.parametrize("delete", [False, True], ids=["keep", "delete"])
async def test_dry_run_says_all_and_changes_nothing(delete: bool) -> None:
    """Nor does it ask, or wait for an operator."""
    server = Server(gateway("one"), leases=(lease("operator-0"),))
    said = await drained(server, Drain(delete=delete, dry_run=True))
    assert said[1:] == ["Lease system/release is held by operator-0", "a dry run: nothing was changed"]
    assert [each.verb for each in server.requests] == ["list", "list"]


async def test_nothing_is_written_while_an_operator_leads() -> None:
    """It would put the finalizer on again; a holder that never renews is waited for as long as its Lease lasts."""
    server = Server(gateway("one"), leases=(lease("operator-0"),))
    said = await drained(server)
    calls = [(each.verb, each.resource) for each in server.requests]
    first_write = calls.index(("patch", "egressgateways"))
    assert calls[:first_write].count(("get", "leases")) > 2
    assert "waiting until operator-0 no longer holds Lease system/release" in said


async def test_many_leases_are_waited_for_at_once() -> None:
    """A tenant may make Leases with the label: a hundred of them take no longer than one, and no screen."""
    server = Server(gateway("one"), leases=tuple(lease("nobody", namespace=f"team-{each}") for each in range(12)))
    said = await drained(server)
    asked = [(each.verb, each.path) for each in server.requests if each.resource == "leases" and each.verb != "list"]
    first_end = next(index for index, (verb, _) in enumerate(asked) if verb == "delete")
    assert len({path for _, path in asked[:first_end]}) == 12
    assert said[1].count("team-") == 10
    assert said[1].endswith("and 2 more Leases")
    left = _left([gateway("one")], KEEP, Found((lease("x"),) * 12))
    assert left.count("system/release") == 10


async def test_lease_that_cannot_be_read_ends_it_with_the_servers_words() -> None:
    """As one error, which the command says in a line; nothing is written before."""
    server = Server(gateway("one"), leases=(lease("operator-0"), lease("operator-1", namespace="other")))

    def refuse(request: Request) -> None:
        if (request.resource, request.verb) == ("leases", "get"):
            raise Forbidden(request.call, "no right")

    server.refuse = refuse
    with pytest.raises(Forbidden, match="no right"):
        await drained(server)
    assert server.writes == []


async def test_lease_is_found_by_its_label_wherever_it_is() -> None:
    """The label is the one that the operator writes, so nobody has to know namespace and name."""
    written = claimed(None, "operator-0", LeaseSettings(namespace="anywhere", name="release"), NOW)
    assert written["metadata"]["labels"] == LEASE_LABELS
    server = Server(gateway("one"), leases=(lease(),))
    assert "Lease system/release is free: no operator holds it" in await drained(server)
    [looked] = [each for each in server.requests if (each.resource, each.verb) == ("leases", "list")]
    assert looked.path == "/apis/coordination.k8s.io/v1/leases"
    assert dict(looked.query)["labelSelector"] == ",".join(
        f"{name}={value}" for name, value in sorted(LEASE_LABELS.items())
    )


async def test_label_is_added_to_a_lease_of_an_older_operator() -> None:
    """By its next renewal; what others wrote there stays."""
    old = {"metadata": {"name": "release", "resourceVersion": "1", "labels": {"team": "mesh"}}, "spec": {}}
    written = claimed(old, "operator-0", LeaseSettings(), NOW)
    assert written["metadata"]["labels"] == {"team": "mesh", **LEASE_LABELS}
    assert written["metadata"]["resourceVersion"] == "1"


async def test_lease_that_was_named_is_the_one_that_is_read() -> None:
    """Other operators may run: those with other Leases are not waited for, and nothing else need be readable."""
    server = Server(gateway("one"), leases=(lease("other-0", namespace="other", seconds=3600), lease()))
    await drained(server, Drain(lease=Place("system", "release")))
    assert left_held(server) == []
    assert {each.path for each in server.requests if each.resource == "leases"} == {
        "/apis/coordination.k8s.io/v1/namespaces/system/leases/release"
    }


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (
            Place(),
            "cannot find out whether an operator runs: list leases: no right; name it with --lease-namespace",
        ),
        (Place("system", "release"), "cannot find out whether an operator runs: get Lease system/release"),
    ],
    ids=["looked for", "named"],
)
async def test_check_that_cannot_be_made_is_said_before_it_asks(place: Place, words: str) -> None:
    """Whoever agrees knows that nothing was checked."""
    server = Server(gateway("one"))

    def refuse(request: Request) -> None:
        if request.resource == "leases":
            raise Forbidden(request.call, "no right")

    server.refuse = refuse
    said = await drained(server, Drain(lease=place))
    told = next(index for index, each in enumerate(said) if each.startswith(words))
    assert said[told + 1] == "? release them?"
    assert left_held(server) == []


async def test_missing_lease_is_no_proof_that_no_operator_runs() -> None:
    """One without election has none."""
    said = await drained(Server(gateway("one")))
    assert said[1].startswith("no operator's Lease was found: an operator without a Lease")


async def test_lease_whose_holder_has_ended_goes_and_holds_up_no_successor() -> None:
    """As it was seen and not otherwise: one that somebody has taken meanwhile stays."""
    server = Server(gateway("one"), leases=(lease("operator-0"),))
    await drained(server)
    assert server.leases == {}
    [deleted] = [each for each in server.requests if (each.resource, each.verb) == ("leases", "delete")]
    assert orjson.loads(deleted.body or b"")["preconditions"] == {"uid": "l", "resourceVersion": "7"}


async def test_leader_whose_pod_is_gone_is_not_waited_for() -> None:
    """Its Lease may last for an hour; while the pod is there it may still write."""
    server = Server(gateway("one"), leases=(lease("release-7d-x_1", seconds=3600),))
    server.pods = {"release-7d-x"}
    of_the_chart = Drain(lease=Place("system", "release", "release"), timeout=1)
    assert "not released after 1 seconds" in (await drained(server, of_the_chart))[-1]
    assert server.writes == []
    server.pods.clear()
    await drained(server, of_the_chart)
    assert server.leases == {}
    assert left_held(server) == []


@pytest.mark.parametrize(
    ("holder", "deployment"),
    [("laptop_1", "release"), ("release-7d-x_1", None), ("release-7d-x_1", "other")],
    ids=["on a laptop", "nothing is known", "of another Deployment"],
)
async def test_leader_that_may_be_no_pod_is_waited_for(holder: str, deployment: str | None) -> None:
    """It runs where nobody can look, and would put the finalizer back."""
    server = Server(gateway("one"), leases=(lease(holder, seconds=3600),))
    waiting = Drain(lease=Place("system", "release", deployment), timeout=1)
    assert "not released after 1 seconds" in (await drained(server, waiting))[-1]


@pytest.mark.parametrize(
    ("error", "said_so"), [(Conflict("delete", "taken"), False), (Forbidden("delete", "no right"), True)]
)
async def test_lease_that_cannot_be_deleted_is_no_failure(error: Exception, said_so: bool) -> None:
    """Without the right the next operator waits until it runs out, and that is said."""
    server = Server(gateway("one"), leases=(lease(),))

    def refuse(request: Request) -> None:
        if (request.resource, request.verb) == ("leases", "delete"):
            raise error

    server.refuse = refuse
    said = await drained(server)
    assert left_held(server) == []
    assert any("delays the next operator until it expires" in each for each in said) == said_so


async def test_without_the_definitions_there_is_nothing_to_do() -> None:
    """An uninstall after the CRDs are gone succeeds, and asks nothing."""

    class Bare(Server):
        async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
            raise NotFound(request.call, "the server could not find the requested resource")

    assert (await drained(Bare()))[-1].startswith("0 EgressGateways released")
    said = await drained(Bare(), DELETE)
    assert said[-2:] == ["deleting 0 EgressGateways", "all of them are gone"]
    assert not any(each.startswith("?") for each in said)


def test_the_end_of_the_time_says_what_is_left_and_what_to_do() -> None:
    """Each way by what it waits for: an operator that is there, or one that is gone."""
    held, released, leases = gateway("one"), gateway("two"), Found((lease("operator-0"),))
    released["metadata"]["finalizers"] = []
    kept = _left([held, released], KEEP, leases)
    assert kept.startswith("shop/one: not released after 120 seconds;")
    assert "stop any operator that still renews the Lease system/release, then drain again" in kept
    assert "name the Lease of the removed operator with --lease-namespace and --lease-name" in kept
    assert _left([released], KEEP, leases).startswith("not done after 120 seconds, and nothing is left")
    deleted = _left([held, released], DELETE, leases)
    assert deleted.startswith("shop/one, shop/two: still there after 120 seconds; check that an operator runs")
    assert deleted.endswith("read their status, then drain again")


def test_a_script_without_yes_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where input has ended nobody can agree, and the flag that does is named."""

    async def run(_: Drain, *, say: Say, ask: Ask) -> None:
        del say
        assert not ask("release them?")

    monkeypatch.setattr("egressgateway.cli.drain.run_drain", run)
    assert CliRunner().invoke(app, ["drain"], input="n\n").exit_code == 0
    ran = CliRunner().invoke(app, ["drain"], input="")
    assert isinstance(ran.exception, DrainError)
    assert "--yes" in str(ran.exception)


def test_name_of_a_lease_alone_is_refused() -> None:
    """It would be looked for in a namespace that nobody named."""
    ran = CliRunner().invoke(app, ["drain", "--lease-name", "release"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert ran.exit_code == 2
    assert "needs --lease-namespace" in ran.output


def test_cluster_and_context_are_named_first(tmp_path: Path) -> None:
    """Whoever has several sees which one it is, before anything is asked of it."""
    kubeconfig = write_kubeconfig(tmp_path, "http://127.0.0.1:9")
    ran = CliRunner().invoke(app, ["drain", "--dry-run"], env={"KUBECONFIG": kubeconfig})
    assert ran.output == f"cluster: http://127.0.0.1:9, by context test of {kubeconfig}\n"
    assert isinstance(ran.exception, ClusterError)
