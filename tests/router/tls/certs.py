"""Certificates of every kind for tests: good ones and what operators do wrong."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

DAY = 86_400.0
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Made(msgspec.Struct, frozen=True):
    """PEM texts."""

    cert: bytes
    key: bytes


def make(
    names: Sequence[str],
    now: float,
    *,
    begin: float = -DAY,
    end: float = 90 * DAY,
    bits: int = 0,
    key: Key | None = None,
    extra: Sequence[x509.ExtensionType] = (),
) -> Made:
    """A certificate that signs itself; `begin` and `end` are seconds from `now`. `bits`: of an RSA key. `extra`: further extensions."""
    key = key or (rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1()))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.fromtimestamp(now + begin, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(now + end, datetime.UTC))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    for extension in extra:
        builder = builder.add_extension(extension, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return Made(certificate.public_bytes(serialization.Encoding.PEM), key_of(key))


def key_of(key: Key, passphrase: bytes = b"") -> bytes:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def put(folder: Path, name: str, cert: bytes | None = None, key: bytes | None = None) -> None:
    """Writes NAME.crt and NAME.key as a careful operator does: by rename. None leaves a file as it is."""
    folder.mkdir(exist_ok=True)
    for suffix, content in (("crt", cert), ("key", key)):
        if content is not None:
            part = folder / f".{name}.{suffix}"
            part.write_bytes(content)
            os.replace(part, folder / f"{name}.{suffix}")
