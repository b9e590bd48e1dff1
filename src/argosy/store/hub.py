"""Who waits for news of the store, and how each of them gets all of it once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from argosy.errors import ArgosyError, HistoryGone, StoreUnavailable
from argosy.reconcile import Clock, Wake
from argosy.store.base import Batch
from argosy.store.tables import News

log = logging.getLogger(__name__)

CHUNK = 5_000
"""Events read at a time."""

BACKLOG = 1_000
"""Batches that may wait for a slow watcher in memory; the rest waits in the store's history."""

AWAY_INTERVAL = 0.1
"""Seconds between two looks at a store that is away."""


class Watcher:
    """One watch: `position` is the revision up to which it has been told everything."""

    def __init__(self, prefix: str, position: int) -> None:
        self.prefix = prefix
        self.position = position
        self.batches: list[Batch] = []
        self.error: BaseException | None = None
        self.wake = asyncio.Event()

    def tell(self, news: News) -> None:
        for batch in news.batches:
            if batch.revision > self.position:
                events = tuple([event for event in batch.events if event.key.startswith(self.prefix)])
                if events:
                    self.batches.append(Batch(batch.revision, events))
        self.position = max(self.position, news.upto)
        if self.batches:
            self.wake.set()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.wake.set()


class Hub:
    """Reads the news once for all watchers, whenever somebody says `changed`, and every `poll` seconds (None: never by itself)."""

    def __init__(self, news: Callable[[int, int], Awaitable[News]], clock: Clock, poll: float | None) -> None:
        self._news = news
        self._clock = clock
        self._poll = poll
        self._watchers: set[Watcher] = set()
        self._wake = Wake()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._identity = ""
        self._head = 0
        self._closed = False

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Sequence[Batch]]:
        if self._closed:
            return
        watcher = Watcher(prefix, max(after, 0))
        self._watchers.add(watcher)
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="store-hub")
        self._wake.set()
        try:
            while True:
                if watcher.batches:
                    batches, watcher.batches = watcher.batches, []
                    if len(batches) >= BACKLOG:
                        self._wake.set()
                    yield batches
                elif watcher.error is not None:
                    raise watcher.error
                elif self._is_closed():
                    return
                else:
                    watcher.wake.clear()
                    await watcher.wake.wait()
        finally:
            self._watchers.discard(watcher)

    def changed(self) -> None:
        """The store has a new revision, or may have."""
        if self._watchers:
            self._wake.set()

    async def round(self) -> None:
        """Tells every watcher what it has not been told yet. Raises StoreUnavailable."""
        async with self._turn:
            while hungry := [watcher for watcher in self._watchers if len(watcher.batches) < BACKLOG and watcher.error is None]:
                first = min(hungry, key=lambda watcher: watcher.position)
                try:
                    news = await self._news(first.position, CHUNK)
                except HistoryGone as error:
                    self._watchers.discard(first)
                    first.fail(error)
                    continue
                if self._is_another(news):
                    self._forget_all()
                    continue
                for watcher in hungry:
                    watcher.tell(news)
                if news.upto >= news.revision:
                    return

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for watcher in self._watchers:
            watcher.wake.set()

    def _is_closed(self) -> bool:
        return self._closed

    def _is_another(self, news: News) -> bool:
        """Whether the file is not the one that was there before: another store, or an older copy of this one."""
        another = bool(self._identity) and (news.identity != self._identity or news.revision < self._head)
        self._identity, self._head = news.identity, news.revision
        return another

    def _forget_all(self) -> None:
        for watcher in self._watchers:
            watcher.fail(HistoryGone("the store has been replaced by another one", remedy="list again, then watch"))
        self._watchers.clear()

    async def _work(self) -> None:
        while True:
            pause = self._poll
            try:
                await self.round()
            except StoreUnavailable:
                pause = AWAY_INTERVAL
            except ArgosyError as error:
                log.error("watches end: %s", error)
                for watcher in self._watchers:
                    watcher.fail(error)
            with contextlib.suppress(asyncio.TimeoutError):
                await self._wake.wait(self._clock, pause if self._watchers else None)
