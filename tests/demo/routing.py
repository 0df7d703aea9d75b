"""Steps about one object's way: applied, ready, looked at, edited."""

from __future__ import annotations

import copy
import difflib

import yaml

from demo.observe import Change, Recorder
from demo.show import Screen
from demo.stage import DIRECTORY, FLAGS, SAMPLE, Stage, create_namespace
from harness.gateways import Gateways
from harness.kubeconfig import Access
from harness.rest import Object
from harness.session import ROOT
from harness.wait import eventually

ADDED_HOST = "www.httpbin.org"
NEW_PORT = 8080


def read_sample() -> Object:
    """The one object of the sample file."""
    document: Object = yaml.safe_load(SAMPLE.read_text())
    return document


def start_control_plane(screen: Screen, stage: Stage) -> None:
    screen.step(
        "A control plane",
        "A real etcd, kube-apiserver and kube-controller-manager. Pods pretend to run; no proxy carries a request.",
    )
    stage.start_control_plane()
    version = stage.cluster.rest.get("/version")["gitVersion"]
    shown = DIRECTORY.relative_to(ROOT)
    screen.fact(f"kube-apiserver {version} serves, with this project's CRDs and Istio's; its files are in {shown}/")


def start_operator(screen: Screen, stage: Stage) -> None:
    screen.step("The operator", "A process of its own, as in a cluster: it reads everything, then stands for election.")
    screen.command("egressgw", "run", *FLAGS)
    stage.start_operator()
    screen.fact("it is ready and holds the Lease")


def apply_sample(screen: Screen, stage: Stage, gateways: Gateways) -> None:
    screen.step(
        "One object", "All that a team has to write, in place of some ten objects that must agree with each other."
    )
    create_namespace(stage.cluster, gateways.namespace)
    screen.document(SAMPLE.read_text())
    screen.command("kubectl apply -f", str(SAMPLE.relative_to(ROOT)))
    screen.text(stage.cluster.kubectl("apply", "-f", str(SAMPLE)).stdout)
    name = read_sample()["metadata"]["name"]
    seconds = screen.wait("Ready", lambda: is_ready(gateways, name), lambda: ready_line(gateways, name))
    screen.fact(f"Ready after {seconds:.1f} s, and not before a pod of the gateway was")


def show_object(screen: Screen, stage: Stage, gateways: Gateways) -> None:
    name = read_sample()["metadata"]["name"]
    screen.step(
        "What there is now",
        "The status says whether traffic leaves through the gateway: no other place has to be looked at.",
    )
    listing = ["get", "egressgateways", "-A", "-o", "wide"]
    screen.command("kubectl", *listing)
    table = stage.cluster.kubectl(*listing).stdout
    screen.text(table)
    row = next(line.split() for line in table.splitlines() if name in line)
    assert "True" in row, "the table does not show a Ready object"

    children = gateways.children(name)
    uid = gateways.get(name)["metadata"]["uid"]
    screen.children(f"EgressGateway {gateways.namespace}/{name}", children)
    strangers = [child for child, each in children.items() if owner_uid(each) != uid]
    assert children, "there are no children"
    assert not strangers, f"not owned by the object: {strangers}"
    screen.fact(f"{len(children)} children, each owned by the object: deleted with it, never left behind")

    screen.conditions(gateways.get(name))
    events = eventually(lambda: events_of(stage, gateways.namespace, name), what="an event")
    screen.command("kubectl describe egressgateway", name, "-n", gateways.namespace, "  (its end)")
    screen.text(events)
    screen.fact("one event says when it became Ready; what is merely on its way is no news")


def edit(screen: Screen, stage: Stage, gateways: Gateways) -> None:
    screen.step(
        "An edit: one more host, another port",
        "Make before break: the gateway is told first, then clients in one burst, and what nobody uses goes last.",
    )
    before = read_sample()
    after = edited(before)
    screen.document(_difference(before, after), "diff")
    name = before["metadata"]["name"]
    with Recorder(Access.read(stage.cluster.kubeconfig), gateways.namespace) as recorder:
        stage.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(after))
        screen.wait("Ready", lambda: is_ready(gateways, name), lambda: ready_line(gateways, name))
        eventually(lambda: "deleted" in {change.action for change in recorder.changes}, what="removal of the old way")
        stage.wait_until_idle()
        changes = recorder.changes
    screen.changes(changes)
    assert_make_before_break(changes)
    screen.fact("gateway side first, clients second, removals last; what did not have to change was not written")


def edited(sample: Object) -> Object:
    """The sample with one more host, and plain HTTP on another port."""
    document = copy.deepcopy(sample)
    destination = document["spec"]["destinations"][0]
    destination["hosts"].append(ADDED_HOST)
    destination["ports"][0]["port"] = NEW_PORT
    return document


def assert_make_before_break(changes: list[Change]) -> None:
    """Additions to the gateway's side, then the clients, then removals."""
    made = [change.version for change in changes if change.stage != "clients" and change.action == "created"]
    told = [change.version for change in changes if change.stage == "clients" and change.action != "deleted"]
    removed = [change.version for change in changes if change.stage != "clients" and change.action == "deleted"]
    assert all((made, told, removed)), "the edit was to create, change and delete children"
    assert max(made) < min(told), "clients were told before the gateway's side was there"
    assert max(told) < min(removed), "something was removed before the clients were told"


def is_ready(gateways: Gateways, name: str) -> bool:
    """Whether the object is Ready, judged for its newest spec."""
    try:
        return bool(gateways.condition(name, "Ready")["status"] == "True")
    except LookupError:
        return False


def ready_line(gateways: Gateways, name: str) -> str:
    """The condition Ready in one line, whatever generation it is about."""
    gateway = gateways.get(name)
    found = next(each for each in gateway["status"]["conditions"] if each["type"] == "Ready")
    of_old_spec = found.get("observedGeneration") != gateway["metadata"]["generation"]
    text = f"Ready={found['status']} {found['reason']} {found.get('message', '')}".rstrip()
    return f"{text} (not looked at the new spec yet)" if of_old_spec else text


def owner_uid(child: Object) -> str:
    """Who owns a child, by its only owner reference."""
    owners = child["metadata"].get("ownerReferences") or [{}]
    return str(owners[0].get("uid", ""))


def events_of(stage: Stage, namespace: str, name: str) -> str:
    """The part of `kubectl describe` that tells events; empty while there are none."""
    text = stage.cluster.kubectl("describe", "egressgateway", name, "-n", namespace).stdout
    _, _, events = text.partition("\nEvents:")
    return f"Events:{events}" if "Ready" in events else ""


def _difference(before: Object, after: Object) -> str:
    old, new = (yaml.safe_dump(each["spec"], sort_keys=False).splitlines() for each in (before, after))
    # The first three lines are the names of the files and the place in them.
    return "\n".join(list(difflib.unified_diff(old, new, lineterm="", n=20))[3:])
