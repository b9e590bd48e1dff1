"""The embedded store: one SQLite file shared by the processes of one host, or a private one in memory.

A commit is on the disk before it is acknowledged (WAL, synchronous=FULL); commits that wait for each other share one transaction. Leases
end by the host's monotonic clock: any process that has the store open ends those whose time has come. When all of them were away for
a while, nobody could keep a lease alive: then every lease gets its full time anew.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from argosy.errors import InvalidInput, StoreUnavailable
from argosy.proc import boot_id
from argosy.reconcile import Clock, Wake
from argosy.store.base import Batch, Condition, Listing, Put, Record, Room, Write, check_commit, check_prefix, check_ttl, is_key
from argosy.store.bell import heard, listen
from argosy.store.database import LOCK_TIMEOUT, MEMORY, Database
from argosy.store.history import Leases
from argosy.store.hub import Hub
from argosy.store.lane import Inline, Lane, Threaded
from argosy.store.tables import News, Tables

T = TypeVar("T")

REAP_INTERVAL = 0.5
"""Seconds between two looks for ended leases, in a file that other processes may change."""

AWAY = 2.0
"""Seconds without anybody looking after the leases, after which they begin anew."""

DEFAULT_QUOTA = 2 * 1024**3

POLL = 0.25
POLL_DEAF = 0.02
"""Seconds between two looks for others' commits: with the bell (it may be missed, or the file be back), and without."""


