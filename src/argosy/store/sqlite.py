"""The embedded store: one SQLite file shared by the processes of one host, or a private one in memory.

A commit is on the disk before it is acknowledged (WAL, synchronous=FULL); commits that wait for each other share one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from argosy.errors import InvalidInput, StoreUnavailable
from argosy.reconcile import Clock, Wake
from argosy.store.base import MAX_TTL, Batch, Condition, Listing, Record, Write, check_commit, is_key
from argosy.store.database import MEMORY, Database
from argosy.store.hub import Hub
from argosy.store.lane import Inline, Lane, Threaded
from argosy.store.tables import News, Tables

log = logging.getLogger(__name__)

T = TypeVar("T")

REAP_INTERVAL = 0.5
"""Seconds between two looks for ended leases, in a file that other processes may change."""


class SqliteStore:
    """The Store contract on SQLite. `path` is a file, made if it is missing (unless not `create`), or ":memory:".

    It belongs to the event loop that first uses it.
    """

    def __init__(self, path: str, clock: Clock, *, create: bool = True) -> None:
        self._clock = clock
        self._closed = False
        self._private = path == MEMORY
        self._writer: Lane
        self._reader: Lane
        if self._private:
            self._writer = self._reader = Inline(Database(MEMORY, writes=True, create=True))
        else:
            self._writer = Threaded(Database(path, writes=True, create=create), "store-writer")
            self._reader = Threaded(Database(path, writes=False, create=False), "store-reader")
        self._hub = Hub(self._news, clock, poll=None if self._private else 0.02)
        self._leases_changed = Wake()
        self._reaper: asyncio.Task[None] | None = None

    async def get(self, key: str) -> Record | None:
        if not is_key(key):
            return None
        return await self._read(lambda tables: tables.get(key))

    async def list(self, prefix: str) -> Listing:
        _check_prefix(prefix)
        return await self._read(lambda tables: tables.list(prefix))

    async def commit(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        if fault := check_commit(conditions, writes):
            raise InvalidInput(fault)
        revision = await self._write(lambda tables: tables.commit(conditions, writes))
        self._hub.changed()
        return revision

    def watch(self, prefix: str, after: int) -> AsyncIterator[Sequence[Batch]]:
        _check_prefix(prefix)
        return self._hub.watch(prefix, after)

    async def grant(self, ttl: float) -> int:
        if not 0 < ttl <= MAX_TTL or math.isnan(ttl):
            raise InvalidInput(f"a lease of {ttl} seconds: it must last more than 0 and at most {MAX_TTL:.0f}")
        lease = await self._write(lambda tables: tables.grant(ttl, self._clock.monotonic()))
        self._leases_changed.set()
        return lease

    async def keep_alive(self, lease: int) -> float:
        return await self._write(lambda tables: tables.keep_alive(lease, self._clock.monotonic()), durable=False)

    async def revoke(self, lease: int) -> None:
        await self._write(lambda tables: tables.revoke(lease))
        self._hub.changed()

    async def compact(self, revision: int) -> None:
        await self._hub.round()  # a watcher here that is up to date stays so
        await self._write(lambda tables: tables.compact(revision))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.gather(self._reaper, return_exceptions=True)
        await self._hub.close()
        await self._reader.close()
        await self._writer.close()  # the last to close tidies the file up, and the reader may not write

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _read(self, work: Callable[[Tables], T]) -> T:
        return await self._reader.run(work)

    async def _write(self, work: Callable[[Tables], T], *, durable: bool = True) -> T:
        if self._reaper is None and not self._closed:
            self._reaper = asyncio.create_task(self._reap_for_ever(), name="store-reaper")
        return await self._writer.run(work, durable=durable)

    async def _news(self, after: int, limit: int) -> News:
        return await self._read(lambda tables: tables.news(after, limit))

    async def _reap_for_ever(self) -> None:
        while True:
            pause: float | None = REAP_INTERVAL
            try:
                ended, deadline = await self._writer.run(self._reap)
                if ended:
                    self._hub.changed()
                if self._private:
                    pause = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
            except StoreUnavailable:
                pass  # who wants something of the store hears of it
            await self._leases_changed.wait(self._clock, pause)

    def _reap(self, tables: Tables) -> tuple[Sequence[int], float | None]:
        ended = tables.reap(self._clock.monotonic())
        return ended, tables.next_deadline()


def _check_prefix(prefix: str) -> None:
    if prefix and not is_key(prefix):
        raise InvalidInput(f"{prefix!r} is not a prefix of any key: it holds NUL or is not valid Unicode")
