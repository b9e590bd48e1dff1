"""fleet's API v1 in JSON: its entities, page tokens and rules of names. Pure.

All fields are left out when they are empty, as fleet's are: an empty page is `{}`. Facts from fleet 1.0.0; see docs/api.md.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from argosy.unit.names import TEMPLATE_TYPES, UNIT_TYPES

T = TypeVar("T")

PAGE = 100
"""Entities on one page (fleetd's default token_limit)."""

LONGEST_NAME = 255
"""fleet says 256, with which no unit file can be written."""
NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")


class UnitOption(msgspec.Struct, frozen=True, omit_defaults=True):
    section: str = ""
    name: str = ""
    value: str = ""


class Unit(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: str = ""
    options: list[UnitOption] = []
    desired_state: str = ""
    current_state: str = ""
    machine_id: str = msgspec.field(default="", name="machineID")


class UnitPage(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    units: list[Unit] = []
    next_page_token: str = ""


class UnitState(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: str = ""
    hash: str = ""
    machine_id: str = msgspec.field(default="", name="machineID")
    systemd_load_state: str = ""
    systemd_active_state: str = ""
    systemd_sub_state: str = ""


class UnitStatePage(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    states: list[UnitState] = []
    next_page_token: str = ""


class Machine(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str = ""
    primary_ip: str = msgspec.field(default="", name="primaryIP")
    metadata: dict[str, str] = {}


class MachinePage(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    machines: list[Machine] = []
    next_page_token: str = ""


class MetadataValue(msgspec.Struct, frozen=True):
    value: str = ""


class MetadataOperation(msgspec.Struct, frozen=True):
    """One step of PATCH /machines."""

    op: str = ""
    path: str = ""
    value: MetadataValue = MetadataValue()


def page(entities: Sequence[T], tokens: Sequence[str]) -> tuple[list[T], str]:
    """One page and the token of the next ("" for none), for the nextPageToken parameters that were sent. A full page always has a next one,
    even if that is empty. Raises ValueError in fleet's words."""
    if len(tokens) > 1:
        raise ValueError("too many values for page token")
    number = _page_number(tokens[0]) if tokens else 1
    start, stop = (number - 1) * PAGE, number * PAGE
    if start >= len(entities):
        return [], ""
    return list(entities[start:stop]), token(number + 1) if stop <= len(entities) else ""


def token(number: int) -> str:
    """Two little-endian 16-bit numbers, the limit and the page, in URL-safe base64."""
    return base64.urlsafe_b64encode(struct.pack("<HH", PAGE, number & 0xFFFF)).decode()


def _page_number(text: str) -> int:
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("illegal base64 data in the page token") from None
    if len(raw) < 4:
        raise ValueError("unexpected EOF")
    limit, number = struct.unpack_from("<HH", raw)
    if limit != PAGE:
        raise ValueError(f"token limit must be {PAGE}")
    if number == 0:
        raise ValueError("token page must be greater than zero")
    return int(number)


def name_fault(name: str) -> str:
    """The rule that a unit name breaks, in fleet's words, or ""."""
    stem, dot, kind = name.rpartition(".")
    if not name:
        return "unit name cannot be empty"
    if len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        return f"unit name exceeds maximum length ({LONGEST_NAME})"
    if not dot:
        return 'unit name must contain "."'
    if not kind:
        return 'unit name cannot end in "."'
    if kind not in UNIT_TYPES:
        return f"invalid unit type: {quoted(kind)}"
    if "@" in name and kind not in TEMPLATE_TYPES:
        return f"invalid unit type for template: {quoted(kind)}"
    strange = next((character for character in stem if character not in NAME_CHARACTERS), "")
    if strange:
        return f"invalid character {_rune(strange)} in unit name"
    return 'unit name cannot start in "@"' if name.startswith("@") else ""


def quoted(text: str) -> str:
    """As Go's %q writes a string that holds nothing strange."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _rune(character: str) -> str:
    return "'\\''" if character == "'" else f"'{character}'"
