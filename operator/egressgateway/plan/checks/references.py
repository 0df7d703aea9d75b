"""
Whether the objects that a spec or its class refers to exist and can be used: Secrets, Services, Gateways, an
authorizer.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost, ServiceBackend
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.scalars import format_instant
from egressgateway.api.tls import TlsMode
from egressgateway.facts import KEY_VERDICTS, Facts, KeyVerdict, References
from egressgateway.live.children import section_of
from egressgateway.live.ingress_class import CONTROLLER_NAME, foreign_controller, gateway_proxy_ref, ingress_class_ref
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import Finding, exposed_section
from egressgateway.plan.gateway.credentials import CA_KEYS
from egressgateway.plan.gateway.references import (
    CA_SUFFIX,
    gateway_ref,
    ingress_pods,
    reads_own_secrets,
    wanted_pods,
    wanted_references,
)
from egressgateway.plan.gateway.target import GatewayTarget, target_of
from egressgateway.refs import Manifest, ObjectRef

_RESOLVED: Final = ConditionType.RESOLVED_REFS
# The keys of a Secret that Istio reads, in its two spellings (istio.io, "Secure Gateways", key formats).
_PAIRS: Final = (("tls.crt", "tls.key"), ("cert", "key"))
_KEY_FLAWS: Final = {
    KeyVerdict.UNREADABLE: "is not a private key in PEM format; replace it",
    KeyVerdict.ENCRYPTED: "is encrypted, and proxies have no password; store the decrypted key",
    KeyVerdict.MISMATCH: "does not belong to {certificate}; replace one of the two",
}


@dataclass(frozen=True, slots=True)
class _Flaw:
    """A defect of a Secret."""

    reason: Reason
    message: str


def has_unread_references(facts: Facts) -> bool:
    """Whether something must be read before the object can be judged."""
    known = facts.references.objects.keys() | facts.references.unreadable
    return not wanted_references(facts) <= known or not wanted_pods(facts) <= facts.references.pods.keys()


def resolve_class(facts: Facts, class_spec: EgressGatewayClassSpec) -> Iterator[Finding]:
    """A shared gateway's Service, what connects its controller to it, and the class's authorizer."""
    class_name = str(facts.class_)
    if class_spec.shared is not None:
        yield from _shared_gateway(class_name, target_of(facts), facts.references)
    yield from _connected(facts, class_spec)
    authorizer = class_spec.external_authorization
    known = facts.mesh_config.authorizers
    if authorizer is not None and known is not None and authorizer.provider not in known:
        names = ", ".join(sorted(known)) or "none"
        yield Finding(
            _RESOLVED,
            Reason.AUTHORIZER_NOT_FOUND,
            f"{class_name}: spec.externalAuthorization.provider: the mesh has no extensionProvider "
            f"{authorizer.provider!r} for external authorization (it has {names}); add it to the mesh's configuration",
        )


def resolve_destination(context: PlanContext, destination: Destination, field: str) -> Iterator[Finding]:
    """Secrets of the ports on which the gateway originates TLS."""
    if not reads_own_secrets(context.class_spec):
        return
    # APISIX does not verify, and so needs no CA; another message reports that it does not verify.
    verifies = context.target.dedicated
    for index, port in enumerate(destination.ports):
        if port.tls is None or port.tls.credential_name is None:
            continue
        where = f"{field}.ports[{index}].tls.credentialName"
        name, mutual = port.tls.credential_name, port.tls.mode is TlsMode.MUTUAL
        # Without verification, or with the system's roots, the Secret needs no CA.
        needs_ca = verifies and not port.tls.insecure_skip_verify and port.tls.ca_certificates is None
        flaw = _client_secret_flaw(context, name, mutual=mutual) if needs_ca else _pair_flaw(context, name)
        if flaw is not None:
            late = _late_start(context, destination) if flaw.reason is Reason.SECRET_NOT_FOUND else ""
            yield Finding(_RESOLVED, flaw.reason, f"{where}: {flaw.message}{late}", destination.name)


def _late_start(context: PlanContext, destination: Destination) -> str:
    """
    What the missing Secret of a destination that is served does to others: it is not taken from the pods that run.

    Envoy begins to serve once it has the certificates of all its clusters, or has waited 15 seconds for them (notes
    "istio-recipes" §2). A destination that is not served yet is left out of what pods must have.
    """
    served = any(section_of(found) == destination.name for found in context.live.mesh_routes)
    if not served or not context.target.dedicated:
        return ""
    return (
        "; until then the gateway's pods that run use the certificate that they have, and each pod that starts has "
        "none and is ready some 16 seconds late"
    )


def resolve_exposed(context: PlanContext, exposed: ExposedHost, field: str) -> Iterator[Finding]:
    """The Gateway to which a host is attached, the Service behind it, and its certificate."""
    section = exposed_section(exposed.name)
    reference = gateway_ref(context.key.namespace, exposed)
    if reference is not None:
        yield from _attached(context, reference, f"{field}.gatewayRef", section)
    if exposed.tls is not None:
        flaw = _pair_flaw(context, exposed.tls.credential_name)
        if flaw is not None:
            yield Finding(_RESOLVED, flaw.reason, f"{field}.tls.credentialName: {flaw.message}", section)
    if exposed.backend.service is not None:
        yield from _service(context, exposed.backend.service, f"{field}.backend.service", section)


def certificate_ends(secret: Manifest) -> dict[str, tuple[datetime, datetime]]:
    """
    By key of a Secret, from when and until when the certificates in it can be used.

    A chain ends with its first certificate that ends. Authorities are alternatives: they end with the last one.
    """
    found: dict[str, tuple[datetime, datetime]] = {}
    for key in (*(pair[0] for pair in _PAIRS), *CA_KEYS):
        certificates = (_parsed(_value(secret, key)) or []) if key in _data(secret) else []
        if certificates:
            choose = max if key in CA_KEYS else min
            chosen = choose(certificates, key=lambda each: each.not_valid_after_utc)
            found[key] = chosen.not_valid_before_utc, chosen.not_valid_after_utc
    return found


def next_certificate_end(references: References, now: datetime) -> datetime | None:
    """When the first certificate that is referred to expires: then the object must be enqueued."""
    ends = [
        certificate.not_valid_after_utc
        for ref, found in references.objects.items()
        if ref.kind == "Secret" and found is not None
        for certificate in _certificates_of(found)
    ]
    return min((end for end in ends if end > now), default=None)


def _attached(context: PlanContext, reference: ObjectRef, where: str, section: str) -> Iterator[Finding]:
    gateway = context.references.objects.get(reference)
    if gateway is None:
        if reference not in context.references.unreadable:
            message = (
                f"{where}: there is no Istio Gateway {reference.namespace}/{reference.name}; create it, or correct the "
                "reference"
            )
            yield Finding(_RESOLVED, Reason.GATEWAY_NOT_FOUND, message, section)
        return
    pods = ingress_pods(context.key.namespace, reference, gateway, context.mesh_config)
    if pods is None or not context.references.pods.get(pods):
        message = (
            f"{where}: Gateway {reference.namespace}/{reference.name} selects no pod, so nothing serves it; install "
            "its pods, or name another Gateway"
        )
        yield Finding(_RESOLVED, Reason.GATEWAY_NOT_FOUND, message, section)


def _service(context: PlanContext, backend: ServiceBackend, where: str, section: str) -> Iterator[Finding]:
    ref = ObjectRef("Service", context.key.namespace, backend.name)
    if ref in context.references.unreadable:
        return
    found = context.references.objects.get(ref)
    ports = {port["port"] for port in ((found or {}).get("spec") or {}).get("ports") or ()}
    if found is None:
        message = f"{where}.name: there is no Service {backend.name} in namespace {context.key.namespace}; create it"
    elif found["spec"].get("type") == "ExternalName":
        # It would be published in spite of every host policy.
        message = (
            f"{where}.name: Service {backend.name} is an ExternalName, which points outside the cluster; make that "
            "host a destination, and name it in backend.destination"
        )
    elif backend.port not in ports:
        listed = ", ".join(map(str, sorted(ports))) or "none"
        message = f"{where}.port: Service {backend.name} has no port {backend.port} (it has {listed}); name one of them"
    else:
        return
    yield Finding(_RESOLVED, Reason.SERVICE_NOT_FOUND, message, section)


def _shared_gateway(class_name: str, target: GatewayTarget, references: References) -> Iterator[Finding]:
    ref = ObjectRef("Service", target.namespace, target.service)
    if ref in references.unreadable:
        return
    found = references.objects.get(ref)
    where = f"{class_name}: spec.shared"
    if found is None:
        message = f"{where}.service: there is no Service {ref.namespace}/{ref.name}; install that gateway"
        yield Finding(_RESOLVED, Reason.GATEWAY_NOT_FOUND, message)
        return
    ports = {port["port"] for port in (found.get("spec") or {}).get("ports") or ()}
    needed = {target.hop_port} if target.strict else {target.hop_port, target.plain_port}
    for port in sorted(needed - ports):
        message = f"{where}.ports: Service {ref.namespace}/{ref.name} has no port {port}; name one that it has"
        yield Finding(_RESOLVED, Reason.GATEWAY_NOT_FOUND, message)


def _connected(facts: Facts, class_spec: EgressGatewayClassSpec) -> Iterator[Finding]:
    """What connects APISIX's ingress controller to APISIX, as far as the operator may read it."""
    ref, objects = ingress_class_ref(class_spec), facts.references.objects
    if ref is None or ref not in objects:
        return
    where, found = f"{facts.class_}: spec.apisix.ingressClassName", objects[ref]
    if found is None:
        message = f"{where}: there is no {ref}; create it, or correct the name"
        yield Finding(_RESOLVED, Reason.INGRESS_CLASS_NOT_FOUND, message)
        return
    proxy = gateway_proxy_ref(found, facts.key.namespace)
    if proxy is None:
        message = (
            f"{where}: {ref} has no parameters that name a GatewayProxy, so APISIX's ingress controller accepts routes "
            "and pushes none; add them"
        )
    elif proxy in objects and objects[proxy] is None:
        message = (
            f"{where}: {ref} names {proxy} in its parameters, which does not exist, so APISIX's ingress controller "
            "accepts routes and pushes none; create it, or correct the parameters"
        )
    else:
        return
    # An installation of APISIX may have another name: by itself it is no mistake.
    name = foreign_controller(found)
    other = f", or name another class: its spec.controller is {name!r}, and that of APISIX is {CONTROLLER_NAME!r}"
    yield Finding(_RESOLVED, Reason.INGRESS_CLASS_INVALID, message + (other if name else ""))


