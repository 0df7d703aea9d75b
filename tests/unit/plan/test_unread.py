"""References that the operator may not read: what it says of them, and by whose word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from egressgateway.api.conditions import Reason
from egressgateway.facts import Acknowledgement, Answers, Facts, MeshConfig, Receipt, References
from egressgateway.plan.accept import accept
from egressgateway.plan.gateway.credentials import receipts_of, secrets_to_ask_for
from egressgateway.refs import ObjectRef
from unit.plan.test_references import CA, CLIENT, certificate, connected, originating, pair, secret
from unit.plan.world import NOW, class_of, destination, facts_of, spec_of

WEB = ObjectRef("Service", "shop", "web")
FRONT = ObjectRef("Gateway", "edge", "front")
PAIR = ("client", "client-cacert")

UNREAD = (
    "Secret shop/client is not checked, nor when its certificates end: the operator may not read it, and not every "
    "gateway pod tells whether it has it; let it list and watch secrets in namespace shop (the chart's rbac.secrets, "
    "or a Role), or reach port 15090 of the pods"
)
LACKING = (
    "a gateway pod waits for Secret shop/client: it does not exist, or holds no certificate, key or CA that can be "
    "used; create or correct it; until then each of the gateway's pods that starts is ready some 16 seconds late"
)
RECEIVED = (
    "the gateway's pods have Secret shop/client by their own word; the operator does not read it, and does not know "
    "when its certificates end"
)
ASKED = "Secret shop/client: the operator does not read it, and asks the gateway's pods whether they have it"

Said = tuple[str, Reason, str]


def unread(tls: Mapping[str, Any] | None = None, mode: str = "Mutual", **receipts: Receipt) -> Facts:
    """A destination with a credential that may not be read; `client_cacert` stands for `client-cacert`."""
    told = {name.replace("_", "-"): receipt for name, receipt in receipts.items()}
    facts = originating(mode, unreadable=(CLIENT, CA), tls=tls)
    return replace(facts, acknowledgement=Acknowledgement(Answers.COMPLETE, secrets=told)) if told else facts


def said(facts: Facts, section: str = "api") -> list[Said]:
    """What `ResolvedRefs` of a section is because of that, without the field."""
    acceptance = accept(facts)
    assert not acceptance.is_rejected(section), "what is not known withdraws nothing"
    assert {each.name for each in acceptance.served} >= {section} or "." in section
    return [
        (finding.status, finding.reason, finding.message.removeprefix("spec.").partition(": ")[2])
        for finding in acceptance.findings
    ]


def with_status(facts: Facts, status: str, message: str) -> Facts:
    """The same, where the status says so of the destination already."""
    condition = {"type": "ResolvedRefs", "status": status, "message": f"spec.x: {message}"}
    stored = {"destinations": [{"name": "api", "conditions": [condition]}]}
    return replace(facts, gateway=replace(facts.gateway, status=stored))


BOTH_RECEIVED = dict.fromkeys(("client", "client_cacert"), Receipt.RECEIVED)


def test_without_anybodys_word_it_is_not_known_and_the_right_is_named() -> None:
    """No page tells: the message has the Secret, the right, and both ways out."""
    untold = unread(client=Receipt.RECEIVED, client_cacert=Receipt.UNTOLD)
    assert said(untold) == [("Unknown", Reason.NOT_OBSERVED, UNREAD)]


def test_pods_that_have_it_are_evidence() -> None:
    """The condition is True, and says by whose word."""
    acceptance = accept(unread(**BOTH_RECEIVED))
    assert acceptance.findings == ()
    [notice] = [each for each in acceptance.advisories if each.condition == "ResolvedRefs"]
    assert (notice.section, notice.message) == ("api", RECEIVED)


def test_pod_that_waits_for_it_is_evidence_of_the_contrary() -> None:
    """For the pair or for the CA. The gateway's side stays: without it no pod would tell when the Secret comes."""
    lacking = unread(client=Receipt.RECEIVED, client_cacert=Receipt.LACKING)
    assert said(lacking) == [("False", Reason.SECRET_NOT_FOUND, LACKING)]


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("Unknown", UNREAD, [("Unknown", Reason.NOT_OBSERVED, UNREAD)]),
        ("False", LACKING, [("False", Reason.SECRET_NOT_FOUND, LACKING)]),
        ("True", f"everything that it needs is there; {RECEIVED}", []),
        ("True", "everything that it needs is there", [("Unknown", Reason.PENDING, ASKED)]),
        ("True", f"…; {RECEIVED.replace('client', 'client-2')}", [("Unknown", Reason.PENDING, ASKED)]),
        ("Unknown", ASKED, [("Unknown", Reason.PENDING, ASKED)]),
    ],
    ids=["unread", "lacking", "received", "without-evidence", "another", "asked"],
)
@pytest.mark.parametrize("receipt", [Receipt.AWAITED, None], ids=["asking", "no-pod"])
def test_what_the_status_says_of_it_holds_until_the_pods_tell(
    status: str, message: str, expected: list[Said], receipt: Receipt | None
) -> None:
    """A restart of the operator, or of the pods, costs no write. What an older operator vouched for does not hold."""
    facts = unread(**(dict.fromkeys(("client", "client_cacert"), receipt) if receipt else {}))
    assert said(with_status(facts, status, message)) == expected


