"""Serving HTTP APIs: which API, at which listeners, asked by whom. All listeners of a server open and close as one.

This is the only place that opens an HTTP listener, and it takes none without an Admission, which is asked before anything else.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.typedefs import Middleware

from argosy import __version__
from argosy.reconcile import Clock
from argosy.web.addresses import address_of, split_address
from argosy.web.admission import Admission
from argosy.web.bridges import BridgeListeners
from argosy.web.connections import BACKLOG, Runner
from argosy.web.errors import BEGUN, Failed, Handler, failure, guard
from argosy.web.limits import LIMITS, PATIENT, Limits
from argosy.web.listeners import OnBridges, Tcp, Unix, tcp_listener, unix_listener, unlink_own
from argosy.web.tls import TlsAcceptor

Loop = Callable[[], Coroutine[Any, Any, None]]

READS = "GET HEAD"

LISTENER = web.AppKey("listener", str)


class Route(NamedTuple):
    """`method`: one, several with blanks between them, or "*" for any. `path`: {name} stands for one part of it, {name:REGEX} for what the
    expression matches."""

    method: str
    path: str
    handler: Handler


class HttpApi(NamedTuple):
    """What is served at a listener: a table of routes, and how failures are worded.

    `middlewares` run inside the guard, so that they may raise what handlers may raise. `headers` go with every answer. `quiet`: statuses
    of 500 and above whose cause is logged elsewhere. `cancels`: the handler is cancelled when its client hangs up.
    """

    routes: Sequence[Route]
    failed: Failed = failure
    limits: Limits = PATIENT
    middlewares: Sequence[Middleware] = ()
    headers: Mapping[str, str] = {}
    quiet: Collection[int] = ()
    cancels: bool = True


class Listener(NamedTuple):
    """`name` stands in metrics, logs and `Server.addresses`."""

    name: str
    at: Unix | Tcp | OnBridges
    admission: Admission
    api: HttpApi


def listener_of(request: web.Request) -> str:
    """The name of the listener that a request came by."""
    return request.app[LISTENER]


def _uncounted(listener: str, status: int) -> None:
    pass


class Server:
    """`counted` is called for each answer with the listener's name and the status, `refused` for each TLS handshake that failed."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        clock: Clock,
        *,
        counted: Callable[[str, int], None] = _uncounted,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._listeners = listeners
        self._clock = clock
        self._counted = counted
        self._refused = refused
        self.addresses: dict[str, list[str]] = {}
        """What is listened on now, by the listener's name: paths and HOST:PORT; "bridges" are those of OnBridges."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Mapping[str, list[str]]]:
        """Serves for as long as the block lasts; yields `addresses`. Nothing is served before every address is taken. Raises Unsuitable for
        one that cannot be."""
        self.addresses = {}
        async with AsyncExitStack() as stack:
            sockets = [await self._bind(stack, listener) for listener in self._listeners]
            runners = [self._runner(listener) for listener in self._listeners]
            stack.push_async_callback(_clean_up, runners)
            loops = [
                await self._start(listener, made, runner) for listener, made, runner in zip(self._listeners, sockets, runners, strict=True)
            ]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(loop(), name="listener") for loop in loops if loop is not None]
                try:
                    yield self.addresses
                finally:
                    for task in tasks:
                        task.cancel()

    async def _bind(self, stack: AsyncExitStack, listener: Listener) -> socket.socket | None:
        """The socket, which the stack closes; None for bridges, which come and go."""
        at = listener.at
        if isinstance(at, OnBridges):
            return None
        if isinstance(at, Tcp):
            made = await asyncio.to_thread(tcp_listener, at.host, at.port)
            address = address_of(made)
        else:
            path = Path(at.path)
            made, address = await asyncio.to_thread(unix_listener, path, at.group), at.path
            stack.push_async_callback(asyncio.to_thread, unlink_own, path, (await asyncio.to_thread(path.stat)).st_ino)
        stack.callback(made.close)
        self.addresses.setdefault(listener.name, []).append(address)
        return made

    def _runner(self, listener: Listener) -> Runner:
        api = listener.api
        app = web.Application(
            middlewares=[guard(listener.name, listener.admission, api.failed, api.quiet, self._counted), *api.middlewares],
            client_max_size=0,
        )
        app[LIMITS] = api.limits
        app[LISTENER] = listener.name
        signature = {"Server": f"argosy/{__version__}", **api.headers}

        async def sign(request: web.Request, response: web.StreamResponse) -> None:
            """Says who answers, and not what it is made of."""
            request[BEGUN] = True
            response.headers.update(signature)

        app.on_response_prepare.append(sign)
        for route in api.routes:
            for method in route.method.split():
                app.router.add_route(method, route.path, route.handler)
        return Runner(app, api.limits, cancels=api.cancels)

    async def _start(self, listener: Listener, made: socket.socket | None, runner: Runner) -> Loop | None:
        """Begins to serve; returns what must run meanwhile, if anything must."""
        await runner.setup()
        at = listener.at
        if isinstance(at, OnBridges):
            return self._on_bridges(listener, at, runner)
        assert made is not None
        if isinstance(at, Unix) or at.tls is None:
            await web.SockSite(runner, made, backlog=BACKLOG).start()
            return None
        assert runner.server is not None
        made.listen(BACKLOG)
        return TlsAcceptor(listener.name, made, at.tls, runner.server, self._refused).run

    def _on_bridges(self, listener: Listener, at: OnBridges, runner: Runner) -> Loop | None:
        listened = [split_address(address) for address in self.addresses.get(listener.name, ())]
        if not listened:
            return None

        def tell(open_now: list[str]) -> None:
            self.addresses["bridges"] = open_now

        hosts = [host for host, _ in listened]
        return BridgeListeners(listener.name, at.names, at.address, listened[0][1], runner, self._clock, tell, listened=hosts).run


async def _clean_up(runners: Sequence[Runner]) -> None:
    await asyncio.gather(*(runner.cleanup() for runner in runners))
