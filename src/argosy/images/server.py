"""Serving the registry: what aiohttp must be told for large bodies and slow clients, and several processes on one port."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, tls: ssl.SSLContext | None = None, *, shared: bool = False
) -> AsyncIterator[tuple[str, int]]:
    """Serves `app` for as long as the block lasts; yields where. `shared`: other processes listen on the same port (SO_REUSEPORT)."""
    raise NotImplementedError
    yield
