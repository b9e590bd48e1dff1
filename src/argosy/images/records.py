"""What is kept in the store beside data and manifests: JSON, so that any tool shows it plainly."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from argosy.errors import StoreUnavailable


class Part(msgspec.Struct, frozen=True):
    """`key` names the object that holds the bytes, all `size` of them."""

    key: str
    size: int


class BlobRecord(msgspec.Struct, frozen=True):
    """A blob is its parts, one after the other. `size` is their sum."""

    size: int
    parts: tuple[Part, ...]


class UploadStep(msgspec.Struct, frozen=True):
    """What an upload holds so far. Step 0 is its beginning. `algorithm` is the one that the client announced. `ended`: the digest that its
    bytes were verified to have, or `cancelled`; this is then its last step."""

    repository: str
    algorithm: str
    parts: tuple[Part, ...] = ()
    ended: str = ""

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


T = TypeVar("T", BlobRecord, UploadStep)


def encoded(record: BlobRecord | UploadStep) -> bytes:
    return msgspec.json.encode(record)


def decoded(content: bytes, kind: type[T], key: str) -> T:
    """Raises StoreUnavailable for what no registry has written."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreUnavailable(f"{key} in the image store is damaged: {error}", remedy="restore it, or delete it and push again") from error
