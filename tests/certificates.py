"""Certificates made on the spot: a CA, and leaves it has signed."""

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = dt.timedelta(days=1)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
_BOTH_SIDES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


@dataclass(frozen=True)
class Identity:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, passphrase: bytes | None = None) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption(),
        )

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """`<name>.pem` and `<name>.key`."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate_pem)
        key.write_bytes(self.key_pem())
        return certificate, key


def make_ca(name: str = "test CA", issuer: Identity | None = None) -> Identity:
    """A root, or with `issuer` an intermediate CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(name, _name_of(issuer) if issuer else name, key, issuer.key if issuer else key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
    )
    return Identity(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def make_leaf(
    ca: Identity, name: str = "localhost", host: str = "localhost", ends: dt.timedelta = _DAY
) -> Identity:
    """For a host, localhost being 127.0.0.1 too, as server and as client; it `ends` so long after now."""
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    if host == "localhost":
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    builder = (
        _builder(name, _name_of(ca), key, ca.key, ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(_BOTH_SIDES), critical=False)
    )
    return Identity(builder.sign(ca.key, hashes.SHA256()), key)


def make_self_signed(name: str = "localhost") -> Identity:
    """A server's certificate that nobody else has signed, as `openssl req -x509` makes one for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = _builder(name, name, key, key).add_extension(names, critical=False)
    return Identity(builder.sign(key, hashes.SHA256()), key)


def _name_of(identity: Identity) -> str:
    return str(identity.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def server_context(identity: Identity, folder: Path) -> ssl.SSLContext:
    """What a server with this certificate listens with."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*identity.write(folder, "server"))
    return context


def _builder(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    ends: dt.timedelta = _DAY,
) -> x509.CertificateBuilder:
    """With the key identifiers that Python demands from 3.13 on."""
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
