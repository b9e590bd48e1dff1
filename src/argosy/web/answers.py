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


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON, UTF-8."""
    return web.Response(body=_encoder.encode(value), status=status, headers=headers, content_type="application/json")


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
    `broken` words what fails later; without it the connection is cut, so that nobody takes a part for the whole. A client that takes
    nothing for `Limits.silence` is cut off too.
    """
    limits = request.app[LIMITS]
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = size
    async with aclosing(pieces):
        coming = _Coming(pieces)
        try:
            await coming.wait(hold)
            await response.prepare(request)
            try:
                while True:
                    arrived = await coming.wait(limits.beat if beat else None, broken)
                    piece = coming.take() if arrived else beat
                    if piece is None:
                        break
                    if piece:
                        async with asyncio.timeout(limits.silence):
                            await response.write(piece)
                await response.write_eof()
            except (OSError, TimeoutError, ArgosyError) as error:
                raise cut_off(request) from error
        finally:
            await coming.close()
    return response


def cut_off(request: web.Request) -> ConnectionResetError:
    """Hang up in the middle of an answer; returns what is to be raised."""
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("the answer could not be sent whole")


class _Coming:
    """The next piece of a generator, waited for with a limit and without losing it."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces
        self._task: asyncio.Task[bytes | None] | None = None
        self._here = False
        self._piece: bytes | None = None

    async def wait(self, seconds: float | None, broken: Callable[[ArgosyError], bytes] | None = None) -> bool:
        """True if the piece, or the end, is there within so many seconds (None: however long it takes). Raises what the generator raises;
        an ArgosyError is worded by `broken`, if given, and is then the last piece."""
        if self._here:
            return True
        try:
            if seconds is None and self._task is None:
                self._piece = await anext(self._pieces, None)
            else:
                self._task = self._task or asyncio.create_task(self._next())
                await asyncio.wait({self._task}, timeout=seconds)
                if not self._task.done():
                    return False
                done, self._task = self._task, None
                self._piece = done.result()
        except ArgosyError as error:
            if broken is None:
                raise
            self._piece = broken(error)
        self._here = True
        return True

    async def _next(self) -> bytes | None:
        return await anext(self._pieces, None)

    def take(self) -> bytes | None:
        """The piece that is there; None at the end."""
        self._here = False
        return self._piece

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
