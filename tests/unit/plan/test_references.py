"""Whether what a spec refers to can be used: each flaw has its reason and its words, and heals by itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from egressgateway.api.conditions import Reason
from egressgateway.facts import KEY_VERDICTS, Facts, MeshConfig, PodFacts, PodSelection, References
from egressgateway.plan.accept import accept
from egressgateway.plan.checks.references import has_unread_references, next_certificate_end
from egressgateway.plan.gateway.references import wanted_references
from egressgateway.refs import Manifest, ObjectRef
from unit.plan.world import KEY, NOW, class_of, destination, facts_of, spec_of

YEAR = timedelta(days=365)
CLIENT = ObjectRef("Secret", "shop", "client")
CA = ObjectRef("Secret", "shop", "client-cacert")


@cache
def certificate(end: datetime = NOW + YEAR, lifetime: timedelta = 2 * YEAR) -> bytes:
    """A certificate of its own making, in PEM, that is good for `lifetime` until `end`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(end - lifetime)
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(Encoding.PEM)


def secret(ref: ObjectRef = CLIENT, /, **data: bytes) -> Manifest:
    """A Secret as the engine hands it over; `_` in a key stands for its dot."""
    encoded = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in data.items()}
    return {"kind": "Secret", "metadata": {"name": ref.name, "namespace": ref.namespace}, "data": encoded}


def originating(
    mode: str, *, unreadable: tuple[ObjectRef, ...] = (), tls: Mapping[str, Any] | None = None, **found: Any
) -> Facts:
    """A destination with a credential, beside which Secrets `client` and `cacert` stand, or do not."""
    tls = {"mode": mode, "credentialName": "client", **(tls or {})}
    port = {"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": tls}
    objects = {CLIENT: found.get("client"), CA: found.get("cacert")}
    read = {ref: value for ref, value in objects.items() if ref not in unreadable}
    references = References(objects=read, unreadable=frozenset(unreadable))
    return facts_of(spec_of(destination(ports=[port])), references=references)


def flaw(facts: Facts) -> tuple[Reason, str] | None:
    findings = accept(facts).findings
    assert len(findings) <= 1
    return (findings[0].reason, findings[0].message.partition(": ")[2]) if findings else None


def pair(**more: bytes) -> dict[str, Any]:
    return {"tls_crt": certificate(), "tls_key": b"", **more}


@pytest.mark.parametrize(
    ("mode", "found"),
    [
        ("Mutual", {"client": secret(**pair(ca_crt=certificate()))}),
        ("Mutual", {"client": secret(cert=certificate(), key=b"", cacert=certificate())}),
        ("Mutual", {"client": secret(**pair()), "cacert": secret(CA, ca_crt=certificate())}),
        ("Mutual", {"client": secret(**pair()), "cacert": secret(CA, cacert=certificate())}),
        ("Simple", {"client": secret(ca_crt=certificate())}),
        ("Simple", {"client": secret(cacert=certificate())}),
        ("Simple", {"cacert": secret(CA, ca_crt=certificate())}),
        ("Simple", {"client": secret(ca_crt=certificate() + certificate(NOW + 2 * YEAR))}),
    ],
)
def test_a_secret_in_any_form_that_istio_reads_is_right(mode: str, found: dict[str, Any]) -> None:
    """Kubernetes' keys or Istio's, the CA beside the pair or in a Secret of its own."""
    assert flaw(originating(mode, **found)) is None


