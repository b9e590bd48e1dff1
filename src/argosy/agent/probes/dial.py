"""Connections that the kernel watches: mutual TLS to another machine's listener, kept open without a byte of ours."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable

from argosy.agent.probes.loop import Link, Unanswered
from argosy.errors import InvalidInput
from argosy.model import ProbeTarget
from argosy.trust.names import machine_name
from argosy.web.addresses import split_address

CONNECT = 0.25
"""Seconds to wait for an answer to a connection attempt."""

HANDSHAKE = 10.0
"""Seconds for the TLS handshake: a busy machine may need them, and its kernel answers meanwhile."""

KEEPALIVE = 1
"""Seconds between the kernel's keep-alives, its smallest number."""

USER_TIMEOUT = 900
"""Milliseconds without an answer after which the kernel ends the connection (at the next keep-alive, so after one to two seconds)."""

NOTHING_CAME_BACK = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN)


class Connection(asyncio.Protocol):
    """Waits for the connection's end; what the other side sends is not looked at."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._ended.set()

    async def ended(self) -> None:
        await self._ended.wait()

    def close(self) -> None:
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()


class TlsDial:
    """`context` is `trust.contexts.client(...)`; a machine must show its own certificate before its silence counts."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    async def __call__(self, target: ProbeTarget, answered: Callable[[], None]) -> Link | None:
        loop = asyncio.get_running_loop()
        try:
            host, port = split_address(target.door)
            family, kind, protocol, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
        except (OSError, ValueError, InvalidInput):
            return None  # a name that cannot be looked up says nothing about the machine
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.socket(family, kind, protocol))
            watch(connection)
            try:
                async with asyncio.timeout(CONNECT):
                    await loop.sock_connect(connection, address)
            except TimeoutError:
                raise Unanswered from None
            except OSError as error:
                if error.errno in NOTHING_CAME_BACK:
                    raise Unanswered from None
                answered()
                return None
            answered()
            name = machine_name(target.machine)
            try:
                _, link = await loop.create_connection(
                    Connection, sock=connection, ssl=self._context, server_hostname=name, ssl_handshake_timeout=HANDSHAKE
                )
            except (OSError, ssl.SSLError, TimeoutError):
                return None
            stack.pop_all()
            return link


def watch(connection: socket.socket) -> None:
    """Lets the kernel find out by itself when the other side falls silent."""
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
