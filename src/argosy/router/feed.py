"""Where a router hears of announced keys: the contract, and the store as its first implementation. `etcd2` is the other.

`tests/contracts/feed_contract.py` is this page as a test suite.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from argosy.model import Entry
from argosy.state.cache import Cache
from argosy.state.kinds import WEB
from argosy.state.table import Changes


class Feed(Protocol):
    """Announced keys, kept current."""

    def follow(self) -> AsyncIterator[Changes[Entry]]:
        """Everything there is (`reset`), then what changes, for ever; keys are without the prefix: <app> for an app's directory,
        <app>/<instance> for an address. While the keys cannot be reached it yields nothing, and when they can again, everything anew."""


class StoreFeed:
    """The keys under /services/web/ of the cluster's own store."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def follow(self) -> AsyncIterator[Changes[Entry]]:
        return self._cache.follow(WEB)


class JoinedFeed:
    """Several feeds as one: `feeds` by what comes before their keys. The one without a prefix is the first to be heard of."""

    def __init__(self, feeds: Mapping[str, Feed]) -> None:
        self._feeds = feeds

    async def follow(self) -> AsyncIterator[Changes[Entry]]:
        heard: asyncio.Queue[tuple[str, Changes[Entry] | BaseException]] = asyncio.Queue(1)

        async def listen(prefix: str, feed: Feed) -> None:
            try:
                async for changes in feed.follow():
                    await heard.put((prefix, changes))
            except Exception as error:
                await heard.put((prefix, error))

        known: dict[str, dict[str, Entry | None]] = {}
        tasks = [asyncio.create_task(listen(prefix, feed)) for prefix, feed in self._feeds.items()]
        try:
            while True:
                prefix, changes = await heard.get()
                if isinstance(changes, BaseException):
                    raise changes
                items = {prefix + key: entry for key, entry in changes.items.items()}
                if changes.reset:
                    known[prefix] = {}
                known[prefix].update(items)
                if "" not in known:
                    continue
                if changes.reset:
                    every = {key: entry for group in known.values() for key, entry in group.items() if entry is not None}
                    yield Changes(every, {}, changes.revision, reset=True)
                else:
                    yield Changes(items, {}, changes.revision)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