def _client_secret_flaw(context: PlanContext, name: str, *, mutual: bool) -> _Flaw | None:
    """Mutual needs a key pair and a CA, Simple a CA; the CA may be in a Secret of its own (`-cacert`)."""
    ref = ObjectRef("Secret", context.key.namespace, name)
    beside = ObjectRef("Secret", context.key.namespace, name + CA_SUFFIX)
    if ref in context.references.unreadable:
        return None
    secret, extra = context.references.objects.get(ref), context.references.objects.get(beside)
    if secret is None and (mutual or (extra is None and beside not in context.references.unreadable)):
        return _missing(context, name)
    if mutual and (flaw := _pair_flaw(context, name)) is not None:
        return flaw
    return _ca_flaw(context, name, [found for found in (secret, extra) if found is not None])


def _ca_flaw(context: PlanContext, name: str, holders: Sequence[Manifest]) -> _Flaw | None:
    """The defect of the CA that one of the Secrets `holders` has to have."""
    authorities = [_value(found, key) for found in holders for key in CA_KEYS if key in _data(found)]
    beside = ObjectRef("Secret", context.key.namespace, name + CA_SUFFIX)
    if not authorities and beside not in context.references.unreadable:
        # System roots are no fallback here: Envoy would wait for a CA that never comes (notes "istio-recipes" §2).
        message = (
            f"Secret {name} has no CA: give it the key ca.crt, make a Secret {name}{CA_SUFFIX} with it, or, for a "
            "certificate of a public CA, set caCertificates: System"
        )
        return _Flaw(Reason.SECRET_INVALID, message)
    parsed = [_parsed(authority) for authority in authorities]
    if parsed and all(found and found[0].not_valid_after_utc <= context.now for found in parsed):
        return _Flaw(Reason.SECRET_INVALID, f"the CA of Secret {name} has expired; replace it")
    if any(found is None for found in parsed):
        return _Flaw(Reason.SECRET_INVALID, f"the CA of Secret {name} is not a PEM certificate; replace it")
    return None


