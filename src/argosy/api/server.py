"""The doors of one machine: where they listen, who may enter, how they open and close. What is served behind them is in the other files.

door      where                                        serves
socket    <run>/argosy.sock, mode 0660                 fleet's API, our own
fleet     [api] fleet_socket, mode 0660                fleet's API, our own
tcp       [api] listen, plain HTTP on loopback only    fleet's API, our own (no commands)
tls       [api] door, certificates required            fleet's API, our own
keys      [keys] listen, plain HTTP                    etcd v2 keys
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from argosy.api.fleet.http import Fleet
from argosy.api.inspector import Inspector
from argosy.api.keys.http import Keys
from argosy.api.keys.space import Keyspace
from argosy.api.machines import MachineService
from argosy.api.metrics import Metrics
from argosy.api.own import Own
from argosy.api.peers import Peers
from argosy.api.remote import Remote
from argosy.api.tls_door import TlsDoor
from argosy.api.units import UnitService
from argosy.api.web import LIMITS, PATIENT, Limits, guarded, signed
from argosy.config import Config
from argosy.errors import InvalidInput, Unsuitable
from argosy.reconcile import Clock
from argosy.store.base import Store
from argosy.trust import contexts

log = logging.getLogger(__name__)

SOCKET_MODE = 0o660
CLOSING_SECONDS = 0.25
"""How long answers that are being written may go on when the api closes; those that wait or stream are ended then."""

IDLE_SECONDS = 75.0
"""How long a connection may stand without a complete request."""

LINGER_SECONDS = 2.0
"""How long a client that was refused may go on sending before it is hung up on."""

LONGEST_LINE = 256 * 1024
"""Bytes of a request line: many units may be named in one."""

LONGEST_SOCKET_PATH = 107
"""Linux's limit."""

BACKLOG = 1024
DOOR_PORT = 8700


class Api:
    """All doors of a machine. `inspector` is its agent (None: there is none), `peers` asks other machines. `tls` and `door` (HOST:PORT) are
    those of the door for other machines; without them the configuration says."""

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
    ) -> None:
        self.config = config
        self.metrics = Metrics()
        self._tls = tls
        self._door = door
        self._limits = limits
        self._store = store
        self._machine_id = machine_id
        self._units = UnitService(store, clock)
        self._machines = MachineService(store, clock)
        self._space = Keyspace(store, clock)
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
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._space.run(), name="keys")]
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
        app = web.Application(middlewares=[guarded(door, self.metrics, plain=door in ("tcp", "keys"))], client_max_size=0)
        app[LIMITS] = self._limits
        app.on_response_prepare.append(signed)
        if door == "keys":
            Keys(self._space, self._machine_id, self.config.machine.name).add_to(app)
            return app
        Fleet(self._units, self._machines).add_to(app)
        Own(self._store, self._units, self._machines, self._remote, self.metrics, self._machine_id, door).add_to(app)
        return app

    async def _runner(self, stack: AsyncExitStack, door: str) -> web.AppRunner:
        runner = web.AppRunner(
            self.app(door),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=CLOSING_SECONDS,
            max_line_size=LONGEST_LINE,
            lingering_time=LINGER_SECONDS,
            keepalive_timeout=IDLE_SECONDS,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        return runner

    async def _unix(self, stack: AsyncExitStack, door: str, path: str) -> None:
        listener = await asyncio.to_thread(unix_listener, Path(path))
        runner = await self._runner(stack, door)
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        stack.push_async_callback(asyncio.to_thread, _unlink_own, path, (await asyncio.to_thread(os.stat, path)).st_ino)
        self.addresses.setdefault(door, []).append(path)

    async def _tcp(self, stack: AsyncExitStack, door: str, address: tuple[str, int]) -> None:
        listener = tcp_listener(*address)
        runner = await self._runner(stack, door)
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        self.addresses.setdefault(door, []).append(_shown(listener))

    async def _tls_door(self, stack: AsyncExitStack, address: tuple[str, int]) -> TlsDoor:
        tls = self.config.tls
        context = self._tls if self._tls is not None else await asyncio.to_thread(contexts.server, tls.ca, tls.cert, tls.key)
        listener = stack.enter_context(tcp_listener(*address))
        listener.listen(BACKLOG)
        runner = await self._runner(stack, "tls")
        server = runner.server
        assert server is not None
        self.addresses.setdefault("tls", []).append(_shown(listener))
        return TlsDoor(listener, context, server, self.metrics)


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT, [IPV6]:PORT. Raises InvalidInput."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidInput(f"{address!r} is no address to listen on", remedy="write HOST:PORT, such as 127.0.0.1:8700")
    return host.removeprefix("[").removesuffix("]"), int(port)


def loopback(address: str) -> tuple[str, int]:
    """The same for an address that plain HTTP may be spoken on. Raises InvalidInput for any that is not on loopback."""
    host, port = split_address(address)
    try:
        inside = ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = host == "localhost"
    if not inside:
        raise InvalidInput(
            f"[api] listen {address}: plain HTTP is served on loopback only",
            remedy="set up [tls]: other machines ask the door of [api] door",
        )
    return host, port


def named(address: str) -> tuple[str, int]:
    """The same for the keys door, which speaks plain HTTP to containers and sidekicks: the operator names each address that it listens on.
    Raises InvalidInput for one that would mean all of them."""
    host, port = split_address(address)
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = host in ("", "*")
    if everywhere:
        raise InvalidInput(
            f"[keys] listen {address}: plain HTTP is not served on every address",
            remedy="name loopback, and the container bridge's address, such as 172.17.0.1:4001",
        )
    return host, port


def door_address(config: Config) -> tuple[str, int] | None:
    """Where the door for other machines is: what the operator says, or the machine's address where there are certificates."""
    if config.api.door == "none" or not config.tls.ca:
        if config.api.door not in ("", "none"):
            raise InvalidInput(f"[api] door {config.api.door} needs certificates", remedy="make them with argosy ca and name them in [tls]")
        return None
    if config.api.door:
        return split_address(config.api.door)
    if not config.machine.address:
        log.warning("there is no door for other machines: neither [api] door nor [machine] address says where it should be")
        return None
    return config.machine.address, DOOR_PORT


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tcp_listener(host: str, port: int) -> socket.socket:
    """Raises Unsuitable for an address that is taken or not this machine's."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Unsuitable(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise Unsuitable(f"cannot listen on {host}:{port}: {error.strerror}", remedy="is another argosy running here?") from error
    return listener


def unix_listener(path: Path) -> socket.socket:
    """A socket at `path` that only its owner and group may use. One that is left over from a dead process is replaced; one that somebody
    answers on is not. Raises Unsuitable."""
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise Unsuitable(f"cannot listen on {path}: a socket's path has at most {LONGEST_SOCKET_PATH} bytes", remedy="set [paths] run")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mask = os.umask(0o777 & ~SOCKET_MODE)
            try:
                listener.bind(str(path))
            finally:
                os.umask(mask)
            os.chmod(path, SOCKET_MODE)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise Unsuitable(f"cannot listen on {path}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Unsuitable(f"cannot listen on {path}: there is a file that is no socket", remedy="move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        refused = probe.connect_ex(str(path))
    if refused not in (errno.ECONNREFUSED, errno.ENOENT):
        raise Unsuitable(f"cannot listen on {path}: somebody answers there", remedy="is another argosy agent running here?")
    path.unlink(missing_ok=True)


def _unlink_own(path: str, inode: int) -> None:
    try:
        if os.stat(path).st_ino == inode:
            os.unlink(path)
    except FileNotFoundError:
        pass
