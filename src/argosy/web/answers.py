"""Answers: JSON in one piece, and streams: events, logs, files, of which each piece is sent as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TypeVar

import msgspec
from aiohttp import web

from argosy.errors import ArgosyError
from argosy.web.limits import LIMITS

T = TypeVar("T")

_encoder = msgspec.json.Encoder()

FIRST_SECONDS = 0.5
"""How long the head of a stream of lines is held back to see whether it fails at once."""

LINES = {"Content-Type": "application/x-ndjson", "X-Content-Type-Options": "nosniff"}


def answer(
    value: object, status: int = 200, *, headers: Mapping[str, str] | None = None, content_type: str = "application/json"
) -> web.Response:
    """JSON, UTF-8."""
    return web.Response(body=_encoder.encode(value), status=status, headers=headers, content_type=content_type)


async def stream_lines(request: web.Request, items: AsyncGenerator[T, None], broken: Callable[[ArgosyError], object]) -> web.StreamResponse:
    """Newline-delimited JSON: a line an item, and an empty one now and then (`Limits.beat`) so that both ends see that the other lives.
    What fails before the first line, within half a second, is an ordinary failure; later, `broken` makes the last line of it."""

    async def lines() -> AsyncGenerator[bytes, None]:
        async with aclosing(items):
            async for item in items:
                yield _line(item)

    return await stream(request, lines(), headers=LINES, hold=FIRST_SECONDS, beat=b"\n", broken=lambda error: _line(broken(error)))


def _line(item: object) -> bytes:
    return _encoder.encode(item) + b"\n"


async def stream(
    request: web.Request,
    pieces: AsyncGenerator[bytes, None],
    *,
    headers: Mapping[str, str],
    status: int = 200,
    size: int | None = None,
    hold: float | None = 0.0,
    beat: bytes = b"",
    broken: Callable[[ArgosyError], bytes] | None = None,
) -> web.StreamResponse:
    """Sends each piece as it comes, and closes the generator.

    `size` in bytes, if it is known. `hold`: the seconds that the head waits for the first piece (None: until it is there); what fails
    before the head is sent is raised, and so becomes an ordinary answer. `beat` is sent whenever nothing has come for `Limits.beat`.
    `broken` words what fails later; without it the guard cuts the connection, as it does with a client that takes nothing for
    `Limits.silence`.
    """
    limits = request.app[LIMITS]
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = size
    async with aclosing(pieces):
        coming = asyncio.ensure_future(anext(pieces, None))
        try:
            done, _ = await asyncio.wait({coming}, timeout=hold)
            if done:
                coming.result()
            await response.prepare(request)
            while True:
                done, _ = await asyncio.wait({coming}, timeout=limits.beat if beat else None)
                piece = _piece(coming, broken) if done else beat
                if piece is None:
                    break
                if piece:
                    async with asyncio.timeout(limits.silence):
                        await response.write(piece)
                if done:
                    coming = asyncio.ensure_future(anext(pieces, None))
            await response.write_eof()
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
    return response


def _piece(coming: asyncio.Future[bytes | None], broken: Callable[[ArgosyError], bytes] | None) -> bytes | None:
    """What has come: a piece, None at the end, or what words the failure, after which the generator is at its end."""
    try:
        return coming.result()
    except ArgosyError as error:
        if broken is None:
            raise
        return broken(error)
