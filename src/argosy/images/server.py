"""Serving the registry: what aiohttp must be told for large bodies and slow clients, and several processes on one port."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from argosy.web.connections import BACKLOG, Runner
from argosy.web.listeners import tcp_listener

READ_BUFFER = 1024 * 1024
"""Bytes of a body that may wait while a thread hashes and writes those before; twice as many at most."""

CLOSING_SECONDS = 5.0
LONGEST_LINE = 32 * 1024


def runner(app: web.Application) -> Runner:
    return Runner(
        app,
        auto_decompress=False,
        read_bufsize=READ_BUFFER,
        shutdown_timeout=CLOSING_SECONDS,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, tls: ssl.SSLContext | None = None, *, shared: bool = False
) -> AsyncIterator[tuple[str, int]]:
    """Serves `app` for as long as the block lasts; yields the address and port. `shared`: other processes listen on the same port."""
    made = tcp_listener(host, port, shared=shared)
    served = runner(app)
    try:
        await served.setup()
        await web.SockSite(served, made, ssl_context=tls, backlog=BACKLOG).start()
        yield made.getsockname()[:2]
    finally:
        await served.cleanup()
        made.close()
