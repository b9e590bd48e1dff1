"""Records to bytes and back: JSON, checked against their type on the way in."""

from __future__ import annotations

import logging
from typing import Any, TypeVar

import msgspec

from argosy.errors import InvalidInput
from argosy.store.base import Record

log = logging.getLogger(__name__)

T = TypeVar("T")

_encoder = msgspec.json.Encoder()


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def encode(record: Any) -> bytes:
    return _encoder.encode(record)


def decode(kind: type[T], value: bytes, key: str) -> T:
    """Raises InvalidInput, naming the key and what is wrong with its value."""
    decoder = _decoders.get(kind) or _decoders.setdefault(kind, msgspec.json.Decoder(kind))
    try:
        record: T = decoder.decode(value)
        return record
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"key {key} does not hold a valid {kind.__name__}: {error}", remedy="delete or correct the key") from error


def decoded(kind: type[T], record: Record) -> T | None:
    """Return the record's value, or None (and log why) if it is not valid: one broken record harms no other."""
    try:
        return decode(kind, record.value, record.key)
    except InvalidInput as error:
        log.error("%s", error)
        return None
