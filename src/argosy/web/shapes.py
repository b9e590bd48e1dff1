"""What many APIs send in the same form. Without aiohttp, so that clients may import it."""

from __future__ import annotations

import msgspec


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong: the HTTP status again, which input broke which rule, and what to do next."""

    code: int
    message: str
    remedy: str = ""


class Failure(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: Fault
