"""What repositories, tags, digests and uploads may be called. Everything that a client names passes through here before it becomes part
of a key, so that no name can reach beside its place in the store.

The expressions are those of the OCI distribution specification, the limits those that clients have (255 characters for a repository).
"""

from __future__ import annotations

import re

import msgspec

from argosy.images.faults import Code, Fault

LONGEST_REPOSITORY = 255
HEX_LENGTHS = {"sha256": 64, "sha512": 128}
"""The algorithms that are served, and how many digits their digests have."""

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_HEX = re.compile(r"[a-f0-9]+")
_UPLOAD = re.compile(r"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}")


class Digest(msgspec.Struct, frozen=True, order=True):
    """`algorithm` is a key of HEX_LENGTHS, `hex` as many lower-case digits as it says."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def repository(text: str) -> str:
    """`text`, if it is a repository's name. Raises Fault NAME_INVALID."""
    if len(text) > LONGEST_REPOSITORY or not _REPOSITORY.fullmatch(text):
        raise Fault(
            Code.NAME_INVALID,
            f"{text[:80]!r} is no name of a repository",
            remedy="lower-case letters and digits, separated by one of . _ __ - and slashes, at most 255 characters",
        )
    return text


def is_repository(text: str) -> bool:
    return len(text) <= LONGEST_REPOSITORY and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def tag(text: str) -> str:
    """`text`, if it is a tag. Raises Fault MANIFEST_INVALID (the specification has no code of its own for it)."""
    if not is_tag(text):
        raise Fault(Code.MANIFEST_INVALID, f"{text[:80]!r} is no tag", remedy="letters, digits and . _ - after the first, at most 128")
    return text


def digest(text: str) -> Digest:
    """Raises Fault DIGEST_INVALID for a text that is no digest, and for an algorithm that is not served."""
    algorithm, colon, digits = text.partition(":")
    length = HEX_LENGTHS.get(algorithm)
    if not colon or length is None or len(digits) != length or not _HEX.fullmatch(digits):
        raise Fault(
            Code.DIGEST_INVALID,
            f"{text[:160]!r} is no digest that is served here",
            remedy="sha256: and 64 or sha512: and 128 lower-case hexadecimal digits",
        )
    return Digest(algorithm, digits)


def algorithm(text: str) -> str:
    """Raises Fault DIGEST_INVALID for an algorithm that is not served."""
    if text not in HEX_LENGTHS:
        raise Fault(Code.DIGEST_INVALID, f"{text[:80]!r} is no algorithm that is served here", remedy=f"use {' or '.join(HEX_LENGTHS)}")
    return text


def upload(text: str) -> str:
    """`text`, if it can be the id of an upload. Raises Fault BLOB_UPLOAD_UNKNOWN."""
    if not _UPLOAD.fullmatch(text):
        raise Fault(Code.BLOB_UPLOAD_UNKNOWN, "there is no such upload", remedy="begin one with POST")
    return text
