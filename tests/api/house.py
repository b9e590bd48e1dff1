"""A machine's api in the test's own process, over a store in memory, with a hand that plays engine and agent."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from argosy.api.inspector import Inspector, RouterInspector
from argosy.api.keys.space import Keyspace
from argosy.api.peers import Peers
from argosy.api.server import Api
from argosy.config import Config, load
from argosy.model import Machine, Placement, RouterDetail, RouterReport, Target, UnitState
from argosy.reconcile import Clock, SystemClock
from argosy.router.served import digest, of_apps
from argosy.state import desired, keys
from argosy.state.cache import Cache
from argosy.state.records import encode
from argosy.store.base import Delete, Put, Store
from argosy.store.sqlite import SqliteStore
from argosy.unit.parse import parse
from argosy.web.limits import PATIENT, Limits

M1, M2, M3 = ("1" * 32, "2" * 32, "3" * 32)
HELLO = "[Unit]\nDescription=Hello\n\n[Service]\nExecStart=/bin/sleep 1000\n"
OTHER = "[Service]\nExecStart=/bin/sleep 2000\n"
GLOBAL = "[Service]\nExecStart=/bin/true\n\n[X-Fleet]\nGlobal=true\n"


class FakeRouter:
    """A machine's router: it says that it serves what is put into `served`."""

    def __init__(self) -> None:
        self.served = RouterDetail()
        self.asked: list[Collection[str]] = []

    async def detail(self, apps: Collection[str]) -> RouterDetail:
        self.asked.append(apps)
        return of_apps(self.served, apps)

    def report(self, machine_id: str) -> RouterReport:
        upstreams = self.served.upstreams
        return RouterReport(machine_id, routes=len(upstreams), digest=digest((up.app, up.instance, up.address) for up in upstreams))


class Reply:
    """An answer, read to its end."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def lines(self) -> list[Any]:
        return [msgspec.json.decode(line) for line in self.body.splitlines()]


class House:
    """`ask` speaks to the socket, `ask_tcp` to plain HTTP, `ask_keys` to the keys door."""

    def __init__(
        self, api: Api, cache: Cache, store: Store, clock: Clock, session: aiohttp.ClientSession, tcp: aiohttp.ClientSession
    ) -> None:
        self.api = api
        self.cache = cache
        self.store = store
        self.clock = clock
        self.session = session
        self.tcp = tcp

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        return await _ask(self.session, method, f"http://argosy{path}", body, options)

    async def own(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.ask(method, f"/argosy/v1{path}", body, **options)

    async def fleet(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.ask(method, f"/fleet/v1{path}", body, **options)

    async def ask_tcp(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        return await _ask(self.tcp, method, f"http://{self.address('tcp')}{path}", body, options)

    async def ask_keys(self, method: str, path: str, **options: Any) -> Reply:
        return await _ask(self.tcp, method, f"http://{self.address('keys')}{path}", None, options)

    def address(self, door: str) -> str:
        return self.api.addresses[door][0]

    async def submit(self, name: str, text: str = HELLO, target: str = "inactive") -> None:
        reply = await self.own("PUT", f"/units/{name}", {"text": text, "target": target})
        assert reply.status in (200, 201), reply.body

    async def machine(self, machine_id: str, name: str = "", **fields: Any) -> None:
        machine = Machine(machine_id, f"10.0.0.{machine_id[0]}", name or f"m{machine_id[0]}", **fields)
        await self.store.commit([], [Put(keys.machine(machine_id), encode(machine))])

    async def place(self, name: str, *machines: str, reason: str = "fewest units") -> None:
        """Plays the engine: places the unit as it is wanted now."""
        stored = await desired.unit(self.store, name)
        assert stored is not None
        for machine in machines or (M1,):
            placement = Placement(name, machine, stored.unit.text, stored.unit.target, stored.unit.launch, reason)
            await self.store.commit([], [Put(keys.placement(machine, name), encode(placement))])

    async def unplace(self, name: str, machine: str = M1) -> None:
        await self.store.commit([], [Delete(keys.placement(machine, name)), Delete(keys.state(machine, name))])

    async def observe(self, name: str, machine: str = M1, active: str = "active", sub: str = "running", **fields: Any) -> None:
        """Plays the agent: the unit's state there, of its present launch if it runs."""
        stored = await desired.unit(self.store, name)
        assert stored is not None
        launch = stored.unit.launch if stored.unit.target is Target.LAUNCHED else 0
        facts: dict[str, Any] = {
            "hash": parse(stored.unit.text).hash,
            "launch": launch,
            "load": "loaded",
            "active": active,
            "sub": sub,
            "pid": 42,
        }
        await self.store.commit([], [Put(keys.state(machine, name), encode(UnitState(name, machine, **(facts | fields))))])

    async def obey(self, name: str, machine: str = M1) -> None:
        """Plays both: the unit comes to what is wanted of it on that machine."""
        stored = await desired.unit(self.store, name)
        if stored is None or stored.unit.target is Target.INACTIVE:
            await self.unplace(name, machine)
            return
        await self.place(name, machine)
        runs = stored.unit.target is Target.LAUNCHED
        await self.observe(name, machine, "active" if runs else "inactive", "running" if runs else "dead")


