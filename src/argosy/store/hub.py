"""Who waits for news of a SQLite store, and how each of them gets all of it once, in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from argosy.errors import HistoryGone, StoreUnavailable
from argosy.reconcile import Clock, Wake
from argosy.store.base import Batch
from argosy.store.history import GONE_BACK
from argosy.store.subscription import Subscription
from argosy.store.tables import News

log = logging.getLogger(__name__)

CHUNK = 5_000
"""Events read at a time."""

AWAY_INTERVAL = 0.1
"""Seconds between two looks at a store that is away."""


class Hub:
    """Reads the news once for all watchers, whenever somebody says `changed`, and every `poll` seconds (None: never by itself).
    `gone_back` is told when the store is found to be another one than before, or an older copy of it."""

    def __init__(
        self, news: Callable[[int, int], Awaitable[News]], clock: Clock, poll: float | None, gone_back: Callable[[], None]
    ) -> None:
        self.poll = poll
        self._gone_back = gone_back
        self._news = news
        self._clock = clock
        self._watchers: set[Subscription] = set()
        self._wake = Wake()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._identity = ""
        self._head = 0
        self._closed = False

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Sequence[Batch]]:
        if self._closed:
            return
        watcher = Subscription(prefix, after)
        self._watchers.add(watcher)
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="store-hub")
        self._wake.set()
        try:
            while (batches := await watcher.take()) is not None:
                self.changed(watcher.position < self._head)
                yield batches
        finally:
            self._watchers.discard(watcher)

    def changed(self, truly: bool = True) -> None:
        """The store has a new revision, or may have."""
        if truly and self._watchers:
            self._wake.set()

    async def round(self) -> None:
        """Tells every watcher what it has not been told yet. Raises StoreUnavailable."""
        async with self._turn:
            while hungry := [watcher for watcher in self._watchers if not watcher.full and not watcher.ended]:
                first = min(hungry, key=lambda watcher: watcher.position)
                try:
                    news = await self._news(first.position, CHUNK)
                except HistoryGone as error:
                    first.end(error)
                    continue
                if self._is_another(news):
                    self._gone_back()
                    for watcher in self._watchers:
                        watcher.end(HistoryGone(GONE_BACK, remedy="list again, then watch"))
                    return
                for watcher in hungry:
                    watcher.put(news.batches, news.upto)
                if news.upto >= news.revision:
                    return

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for watcher in self._watchers:
            watcher.end()

    def _is_another(self, news: News) -> bool:
        """Whether the file is not the one that was there before: another store, or an older copy of this one."""
        another = bool(self._identity) and (news.identity != self._identity or news.revision < self._head)
        if another:
            log.error("%s: it is at revision %d, after %d; everything is read anew", GONE_BACK, news.revision, self._head)
        self._identity, self._head = news.identity, news.revision
        return another

    async def _work(self) -> None:
        away = False
        while True:
            pause = self.poll
            try:
                await self.round()
                if away:
                    log.info("watches go on")
                away = False
            except StoreUnavailable as error:
                if not away:
                    log.warning("watches wait: %s", error)
                away, pause = True, AWAY_INTERVAL
            except Exception as error:
                log.exception("watches end")
                for watcher in self._watchers:
                    watcher.end(error)
            await self._wake.wait(self._clock, pause if self._watchers else None)
