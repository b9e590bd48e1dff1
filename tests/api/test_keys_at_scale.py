"""Twenty thousand keys on a real etcd: what was acknowledged is done, whoever is killed, and nobody ever sees a part of it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest_asyncio

from argosy.api.keys.shapes import Ask, KeyEvent
from argosy.api.keys.space import Keyspace
from argosy.model import Entry
from argosy.reconcile import SystemClock
from argosy.router.feed import StoreFeed
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.records import encode
from argosy.store.base import MAX_OPERATIONS, DeletePrefix, Put, Store
from argosy.store.etcd import EtcdStore

COUNT = 157 * MAX_OPERATIONS
DEADLINE = 60.0
ROOT = Path(__file__).parent.parent.parent


@pytest_asyncio.fixture
async def store(endpoints: Sequence[str]) -> AsyncIterator[EtcdStore]:
    async with EtcdStore(endpoints, SystemClock()) as store:
        await store.commit([], [DeletePrefix(keys.KV_ALL)])
        yield store


async def fill(store: Store) -> None:
    """/services/web with COUNT instances below it, as doors make them."""
    directory = encode(Entry(directory=True, action=""))
    await store.commit([], [Put(f"/argosy/kv{path}", directory) for path in ("/services", "/services/web")])
    commits = [
        store.commit([], [Put(f"{keys.WEB}app/{number:05}", encode(Entry("10.0.0.1:80"))) for number in range(at, at + MAX_OPERATIONS)])
        for at in range(0, COUNT, MAX_OPERATIONS)
    ]
    await asyncio.gather(*commits)


async def left(store: Store) -> int:
    return len((await store.list(keys.WEB)).records)


@asynccontextmanager
async def door(store: Store) -> AsyncIterator[Keyspace]:
    """Killed at the end, without a word."""
    space = Keyspace(store, SystemClock())
    task = asyncio.create_task(space.run())
    try:
        async with asyncio.timeout(DEADLINE):
            await space.ready.wait()
        yield space
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_recursive_delete_is_done_when_it_is_answered_and_routers_and_doors_see_it_at_once(
    store: EtcdStore, endpoints: Sequence[str]
) -> None:
    await fill(store)
    async with EtcdStore(endpoints, SystemClock()) as elsewhere, door(elsewhere) as other:
        routed = StoreFeed(Cache(elsewhere, SystemClock())).follow()
        assert len((await anext(routed)).items) == COUNT
        events: list[KeyEvent] = []

        async def watch() -> None:
            async with aclosing(other.wait(Ask("GET", "/", wait=True, recursive=True))) as told:
                events.append(await anext(told))

        watching = asyncio.create_task(watch())
        async with door(store) as space:
            _, index, _ = await space.write(Ask("DELETE", "/services/web", recursive=True))
        assert await left(store) == 0
        async with asyncio.timeout(DEADLINE):
            changes = await anext(routed)
            await watching
        assert (changes.reset, dict(changes.items)) == (True, {}), "in one piece"
        assert [(event.action, event.node.path, event.revision) for event in events] == [("delete", "/services/web", index)]
        assert other.tree.get("/services/web") is None


async def test_whoever_is_killed_while_deleting_has_deleted_all_or_nothing(store: EtcdStore, endpoints: Sequence[str]) -> None:
    for pause in (0.0, 0.02, 0.1, None):
        if await left(store) == 0:
            await fill(store)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.api.deleter", endpoints[0], "/services/web",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(DEADLINE):
                assert await process.stdout.readline() == b"ready\n"
            process.stdin.write(b"\n")
            await process.stdin.drain()
            said = asyncio.ensure_future(process.stdout.readline())
            await asyncio.wait([said], timeout=DEADLINE if pause is None else pause)
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
        count = await left(store)
        assert count in (0, COUNT)
        assert count == 0 or await said != b"done\n", "what was answered is done"
    assert count == 0
