"""The listeners of one machine: where they are, who may ask, how they open and close. What they serve is in the other files.

listener  where                                        serves                                who may do everything; others
socket    <run>/argosy.sock, mode 0660                 fleet's API, our own                  owner, root, group; nothing
fleet     [api] fleet_socket, mode 0660                fleet's API, our own                  owner, root, group; nothing
tcp       [api] listen, plain HTTP on loopback only    fleet's API, our own (no commands)    owner, root, group; health, version, metrics
tls       [api] door, certificates required            fleet's API, our own                  holders of a certificate; nothing
keys      [keys] listen, plain HTTP                    etcd v2 keys                          owner, root, group, writers; reading
bridges   for containers on [keys] bridges only        etcd v2 keys                          as keys
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from argosy.api.bridges import Bridges
from argosy.api.fleet.http import Fleet
from argosy.api.inspector import Inspector, RouterInspector
from argosy.api.keys.http import Keys
from argosy.api.keys.space import Keyspace
from argosy.api.machines import MachineService
from argosy.api.metrics import Metrics
from argosy.api.own import Own
from argosy.api.peers import Peers
from argosy.api.remote import Remote
from argosy.api.routers import RouterService
from argosy.api.routes import PREFIX
from argosy.api.units import UnitService
from argosy.api.writers import KeyWriters, labelled_containers
from argosy.config import Config
from argosy.reconcile import Clock
from argosy.store.base import Store
from argosy.trust import contexts
from argosy.web.addresses import door_address, loopback, named
from argosy.web.admission import READING, Admission, reading
from argosy.web.answers import LIMITS, PATIENT, Limits, failure, guarded, signed
from argosy.web.connections import BACKLOG, Runner
from argosy.web.listeners import shown, split_address, tcp_listener, unix_listener, unlink_own
from argosy.web.tls import TlsDoor
from argosy.web.users import Users, group_id

CLOSING_SECONDS = 0.25
"""How long answers that are being written may go on when the api closes; those that wait or stream are ended then."""

LONGEST_LINE = 256 * 1024
"""Bytes of a request line: many units may be named in one."""

KEYS_REMEDY = (
    "ask as root, as the user of the agent or as a member of its group; a unit that shall write says Keys=write in [X-Argosy], "
    "a container of docker run has --label argosy.keys=write"
)

OPEN_PATHS = frozenset({f"{PREFIX}/health", f"{PREFIX}/version", f"{PREFIX}/metrics", "/metrics"})
"""What every user of this machine may ask: it tells nothing of what runs, and monitoring has a user of its own."""


class Api:
    """All doors of a machine. `inspector` is its agent (None: there is none), `peers` asks other machines. `tls` and `door` (HOST:PORT) are
    those of the door for other machines, `address` is the machine's own; without them the configuration says. `containers`: the process
    ids of containers that may write keys."""

    def __init__(
        self,
        store: Store,
        config: Config,
        machine_id: str,
        inspector: Inspector | None,
        clock: Clock,
        peers: Peers,
        tls: ssl.SSLContext | None = None,
        door: str = "",
        limits: Limits = PATIENT,
        address: str = "",
        router: RouterInspector | None = None,
        containers: Callable[[], Awaitable[Collection[int]]] = labelled_containers,
    ) -> None:
        self.config = config
        self._clock = clock
        self._address = address or config.machine.address
        self.metrics = Metrics()
        self._tls = tls
        self._door = door
        self._limits = limits
        self._store = store
        self._containers = containers
        self._machine_id = machine_id
        self._units = UnitService(store, clock)
        self._machines = MachineService(store, clock)
        self._space = Keyspace(store, clock, config.keys)
        self._routers = RouterService(store, machine_id, router, peers)
        self._remote = Remote(store, machine_id, inspector, peers, config.api.exec)
        self.addresses: dict[str, list[str]] = {}
        self.opened = asyncio.Event()

    async def run(self) -> None:
        """Opens the doors and serves until cancelled. Raises InvalidInput for an address that may not be listened on, and Unsuitable for
        one that is taken. `addresses` then holds what is listened on, by door, and `opened` is set."""
        async with self.serving():
            await asyncio.Event().wait()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The same, for as long as the block lasts."""
        async with AsyncExitStack() as stack:
            tls = await self._open_all(stack)
            bridges = await self._bridges(stack)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._space.run(), name="keys")]
                if bridges is not None:
                    tasks.append(group.create_task(bridges.run(), name="bridges"))
                if tls is not None:
                    tasks.append(group.create_task(tls.run(), name="tls-door"))
                self.opened.set()
                try:
                    yield
                finally:
                    self.opened.clear()
                    for task in tasks:
                        task.cancel()

    async def _open_all(self, stack: AsyncExitStack) -> TlsDoor | None:
        api = self.config.api
        await self._unix(stack, "socket", api.socket)
        if api.fleet_socket:
            await self._unix(stack, "fleet", api.fleet_socket)
        for address in api.listen:
            await self._tcp(stack, "tcp", loopback(address))
        for address in self.config.keys.listen:
            await self._tcp(stack, "keys", named(address))
        door = split_address(self._door) if self._door else door_address(self.config)
        return await self._tls_door(stack, door) if door is not None else None

    def app(self, door: str) -> web.Application:
        """What is served at a door."""
        keys = Keys(self._space, self._machine_id, self.config.machine.name)
        guard = guarded(door, self.metrics.counted, self._admission(door), keys.failed if door == "keys" else failure)
        app = web.Application(middlewares=[guard], client_max_size=0)
        app[LIMITS] = self._limits
        app.on_response_prepare.append(signed)
        if door == "keys":
            keys.add_to(app)
            return app
        Fleet(self._units, self._machines).add_to(app)
        Own(self._store, self._units, self._machines, self._routers, self._remote, self.metrics, self._machine_id, door).add_to(app)
        return app

    def _admission(self, door: str) -> Admission:
        api, keys = self.config.api, self.config.keys
        if door == "keys":
            return Admission(
                "keys",
                users=self._users(keys.group, "keys"),
                harmless=reading,
                others=KeyWriters(self._store, self._machine_id, keys.writers, self._containers).may,
                trusted=keys.trusted,
                hosts=keys.hosts,
                remedy=KEYS_REMEDY,
            )
        if door == "tcp":
            return Admission("api", users=self._users(api.group, "api"), harmless=_is_open, trusted=api.trusted, hosts=api.hosts)
        return Admission("api", trusted=api.trusted, hosts=None)

    def _users(self, group: str, section: str) -> Users:
        return Users(os.geteuid(), group_id(group, section), self._clock)

    async def _runner(self, stack: AsyncExitStack, door: str) -> Runner:
        app = await asyncio.to_thread(self.app, door)
        runner = Runner(app, handler_cancellation=True, shutdown_timeout=CLOSING_SECONDS, max_line_size=LONGEST_LINE)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        return runner

    async def _unix(self, stack: AsyncExitStack, door: str, path: str) -> None:
        group = await asyncio.to_thread(group_id, self.config.api.group, "api")
        runner = await self._runner(stack, door)
        listener = await asyncio.to_thread(unix_listener, Path(path), group)
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        stack.push_async_callback(asyncio.to_thread, unlink_own, path, (await asyncio.to_thread(os.stat, path)).st_ino)
        self.addresses.setdefault(door, []).append(path)

    async def _tcp(self, stack: AsyncExitStack, door: str, address: tuple[str, int]) -> None:
        runner = await self._runner(stack, door)
        listener = tcp_listener(*address)
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        self.addresses.setdefault(door, []).append(shown(listener))

    async def _bridges(self, stack: AsyncExitStack) -> Bridges | None:
        if not self.config.keys.bridges or not self.addresses.get("keys"):
            return None
        listened = [split_address(address) for address in self.addresses["keys"]]
        runner = await self._runner(stack, "keys")
        return Bridges(
            self.config.keys.bridges,
            self._address,
            listened[0][1],
            runner,
            self._clock,
            lambda open_now: self.addresses.update(bridges=open_now),
            listened=[host for host, _ in listened],
        )

    async def _tls_door(self, stack: AsyncExitStack, address: tuple[str, int]) -> TlsDoor:
        tls = self.config.tls
        context = self._tls if self._tls is not None else await asyncio.to_thread(contexts.server, tls.ca, tls.cert, tls.key)
        listener = stack.enter_context(tcp_listener(*address))
        listener.listen(BACKLOG)
        runner = await self._runner(stack, "tls")
        server = runner.server
        assert server is not None
        self.addresses.setdefault("tls", []).append(shown(listener))
        return TlsDoor(listener, context, server, self.metrics.refused)


def _is_open(request: web.Request) -> bool:
    return request.method in READING and request.path in OPEN_PATHS
