"""Accepting connections over TLS, mutual or not.

They are accepted here rather than by the event loop's own TLS server, which keeps silent about those that it turns away: each one is a line
in the log with its address and the reason, a warning where the peer had to show a certificate of the cluster's authority.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from argosy.web.addresses import join_address

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
HANDSHAKES_AT_ONCE = 256
BREATH = 0.1
"""Seconds to wait when a connection cannot be accepted (too many open files)."""


class TlsAcceptor:
    """Accepts on `listener` and hands each connection whose handshake succeeds to a protocol made by `serve`. `name` is the listener's, for
    the log; `refused` is called for each connection that is turned away."""

    def __init__(
        self,
        name: str,
        listener: socket.socket,
        context: ssl.SSLContext,
        serve: Callable[[], asyncio.Protocol],
        refused: Callable[[], None],
    ) -> None:
        self._name = name
        self._listener = listener
        self._context = context
        self._serve = serve
        self._refused = refused
        self._gate = asyncio.Semaphore(HANDSHAKES_AT_ONCE)

    async def run(self) -> None:
        """Accepts until cancelled; then handshakes are broken off, and connections that stand are their protocol's matter."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as handshakes:
            while True:
                await self._gate.acquire()
                try:
                    connection, address = await loop.sock_accept(self._listener)
                except OSError as error:
                    self._gate.release()
                    log.warning("listener %s cannot accept: %s", self._name, error.strerror or error)
                    await asyncio.sleep(BREATH)
                    continue
                except BaseException:
                    self._gate.release()
                    raise
                handshakes.create_task(self._admit(connection, join_address(*address[:2])), name="tls-handshake")

    async def _admit(self, connection: socket.socket, address: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._serve, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (ssl.SSLError, OSError, TimeoutError) as error:
            connection.close()
            self._refused()
            level = logging.WARNING if self._context.verify_mode is ssl.CERT_REQUIRED else logging.DEBUG
            log.log(level, "refused %s at listener %s: %s", address, self._name, reason(error))
        except BaseException:
            connection.close()
            raise
        finally:
            self._gate.release()


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