async def _ask(session: aiohttp.ClientSession, method: str, url: str, body: Any, options: dict[str, Any]) -> Reply:
    headers = dict(options.pop("headers", {}))
    data = options.pop("data", None)
    if body is not None:
        data = io.BytesIO(msgspec.json.encode(body))
        headers.setdefault("Content-Type", "application/json")
    async with session.request(method, url, data=data, headers=headers, allow_redirects=False, **options) as response:
        return Reply(response.status, response.headers, await response.read())


def config_for(folder: Path, **flags: Any) -> Config:
    settings: dict[str, Any] = {
        "paths.state": str(folder / "state"),
        "paths.run": str(folder / "run"),
        "api.listen": ["127.0.0.1:0"],
        "keys.listen": ["127.0.0.1:0"],
    }
    return load(None, {}, settings | {name.replace("__", "."): value for name, value in flags.items()})


@asynccontextmanager
async def a_house(
    folder: Path,
    *,
    clock: Clock | None = None,
    store: Store | None = None,
    machine_id: str = M1,
    inspector: Inspector | None = None,
    peers: Peers | None = None,
    limits: Limits = PATIENT,
    router: RouterInspector | None = None,
    containers: Collection[int] = (),
    fresh: float = 0.0,
    **flags: Any,
) -> AsyncIterator[House]:
    """An api with its doors open, and a machine record for it. `containers`: process ids of those that may write keys. `fresh`
    as in Cache: with 0 each answer includes what the test has written to the store itself."""

    async def labelled() -> Collection[int]:
        return containers

    clock = clock or SystemClock()
    own_store = SqliteStore(":memory:", clock) if store is None else None
    kept = store or own_store
    assert kept is not None
    config = await asyncio.to_thread(lambda: config_for(folder, **flags))
    try:
        async with Cache(kept, clock, fresh=fresh) as cache:
            api = Api(cache, config, machine_id, inspector, clock, peers or Peers(None), limits=limits, router=router, containers=labelled)
            async with (
                api.serving(),
                _running(api.keys),
                _session(config.api.socket) as session,
                aiohttp.ClientSession(auto_decompress=False) as tcp,
            ):
                house = House(api, cache, kept, clock, session, tcp)
                await house.machine(machine_id)
                yield house
    finally:
        if own_store is not None:
            await own_store.close()


@asynccontextmanager
async def _running(space: Keyspace) -> AsyncIterator[None]:
    """The service that keeps users' keys current."""
    task = asyncio.create_task(space.run())
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError | None), ended


def _session(path: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(path), auto_decompress=False)


def raw(address: str, content: bytes, *, silence: float = 1.0) -> bytes:
    """What the server answers to these bytes until it hangs up or says no more for `silence` seconds. Blocks: call it in a thread."""
    host, _, port = address.rpartition(":")
    said = b""
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(content)
        connection.settimeout(silence)
        try:
            while piece := connection.recv(65536):
                said += piece
        except TimeoutError:
            pass
    return said