class SqliteStore:
    """The Store contract on SQLite. `path` is a file, made if it is missing (unless not `create`), or ":memory:".

    `patience`: seconds to wait for another process that is writing. `quota`: bytes that it is meant to hold at most. Once it has been open,
    a missing file means StoreUnavailable until it is back. It belongs to the event loop that first uses it.
    """

    def __init__(self, path: str, clock: Clock, *, create: bool = True, patience: float = LOCK_TIMEOUT, quota: int = DEFAULT_QUOTA) -> None:
        self._path = path
        self._quota = quota
        self._clock = clock
        self._closed = False
        self._private = path == MEMORY
        self._opened = self._private
        self._file = Database(path, writes=True, create=create, patience=patience)
        self._writer: Lane = Inline(self._file) if self._private else Threaded(self._file, "store-writer")
        self._reading = self._file if self._private else Database(path, writes=False, create=False, patience=patience)
        self._reader: Lane = self._writer if self._private else Threaded(self._reading, "store-reader")
        self._leases = Leases(clock)
        self._hub = Hub(self._news, clock, None if self._private else POLL_DEAF, self._leases.lose)
        self._ear: int | None = None
        self._ear_on: tuple[int, int] | None = None
        self._leases_changed = Wake()
        self._reaper: asyncio.Task[None] | None = None
        self._boot = ""
        self._looked = -AWAY

    async def get(self, key: str) -> Record | None:
        if not is_key(key):
            return None
        return await self._read(lambda tables: tables.get(key))

    async def list(self, prefix: str) -> Listing:
        if fault := check_prefix(prefix):
            raise InvalidInput(fault)
        return await self._read(lambda tables: tables.list(prefix))

    async def commit(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        if fault := check_commit(conditions, writes):
            raise InvalidInput(fault)
        self._leases.check(write.lease for write in writes if isinstance(write, Put))
        revision = await self._write(lambda tables: tables.commit(conditions, writes))
        self._hub.changed()
        return revision

    def watch(self, prefix: str, after: int, *, previous: bool = False) -> AsyncIterator[Sequence[Batch]]:
        if fault := check_prefix(prefix):
            raise InvalidInput(fault)
        return self._hub.watch(prefix, after)

    async def grant(self, ttl: float) -> int:
        if fault := check_ttl(ttl):
            raise InvalidInput(fault)
        lease = await self._write(lambda tables: tables.grant(ttl, self._clock.monotonic()))
        self._leases.kept(lease, ttl)
        self._leases_changed.set()
        return lease

    async def keep_alive(self, lease: int) -> float:
        self._leases.check((lease,))
        ttl = await self._write(lambda tables: tables.keep_alive(lease, self._clock.monotonic()), durable=False)
        self._leases.kept(lease, ttl)
        return ttl

    async def remaining(self, lease: int) -> float:
        return await self._read(lambda tables: tables.remaining(lease, self._clock.monotonic()))

    async def revoke(self, lease: int) -> None:
        await self._write(lambda tables: tables.revoke(lease))
        self._hub.changed()

    async def compact(self, revision: int) -> None:
        await self._hub.round()  # a watcher here that is up to date stays so
        await self._write(lambda tables: tables.compact(revision))

    async def room(self) -> Room:
        """Pages that hold nothing are used again before the file grows, so they do not count. What the disk has left does."""
        _, live = await self._read(Tables.sizes)
        free = sys.maxsize if self._private else await asyncio.to_thread(_free, self._path)
        limit = min(self._quota, live + free)
        return Room(live, live, limit, full=free == 0)

    async def tidy(self, revision: int) -> None:
        await self.compact(revision)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.gather(self._reaper, return_exceptions=True)
        await self._hub.close()
        self._stop_listening()
        await self._reader.close()
        await self._writer.close()  # the last to close tidies the file up, and the reader may not write

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _read(self, work: Callable[[Tables], T]) -> T:
        if not self._opened:
            await self._write(Tables.revision)  # makes the file, which a reader cannot
        return await self._reader.run(work)

    async def _write(self, work: Callable[[Tables], T], *, durable: bool = True) -> T:
        if self._reaper is None and not self._closed:
            self._reaper = asyncio.create_task(self._reap_for_ever(), name="store-reaper")
        result = await self._writer.run(work, durable=durable)
        self._opened = True
        return result

    async def _news(self, after: int, limit: int) -> News:
        news = await self._read(lambda tables: tables.news(after, limit))
        if self._private:
            return news
        if self._ear_on != self._reading.inode:
            await self._listen()
        return msgspec.structs.replace(news, identity=f"{news.identity} {self._reading.inode}")

    async def _listen(self) -> None:
        """Has the hub told when another process commits. The bell lies beside the file that is open now."""
        self._stop_listening()
        inode, ear = self._reading.inode, await asyncio.to_thread(listen, self._reading.bell_path)
        if ear is not None and self._closed:
            os.close(ear)
            return
        self._ear, self._ear_on = ear, inode
        self._hub.poll = POLL_DEAF if ear is None else POLL
        if ear is not None:
            asyncio.get_running_loop().add_reader(ear, self._rung, ear)
            self._hub.changed()  # what was committed before we listened

    def _rung(self, ear: int) -> None:
        if heard(ear):
            self._hub.changed()

    def _stop_listening(self) -> None:
        if self._ear is not None:
            asyncio.get_running_loop().remove_reader(self._ear)
            os.close(self._ear)
            self._ear = None

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
        """Ends leases whose time has come; gives all of them their time anew if nobody was there to keep them. On the writer's lane."""
        now = self._clock.monotonic()
        bell = self._file.bell
        if bell is not None:
            self._boot = self._boot or boot_id() or "unknown"
            boot, at = bell.last_beat()
            shared = at if boot == self._boot and at <= now else -AWAY
            if now - max(shared, self._looked) > AWAY:
                tables.rearm(now)
            if now - shared >= REAP_INTERVAL / 2:
                bell.beat(self._boot, now)
            self._looked = now
        return tables.reap(now), tables.next_deadline()


def _free(path: str) -> int:
    """Bytes that the disk of a file has left for its user. Raises StoreUnavailable."""
    try:
        found = os.statvfs(os.path.dirname(os.path.realpath(path)))
    except OSError as error:
        raise StoreUnavailable(f"store {path} is not there: {error.strerror}", remedy="put it back; it goes on by itself") from error
    return found.f_bavail * found.f_frsize
