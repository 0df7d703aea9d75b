"""
Certificates of workloads, made by hand: what somebody could connect with who steals a key, or makes one up.

Those of the mesh's own authority prove who may; those of another authority prove that not everybody may.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from harness.mesh.istio import NAMESPACE
from harness.pki import Authority

if TYPE_CHECKING:
    from harness.mesh.mesh import Mesh

SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/istio-ca-secret"
"""Where istiod keeps its authority."""

FORMS = ("mesh", "foreign-domain", "rogue")


def identity(mesh: Mesh, text: str) -> Path:
    """
    A PEM file with certificate and key for `FORM namespace/account`, for curl's `--cert`.

    Forms are `mesh`: as istiod would issue it; `foreign-domain`: by the same authority for another trust domain;
    `rogue`: of an authority that nobody knows, for the mesh's trust domain.

    Raises:
        LookupError: another form.
    """
    form, _, account = text.partition(" ")
    if form not in FORMS:
        raise LookupError(f"an identity is {', '.join(FORMS)}, not {form!r}")
    domain = "foreign.example" if form == "foreign-domain" else "cluster.local"
    namespace, _, name = account.partition("/")
    certificate, key = _rogue_authority(mesh) if form == "rogue" else _mesh_authority(mesh)
    path = mesh.directory / "identities" / f"{form}-{namespace}-{name}.pem"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(_issue(f"spiffe://{domain}/ns/{namespace}/sa/{name}", certificate, key))
    return path


def _mesh_authority(mesh: Mesh) -> tuple[bytes, bytes]:
    data = mesh.cluster.rest.get(SECRET)["data"]
    return base64.b64decode(data["ca-cert.pem"]), base64.b64decode(data["ca-key.pem"])


def _rogue_authority(mesh: Mesh) -> tuple[bytes, bytes]:
    authority = Authority(mesh.directory / "rogue")
    if not authority.certificate_file.exists():
        authority.certificate_file.parent.mkdir(exist_ok=True)
        authority.create("rogue")
    return authority.certificate_file.read_bytes(), authority.certificate_file.with_name("ca.key").read_bytes()


def _issue(name: str, authority: bytes, authority_key: bytes) -> bytes:
    issuer = x509.load_pem_x509_certificate(authority)
    signer = serialization.load_pem_private_key(authority_key, password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=issuer.subject,
        subject_name=x509.Name([]),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(minutes=5),
        not_valid_after=now + timedelta(days=1),
    ).add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)]), critical=True)
    chain = (builder.sign(signer, hashes.SHA256()), issuer)
    form = serialization.Encoding.PEM
    private = key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return b"".join(each.public_bytes(form) for each in chain) + private
