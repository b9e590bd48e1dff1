"""The door for other machines: TLS, and nobody enters without a certificate of the cluster's authority.

The handshake is made here rather than by the event loop's own TLS server, which keeps silent about those that it turns away: each one is
a line in the log with its address and the reason.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from argosy.api.metrics import Metrics

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
HANDSHAKES_AT_ONCE = 256


class TlsDoor:
    """Accepts on `listener` and hands each connection that shows a good certificate to a protocol made by `serve`."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext, serve: Callable[[], asyncio.Protocol], metrics: Metrics) -> None:
        self._listener = listener
        self._context = context
        self._serve = serve
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self._handshakes: set[asyncio.Task[None]] = set()

    async def open(self, backlog: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Knock(self), sock=self._listener, backlog=backlog)

    async def close(self) -> None:
        """Accepts nobody any more and breaks off handshakes; connections that stand are their protocol's matter."""
        if self._server is not None:
            self._server.close()
        for task in list(self._handshakes):
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def knocked(self, transport: asyncio.Transport) -> None:
        if len(self._handshakes) >= HANDSHAKES_AT_ONCE:
            self._turn_away(transport, "too many handshakes at once")
            return
        task = asyncio.get_running_loop().create_task(self._admit(transport), name="tls-handshake")
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _admit(self, transport: asyncio.Transport) -> None:
        protocol = self._serve()
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, protocol, self._context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (ssl.SSLError, OSError, TimeoutError) as error:
            self._turn_away(transport, reason(error))
            return
        except asyncio.CancelledError:
            transport.abort()
            raise
        if secured is None:  # the client was gone before the handshake had ended
            self._turn_away(transport, "it hung up during the handshake")
            return
        protocol.connection_made(secured)

    def _turn_away(self, transport: asyncio.Transport, why: str) -> None:
        peer = transport.get_extra_info("peername")
        transport.abort()
        self._metrics.refused()
        log.warning("refused %s at the door for other machines: %s", f"{peer[0]}:{peer[1]}" if peer else "a client", why)


class _Knock(asyncio.Protocol):
    def __init__(self, door: TlsDoor) -> None:
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self._door.knocked(transport)


def reason(error: BaseException) -> str:
    """Why a handshake failed, in words: what OpenSSL found wrong with the certificate, if that was it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return "it showed no certificate"
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, ConnectionResetError):
        return "it hung up during the handshake"
    return str(error) or type(error).__name__