@pytest.mark.parametrize(
    ("mode", "found", "reason", "words"),
    [
        ("Mutual", {}, Reason.SECRET_NOT_FOUND, "there is no Secret client in namespace shop"),
        ("Simple", {}, Reason.SECRET_NOT_FOUND, "there is no Secret client in namespace shop"),
        ("Mutual", {"cacert": secret(CA, ca_crt=certificate())}, Reason.SECRET_NOT_FOUND, "there is no Secret client"),
        ("Mutual", {"client": secret()}, Reason.SECRET_INVALID, "Secret client lacks tls.crt and tls.key"),
        ("Mutual", {"client": {**secret(), "data": None}}, Reason.SECRET_INVALID, "lacks tls.crt and tls.key"),
        ("Mutual", {"client": secret(tls_crt=certificate())}, Reason.SECRET_INVALID, "Secret client lacks tls.key"),
        ("Mutual", {"client": secret(tls_crt=certificate(), key=b"")}, Reason.SECRET_INVALID, "lacks tls.key"),
        ("Mutual", {"client": secret(**pair(tls_crt=b"x"))}, Reason.SECRET_INVALID, "tls.crt of Secret client is not"),
        ("Mutual", {"client": secret(**pair(tls_crt=b""))}, Reason.SECRET_INVALID, "is not a PEM certificate"),
        ("Mutual", {"client": secret(**pair())}, Reason.SECRET_INVALID, "Secret client has no CA"),
        ("Simple", {"client": secret()}, Reason.SECRET_INVALID, "Secret client has no CA"),
        ("Simple", {"client": secret(ca_crt=b"no")}, Reason.SECRET_INVALID, "the CA of Secret client is not a PEM"),
        (
            "Mutual",
            {"client": secret(**pair()), "cacert": secret(CA, ca_crt=b"no")},
            Reason.SECRET_INVALID,
            "the CA of Secret client is not a PEM",
        ),
        (
            "Mutual",
            {"client": secret(**pair(tls_crt=certificate(NOW)))},
            Reason.SECRET_INVALID,
            "the certificate of Secret client expired at 2026-01-01T00:00:00Z; renew it",
        ),
        *(
            (
                "Mutual",
                {"client": {**secret(**pair(ca_crt=certificate())), KEY_VERDICTS: {"tls.key": verdict}}},
                Reason.SECRET_INVALID,
                words,
            )
            for verdict, words in (
                ("Mismatch", "tls.key of Secret client does not belong to tls.crt"),
                ("Encrypted", "tls.key of Secret client is encrypted"),
                ("Unreadable", "tls.key of Secret client is not a private key in PEM format"),
            )
        ),
    ],
)
def test_a_secret_that_cannot_be_used_is_reported(mode: str, found: dict[str, Any], reason: Reason, words: str) -> None:
    """The exact reason, before a gateway waits for a certificate that never comes."""
    result = flaw(originating(mode, **found))
    assert result is not None
    assert result[0] is reason
    assert words in result[1]


@pytest.mark.parametrize("tls", [{"caCertificates": "System"}, {"insecureSkipVerify": True}])
def test_a_secret_needs_no_authority_where_none_of_it_is_asked(tls: dict[str, Any]) -> None:
    """The system's roots verify, or nobody does; certificate and key are wanted all the same."""
    assert flaw(originating("Mutual", tls=tls, client=secret(**pair()))) is None
    found = flaw(originating("Mutual", tls=tls, client=secret(ca_crt=certificate())))
    assert found is not None
    assert "lacks tls.crt and tls.key" in found[1]


def test_a_value_that_is_no_base64_is_no_certificate() -> None:
    """A Secret that a webhook or a hand has mangled is reported, and is no crash."""
    mangled = {**secret(), "data": {"tls.crt": "%%%", "tls.key": "", "ca.crt": None}}
    assert flaw(originating("Mutual", client=mangled)) is not None


def test_secret_that_goes_from_under_a_served_destination_takes_nothing_away() -> None:
    """What runs is left as it is, and the status says what the missing Secret does to pods that start."""
    asked = originating("Mutual", client=None)
    assert "late" not in (flaw(asked) or ("", ""))[1]
    labels = {"egressgateway.dev/part": "api", "egressgateway.dev/stage": "clients"}
    metadata = {"name": "partners-api", "namespace": "shop", "labels": labels}
    route = {"kind": "VirtualService", "metadata": metadata, "spec": {"hosts": ["api.example.com"], "exportTo": ["."]}}
    ref = ObjectRef("VirtualService", "shop", "partners-api")
    acceptance = accept(replace(asked, live={ref: route}))
    [finding] = acceptance.findings
    assert finding.message.endswith("each pod that starts has none and is ready some 16 seconds late")
    assert "api" in acceptance.kept


def test_a_certificate_that_will_end_is_when_to_look_again() -> None:
    """The first of those still good; one that is over needs a change of the Secret, which wakes us up."""
    soon = originating("Mutual", client=secret(**pair(tls_crt=certificate(NOW + timedelta(days=1)))))
    assert next_certificate_end(soon.references, NOW) == NOW + timedelta(days=1)
    assert accept(soon).next_look == NOW + timedelta(days=1)
    over = originating("Mutual", client=secret(**pair(tls_crt=certificate(NOW))))
    assert next_certificate_end(over.references, NOW) is None


def test_what_has_not_been_read_is_wanted() -> None:
    """Before the first answer nothing is judged: a Secret that is being asked for is not missing."""
    asked = originating("Mutual")
    assert not has_unread_references(asked)
    assert has_unread_references(replace(asked, references=References()))
    assert has_unread_references(replace(asked, references=References(objects={CLIENT: None})))
    assert not has_unread_references(originating("Mutual", unreadable=(CLIENT, CA)))


WEB = ObjectRef("Service", "shop", "web")
FRONT = ObjectRef("Gateway", "shop", "front")
SERVICE: Manifest = {
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"ports": [{"port": 80}]},
}
GATEWAY: Manifest = {
    "kind": "Gateway",
    "metadata": {"name": "front", "namespace": "shop"},
    "spec": {"selector": {"a": "b"}},
}
PODS = {PodSelection("shop", (("a", "b"),)): (PodFacts("shop", "p", "front", ready=True),)}


