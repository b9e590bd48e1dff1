"""How long and how large: what a listener takes of its clients."""

from __future__ import annotations

import msgspec
from aiohttp import web


class Limits(msgspec.Struct, frozen=True):
    """Seconds: `body` is how long a client may take to send a whole body; `silence`, how long it may send nothing in the middle of one that
    is taken in as it comes, or take nothing of an answer; `beat`, between two signs of life in a stream that has nothing to say; `closing`,
    how long answers that are being written may go on when the server closes (those that wait are ended then).

    Bytes: `line` and `field` are the longest request line and header; `buffer`, what of a body may wait to be read, twice as many at most.
    """

    body: float = 30.0
    silence: float = 60.0
    beat: float = 10.0
    closing: float = 0.25
    line: int = 256 * 1024
    field: int = 8190
    buffer: int = 64 * 1024


PATIENT = Limits()
LIMITS = web.AppKey("limits", Limits)
