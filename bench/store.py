"""How fast is a commit, and how soon does a watcher hear of it? SQLite in a file against etcd with one member and with three, on the
same disk, in the same run."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from tests.etcd_server import etcd_cluster

from argosy.reconcile import SystemClock
from argosy.store.base import Put, Store
from argosy.store.etcd import EtcdStore
from argosy.store.sqlite import SqliteStore

VALUE = b"x" * 500
COMMITS = 300
AT_ONCE = 2_000
BATCHES, BATCH = 100, 100
IDLE = 5.0

Figures = dict[str, dict[str, Any]]


@contextlib.asynccontextmanager
async def sqlite_file(folder: Path) -> AsyncIterator[tuple[Store, Store]]:
    path = str(folder / "store.db")
    async with SqliteStore(path, SystemClock()) as one, SqliteStore(path, SystemClock()) as two:
        yield one, two


def etcd(members: int) -> Callable[[Path], contextlib.AbstractAsyncContextManager[tuple[Store, Store]]]:
    @contextlib.asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[tuple[Store, Store]]:
        async with (
            etcd_cluster(folder, members, secure=members > 1) as cluster,
            EtcdStore(cluster.endpoints, SystemClock(), cluster.tls) as one,
            EtcdStore(cluster.endpoints, SystemClock(), cluster.tls) as two,
        ):
            yield one, two

    return opened


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def heard(store: Store, other: Store) -> Sequence[float]:
    """Seconds from asking for a commit to another client's watch telling of it."""
    watch = aiter(other.watch("/heard/", (await store.list("")).revision))
    times = []
    for number in range(COMMITS):
        began = time.perf_counter()
        commit = asyncio.ensure_future(store.commit([], [Put(f"/heard/{number}", VALUE)]))
        await anext(watch)
        times.append(time.perf_counter() - began)
        await commit
    await watch.aclose()  # type: ignore[attr-defined]
    return times


def spread(name: str, times: Sequence[float]) -> Figures:
    ordered = sorted(times)
    return {
        f"{name}, median": {"value": statistics.median(ordered) * 1000, "unit": "ms", "reach": None},
        f"{name}, p99": {"value": ordered[len(ordered) * 99 // 100] * 1000, "unit": "ms", "reach": None},
    }


async def measure(name: str, store: Store, other: Store, reach: str | None) -> Figures:
    figures: Figures = {}
    one_by_one = [await timed(functools.partial(store.commit, [], [Put(f"/one/{number}", VALUE)])) for number in range(COMMITS)]
    figures |= spread(f"{name}: commit", one_by_one)
    figures |= spread(f"{name}: commit heard by another's watch", await heard(store, other))

    async def at_once() -> None:
        await asyncio.gather(*(store.commit([], [Put(f"/many/{number}", VALUE)]) for number in range(AT_ONCE)))

    async def batched() -> None:
        batches = ([Put(f"/batch/{number}/{part}", VALUE) for part in range(BATCH)] for number in range(BATCHES))
        await asyncio.gather(*(store.commit([], batch) for batch in batches))

    figures[f"{name}: commits of one record, {AT_ONCE} at once"] = {
        "value": AT_ONCE / await timed(at_once),
        "unit": "commits/s",
        "reach": None,
    }
    rate = BATCHES * BATCH / await timed(batched)
    figures[f"{name}: records in commits of {BATCH}"] = {"value": rate, "unit": "records/s", "reach": reach}
    return figures


async def idle(other: Store) -> float:
    """Share of a core that this process needs while it watches a store where nothing happens, in percent."""

    async def watch() -> None:
        async for _ in other.watch("/idle/", 1):
            pass

    task = asyncio.create_task(watch())
    await asyncio.sleep(1)
    before = sum(os.times()[:2])
    await asyncio.sleep(IDLE)
    used = sum(os.times()[:2]) - before
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return 100 * used / IDLE


async def run() -> Figures:
    figures: Figures = {}
    kinds: Sequence[tuple[str, Callable[[Path], contextlib.AbstractAsyncContextManager[tuple[Store, Store]]], str | None]] = (
        ("SQLite file", sqlite_file, None),
        ("etcd, one member", etcd(1), None),
        ("etcd, three members, TLS", etcd(3), "≥ 2,000"),
    )
    for name, opened, reach in kinds:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            async with opened(Path(folder)) as (store, other):
                figures |= await measure(name, store, other, reach)
                figures[f"{name}: two clients, one watching, idle"] = {"value": await idle(other), "unit": "% of a core", "reach": "≤ 1"}
    return figures


if __name__ == "__main__":
    for what, figure in asyncio.run(run()).items():
        print(f"{what:<60} {figure['value']:>10,.2f} {figure['unit']:<12} {figure['reach'] or '-'}")