def exposed(
    objects: dict[ObjectRef, Any], pods: Any = PODS, port: int = 80, **fields: Any
) -> tuple[Reason, str] | None:
    entry = {
        "name": "web",
        "hosts": ["web.example.com"],
        "backend": {"service": {"name": "web", "port": port}},
        **fields,
    }
    return flaw(facts_of(spec_of(expose=[entry]), references=References(objects, pods)))


REF: dict[str, Any] = {"gatewayRef": {"name": "front"}}


@pytest.mark.parametrize(
    ("objects", "pods", "fields", "reason"),
    [
        ({WEB: SERVICE}, {}, {}, None),
        ({WEB: None}, {}, {}, Reason.SERVICE_NOT_FOUND),
        ({WEB: SERVICE}, {}, {"port": 81}, Reason.SERVICE_NOT_FOUND),
        ({WEB: {**SERVICE, "spec": {}}}, {}, {}, Reason.SERVICE_NOT_FOUND),
        (
            {WEB: {**SERVICE, "spec": {"type": "ExternalName", "ports": [{"port": 80}]}}},
            {},
            {},
            Reason.SERVICE_NOT_FOUND,
        ),
        ({WEB: SERVICE, FRONT: GATEWAY}, PODS, REF, None),
        ({WEB: SERVICE, FRONT: None}, PODS, REF, Reason.GATEWAY_NOT_FOUND),
        ({WEB: SERVICE, FRONT: GATEWAY}, {}, REF, Reason.GATEWAY_NOT_FOUND),
        ({WEB: SERVICE, FRONT: {**GATEWAY, "spec": {}}}, PODS, REF, Reason.GATEWAY_NOT_FOUND),
    ],
)
def test_what_an_exposed_host_refers_to_must_be_there(
    objects: dict[ObjectRef, Any], pods: Any, fields: dict[str, Any], reason: Reason | None
) -> None:
    """A Service with that port; a Gateway that some pod serves."""
    found = exposed(objects, pods, **fields)
    assert (found and found[0]) == reason


def test_a_gateway_whose_selector_no_label_can_meet_is_not_waited_for() -> None:
    """The API server would refuse to list its pods, again and again, and the object would stay Pending."""
    gateway = {**GATEWAY, "spec": {"selector": {"a": "no label, for its comma"}}}
    entry = {"name": "web", "hosts": ["web.example.com"], "backend": {"service": {"name": "web", "port": 80}}, **REF}
    facts = facts_of(spec_of(expose=[entry]), references=References({WEB: SERVICE, FRONT: gateway}))
    assert not has_unread_references(facts)
    assert flaw(facts)[0] == Reason.GATEWAY_NOT_FOUND


@pytest.mark.parametrize("held", [pair(), {"cert": certificate(), "key": b""}])
def test_an_exposed_host_needs_a_pair_and_no_authority(held: dict[str, Any]) -> None:
    """The gateway shows a certificate there, it verifies none."""
    ref = ObjectRef("Secret", "shop", "web-cert")
    tls: dict[str, Any] = {"tls": {"credentialName": "web-cert"}}
    assert exposed({WEB: SERVICE, ref: secret(ref, **held)}, **tls) is None
    missing, lacking = exposed({WEB: SERVICE, ref: None}, **tls), exposed({WEB: SERVICE, ref: secret(ref)}, **tls)
    assert [found and found[0] for found in (missing, lacking)] == [Reason.SECRET_NOT_FOUND, Reason.SECRET_INVALID]


SHARED: dict[str, Any] = {"shared": {"namespace": "edge", "service": "egress", "selector": {"istio": "egress"}}}


@pytest.mark.parametrize(
    ("class_", "ports", "reasons"),
    [
        (SHARED, [443], []),
        (SHARED, [80], [Reason.GATEWAY_NOT_FOUND]),
        (SHARED, None, [Reason.GATEWAY_NOT_FOUND]),
        ({**SHARED, "mtls": "Disabled"}, [443], [Reason.GATEWAY_NOT_FOUND]),
        ({**SHARED, "mtls": "Disabled"}, [80, 443], []),
        ({"shared": {**SHARED["shared"], "ports": {"tls": 8443}}}, [8443], []),
    ],
)
def test_a_shared_gateway_must_have_the_ports_that_are_used(
    class_: dict[str, Any], ports: list[int] | None, reasons: list[Reason]
) -> None:
    """With mutual TLS one port serves everything (api.md `shared.ports`)."""
    service = None if ports is None else {"spec": {"ports": [{"port": number} for number in ports]}}
    references = References({ObjectRef("Service", "edge", "egress"): service})
    facts = facts_of(spec_of(), class_of(**class_), references=references)
    assert [finding.reason for finding in accept(facts).findings] == reasons


