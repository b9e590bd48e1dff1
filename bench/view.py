"""What does it cost an agent to be asked? With 5,000 and 20,000 units: pages of lists, one unit, and clients that are blocked until
something changes.

The API runs in a process of its own over a real etcd and is asked over its unix socket. Beside it: the store's own listing of what an
answer is made of (as each answer was made before the process had a view), and a plain aiohttp server with the same clients, blocked the
same way.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from tests.api.house import config_for
from tests.etcd_server import etcd_server, fast_folder

from argosy.api.peers import Peers
from argosy.api.server import Api
from argosy.model import Entry, Machine, Placement, Target, Unit, UnitState
from argosy.reconcile import SystemClock
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.records import encode
from argosy.store.base import MAX_OPERATIONS, Put, Store
from argosy.store.etcd import EtcdStore
from argosy.unit.text import unit_text

CLOCK = SystemClock()
MACHINES = 50
SIZES = (5_000, 20_000)
SERVICES = 10_000
BLOCKED = (2_000, 5_000)
TIMES = 200
LISTS = 20
TEXT = (
    "[Unit]\nDescription=Web server {number}\nAfter=network.target\n\n[Service]\nExecStart=/usr/bin/web --port {number}\nRestart=always\n"
)
NAME = "web-{number}.service"

Figures = dict[str, dict[str, Any]]


async def fill(store: Store, units: range) -> None:
    """Units that run, each on one machine, and users' keys that announce them."""
    machines = [f"{number:032x}" for number in range(MACHINES)]
    puts = [Put(keys.machine(each), encode(Machine(each, "10.0.0.1", f"m{each[-2:]}"))) for each in machines]
    for number in units:
        name, machine, text = NAME.format(number=number), machines[number % MACHINES], TEXT.format(number=number)
        puts.append(Put(keys.unit(name), encode(Unit(name, text, Target.LAUNCHED, 1, 1.7e9))))
        puts.append(Put(keys.placement(machine, name), encode(Placement(name, machine, text, Target.LAUNCHED, 1, "fewest units", 1.7e9))))
        state = UnitState(name, machine, unit_text(text).hash, 1, "loaded", "active", "running", 1.7e9, 4711, invocation=f"{number:032x}")
        puts.append(Put(keys.state(machine, name), encode(state)))
        if number < SERVICES:
            puts.append(Put(f"{keys.WEB}web/{number}", encode(Entry(f"10.0.0.1:{number}"))))
    for at in range(0, len(puts), MAX_OPERATIONS):
        await store.commit([], puts[at : at + MAX_OPERATIONS])


async def serve(kind: str, endpoint: str, folder: Path, blocked: int) -> None:
    """Serves until it is killed; prints "open", and "blocked" once so many clients are."""
    if kind == "plain":
        waiting: set[asyncio.Future[None]] = set()

        async def wait(request: web.Request) -> web.Response:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.add(future)
            await future
            return web.Response(body=b"x" * 700)

        async def change(request: web.Request) -> web.Response:
            for future in waiting:
                future.set_result(None)
            return web.Response()

        app = web.Application()
        app.router.add_get("/wait", wait)
        app.router.add_post("/change", change)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.UnixSite(runner, str(folder / "plain.sock"), backlog=1024).start()
        await tell(lambda: len(waiting), blocked)
    else:
        config = config_for(folder, keys__listen=[])
        async with EtcdStore([endpoint], CLOCK) as store, Cache(store, CLOCK) as cache:
            api = Api(cache, config, "f" * 32, None, CLOCK, Peers(None))
            async with api.serving():
                await tell(lambda: cache.blocked, blocked)


async def tell(count: Any, wanted: int) -> None:
    print("open", flush=True)
    while count() < wanted:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.02)
    print("blocked", flush=True)
    await asyncio.Event().wait()


class Server:
    """One of the two servers in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, path: str) -> None:
        self.process = process
        self.socket = path

    async def says(self, word: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(120):
            line = await self.process.stdout.readline()
        if line.decode().strip() != word:
            raise RuntimeError(f"the server said {line!r}, not {word}")

    def memory(self) -> float:
        """MB that are this process's alone."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


@asynccontextmanager
async def server(kind: str, endpoint: str, folder: Path, blocked: int = 1 << 30) -> AsyncIterator[Server]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.view", kind, endpoint, str(folder), str(blocked), stdout=asyncio.subprocess.PIPE
    )
    try:
        found = Server(process, str(folder / "plain.sock") if kind == "plain" else config_for(folder).api.socket)
        await found.says("open")
        yield found
    finally:
        process.kill()
        await process.wait()


def session(path: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(path))


async def asked(client: aiohttp.ClientSession, path: str) -> tuple[float, bytes]:
    """Seconds until the whole answer is here."""
    began = time.perf_counter()
    async with client.get(f"http://argosy{path}") as answer:
        body = await answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body!r}")
    return time.perf_counter() - began, body


def connected(path: str) -> socket.socket:
    """Blocks while the server has no room for another connection: asyncio takes that for a connection."""
    found = socket.socket(socket.AF_UNIX)
    found.connect(path)
    return found


