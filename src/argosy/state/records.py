"""Records to bytes and back: JSON, checked against their type on the way in."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from argosy.errors import InvalidInput

T = TypeVar("T")

_encoder = msgspec.json.Encoder()


@lru_cache(maxsize=64)
def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(kind)


def encode(record: Any) -> bytes:
    return _encoder.encode(record)


def decode(kind: type[T], value: bytes, key: str) -> T:
    """Raises InvalidInput, naming the key and what is wrong with its value."""
    try:
        return _decoder(kind).decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"key {key} does not hold a valid {kind.__name__}: {error}", remedy="delete or correct the key"
        ) from error