def _pair_flaw(context: PlanContext, name: str) -> _Flaw | None:
    """The defect of a Secret's certificate and key."""
    ref = ObjectRef("Secret", context.key.namespace, name)
    if ref in context.references.unreadable:
        return None
    secret = context.references.objects.get(ref)
    if secret is None:
        return _missing(context, name)
    data = _data(secret)
    pair = next((pair for pair in _PAIRS if all(key in data for key in pair)), None)
    if pair is None:
        missing = [key for key in _PAIRS[0] if key not in data]
        return _Flaw(Reason.SECRET_INVALID, f"Secret {name} lacks {' and '.join(missing)}; add them")
    message = _certificate_flaw(context, secret, pair[0]) or _key_flaw(secret, *pair)
    return _Flaw(Reason.SECRET_INVALID, message) if message else None


def _certificate_flaw(context: PlanContext, secret: Manifest, key: str) -> str:
    name, certificates = secret["metadata"]["name"], _parsed(_value(secret, key))
    if certificates is None:
        return f"{key} of Secret {name} is not a PEM certificate; replace it"
    end = certificates[0].not_valid_after_utc
    return f"the certificate of Secret {name} expired at {format_instant(end)}; renew it" if end <= context.now else ""


def _key_flaw(secret: Manifest, certificate: str, key: str) -> str:
    verdict = (secret.get(KEY_VERDICTS) or {}).get(key)
    if verdict is None:
        return ""
    why = _KEY_FLAWS[KeyVerdict(verdict)].format(certificate=certificate)
    return f"{key} of Secret {secret['metadata']['name']} {why}"


def _missing(context: PlanContext, name: str) -> _Flaw:
    message = f"there is no Secret {name} in namespace {context.key.namespace}; create it; no further action is needed"
    return _Flaw(Reason.SECRET_NOT_FOUND, message)


def _certificates_of(secret: Manifest) -> Iterator[x509.Certificate]:
    for key in ("tls.crt", "cert", *CA_KEYS):
        yield from (_parsed(_value(secret, key)) or [])[:1] if key in _data(secret) else ()


def _data(secret: Manifest) -> Mapping[str, Any]:
    return secret.get("data") or {}


def _value(secret: Manifest, key: str) -> bytes:
    try:
        return base64.b64decode(_data(secret)[key] or "")
    except (binascii.Error, TypeError, ValueError):
        return b""


def _parsed(pem: bytes) -> list[x509.Certificate] | None:
    """The certificates in `pem`; None when none can be read."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except (ValueError, x509.InvalidVersion):
        return None