async def blocked(found: Server, request: bytes, count: int, change: Any) -> tuple[float, float]:
    """MB that `count` blocked clients cost, and seconds from a change until all of them have their answers."""
    before = found.memory()
    clients = []
    for _ in range(count):
        clients.append(await asyncio.open_unix_connection(sock=await asyncio.to_thread(connected, found.socket)))
        clients[-1][1].write(request)
    await found.says("blocked")
    cost = found.memory() - before
    began = time.perf_counter()
    answers = asyncio.gather(*(reader.read(65536) for reader, _ in clients))
    await change()
    for answer in await answers:
        assert answer.startswith(b"HTTP/1.1 200"), answer
    took = time.perf_counter() - began
    for _, writer in clients:
        writer.close()
    return cost, took


def p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)] * 1000


async def pages(client: aiohttp.ClientSession, path: str) -> list[float]:
    """Seconds of each page, from the first to the last."""
    found, token = [], ""
    while True:
        seconds, body = await asked(client, f"{path}?nextPageToken={token}" if token else path)
        found.append(seconds)
        marker = body.rfind(b'"nextPageToken":"')
        if marker < 0:
            return found
        token = body[marker + 17 :].split(b'"')[0].decode().replace("=", "%3D")


async def reads(store: Store, endpoint: str, folder: Path, units: int) -> Figures:
    listed = []
    for _ in range(5):
        began = time.perf_counter()
        for prefix in (keys.UNITS, keys.PLACEMENTS, keys.STATES):
            await store.list(prefix)
        listed.append(time.perf_counter() - began)
    figures: Figures = {f"view, {units:,} units: the store's own three listings": {"value": statistics.median(listed) * 1000, "unit": "ms"}}

    def add(what: str, value: float, unit: str = "ms", reach: str = "") -> None:
        figures[f"view, {units:,} units: {what}"] = {"value": value, "unit": unit, "reach": reach}

    async with server("api", endpoint, folder) as found, session(found.socket) as client:
        seconds, _ = await asked(client, "/argosy/v1/units")
        add("first list of all, read from the store", seconds * 1000)
        lists = [(await asked(client, "/argosy/v1/units"))[0] for _ in range(LISTS)]
        add("GET /argosy/v1/units, all in one answer, median", statistics.median(lists) * 1000)
        add("GET /argosy/v1/units, p99", p99(lists), reach="<= 100 ms" if units == SIZES[0] else "")
        ones = [(await asked(client, f"/argosy/v1/units/web-{number % units}.service"))[0] for number in range(TIMES)]
        add("GET of one unit, median", statistics.median(ones) * 1000, reach="<= 3 ms")
        add("GET of one unit, p99", p99(ones))
        add(
            "GET of what every process answers (/version), median",
            statistics.median([(await asked(client, "/argosy/v1/version"))[0] for _ in range(TIMES)]) * 1000,
        )
        for resource in ("units", "state"):
            found_pages = await pages(client, f"/fleet/v1/{resource}")
            add(f"fleet GET /{resource}, a page, p99", p99(found_pages), reach="<= 100 ms" if units == SIZES[0] else "")
        machines = [(await asked(client, "/argosy/v1/machines"))[0] for _ in range(LISTS)]
        add("GET /argosy/v1/machines, median", statistics.median(machines) * 1000)
        metrics = [(await asked(client, "/metrics"))[0] for _ in range(LISTS)]
        add("GET /metrics, median", statistics.median(metrics) * 1000)
        add("memory of the API and its view", found.memory(), "MB")
    return figures


async def waits(store: Store, endpoint: str, folder: Path, count: int) -> Figures:
    figures: Figures = {}
    async with server("api", endpoint, folder, count) as found, session(found.socket) as client:
        await asked(client, "/argosy/v1/units")
        _, body = await asked(client, "/argosy/v1/units/web-1.service")
        index = body.rsplit(b'"index":', 1)[1].rstrip(b"}\n ").decode()
        request = f"GET /argosy/v1/units/web-1.service?index={index}&wait=300 HTTP/1.1\r\nHost: argosy\r\n\r\n".encode()
        record = await store.get(keys.unit("web-1.service"))
        assert record is not None

        async def change() -> None:
            await store.commit([], [Put(record.key, record.value)])

        cost, took = await blocked(found, request, count, change)
    async with server("plain", endpoint, folder, count) as found, session(found.socket) as client:

        async def let_go() -> None:
            await client.post("http://argosy/change")

        plain_cost, plain_took = await blocked(found, b"GET /wait HTTP/1.1\r\nHost: argosy\r\n\r\n", count, let_go)
    reached = count == BLOCKED[0]
    figures[f"view: {count:,} blocked clients: memory"] = {"value": cost, "unit": "MB", "reach": "<= 60 MB" if reached else ""}
    figures[f"view: {count:,} blocked clients: … of a plain server"] = {"value": plain_cost, "unit": "MB"}
    figures[f"view: {count:,} blocked clients: all answered"] = {
        "value": took * 1000,
        "unit": "ms",
        "reach": "<= 500 ms" if reached else "",
    }
    figures[f"view: {count:,} blocked clients: … by a plain server"] = {"value": plain_took * 1000, "unit": "ms"}
    return figures


async def run() -> Figures:
    figures: Figures = {}
    with fast_folder() as data, tempfile.TemporaryDirectory() as place:
        async with etcd_server(data) as endpoints, EtcdStore(endpoints, CLOCK) as store:
            filled = 0
            for units in SIZES:
                await fill(store, range(filled, units))
                filled = units
                figures |= await reads(store, endpoints[0], Path(place), units)
            for count in BLOCKED:
                figures |= await waits(store, endpoints[0], Path(place), count)
    return figures


if __name__ == "__main__":
    os.makedirs(sys.argv[3], exist_ok=True)
    asyncio.run(serve(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
