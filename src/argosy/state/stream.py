"""One watch of the store, and the tables that it keeps current."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, TypeVar

from argosy.errors import HistoryGone, StoreUnavailable
from argosy.reconcile import Backoff, Clock, Wake
from argosy.state import keys
from argosy.state.kinds import RecordKind
from argosy.state.records import decoded
from argosy.state.table import Table
from argosy.state.waiters import Waiters
from argosy.store.base import Batch, Store
from argosy.store.history import GONE_BACK

log = logging.getLogger(__name__)

T = TypeVar("T")

SLICE = 500
"""Records decoded before other tasks have their turn."""


class Stream:
    """`position`: everything up to this revision has been taken into the tables that are loaded. `history` counts how often everything had
    to be read anew. It runs from its construction until `close`, or until the store is closed (`ended`)."""

    def __init__(self, store: Store, clock: Clock, prefix: str, waiters: Waiters) -> None:
        self.prefix = prefix
        self.position = 0
        self.history = 0
        self.ended = False
        self.error: BaseException | None = None
        self.tables: dict[str, Table[Any]] = {}
        self._store = store
        self._clock = clock
        self._waiters = waiters
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._results: dict[str, asyncio.Future[None]] = {}
        self._asked = Wake()
        self._tasks: set[asyncio.Task[None]] = set()
        self._start()

    def add(self, kind: RecordKind[T]) -> Table[T]:
        """Begin to follow records of a kind."""
        table = self.tables[kind.prefix] = Table(kind, self._waiters)
        if self.position:
            self._load(table)
        return table

    def drop(self, table: Table[Any]) -> None:
        """Follow them no longer."""
        del self.tables[table.kind.prefix]
        load = self._loads.pop(table.kind.prefix, None)
        if load is not None:
            load.cancel()

    async def loaded(self, table: Table[Any]) -> None:
        """Wait until the table is loaded. Raises StoreUnavailable if the next attempt to load it fails."""
        while not table.loaded:
            if self.ended:
                raise self.error or StoreUnavailable("the store has been closed")
            result = self._results.get(table.kind.prefix)
            if result is None:
                result = self._results[table.kind.prefix] = asyncio.get_running_loop().create_future()
            self._asked.set()
            await asyncio.shield(result)

    def check(self, position: int, revision: int) -> bool:
        """Return True if the store may tell `revision` when it was known to be at `position`. It has gone back in time if it may not, and
        everything is read anew: a watch is told of that only if the store knew of this process before."""
        if revision >= position:
            return True
        if position <= self.position:
            log.error("%s: it is at revision %d, after %d; everything is read anew", GONE_BACK, revision, position)
            for task in self._tasks:
                task.cancel()
            self._unload()
            self._start()
        return False

    async def close(self) -> None:
        tasks = [*self._tasks, *self._loads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._end(None)

    def _start(self) -> None:
        task = asyncio.create_task(self._run(), name=f"following {self.prefix or 'the store'}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        try:
            await self._follow()
            self._end(None)
        except Exception as error:
            self._fail(error)

    async def _read(self, table: Table[Any]) -> None:
        try:
            await self._fill(table)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """A defect: whoever reads or follows is told; the next one begins with another stream."""
        log.error("following %s ends", self.prefix or "the store", exc_info=error)
        self._end(error)
        for task in (*self._tasks, *self._loads.values()):
            if task is not asyncio.current_task():
                task.cancel()

    async def _follow(self) -> None:
        """Returns when the store is closed."""
        backoff = Backoff()
        while True:
            watch: AsyncIterator[Sequence[Batch]] | None = None
            try:
                self.position = (await self._store.list(keys.ENGINE_LEADER)).revision  # any small listing: it tells the revision
                self._reached()
                for table in self.tables.values():
                    self._load(table)
                watch = self._store.watch(self.prefix, self.position)
                async for batches in watch:
                    backoff.reset()
                    for batch in batches:
                        self._take(batch)
                return
            except HistoryGone:
                log.info("the history of %s after revision %d is gone: reading it anew", self.prefix or "the store", self.position)
                self._unload()
            except StoreUnavailable as error:
                self._unload()
                self._tell(error)
                pause = backoff.next()
                log.warning("cannot follow %s: %s; trying again in %.1f s", self.prefix or "the store", error, pause)
                await self._asked.wait(self._clock, pause)
            finally:
                if isinstance(watch, AsyncGenerator):
                    await watch.aclose()

    def _take(self, batch: Batch) -> None:
        tables = tuple(self.tables.values())
        for event in batch.events:
            for table in tables:
                if event.key.startswith(table.kind.prefix):
                    table.apply(event, batch.revision)
        self.position = batch.revision
        for table in tables:
            if table.loaded:
                table.advance(batch.revision)
        self._reached()

    def _reached(self) -> None:
        if not self.prefix:
            self._waiters.reach(self.position)

    def _unload(self) -> None:
        self.position = 0
        self.history += 1
        for table in self.tables.values():
            table.unload()
        for load in self._loads.values():
            load.cancel()
        self._loads.clear()
        if not self.prefix:
            self._waiters.forget_revisions()

    def _load(self, table: Table[Any]) -> None:
        self._loads[table.kind.prefix] = asyncio.create_task(self._read(table), name=f"reading {table.kind.prefix}")

    async def _fill(self, table: Table[Any]) -> None:
        prefix = table.kind.prefix
        backoff = Backoff()
        while True:
            position = self.position
            try:
                listing = await self._store.list(prefix)
                if self.check(position, listing.revision):
                    break
            except StoreUnavailable as error:
                self._result(prefix, error)
                pause = backoff.next()
                log.warning("cannot list %s: %s; trying again in %.1f s", prefix, error, pause)
                await self._asked.wait(self._clock, pause)
        values: dict[str, Any] = {}
        modified: dict[str, int] = {}
        for number, record in enumerate(listing.records, 1):
            key = record.key[len(prefix) :]
            value = decoded(table.kind.type, record)
            if value is not None:
                values[key] = value
            modified[key] = record.modified
            if number % SLICE == 0:
                await asyncio.sleep(0)
        table.fill(values, modified, listing.revision)
        table.advance(self.position)
        self._loads.pop(prefix, None)
        self._result(prefix, None)

    def _result(self, prefix: str, error: BaseException | None) -> None:
        result = self._results.pop(prefix, None)
        if result is None or result.done():
            return
        if error is None:
            result.set_result(None)
        else:
            result.set_exception(error)
            result.exception()  # whoever asked may be gone

    def _tell(self, error: BaseException) -> None:
        for prefix in tuple(self._results):
            self._result(prefix, error)

    def _end(self, error: BaseException | None) -> None:
        self.ended, self.error = True, error
        for table in self.tables.values():
            table.end(error)
        self._tell(error or StoreUnavailable("the store has been closed"))
        if not self.prefix:
            self._waiters.forget_revisions()
