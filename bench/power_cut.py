"""How many requests fail when a machine falls silent at 200 requests a second?

Three machines in network namespaces, each with a router and an instance of an app that takes 20 ms, and the entry in front. Then one
machine's cable is pulled before everything on it is killed: no goodbye, no reset, nothing comes back, and its instance stays announced
all the while, so that the routers left must cope by themselves. Needs root.

python -m bench.power_cut member N   is one machine's part, run inside its namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from argosy import proc
from argosy.lab.load import Load
from argosy.model import Entry as Key
from argosy.model import RouterReport
from argosy.reconcile import SystemClock
from argosy.router import process
from argosy.router.entry.loop import Entry
from argosy.router.entry.plan import Member, Wanted
from argosy.router.feed import StoreFeed
from argosy.router.loop import Router
from argosy.router.nginx import Nginx
from argosy.router.process import open_files
from argosy.router.render import Settings
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.records import encode
from argosy.store.base import Put
from argosy.store.sqlite import SqliteStore
from bench.webs import free_ports

CLOCK = SystemClock()
RATE, BEFORE, AFTER = 200, 2.0, 8.0
WORK = 0.02
MEMBERS = (1, 2, 3)
TAG = f"ab{os.getpid() % 100_000}"


def address(number: int) -> str:
    return f"198.18.240.{number}"


def ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True)


async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(WORK)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    writer.close()


async def member(folder: Path) -> None:
    """The app on port 3000 and the router on port 80, until it is killed."""
    settings = Settings(listen=("0.0.0.0:80",), domain="example", nofile=open_files())
    async with await asyncio.start_server(app, "0.0.0.0", 3000), SqliteStore(":memory:", CLOCK) as store:
        puts = [Put(f"{keys.WEB}hello/{number}", encode(Key(f"{address(number)}:3000"))) for number in MEMBERS]
        await store.commit([], puts)
        await Router(StoreFeed(Cache(store, CLOCK)), "a" * 32, Nginx(folder), settings, CLOCK).run()


@contextlib.contextmanager
def bridge() -> Any:
    ip("link", "add", TAG, "type", "bridge")
    try:
        ip("addr", "add", f"{address(254)}/24", "dev", TAG)
        ip("link", "set", TAG, "up")
        yield
    finally:
        ip("link", "del", TAG)


@contextlib.asynccontextmanager
async def machine(number: int, folder: Path) -> AsyncIterator[Process]:
    """A namespace with one member in it, plugged into the bridge."""
    name = f"{TAG}-{number}"
    ip("netns", "add", name)
    try:
        ip("link", "add", f"{TAG}v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"{TAG}v{number}", "master", TAG, "up")
        for command in (f"addr add {address(number)}/24 dev eth0", "link set eth0 up", "link set lo up"):
            ip("-n", name, *command.split())
        part = (sys.executable, "-m", "bench.power_cut", "member", str(folder))
        running = await asyncio.create_subprocess_exec("nsenter", f"--net=/run/netns/{name}", *part, stderr=PIPE)
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        await running.communicate()
        await Nginx(folder).stop()
        ip("link", "del", f"{TAG}v{number}")  # a namespace lives on for as long as a socket in it has not timed out
        ip("netns", "del", name)


async def cut(number: int, running: Process, folder: Path) -> None:
    """The cable first, so that no reset tells anybody."""
    ip("link", "set", f"{TAG}v{number}", "down")
    running.kill()
    master = await asyncio.to_thread(process.find_master, folder, folder / "nginx.pid")
    proc.send([master, *await asyncio.to_thread(process.workers, master)], signal.SIGKILL)


async def measure(folder: Path) -> Load:
    (port,) = free_ports(1)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(bridge())
        members = {number: await stack.enter_async_context(machine(number, folder / f"m{number}")) for number in MEMBERS}
        proxy = Nginx(folder / "entry")
        stack.push_async_callback(proxy.stop)
        entry = Entry(Wanted((f"127.0.0.1:{port}",)), proxy, CLOCK)
        entry.know([Member(str(number) * 32, f"m{number}", address(number), router=RouterReport("")) for number in MEMBERS])
        serving = asyncio.create_task(entry.run())
        try:
            while sum(router.up for router in entry.status.routers) < len(MEMBERS) or not proxy.active:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            load = Load(f"http://127.0.0.1:{port}/", "hello.example", RATE, CLOCK, timeout=20.0)
            loading = asyncio.create_task(load.run())
            await asyncio.sleep(BEFORE)
            await cut(2, members[2], folder / "m2")
            await asyncio.sleep(AFTER)
            load.stop()
            await loading
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    return load


async def run() -> dict[str, Any]:
    if os.geteuid() != 0:
        print("power_cut: needs root for network namespaces; left out")
        return {}
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder:
        load = await measure(Path(folder))
    for answer in load.failed():
        print(f"failed: {answer.status} {answer.text[:100]!r} after {answer.took:.2f} s", file=sys.stderr)
    took = sorted(answer.took for answer in load.answers)
    return {
        "power cut: failed requests at 200/s through the entry": {"value": len(load.failed()), "unit": "requests", "reach": "<= 5"},
        "  of requests": {"value": len(took), "unit": "requests", "reach": ""},
        "  longest answer": {"value": took[-1], "unit": "s", "reach": ""},
        "  answers that took more than 1 s": {"value": sum(seconds > 1 for seconds in took), "unit": "requests", "reach": ""},
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["member"]:
        asyncio.run(member(Path(sys.argv[2])))
    else:
        print(json.dumps(asyncio.run(run()), indent=2))
