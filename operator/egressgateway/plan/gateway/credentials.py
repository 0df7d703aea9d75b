"""
Secrets that sections name for their gateway, and how its proxies ask istiod for what is in them.

The operator may not read Secrets as a rule; the proxies get them all the same, and tell (`live.received`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost
from egressgateway.api.tls import PortTls, TlsMode
from egressgateway.facts import Facts, Receipt, References
from egressgateway.plan.findings import exposed_section
from egressgateway.plan.gateway.references import CA_SUFFIX
from egressgateway.refs import ObjectRef

CA_KEYS: Final = ("ca.crt", "cacert")
"""Keys of a Secret in which Istio looks for a CA (istio.io, "Secure Gateways", key formats)."""


@dataclass(frozen=True, slots=True)
class Credential:
    """
    A Secret that a section names, in `field`.

    `asked`: the names by which proxies of the object's own gateway ask istiod for what is in it, one for a key pair and
    one for a CA; none where the gateway is somebody else's.
    """

    section: str
    field: str
    ref: ObjectRef
    asked: frozenset[str] = frozenset()

    @property
    def ca_ref(self) -> ObjectRef | None:
        """The Secret beside it in which its CA may be; None where proxies ask for no CA."""
        beside = self.ref._replace(name=self.ref.name + CA_SUFFIX)
        return beside if beside.name in self.asked else None


def credentials_of_destination(
    namespace: str, found: Destination, where: str, *, dedicated: bool
) -> Iterator[Credential]:
    for index, port in enumerate(found.ports):
        if port.tls is not None and port.tls.credential_name is not None:
            ref = ObjectRef("Secret", namespace, port.tls.credential_name)
            asked = _asked(port.tls, ref.name) if dedicated else frozenset[str]()
            yield Credential(found.name, f"{where}.ports[{index}].tls.credentialName", ref, asked)


def credentials_of_exposed(namespace: str, found: ExposedHost, where: str, *, dedicated: bool) -> Iterator[Credential]:
    if found.tls is not None:
        ref = ObjectRef("Secret", namespace, found.tls.credential_name)
        asked = frozenset({ref.name}) if dedicated and found.gateway_ref is None else frozenset[str]()
        yield Credential(exposed_section(found.name), f"{where}.tls.credentialName", ref, asked)


def in_doubt(credential: Credential, references: References) -> ObjectRef | None:
    """Which Secret has to be read to know whether the credential is there, and may not be; None where all is known."""
    if credential.ref in references.unreadable:
        return credential.ref
    found = references.objects.get(credential.ref)
    holds_ca = any(key in ((found or {}).get("data") or {}) for key in CA_KEYS)
    return credential.ca_ref if credential.ca_ref in references.unreadable and not holds_ca else None


def secrets_to_ask_for(facts: Facts) -> frozenset[str]:
    """What the proxies of the object's own gateway are to be asked for, because nobody else tells."""
    return frozenset(name for credential in _told_by_pods(facts) for name in credential.asked)


def receipts_of(facts: Facts, section: str) -> frozenset[Receipt]:
    """What proxies say of the Secrets of a section that they are asked for."""
    told = facts.acknowledgement.secrets
    asked = (credential.asked for credential in _told_by_pods(facts, section)) if told else ()
    return frozenset(told[name] for names in asked for name in names if name in told)


def _told_by_pods(facts: Facts, section: str = "") -> Iterator[Credential]:
    """Credentials, of one section or of all, that are in doubt and that the object's own pods know of."""
    spec, class_spec, namespace = facts.gateway.spec, facts.class_.spec, facts.key.namespace
    if spec is None or class_spec is None or class_spec.shared is not None:
        return
    found = (
        *(credentials_of_destination(namespace, each, "", dedicated=True) for each in spec.destinations),
        *(credentials_of_exposed(namespace, each, "", dedicated=True) for each in spec.expose),
    )
    for credential in chain.from_iterable(found):
        if section in ("", credential.section) and in_doubt(credential, facts.references) is not None:
            yield credential


def _asked(tls: PortTls, name: str) -> frozenset[str]:
    """
    istiod's configuration of a cluster: the pair with mode Mutual; the CA unless nothing is verified, or the system's
    roots verify (measured, notes "istio-recipes" §2).
    """
    pair = {name} if tls.mode is TlsMode.MUTUAL else set[str]()
    verified = not tls.insecure_skip_verify and tls.ca_certificates is None
    return frozenset(pair | ({name + CA_SUFFIX} if verified else set()))
