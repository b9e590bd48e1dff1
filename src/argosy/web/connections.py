"""Connections of an aiohttp server that know their peer and log what is no HTTP in one line."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus

from aiohttp import web
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from argosy.web.limits import Limits
from argosy.web.peers import Peer, peer_of

log = logging.getLogger(__name__)

IDLE_SECONDS = 75.0
"""How long a connection may stand without a complete request."""

LINGER_SECONDS = 2.0
"""How long a client that was refused may go on sending before it is hung up on."""

BACKLOG = 1024


class Connection(RequestHandler):
    """`peer` is asked when the connection is accepted. `granted`: that this peer may do everything here was found out before."""

    __slots__ = ("granted", "peer")

    peer: Peer
    granted: bool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.peer = peer_of(transport)
        self.granted = False
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """A body that turns out to be malformed ends for whoever reads it; aiohttp only queues the error behind that request."""
        super().data_received(data)
        reading = self._current_request
        if reading is not None and self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            reading.content.set_exception(web.RequestPayloadError("malformed"))
            reading.content.feed_eof()  # nothing more is waited for when the answer has been sent

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """A request that the parser refuses is 400: one line at debug, and nothing of it in the answer. An answer that was not sent whole
        is one too."""
        if isinstance(exc, ConnectionError):
            log.debug("%s %s: %s", request.method, request.path, exc)
            raise exc
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        log.debug("%s sent a malformed HTTP request (%s)", self.peer.address or "a client", type(exc).__name__)
        response = web.Response(status=status, text="malformed HTTP request\n")
        response.force_close()
        return response


class Server(web.Server):
    """Makes a Connection for each that is accepted."""

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Serves an application over such connections. `cancels`: a handler is cancelled when its client hangs up."""

    def __init__(self, app: web.Application, limits: Limits, *, cancels: bool) -> None:
        super().__init__(
            app,
            access_log=None,
            auto_decompress=False,
            handler_cancellation=cancels,
            shutdown_timeout=limits.closing,
            max_line_size=limits.line,
            max_field_size=limits.field,
            read_bufsize=limits.buffer,
            lingering_time=LINGER_SECONDS,
            keepalive_timeout=IDLE_SECONDS,
        )

    async def _make_server(self) -> Server:
        made = await super()._make_server()
        return Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=asyncio.get_running_loop(),
            **made._kwargs,
        )


def connection_of(request: web.BaseRequest) -> Connection:
    """The connection that a request came by; the application is served by a Runner."""
    protocol = request.protocol
    assert isinstance(protocol, Connection)
    return protocol
