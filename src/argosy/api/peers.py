"""Asking other machines' agents over mutual TLS. Names are verified: the certificate must be the very machine's that is meant."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from argosy.api.shapes import Command, LocalStatus, Output
from argosy.errors import ArgosyError, NotFound, Refused, RuntimeFailed, Unsuitable
from argosy.model import LogLine, Machine, RouterDetail
from argosy.trust.names import machine_name
from argosy.web.shapes import Failure

T = TypeVar("T")

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
ROUTES_SECONDS = 3.0
"""A router's answer is in memory: whoever waits for several machines must not wait long for one that is gone."""

SILENCE_SECONDS = 30.0
"""A stream that is silent for so long comes from a machine that is gone: one that lives sends an empty line every ten seconds."""

LONGEST_LINE = 4 * 1024 * 1024


class Peers:
    """A client for the doors of other machines. `context` is `trust.contexts.client(...)`, None where there is no authority: every method
    then raises Unsuitable. Close it with `async with`."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def status(self, machine: Machine, unit: str, lines: int) -> LocalStatus:
        """What that machine says of a unit that is loaded there. Raises NotFound, Refused, RuntimeFailed."""
        path = f"units/{quote(unit, safe='')}/status?lines={lines}"
        async with self._asked(machine, "GET", path, total=ANSWER_SECONDS) as response:
            return msgspec.json.decode(await response.read(), type=LocalStatus)

    async def routes(self, machine: Machine, apps: Collection[str]) -> RouterDetail:
        """What that machine's router serves, with `apps` only what concerns these. Raises NotFound, Refused, RuntimeFailed."""
        path = "routes?" + urlencode([("app", app) for app in apps])
        async with self._asked(machine, "GET", path, total=ROUTES_SECONDS) as response:
            try:
                return msgspec.json.decode(await response.read(), type=RouterDetail)
            except msgspec.DecodeError as error:
                raise RuntimeFailed(f"machine {machine.id} answers what is no RouterDetail: {error}") from error

    async def logs(self, machine: Machine, unit: str, lines: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        path = f"units/{quote(unit, safe='')}/journal?lines={lines}&follow={'true' if follow else 'false'}"
        async with self._asked(machine, "GET", path) as response:
            async for line in _lines(machine, response, LogLine):
                yield line

    async def run(self, machine: Machine, command: Command) -> AsyncGenerator[Output, None]:
        async with self._asked(machine, "POST", "exec", body=msgspec.json.encode(command)) as response:
            async for piece in _lines(machine, response, Output):
                yield piece

    @asynccontextmanager
    async def _asked(
        self, machine: Machine, method: str, path: str, *, body: bytes | None = None, total: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._context is None:
            raise Unsuitable(f"machine {machine.id} cannot be asked: this machine has no certificate", remedy="see argosy ca and [tls]")
        if not machine.door:
            raise Unsuitable(f"machine {machine.id} cannot be asked: it has no door for other machines", remedy="give it [tls]")
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._context, limit=0), auto_decompress=False)
        try:
            async with self._session.request(
                method,
                f"https://{machine.door}/argosy/v1/local/{path}",
                data=body,
                headers={"Content-Type": "application/json"} if body is not None else {},
                server_hostname=machine_name(machine.id),
                timeout=aiohttp.ClientTimeout(total=total, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
                allow_redirects=False,
                read_bufsize=LONGEST_LINE,
            ) as response:
                if response.status != 200:
                    raise _told(machine, response.status, await response.content.read(65536))
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            said = str(error) or type(error).__name__
            raise RuntimeFailed(
                f"machine {machine.id} at {machine.door} cannot be asked: {said}", remedy="is its agent running?"
            ) from error


async def _lines(machine: Machine, response: aiohttp.ClientResponse, kind: type[T]) -> AsyncGenerator[T, None]:
    decoder = msgspec.json.Decoder(kind)
    while line := await response.content.readline():
        if line == b"\n":
            continue
        try:
            yield decoder.decode(line)
        except msgspec.DecodeError as error:
            raise RuntimeFailed(f"machine {machine.id} answers what is no {kind.__name__}: {error}") from error


def _told(machine: Machine, status: int, body: bytes) -> ArgosyError:
    try:
        fault = msgspec.json.decode(body, type=Failure).error
    except msgspec.DecodeError:
        return RuntimeFailed(f"machine {machine.id} answered {status}")
    kinds: dict[int, type[ArgosyError]] = {403: Refused, 404: NotFound}
    return kinds.get(status, RuntimeFailed)(f"machine {machine.id}: {fault.message}", remedy=fault.remedy)
