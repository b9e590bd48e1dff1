"""A connection that an engine turns from HTTP into a plain two-way stream, as it does to run a program in a container (`Upgrade: tcp`).

HTTP clients have no half-closed connections, and a program that reads its input to the end waits for one; so this is done by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncGenerator

from argosy.docker.base import Json
from argosy.docker.wire import CONNECT, MAX_MESSAGE, Endpoint, refused
from argosy.errors import DockerUnavailable

MAX_HEAD = 64 << 10


ANSWER = 60.0
"""Seconds until an engine agrees or refuses."""


@contextlib.asynccontextmanager
async def hijacked(
    where: Endpoint, tls: ssl.SSLContext | None, what: str, path: str, body: Json
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter], None]:
    """The stream, after the engine agreed to POST `path`; it ends with the context. Raises as `Wire.open` does."""
    try:
        async with asyncio.timeout(CONNECT):
            reader, writer = await _connect(where, tls)
    except (OSError, TimeoutError) as error:
        raise DockerUnavailable(f"cannot {what}: the Docker Engine is away ({error})") from error
    try:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        async with asyncio.timeout(ANSWER):
            status = await _status(reader)
        if status not in (101, 200):
            said = await reader.read(MAX_MESSAGE)
            start = said.find(b"{")
            try:
                message = str(json.loads(said[start : said.rfind(b"}") + 1])["message"])
            except (ValueError, KeyError, TypeError):
                message = said.decode(errors="replace").strip()
            raise refused(what, status, message)
        yield reader, writer
    except (OSError, EOFError, asyncio.LimitOverrunError) as error:
        raise DockerUnavailable(f"cannot {what}: the Docker Engine broke the connection ({error})") from error
    finally:
        writer.transport.abort()


async def _connect(where: Endpoint, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if where.socket:
        return await asyncio.open_unix_connection(where.socket, limit=MAX_HEAD)
    context = (tls or ssl.create_default_context()) if where.secure else None
    return await asyncio.open_connection(where.host.strip("[]"), where.port, ssl=context, limit=MAX_HEAD)


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise EOFError(f"no HTTP: {head[:40]!r}")
    return int(words[1])
