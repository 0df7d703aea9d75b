"""Keys and certificates of one control plane: an authority, the API server's certificate, clients' certificates."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

LIFETIME = timedelta(days=30)
_SIGNS: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """The certificate authority kept in a directory as ca.crt and ca.key."""

    def __init__(self, directory: Path) -> None:
        self.certificate_file = directory / "ca.crt"
        self._key_file = directory / "ca.key"

    def create(self, common_name: str = "test-authority") -> None:
        """Make the authority's own key and certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name, ())
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = _builder(name, name, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        # RFC 5280 asks an authority for both, and Python 3.13 verifies it by default (VERIFY_X509_STRICT).
        builder = builder.add_extension(_SIGNS, critical=True).add_extension(identifier, critical=False)
        _write(self._key_file, _private(key))
        _write(self.certificate_file, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        common_name: str,
        organizations: Sequence[str] = (),
        alternatives: Sequence[str] = (),
        lifetime: timedelta = LIFETIME,
        *,
        key_identifiers: bool = True,
    ) -> Pair:
        """
        A certificate for a server (`alternatives`: its DNS names and IPs) or for a client.

        It is valid since an hour ago: a negative `lifetime`, down to that, makes one that has expired. Without
        `key_identifiers` it is one of those that RFC 5280 does not allow and that many clusters have nevertheless.

        For the API server a client's common name is the user and its organizations are the groups
        (kubernetes.io, "Authenticating", X.509 client certificates).
        """
        issuer = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        issuer_key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(common_name, organizations), issuer.subject, key.public_key(), lifetime)
        if key_identifiers:
            builder = builder.add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        if alternatives:
            names = x509.SubjectAlternativeName([_alternative(name) for name in alternatives])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(issuer_key, hashes.SHA256())
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), _private(key))


def write_pair(pair: Pair, directory: Path, name: str) -> None:
    """Write NAME.crt and NAME.key."""
    _write(directory / f"{name}.crt", pair.certificate)
    _write(directory / f"{name}.key", pair.key)


def write_token_keys(directory: Path) -> None:
    """Write sa.key and sa.pub, with which service account tokens are signed and checked."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write(directory / "sa.key", _private(key))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(directory / "sa.pub", public)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, lifetime: timedelta = LIFETIME
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=public_key,
        serial_number=x509.random_serial_number(),
        # An hour back, for clocks that disagree.
        not_valid_before=now - timedelta(hours=1),
        not_valid_after=now + lifetime,
    )


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    return x509.Name(parts + [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
