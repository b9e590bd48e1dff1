"""What do 5,000 routes cost, set one by one through the keys API as sidekicks do?

One agent on a real etcd, with its router and its keys API. Measured from outside: every byte that is written to the store is
seen by a watch of the store; the users' own keys are not counted. At rest, and again with 5,000 routes: what one route change, a
minute of doing nothing and the start of a unit write. Between the two: how long until the last of 5,000 keys is served, and how long
`argosy list-units` takes meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from tests.etcd_server import etcd_server

from argosy.install import program
from argosy.reconcile import SystemClock
from argosy.state import keys
from argosy.store.base import Store
from argosy.store.etcd import EtcdStore
from bench.webs import backends, free_ports, serving, status

ROUTES = 5_000
IDLE = 10.0
CHANGES = 6
PROGRAM = program()
CLOCK = SystemClock()
UNIT = "[Service]\nExecStart=/bin/sleep 1000\n"

Figures = dict[str, dict[str, Any]]


class Written:
    """Bytes of keys and values written to the store, by the part of it; users' keys are left out."""

    def __init__(self) -> None:
        self.bytes = 0
        self.count = 0

    async def follow(self, store: Store) -> None:
        async for batches in store.watch(keys.ROOT, (await store.list(keys.ROOT)).revision):
            for event in (event for batch in batches for event in batch.events):
                if not event.key.startswith(keys.KV_ALL):
                    self.count += 1
                    self.bytes += len(event.key) + len(event.record.value if event.record else b"")


class Machine:
    """One agent, as its clients see it."""

    def __init__(self, folder: Path, router: int, keys_port: int, session: aiohttp.ClientSession) -> None:
        self.folder = folder
        self.router = router
        self.keys = f"http://127.0.0.1:{keys_port}/v2/keys/services/web"
        self.session = session
        self.environ = {**os.environ, "ARGOSY_ENDPOINT": f"unix://{folder}/run/argosy.sock"}

    async def announce(self, app: str, port: int) -> None:
        async with self.session.put(f"{self.keys}/{app}/1", data={"value": f"127.0.0.1:{port}", "ttl": "600"}) as answer:
            if answer.status not in (200, 201):
                raise RuntimeError(f"{answer.status} {await answer.text()}")

    async def served(self, app: str, wanted: int = 200, seconds: float = 600.0) -> None:
        async with asyncio.timeout(seconds):
            while await status(self.router, f"{app}.example") != wanted:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.01)

    async def cli(self, *words: str) -> float:
        """Seconds."""
        began = time.perf_counter()
        child = await asyncio.create_subprocess_exec(PROGRAM, *words, env=self.environ, stdout=asyncio.subprocess.DEVNULL)
        if await child.wait():
            raise RuntimeError(f"argosy {' '.join(words)} fails")
        return time.perf_counter() - began


@asynccontextmanager
async def running(folder: Path, etcd: str) -> AsyncIterator[Machine]:
    router, keys_port, tcp = free_ports(3)
    (folder / "argosy.toml").write_text(
        f'[paths]\nstate = "{folder}/state"\nrun = "{folder}/run"\n[store]\nurl = "etcd:{etcd}"\nplain = true\n'
        f'[runtime]\nkind = "supervisor"\n[machine]\naddress = "127.0.0.1"\n[images]\nenabled = false\n'
        f'[api]\nlisten = ["127.0.0.1:{tcp}"]\n[keys]\nlisten = ["127.0.0.1:{keys_port}"]\n'
        f'[router]\nlisten = ["127.0.0.1:{router}"]\ndomain = "example"\n'
    )
    with (folder / "log").open("wb") as said:
        agent = await asyncio.create_subprocess_exec(PROGRAM, "agent", "--config", str(folder / "argosy.toml"), stderr=said)
    try:
        async with aiohttp.ClientSession() as session:
            yield Machine(folder, router, keys_port, session)
    finally:
        agent.terminate()
        await agent.wait()
        down = await asyncio.create_subprocess_exec(
            PROGRAM, "down", "--config", str(folder / "argosy.toml"), stdout=asyncio.subprocess.DEVNULL
        )
        await down.wait()


async def writes(machine: Machine, written: Written, backend: int, when: str, apps: str) -> Figures:
    """What is written for changes, for doing nothing, and for the start of a unit. `apps` is what the names of the changed apps begin with:
    a router serves the first 5,000 apps by name."""
    figures: Figures = {}
    began = written.bytes
    for number in range(CHANGES):
        app = f"{apps}{number}"
        await machine.announce(app, backend)
        await machine.served(app)
    await asyncio.sleep(1.0)
    figures[f"bytes written for a route change, {when}"] = {
        "value": (written.bytes - began) / CHANGES,
        "unit": "bytes",
        "reach": "<= 2,000",
    }
    began = written.bytes
    await asyncio.sleep(IDLE)
    figures[f"  a minute of heartbeats, {when}"] = {"value": (written.bytes - began) * 60 / IDLE, "unit": "bytes", "reach": ""}
    unit = machine.folder / f"{when.split()[0]}.service"
    unit.write_text(UNIT)
    began = written.bytes
    await machine.cli("start", str(unit))
    await asyncio.sleep(1.0)
    figures[f"  submit and start of a unit, {when}"] = {"value": written.bytes - began, "unit": "bytes", "reach": ""}
    return figures


async def looking(machine: Machine, times: list[float]) -> None:
    while True:
        times.append(await machine.cli("list-units"))
        await asyncio.sleep(1.0)


async def many(machine: Machine, backend: int, count: int) -> Figures:
    times: list[float] = []
    looks = asyncio.create_task(looking(machine, times))
    began = time.perf_counter()
    for number in range(count):
        await machine.announce(f"app{number:05}", backend)
    set_in = time.perf_counter() - began
    print(f"{count} keys set in {set_in:.1f} s", file=sys.stderr)
    await machine.served(f"app{count - 1:05}")
    took = time.perf_counter() - began
    looks.cancel()
    await asyncio.gather(looks, return_exceptions=True)
    return {
        f"{count:,} keys set one by one: until the last is served": {"value": took, "unit": "s", "reach": "<= 15"},
        "  until the last is set": {"value": set_in, "unit": "s", "reach": ""},
        "  argosy list-units meanwhile, p99": {"value": statistics.quantiles(times, n=100)[98], "unit": "s", "reach": "<= 1"},
        "  ... median": {"value": statistics.median(times), "unit": "s", "reach": ""},
    }


async def run(count: int = ROUTES) -> Figures:
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as name:
        folder = Path(name)
        (backend,) = free_ports(1)
        async with (
            etcd_server(folder / "etcd") as endpoints,
            serving(folder / "app", backends([backend])),
            EtcdStore(list(endpoints), CLOCK) as store,
            running(folder, ",".join(endpoints)) as machine,
        ):
            await machine.served("nobody", 404, 30.0)
            written = Written()
            following = asyncio.create_task(written.follow(store))
            figures = await writes(machine, written, backend, "at rest", "z-change")
            before = written.bytes
            figures |= await many(machine, backend, count)
            figures["  bytes written meanwhile"] = {"value": written.bytes - before, "unit": "bytes", "reach": ""}
            figures |= await writes(machine, written, backend, f"with {count:,} routes", "a-change")
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    return figures


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(*map(int, sys.argv[1:]))), indent=2))
