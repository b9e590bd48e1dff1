"""Bearer tokens of the Docker token protocol: JSON web tokens signed with Ed25519, issued here and believed here.

Claims: `iss` and `aud` are the service, `sub` the user ("" for anonymous), `iat`, `nbf`, `exp` Unix seconds, `jti` random, and `access` a
list of {"type", "name", "actions"} as https://distribution.github.io/distribution/spec/auth/jwt/ has it. A token can do what its `access`
says until it ends, whatever becomes of the user's rules meanwhile: that is why it is short-lived.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from argosy.errors import InvalidInput, Refused
from argosy.images.access import Need

SHORT_SECONDS = 300
LEEWAY_SECONDS = 30
"""How far the clocks of registries that share a key may be apart."""

LONGEST_TOKEN = 16 * 1024


class BadToken(Refused):
    """401: not signed by this key, or ended, or meant for another service."""

    status = 401


class Access(msgspec.Struct, frozen=True):
    type: str
    name: str
    actions: tuple[str, ...]


class Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str
    exp: float
    nbf: float
    iat: float
    jti: str
    access: tuple[Access, ...] = ()

    def allows(self, need: Need) -> bool:
        return any(
            one.type == need.kind and one.name == need.name and (need.action in one.actions or "*" in one.actions) for one in self.access
        )


class _Header(msgspec.Struct, frozen=True):
    alg: str
    typ: str = "JWT"


_HEADER = msgspec.json.encode(_Header("EdDSA"))
_claims = msgspec.json.Decoder(Claims)
_header = msgspec.json.Decoder(_Header)


class Tokens:
    """Issues and verifies tokens of `service`. Registries that share a key believe each other's."""

    def __init__(self, key: Ed25519PrivateKey, service: str) -> None:
        self._key = key
        self._public = key.public_key()
        self.service = service

    def issue(self, user: str, granted: Iterable[Need], now: float, seconds: float = SHORT_SECONDS) -> str:
        names: dict[tuple[str, str], list[str]] = {}
        for need in granted:
            names.setdefault((need.kind, need.name), []).append(need.action if need.kind == "repository" else "*")
        access = tuple(Access(kind, name, tuple(actions)) for (kind, name), actions in names.items())
        claims = Claims(self.service, user, self.service, now + seconds, now - LEEWAY_SECONDS, now, secrets.token_hex(16), access)
        signed = _encoded(_HEADER) + b"." + _encoded(msgspec.json.encode(claims))
        return (signed + b"." + _encoded(self._key.sign(signed))).decode()

    def verify(self, token: str, now: float) -> Claims:
        """Raises BadToken."""
        if len(token) > LONGEST_TOKEN:
            raise BadToken("the token is too long")
        signed, _, signature = token.rpartition(".")
        try:
            self._public.verify(_decoded(signature), signed.encode("ascii"))
            header, _, body = signed.partition(".")
            if _header.decode(_decoded(header)).alg != "EdDSA":
                raise BadToken("the token is not signed with EdDSA")
            claims = _claims.decode(_decoded(body))
        except (InvalidSignature, binascii.Error, msgspec.DecodeError, UnicodeError) as error:
            raise BadToken("the token is not one of this registry") from error
        if claims.aud != self.service or claims.iss != self.service:
            raise BadToken(f"the token is for {claims.aud}, not for {self.service}")
        if now > claims.exp or now < claims.nbf:
            raise BadToken("the token has ended")
        return claims


def load_key(path: Path) -> Ed25519PrivateKey:
    """The PEM key of a file. Raises InvalidInput."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise InvalidInput(f"cannot read the key {path}: {error.strerror}", remedy=REMEDY.format(path)) from error
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{path} is no private key in PEM without a password", remedy=REMEDY.format(path)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput(f"the key in {path} is not an Ed25519 key", remedy=REMEDY.format(path))
    return key


REMEDY = "make one: openssl genpkey -algorithm ed25519 -out {}"


def make_key() -> Ed25519PrivateKey:
    """One for the life of this process."""
    return Ed25519PrivateKey.generate()


def _encoded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
