"""What an engine streams: JSON objects a line each (events, progress), and a container's two outputs in frames."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Literal, Protocol

from argosy.docker.base import Json, Output
from argosy.errors import DockerUnavailable

MAX_LINE = 16 << 20
FRAME_HEADER = 8
STREAMS: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stdout", "stderr")


class Pieces(Protocol):
    """Bytes as they come; b"" at the end. aiohttp's and asyncio's readers are such."""

    async def read(self, n: int = -1, /) -> bytes: ...


class Lines:
    """JSON objects, one a line. A wait that is cancelled (timed out) loses nothing: ask again."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._buffer = bytearray()
        self._scanned = 0

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> Json:
        while True:
            end = self._buffer.find(b"\n", self._scanned)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._scanned = 0
                if line.strip():
                    return _object(line)
                continue
            self._scanned = len(self._buffer)
            if self._scanned > MAX_LINE:
                raise DockerUnavailable(f"the Docker Engine sent a line of more than {MAX_LINE} bytes")
            piece = await self._pieces.read(65536)
            if not piece:
                rest, self._buffer = bytes(self._buffer), bytearray()
                self._scanned = 0
                if rest.strip():
                    return _object(rest)
                raise StopAsyncIteration
            self._buffer += piece


def _object(line: bytes) -> Json:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DockerUnavailable(f"the Docker Engine sent no JSON object where one belongs: {line[:80]!r}")
    return found


async def frames(pieces: Pieces, *, terminal: bool) -> AsyncGenerator[Output, None]:
    """A container's output. Without a terminal, each frame has a header: stream, three zeros, four bytes of length."""
    if terminal:
        while piece := await pieces.read(65536):
            yield Output("stdout", piece)
        return
    buffer = bytearray()
    left, stream = 0, 1
    while piece := await pieces.read(65536):
        buffer += piece
        while buffer:
            if not left:
                if len(buffer) < FRAME_HEADER:
                    break
                stream, left = buffer[0], int.from_bytes(buffer[4:FRAME_HEADER], "big")
                if stream > 2:
                    raise DockerUnavailable(f"the Docker Engine sent a frame of an unknown stream {stream}")
                del buffer[:FRAME_HEADER]
                continue
            data = bytes(buffer[:left])
            del buffer[: len(data)]
            left -= len(data)
            yield Output(STREAMS[stream], data)
