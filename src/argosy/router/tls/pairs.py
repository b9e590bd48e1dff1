"""A certificate and its key, as an operator puts them into a folder: found, read, checked. Blocks.

    NAME.crt + NAME.key    the certificate, after it those that lead to its authority, and the key
    NAME.pem + NAME.key    the same
    NAME.pem               all of it in one file

What nginx is given is written anew from what was understood, so that nothing else in the files reaches it.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from argosy.errors import InvalidInput
from argosy.router.naming import printable
from argosy.router.tls.plan import check_name

LARGEST_FILE = 1_000_000
MOST_PAIRS = 500
MOST_NAMES = 1_000
SUFFIXES = (".crt", ".pem", ".key")

_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER
_SUBJECT_KEY = serialization.PublicFormat.SubjectPublicKeyInfo


class Source(msgspec.Struct, frozen=True):
    """Where a pair is said to be. `key` is `cert` for a bundle, None where it is missing."""

    name: str
    cert: Path
    key: Path | None


class Pair(msgspec.Struct, frozen=True):
    """A certificate that goes with its key, both PEM. `names` are what it may be served for, `begin` and `until` Unix times."""

    chain: bytes
    key: bytes
    names: tuple[str, ...]
    begin: float
    until: float

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.chain + self.key).hexdigest()[:32]


def sources(folder: Path) -> Iterator[Source]:
    """What the folder holds, by name. Raises OSError when it cannot be listed."""
    files = {path.name for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith(".")}
    for file in sorted(files):
        name, _, suffix = file.rpartition(".")
        if suffix == "key" or (suffix == "pem" and f"{name}.crt" in files):
            continue
        if f"{name}.key" in files:
            yield Source(name, folder / file, folder / f"{name}.key")
        else:
            yield Source(name, folder / file, folder / file if suffix == "pem" else None)


def read(source: Source) -> Pair:
    """The pair there. Raises InvalidInput that says what is wrong with it; whether it is valid now is not asked."""
    if not source.name.isprintable():
        raise InvalidInput("is not named in plain text: rename it")
    if source.key is None:
        raise InvalidInput(f"{source.name}.key is missing")
    return understood(_content(source.cert), _content(source.key), source.cert.name, source.key.name)


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise InvalidInput(f"{path.name} is no file")  # reading a pipe would wait for ever
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidInput(f"{path.name} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise InvalidInput(f"{path.name} is larger than any certificate")
    return content


def understood(chain: bytes, key: bytes, chain_name: str, key_name: str) -> Pair:
    """The pair in these two texts. Raises InvalidInput."""
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except (ValueError, x509.InvalidVersion) as error:
        raise InvalidInput(f"{chain_name} holds no certificate in PEM that can be read") from error
    private = _private_key(key, key_name)
    mine = private.public_key().public_bytes(_DER, _SUBJECT_KEY)
    matching = [_key_of(certificate) == mine for certificate in certificates]
    if not matching[0]:
        wrong = "its own certificate must come first, before those of authorities" if any(matching) else f"{key_name} is another's key"
        raise InvalidInput(f"{chain_name} and {key_name} do not belong together: {wrong}")
    leaf = certificates[0]
    return Pair(
        b"".join(certificate.public_bytes(_PEM) for certificate in certificates),
        private.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        _names(leaf, chain_name),
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
    )


def _private_key(key: bytes, key_name: str) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(key, password=None)
    except TypeError as error:
        raise InvalidInput(f"the key in {key_name} has a passphrase, and there is nobody to ask", remedy="store it without one") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{key_name} holds no private key in PEM that can be read") from error


def _key_of(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.public_key().public_bytes(_DER, _SUBJECT_KEY)
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _names(leaf: x509.Certificate, chain_name: str) -> tuple[str, ...]:
    try:
        said = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        said = []
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise InvalidInput(f"{chain_name} has extensions that cannot be read: {printable(str(error), 200)}") from error
    names = tuple(dict.fromkeys(name.lower() for name in said if not check_name(name.lower())))
    if not names:
        others = f" but {printable(', '.join(said))}" if said else ""
        raise InvalidInput(f"{chain_name} names no host that could be served{others}", remedy="host names stand in subjectAltName")
    return names[:MOST_NAMES]


def day(when: float) -> str:
    """The UTC date of a Unix time."""
    return datetime.datetime.fromtimestamp(when, datetime.UTC).strftime("%Y-%m-%d")


def check_time(pair: Pair, now: float) -> str:
    """Why a pair may not be served now; "" when it may."""
    if now < pair.begin:
        return f"it is not valid before {day(pair.begin)}"
    return f"it expired on {day(pair.until)}" if now >= pair.until else ""
