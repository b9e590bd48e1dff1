"""The cluster's authority: it signs one certificate for each machine, good for serving and for asking.

Elliptic-curve keys (P-256), PEM everywhere. A machine's certificate carries its id as the common name and the DNS names
`<id>.argosy` and `etcd.argosy`: whoever connects verifies the name that it means, not an address that may change.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Sequence

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from argosy.errors import InvalidInput
from argosy.trust.names import machine_name as machine_name

ETCD_NAME = "etcd.argosy"
"""The DNS name that every etcd member's certificate carries."""

AUTHORITY_DAYS = 3650
MACHINE_DAYS = 825
WEB_DAYS = 397
"""As long as browsers accept a certificate for."""

INNER = ".argosy"
"""Below it are the names by which machines know each other: no web certificate may carry one."""

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_WEB_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.ASCII)


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    cert: bytes
    key: bytes


def create_authority(cluster: str, now: float, days: int = AUTHORITY_DAYS) -> Pair:
    """A new authority for a cluster of that name. `now` is Unix time; it is valid from an hour before it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Argosy"), x509.NameAttribute(NameOID.COMMON_NAME, cluster[:64])])
    builder = (
        _certificate(name, name, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: Pair, machine_id: str, now: float, *, names: Sequence[str] = (), addresses: Sequence[str] = (), days: int = MACHINE_DAYS
) -> Pair:
    """A certificate for one machine (or one client), signed by the authority. `names` and `addresses` are further names it may be
    reached by. Raises InvalidInput for a machine id or a name that is none, and for an authority that cannot be read."""
    for name in (machine_id, *names):
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", name):
            raise InvalidInput(f"{name!r} cannot stand in a certificate", remedy="use letters, digits, dots and hyphens")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Argosy"), x509.NameAttribute(NameOID.COMMON_NAME, machine_id)])
    others: list[x509.GeneralName] = [x509.DNSName(name) for name in dict.fromkeys((machine_name(machine_id), ETCD_NAME, *names))]
    others += [x509.IPAddress(_address(address)) for address in dict.fromkeys(("127.0.0.1", *addresses))]
    return _issued(subject, others, [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], authority, key, now, days)


def issue_web(authority: Pair, names: Sequence[str], now: float, *, days: int = WEB_DAYS) -> Pair:
    """A certificate for web traffic: for host names, wildcards such as *.example.org, and IP addresses. It serves and cannot ask: no door
    between machines lets it in. Raises InvalidInput for a name that it may not carry."""
    others: list[x509.GeneralName] = []
    for name in dict.fromkeys(name.lower() for name in names):
        try:
            others.append(x509.IPAddress(ipaddress.ip_address(name)))
            continue
        except ValueError:
            pass
        if len(name) > 253 or not _WEB_NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is no host name", remedy="write www.example.org, *.example.org or an IP address")
        if f".{name}".endswith(INNER):
            raise InvalidInput(f"{name!r} is a name of machines among themselves", remedy=f"names below {INNER} are not for the web")
        others.append(x509.DNSName(name))
    if not others:
        raise InvalidInput("a web certificate is for at least one name", remedy="write www.example.org or *.example.org")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0].lower()[:64])])
    return _issued(subject, others, [ExtendedKeyUsageOID.SERVER_AUTH], authority, ec.generate_private_key(ec.SECP256R1()), now, days)


def _issued(
    subject: x509.Name,
    names: Sequence[x509.GeneralName],
    uses: Sequence[x509.ObjectIdentifier],
    authority: Pair,
    key: ec.EllipticCurvePrivateKey,
    now: float,
    days: int,
) -> Pair:
    try:
        ca = x509.load_pem_x509_certificate(authority.cert)
        ca_key = serialization.load_pem_private_key(authority.key, password=None)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"the authority's certificate or key cannot be read: {error}") from error
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise InvalidInput("the authority's key is not an elliptic-curve key", remedy="make one with argosy ca init")
    builder = (
        _certificate(subject, ca.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(uses)), critical=False)
        .add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    return _pair(builder.sign(ca_key, hashes.SHA256()), key)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not an IP address") from error


def _certificate(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: float, days: int
) -> x509.CertificateBuilder:
    start = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - datetime.timedelta(hours=1))
        .not_valid_after(start + datetime.timedelta(days=days))
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        cert=certificate.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
