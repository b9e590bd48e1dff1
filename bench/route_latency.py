"""How long from setting a key to the first answer through the router?

A client sets /services/web/<app>/1 in the embedded store (a file that it shares with the router's process) or in a real etcd, and asks the
router until it gets 200. Quiet: one key at a time, after a pause. Busy: while another client changes other keys ten times a second, so
that every change meets a reload that is under way.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.etcd_server import etcd_server

from argosy.model import Entry
from argosy.reconcile import SystemClock
from argosy.router.feed import StoreFeed
from argosy.router.loop import Router
from argosy.router.nginx import Nginx
from argosy.router.process import open_files
from argosy.router.render import Settings
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.records import encode
from argosy.store.base import Put, Store
from argosy.store.etcd import EtcdStore
from argosy.store.sqlite import SqliteStore
from bench.webs import backends, free_ports, serving, status

QUIET, BUSY = 100, 40
OTHERS_PER_SECOND = 10
CLOCK = SystemClock()


async def announce(store: Store, app: str, port: int) -> None:
    await store.commit([], [Put(f"{keys.WEB}{app}/1", encode(Entry(f"127.0.0.1:{port}", ttl=60)))])


async def until_answered(port: int, host: str, wanted: int) -> None:
    while True:
        if await status(port, host) == wanted:
            return
        await asyncio.sleep(0.002)


async def first_answer(store: Store, app: str, backend: int, router: int) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    await announce(store, app, backend)
    await until_answered(router, f"{app}.example", 200)
    return (time.perf_counter() - started) * 1000


async def measure(name: str, store: Store, backend: int, router: int, count: int) -> list[float]:
    times = []
    for number in range(count):
        await asyncio.sleep(random.uniform(0.2, 0.4))
        times.append(await first_answer(store, f"{name}{number}", backend, router))
    return times


async def disturb(store: Store, backend: int) -> None:
    number = 0
    while True:
        number += 1
        await announce(store, f"other{number % 20}", backend + number % 2)
        await asyncio.sleep(1 / OTHERS_PER_SECOND)


async def through(open_store: Callable[[], Store], folder: Path) -> tuple[list[float], list[float]]:
    router_port, backend = free_ports(2)
    settings = Settings(listen=(f"127.0.0.1:{router_port}",), domain="example", nofile=open_files())
    async with open_store() as client, open_store() as store, serving(folder / "app", backends([backend])):
        proxy = Nginx(folder / "router")
        running = asyncio.create_task(Router(StoreFeed(Cache(store, CLOCK)), "a" * 32, proxy, settings, CLOCK).run())
        try:
            await until_answered(router_port, "nobody", 404)
            quiet = await measure("quiet", client, backend, router_port, QUIET)
            disturbing = asyncio.create_task(disturb(client, backend))
            busy = await measure("busy", client, backend, router_port, BUSY)
            disturbing.cancel()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await proxy.stop()
    return quiet, busy


@asynccontextmanager
async def places(folder: Path) -> AsyncIterator[dict[str, Callable[[], Store]]]:
    async with etcd_server(folder / "etcd") as endpoints:
        yield {
            "SQLite": lambda: SqliteStore(str(folder / "store.sqlite"), CLOCK),
            "etcd": lambda: EtcdStore(list(endpoints), CLOCK),
        }


async def run() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder:
        async with places(Path(folder)) as stores:
            for kind, open_store in stores.items():
                quiet, busy = await through(open_store, Path(folder) / kind)
                p99 = statistics.quantiles(quiet, n=100)[98]
                figures |= {
                    f"route: key set to first answer, {kind}, median": {"value": statistics.median(quiet), "unit": "ms", "reach": "<= 150"},
                    f"route: key set to first answer, {kind}, p99": {"value": p99, "unit": "ms", "reach": "<= 400"},
                    f"  {kind}, while other keys change, median": {"value": statistics.median(busy), "unit": "ms", "reach": ""},
                    f"  {kind}, while other keys change, longest": {"value": max(busy), "unit": "ms", "reach": ""},
                }
    return figures


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
