"""Serving the registry: what aiohttp must be told for large bodies and slow clients, and several processes on one port."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from argosy.errors import Unsuitable

READ_BUFFER = 1024 * 1024
"""Bytes of a body that may wait while a thread hashes and writes those before; twice as many at most."""

IDLE_SECONDS = 75.0
LINGER_SECONDS = 2.0
"""How long a client that was refused may go on sending before it is hung up on."""

CLOSING_SECONDS = 5.0
LONGEST_LINE = 32 * 1024
BACKLOG = 1024


def runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        read_bufsize=READ_BUFFER,
        shutdown_timeout=CLOSING_SECONDS,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
        lingering_time=LINGER_SECONDS,
        keepalive_timeout=IDLE_SECONDS,
    )


def listener(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """`shared`: other processes listen on the same port, and the kernel spreads connections over them. Raises Unsuitable."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Unsuitable(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(where)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise Unsuitable(f"cannot listen on {host}:{port}: {error.strerror}", remedy="is another registry running here?") from error
    return made


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, tls: ssl.SSLContext | None = None, *, shared: bool = False
) -> AsyncIterator[tuple[str, int]]:
    """Serves `app` for as long as the block lasts; yields the address and port. `shared`: other processes listen on the same port."""
    made = listener(host, port, shared=shared)
    served = runner(app)
    try:
        await served.setup()
        await web.SockSite(served, made, ssl_context=tls, backlog=BACKLOG).start()
        yield made.getsockname()[:2]
    finally:
        await served.cleanup()
        made.close()