@pytest.mark.parametrize(("known", "found"), [({"opa": "grpc"}, 0), ({}, 1), ({"other": "http"}, 1)])
def test_an_authorizer_must_be_one_of_the_mesh(known: dict[str, str], found: int) -> None:
    class_spec = class_of(externalAuthorization={"provider": "opa"})
    findings = accept(facts_of(spec_of(), class_spec, mesh_config=MeshConfig(authorizers=known))).findings
    assert [finding.reason for finding in findings] == [Reason.AUTHORIZER_NOT_FOUND] * found


INGRESS_CLASS = ObjectRef("IngressClass", "", "apisix")
PROXY = ObjectRef("GatewayProxy", "edge", "config")
APISIX_SERVICE = ObjectRef("Service", "edge", "apisix")
APISIX_PODS = PodSelection("edge", (("app", "apisix"),))
APISIX = class_of(
    provider="APISIX",
    mtls="Disabled",
    shared={"namespace": "edge", "service": "apisix", "selector": {"app": "apisix"}},
)
PARAMETERS = {"apiGroup": "apisix.apache.org", "kind": "GatewayProxy", "namespace": "edge", "name": "config"}


def connected(found: Mapping[ObjectRef, Manifest | None], *, unreadable: tuple[ObjectRef, ...] = ()) -> Facts:
    """An object of a class with APISIX, whose Service is there, and of the rest `found`."""
    service: Manifest = {"metadata": {"name": "apisix"}, "spec": {"ports": [{"port": 80}]}}
    pods = {APISIX_PODS: (PodFacts("edge", "a", "default", ready=True),)}
    references = References(objects={APISIX_SERVICE: service, **found}, pods=pods, unreadable=frozenset(unreadable))
    return facts_of(spec_of(), APISIX, references=references)


def ingress_class(**parameters: str) -> Manifest:
    return {"metadata": {"name": "apisix"}, "spec": {"parameters": parameters} if parameters else {}}


@pytest.mark.parametrize(
    ("found", "reason", "words"),
    [
        ({INGRESS_CLASS: None}, Reason.INGRESS_CLASS_NOT_FOUND, "there is no IngressClass apisix; create it"),
        ({INGRESS_CLASS: ingress_class()}, Reason.INGRESS_CLASS_INVALID, "no parameters that name a GatewayProxy"),
        (
            {INGRESS_CLASS: ingress_class(**{**PARAMETERS, "kind": "ConfigMap"})},
            Reason.INGRESS_CLASS_INVALID,
            "no parameters that name a GatewayProxy",
        ),
        (
            {INGRESS_CLASS: ingress_class(**PARAMETERS), PROXY: None},
            Reason.INGRESS_CLASS_INVALID,
            "names GatewayProxy edge/config in its parameters, which does not exist",
        ),
        (
            {INGRESS_CLASS: {"metadata": {"name": "apisix"}, "spec": {"controller": "k8s.io/ingress-nginx"}}},
            Reason.INGRESS_CLASS_INVALID,
            "its spec.controller is 'k8s.io/ingress-nginx', and that of APISIX is 'apisix.apache.org/",
        ),
    ],
    ids=["no class", "no parameters", "other parameters", "no proxy", "other controller"],
)
def test_controller_that_knows_no_apisix_is_told(
    found: dict[ObjectRef, Manifest | None], reason: Reason, words: str
) -> None:
    """It would accept everything, and APISIX would serve nothing."""
    told = flaw(connected(found))
    assert told is not None
    assert told[0] is reason
    assert words in told[1]


def test_proxy_is_read_once_the_ingress_class_names_it() -> None:
    """Until both are read nothing is judged; what may not be read is said."""
    proxy: Manifest = {"metadata": {"name": "config", "namespace": "edge"}}
    assert has_unread_references(connected({}))
    assert has_unread_references(connected({INGRESS_CLASS: ingress_class(**PARAMETERS)}))
    whole = connected({INGRESS_CLASS: ingress_class(**PARAMETERS), PROXY: proxy})
    assert not has_unread_references(whole)
    assert flaw(whole) is None
    # Without a namespace it is in that of the route, which is the EgressGateway's.
    elsewhere = {name: value for name, value in PARAMETERS.items() if name != "namespace"}
    found = {INGRESS_CLASS: ingress_class(**elsewhere)}
    own = ObjectRef("GatewayProxy", KEY.namespace, "config")
    assert own in wanted_references(connected(found))
    assert flaw(connected({**found, own: proxy})) is None
    told = flaw(connected({**found, own: None}))
    assert told is not None
    assert f"names {own} in its parameters, which does not exist" in told[1]
    hidden = connected({}, unreadable=(INGRESS_CLASS,))
    told = flaw(hidden)
    assert told is not None
    assert told[0] is Reason.NOT_OBSERVED
