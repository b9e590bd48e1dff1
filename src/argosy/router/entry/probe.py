"""Asking one machine whether it can take more: a router for its health page, anything else for a connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from argosy.router.entry.plan import Backend, Silent, Unhealthy
from argosy.router.hanging import Ask, End, answers
from argosy.router.naming import parse_address
from argosy.router.render import HEALTH, HEALTH_HOST
from argosy.sockdiag import end_connections

log = logging.getLogger(__name__)

TIMEOUT = 0.5

_QUESTION = f"GET {HEALTH} HTTP/1.1\r\nHost: {HEALTH_HOST}\r\nConnection: close\r\n\r\n".encode()


async def probe(backend: Backend) -> None:
    """Raises Silent or Unhealthy."""
    try:
        async with asyncio.timeout(TIMEOUT):
            if backend.check:
                await _ask(backend.check)
            if backend.address != backend.check:
                async with _connected(backend.address):
                    pass
    except TimeoutError as error:
        raise Silent(f"no answer within {TIMEOUT:g} s") from error
    except OSError as error:
        raise Unhealthy(error.strerror or str(error) or type(error).__name__) from error


async def _ask(address: str) -> None:
    async with _connected(address) as (reader, writer):
        writer.write(_QUESTION)
        try:
            version, _, rest = (await reader.readline()).partition(b" ")
        except ValueError:
            raise Unhealthy("it does not speak HTTP") from None
        if not version.startswith(b"HTTP/1."):
            raise Unhealthy("it does not speak HTTP" if version else "it hangs up without an answer")
        if not rest.startswith(b"200"):
            raise Unhealthy(f"its health page answers {rest[:3].decode(errors='replace')}")


@contextlib.asynccontextmanager
async def _connected(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    where = parse_address(address)
    reader, writer = await asyncio.open_connection(where.host, where.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def sever(address: str, *, ask: Ask = answers, end: End = end_connections) -> None:
    """Ends this host's connections to a machine that has fallen silent: nginx sees them fail and asks another for what may be repeated,
    where it would wait for ever. One that is merely busy keeps them: its kernel answers for it. A host that does not allow it loses
    nothing but time."""
    target = parse_address(address)
    if await ask(target.host, target.port):
        return
    try:
        await asyncio.to_thread(end, [(target.host, target.port)])
    except OSError as error:
        log.debug("connections to %s cannot be ended: %s", address, error)
