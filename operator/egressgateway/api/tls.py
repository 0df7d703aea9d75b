"""TLS that a gateway opens to a destination."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from egressgateway.api.hosts import ServerName, SubjectAltName
from egressgateway.api.model import ApiModel
from egressgateway.api.rules import SET, Rule
from egressgateway.api.scalars import Boolean, ObjectName


class TlsMode(StrEnum):
    """Whether the gateway shows a certificate of its own."""

    SIMPLE = "Simple"
    MUTUAL = "Mutual"


class CaCertificates(StrEnum):
    """Where the CAs come from that verify the destination's certificate."""

    SYSTEM = "System"


class PortTls(ApiModel):
    """TLS that the gateway opens to the destination."""

    mode: TlsMode
    """
    `Simple`: only the destination shows a certificate; `Mutual`: the gateway shows one too, from
    `credentialName`.
    """

    credential_name: ObjectName | None = None
    """
    A Secret of the object's namespace: the client certificate for `Mutual`, where it is required; the CA for `Simple`.
    Not on a shared gateway, whose Secrets are not the tenant's. It verifies the destination with its CA (`ca.crt`, or
    that of a Secret `<name>-cacert`), unless `caCertificates` says otherwise.
    """

    ca_certificates: CaCertificates | None = None
    """
    `System`: the system's roots verify the destination, also with mode `Mutual`. Default: the CA of `credentialName`;
    without `credentialName` the system's roots.
    """

    sni: ServerName | None = None
    """The name in the TLS handshake, which the class must allow as a host. Default: the host."""

    subject_alt_names: Annotated[tuple[SubjectAltName, ...], Field(max_length=8), SET] = ()
    """
    Names of which the destination's certificate must hold one: at most 8. Default: the host. The class must allow them
    as hosts, but for URIs.
    """

    insecure_skip_verify: Boolean | None = None
    """
    `true` accepts every certificate of the destination. Default: `false`. Not with `subjectAltNames`, which
    would not be checked.
    """

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["PortTls"](
            cel="self.mode != 'Mutual' || has(self.credentialName)",
            message="credentialName is required with mode Mutual: the Secret with the client certificate",
            holds=lambda tls: tls.mode is not TlsMode.MUTUAL or tls.credential_name is not None,
            field=".credentialName",
            reason="FieldValueRequired",
        ),
        Rule["PortTls"](
            cel=(
                "!has(self.insecureSkipVerify) || !self.insecureSkipVerify || !has(self.subjectAltNames) || "
                "size(self.subjectAltNames) == 0"
            ),
            message="subjectAltNames are not checked with insecureSkipVerify: remove one of the two",
            holds=lambda tls: not (tls.insecure_skip_verify and tls.subject_alt_names),
            field=".subjectAltNames",
            reason="FieldValueForbidden",
        ),
        Rule["PortTls"](
            cel="!has(self.caCertificates) || !has(self.insecureSkipVerify) || !self.insecureSkipVerify",
            message="caCertificates are not used with insecureSkipVerify: remove one of the two",
            holds=lambda tls: not (tls.ca_certificates and tls.insecure_skip_verify),
            field=".caCertificates",
            reason="FieldValueForbidden",
        ),
        Rule["PortTls"](
            cel="!has(self.caCertificates) || self.mode != 'Simple' || !has(self.credentialName)",
            message="with mode Simple credentialName is the CA, and so is caCertificates: remove one of the two",
            holds=lambda tls: not (tls.ca_certificates and tls.mode is TlsMode.SIMPLE and tls.credential_name),
            field=".credentialName",
            reason="FieldValueForbidden",
        ),
        # Istio refuses the pair (its validation of ClientTLSSettings).
        Rule["PortTls"](
            cel=(
                "!has(self.insecureSkipVerify) || !self.insecureSkipVerify || self.mode != 'Simple' || "
                "!has(self.credentialName)"
            ),
            message=(
                "credentialName names the CA with mode Simple, which is not used with insecureSkipVerify: remove "
                "one of the two"
            ),
            holds=lambda tls: not (tls.insecure_skip_verify and tls.mode is TlsMode.SIMPLE and tls.credential_name),
            field=".credentialName",
            reason="FieldValueForbidden",
        ),
    )