def test_words_of_pods_that_are_not_the_objects_own_any_more_do_not_hold() -> None:
    """A gateway that is shared gives its Secrets to others, and nobody asks it."""
    stored = with_status(unread(), "True", RECEIVED)
    hidden = connected({}, unreadable=(CLIENT,))
    tls = {"mode": "Mutual", "credentialName": "client", "insecureSkipVerify": True}
    ports = [{"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": tls}]
    moved = replace(hidden, gateway=replace(stored.gateway, spec=spec_of(destination(ports=ports))))
    [found] = [each for each in said(moved) if "Secret" in each[2]]
    assert found == (
        "Unknown",
        Reason.NOT_OBSERVED,
        UNREAD.replace(", and not every gateway pod tells whether it has it", "").removesuffix(
            ", or reach port 15090 of the pods"
        ),
    )


@pytest.mark.parametrize(
    ("mode", "tls", "names"),
    [
        ("Mutual", {}, {"client", "client-cacert"}),
        ("Mutual", {"caCertificates": "System"}, {"client"}),
        ("Mutual", {"insecureSkipVerify": True}, {"client"}),
        ("Simple", {}, {"client-cacert"}),
    ],
)
def test_pods_are_asked_for_what_istiod_gives_them(mode: str, tls: dict[str, Any], names: set[str]) -> None:
    """A key pair by the Secret's name, a CA by another one (measured: notes "istio-recipes" §2)."""
    assert secrets_to_ask_for(unread(tls, mode)) == names
    told = {name.replace("-", "_"): Receipt.RECEIVED for name in names}
    assert accept(unread(tls, mode, **told)).findings == ()


def test_secret_that_may_be_read_speaks_for_itself() -> None:
    """No pod is asked; but where its CA may be in a Secret beside it that may not be read."""
    assert (
        secrets_to_ask_for(originating("Mutual", client=secret(**pair(ca_crt=certificate())), unreadable=(CA,)))
        == set()
    )
    without_ca = originating("Mutual", client=secret(**pair()), unreadable=(CA,))
    assert secrets_to_ask_for(without_ca) == {"client", "client-cacert"}
    assert said(without_ca) == [("Unknown", Reason.PENDING, ASKED.replace("client", "client-cacert"))]
    beside = originating("Simple", unreadable=(CA,))
    assert said(beside) == [("Unknown", Reason.PENDING, ASKED.replace("client", "client-cacert"))]


def test_certificate_of_an_exposed_host_is_asked_for_where_the_gateway_is_the_objects_own() -> None:
    entry = {"name": "web", "hosts": ["web.example.com"], "tls": {"credentialName": "client"}}
    backend = {"backend": {"service": {"name": "web", "port": 80}}}
    service = {"spec": {"ports": [{"port": 80}]}}
    references = References({WEB: service}, unreadable=frozenset({CLIENT}))
    facts = facts_of(spec_of(expose=[{**entry, **backend}]), references=references)
    told = replace(facts, acknowledgement=Acknowledgement(Answers.COMPLETE, secrets={"client": Receipt.LACKING}))
    assert secrets_to_ask_for(facts) == {"client"}
    assert said(told, "expose.web") == [("False", Reason.SECRET_NOT_FOUND, LACKING)]
    assert receipts_of(told, "expose.web") == {Receipt.LACKING}
    assert receipts_of(told, "api") == frozenset()


def test_expired_destination_needs_nothing() -> None:
    """Its end is all that is said."""
    facts = unread(client=Receipt.UNTOLD)
    spec = facts.gateway.spec
    assert spec is not None
    ended = spec.destinations[0].model_copy(update={"expires_at": NOW - timedelta(days=1)})
    changed = replace(facts.gateway, spec=spec.model_copy(update={"destinations": (ended,)}))
    assert [each.reason for each in accept(replace(facts, gateway=changed)).findings] == [Reason.EXPIRED]


def test_every_kind_of_reference_is_unknown_while_it_may_not_be_read() -> None:
    """With the right that is missing; one that is not read because there are too many, with that."""
    backend = {"service": {"name": "web", "port": 80}}
    entry = {
        "name": "web",
        "hosts": ["web.example.com"],
        "backend": backend,
        "gatewayRef": {"name": "front", "namespace": "edge"},
    }
    class_spec = class_of(allowedGateways=["edge/front"])
    hidden = References(unreadable=frozenset({WEB, FRONT}))
    facts = facts_of(spec_of(expose=[entry]), class_spec, references=hidden)
    assert said(facts, "expose.web") == [
        (
            "Unknown",
            Reason.NOT_OBSERVED,
            f"{ref} is not checked: the operator may not read it; let it list and watch {right}",
        )
        for ref, right in ((FRONT, "gateways in namespace edge (a Role)"), (WEB, "services in namespace shop (a Role)"))
    ]
    crowded = replace(facts, references=replace(hidden, too_many=frozenset({WEB, FRONT})))
    assert all(
        "refer to more than 256 objects; refer to fewer" in message for _, _, message in said(crowded, "expose.web")
    )
    [(status, reason, message)] = said(connected({}, unreadable=(ObjectRef("IngressClass", "", "apisix"),)))
    assert (status, reason) == ("Unknown", Reason.NOT_OBSERVED)
    assert "list and watch ingressclasses (the chart's apisix.enabled, or a ClusterRole)" in message


def test_authorizer_of_an_unknown_mesh_is_not_known() -> None:
    """Whether it is asked about connections depends on what it speaks."""
    class_spec = class_of(externalAuthorization={"provider": "opa"})
    unknown, known = (
        accept(facts_of(spec_of(), class_spec, mesh_config=MeshConfig(authorizers=each))).findings
        for each in (None, {"opa": "grpc"})
    )
    assert [(found.status, found.reason, found.section) for found in unknown] == [("Unknown", Reason.NOT_OBSERVED, "")]
    assert known == ()
