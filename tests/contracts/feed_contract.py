"""The Feed contract (argosy.router.feed) as a suite: every implementation passes it on a ground of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import pytest

from argosy.model import Entry
from argosy.router.feed import Feed
from argosy.router.loop import meaning

DEADLINE = 15.0


class Ground(Protocol):
    """Keys, by their path below the prefix, as sidekicks write them; and the way to them, which can be lost."""

    def feed(self) -> Feed: ...

    async def put(self, key: str, value: str, ttl: int = 0) -> None: ...

    async def delete(self, key: str) -> None:
        """A key, or a directory with all that is in it."""

    async def away(self) -> None: ...

    async def back(self) -> None: ...


class Follows(Protocol):
    def feed(self) -> Feed: ...


class Seen:
    """What a router that follows the feed knows."""

    def __init__(self) -> None:
        self.known: dict[str, Entry] = {}
        self.resets = 0
        self.changed = asyncio.Event()

    async def follow(self, feed: Feed) -> None:
        async for changes in feed.follow():
            if changes.reset:
                self.known = {}
                self.resets += 1
            for key, entry in changes.items.items():
                if entry is None:
                    self.known.pop(key, None)
                else:
                    self.known[key] = entry
            self.changed.set()

    @property
    def values(self) -> dict[str, str]:
        return {key: entry.value for key, entry in self.known.items() if not entry.directory}

    @property
    def directories(self) -> set[str]:
        return {key for key, entry in self.known.items() if entry.directory}

    async def becomes(self, values: dict[str, str]) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                while self.values != values or not self.resets:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            pytest.fail(f"it knows {self.values} and not {values}")


@asynccontextmanager
async def following(ground: Follows) -> AsyncIterator[Seen]:
    seen = Seen()
    task = asyncio.create_task(seen.follow(ground.feed()))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class FeedContract:
    """Subclasses give the fixture `ground`."""

    async def test_where_nothing_is_announced_there_is_nothing(self, ground: Ground) -> None:
        async with following(ground) as seen:
            await seen.becomes({})

    async def test_what_stands_is_told_first_and_then_what_changes(self, ground: Ground) -> None:
        await ground.put("hello/1", "10.0.0.1:80")
        await ground.put("hello/2", "10.0.0.2:80")
        async with following(ground) as seen:
            await seen.becomes({"hello/1": "10.0.0.1:80", "hello/2": "10.0.0.2:80"})
            assert seen.directories == {"hello"}
            await ground.put("hello/2", "10.0.0.3:80")
            await seen.becomes({"hello/1": "10.0.0.1:80", "hello/2": "10.0.0.3:80"})
            await ground.put("shop/1", "10.0.0.4:80")
            await seen.becomes({"hello/1": "10.0.0.1:80", "hello/2": "10.0.0.3:80", "shop/1": "10.0.0.4:80"})
            assert seen.directories == {"hello", "shop"}
            assert seen.resets == 1

    async def test_the_last_instances_app_is_still_known(self, ground: Ground) -> None:
        await ground.put("hello/1", "10.0.0.1:80")
        async with following(ground) as seen:
            await seen.becomes({"hello/1": "10.0.0.1:80"})
            await ground.delete("hello/1")
            await seen.becomes({})
            assert seen.directories == {"hello"}

    async def test_an_app_that_is_deleted_takes_all_of_it_along(self, ground: Ground) -> None:
        await ground.put("hello/1", "10.0.0.1:80")
        await ground.put("hello/2", "10.0.0.2:80")
        await ground.put("hellos/1", "10.0.0.3:80")
        async with following(ground) as seen:
            await seen.becomes({"hello/1": "10.0.0.1:80", "hello/2": "10.0.0.2:80", "hellos/1": "10.0.0.3:80"})
            await ground.delete("hello")
            await seen.becomes({"hellos/1": "10.0.0.3:80"})
            async with asyncio.timeout(DEADLINE):
                while seen.directories != {"hellos"}:
                    seen.changed.clear()
                    await seen.changed.wait()

    async def test_a_key_ends_with_its_time(self, ground: Ground) -> None:
        async with following(ground) as seen:
            await ground.put("hello/1", "10.0.0.1:80", ttl=1)
            await seen.becomes({"hello/1": "10.0.0.1:80"})
            await seen.becomes({})

    async def test_a_hundred_changes_are_told_in_the_end(self, ground: Ground) -> None:
        async with following(ground) as seen:
            await seen.becomes({})
            for number in range(100):
                await ground.put(f"app{number % 7}/{number}", f"10.0.0.1:{number + 1}")
                if number % 3 == 0:
                    await ground.delete(f"app{number % 7}/{number}")
            await seen.becomes({f"app{number % 7}/{number}": f"10.0.0.1:{number + 1}" for number in range(100) if number % 3})

    async def test_what_is_told_is_what_a_fresh_listing_tells(self, ground: Ground) -> None:
        async with following(ground) as seen:
            await seen.becomes({})
            await ground.put("hello/1", "10.0.0.1:80")
            await ground.put("hello/deep/er", "10.0.0.1:81")
            await ground.put("hello/1", "")
            await ground.put("büro/ä", "ö")
            await ground.delete("hello/deep")
            await seen.becomes({"hello/1": "", "büro/ä": "ö"})
            async with following(ground) as fresh:
                await fresh.becomes({"hello/1": "", "büro/ä": "ö"})
                assert {key: meaning(entry) for key, entry in fresh.known.items()} == {
                    key: meaning(entry) for key, entry in seen.known.items()
                }

    async def test_while_the_keys_are_away_nothing_changes_and_then_all_is_told_anew(self, ground: Ground) -> None:
        await ground.put("hello/1", "10.0.0.1:80")
        await ground.put("gone/1", "10.0.0.2:80")
        async with following(ground) as seen:
            await seen.becomes({"hello/1": "10.0.0.1:80", "gone/1": "10.0.0.2:80"})
            await ground.away()
            await asyncio.sleep(0.3)
            assert seen.values == {"hello/1": "10.0.0.1:80", "gone/1": "10.0.0.2:80"}
            await ground.back()
            await ground.delete("gone/1")
            await ground.put("new/1", "10.0.0.3:80")
            await seen.becomes({"hello/1": "10.0.0.1:80", "new/1": "10.0.0.3:80"})

    async def test_a_feed_that_begins_while_the_keys_are_away_waits_for_them(self, ground: Ground) -> None:
        await ground.put("hello/1", "10.0.0.1:80")
        await ground.away()
        async with following(ground) as seen:
            await asyncio.sleep(0.2)
            assert seen.resets == 0
            await ground.back()
            await seen.becomes({"hello/1": "10.0.0.1:80"})
