"""A prefix of the store, decoded and kept current."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argosy.errors import HistoryGone, StoreUnavailable
from argosy.reconcile import SystemClock
from argosy.state.cache import Cache
from argosy.state.kinds import RecordKind
from argosy.state.records import encode
from argosy.state.table import Changes
from argosy.store.base import Batch, Delete, Put, Store
from argosy.store.sqlite import SqliteStore
from tests.conftest import FakeClock, settle
from tests.contracts.store_contract import eventually


class Fruit(msgspec.Struct, frozen=True):
    colour: str


FRUITS = RecordKind("/fruit/", Fruit, "/fruit/")
RED, GREEN = Fruit("red"), Fruit("green")


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(":memory:", clock) as store:
        yield store


async def put(store: Store, **fruits: Fruit | bytes | None) -> int:
    """Writes /fruit/<name>; None deletes."""
    return await store.commit(
        [],
        [
            Delete(f"/fruit/{name}") if fruit is None else Put(f"/fruit/{name}", fruit if isinstance(fruit, bytes) else encode(fruit))
            for name, fruit in fruits.items()
        ],
    )


def following(store: Store, clock: Any) -> AsyncGenerator[Changes[Fruit], None]:
    return Cache(store, clock, idle=0.0).follow(FRUITS)


async def following_one(changes: AsyncIterator[Changes[Fruit]]) -> Changes[Fruit]:
    async with asyncio.timeout(10):
        return await anext(changes)


async def test_first_comes_everything_that_stands_as_a_reset(store: SqliteStore, clock: FakeClock) -> None:
    revision = await put(store, apple=RED, pear=GREEN)
    after = await store.commit([], [Put("/fruits", b"no"), Put("/animal/cat", b"no")])
    changes = following(store, clock)
    assert await anext(changes) == Changes({"apple": RED, "pear": GREEN}, {"apple": revision, "pear": revision}, after, reset=True)
    await changes.aclose()


async def test_an_empty_prefix_is_an_empty_reset(store: SqliteStore, clock: FakeClock) -> None:
    changes = following(store, clock)
    assert await anext(changes) == Changes({}, {}, 1, reset=True)
    await changes.aclose()


async def test_then_come_the_changes_each_key_with_its_newest_record_or_none(store: SqliteStore, clock: FakeClock) -> None:
    await put(store, apple=RED, pear=RED)
    changes = following(store, clock)
    await anext(changes)
    first = await put(store, apple=GREEN)
    assert await anext(changes) == Changes({"apple": GREEN}, {"apple": first}, first)
    second = await put(store, pear=None, plum=RED)
    assert await anext(changes) == Changes({"pear": None, "plum": RED}, {"plum": second}, second)
    await changes.aclose()


async def test_what_piled_up_comes_as_one_change(store: SqliteStore, clock: FakeClock) -> None:
    changes = following(store, clock)
    await anext(changes)
    await put(store, apple=RED)
    assert (await anext(changes)).items == {"apple": RED}
    await put(store, apple=GREEN, pear=RED)
    await put(store, pear=None)
    third = await put(store, apple=None, plum=RED)
    last = await put(store, apple=RED)
    await settle()
    assert await anext(changes) == Changes({"apple": RED, "pear": None, "plum": RED}, {"apple": last, "plum": third}, last)
    await changes.aclose()


@pytest.mark.parametrize("broken", [b"", b"\xff\xfe", b"[]", b'{"colour": 7}', b"{}"])
async def test_a_broken_record_is_named_in_the_log_and_harms_no_other(
    store: SqliteStore, clock: FakeClock, caplog: pytest.LogCaptureFixture, broken: bytes
) -> None:
    revision = await put(store, apple=RED, rotten=broken)
    changes = following(store, clock)
    assert await anext(changes) == Changes({"apple": RED}, {"apple": revision, "rotten": revision}, revision, reset=True)
    assert "/fruit/rotten" in caplog.text
    caplog.clear()
    later = await put(store, pear=GREEN, plum=broken)
    assert await anext(changes) == Changes({"pear": GREEN, "plum": None}, {"pear": later, "plum": later}, later)
    assert "/fruit/plum" in caplog.text
    healed = await put(store, rotten=RED)
    assert await anext(changes) == Changes({"rotten": RED}, {"rotten": healed}, healed)
    await changes.aclose()


class Forgetful(SqliteStore):
    """What happens first after somebody has begun to watch is forgotten before it is told."""

    forgets = 1

    def watch(self, prefix: str, after: int, *, previous: bool = False) -> AsyncIterator[Sequence[Batch]]:
        return self._watch(prefix, after, previous)

    async def _watch(self, prefix: str, after: int, previous: bool) -> AsyncIterator[Sequence[Batch]]:
        async for batches in super().watch(prefix, after, previous=previous):
            if self.forgets:
                self.forgets -= 1
                await self.compact(batches[-1].revision)
                raise HistoryGone("forgotten")
            yield batches


async def test_when_history_is_gone_everything_comes_again_as_a_reset(clock: FakeClock) -> None:
    async with Forgetful(":memory:", clock) as store:
        await put(store, apple=RED)
        changes = following(store, clock)
        assert (await anext(changes)).items == {"apple": RED}
        await settle()
        await put(store, plum=RED)
        again = await anext(changes)
        assert again.reset
        assert again.items == {"apple": RED, "plum": RED}
        await put(store, apple=None)
        assert (await anext(changes)).items == {"apple": None}
        await changes.aclose()


class Unwatchable(SqliteStore):
    """It can be read, but watches fail."""

    listed = 0

    async def list(self, prefix: str) -> Any:
        self.listed += 1
        return await super().list(prefix)

    def watch(self, prefix: str, after: int, *, previous: bool = False) -> AsyncIterator[Sequence[Batch]]:
        raise StoreUnavailable("no watches today")


async def test_a_store_that_cannot_be_watched_is_listed_again_with_growing_pauses(clock: FakeClock) -> None:
    async with Unwatchable(":memory:", clock) as store:
        seen = []

        async def read() -> None:
            seen.extend([changes async for changes in following(store, clock)])

        task = asyncio.create_task(read())
        await clock.advance(60)
        assert 10 < store.listed < 25
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_while_the_store_is_away_nothing_comes_and_nothing_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    real, link = tmp_path / "real.db", tmp_path / "store.db"
    clock = SystemClock()
    async with SqliteStore(str(real), clock) as outside, SqliteStore(str(link), clock, create=False) as store:
        await put(outside, apple=RED)
        changes = following(store, clock)
        waiting = asyncio.create_task(following_one(changes))
        await eventually(lambda: "cannot follow /fruit/" in caplog.text)
        assert not waiting.done()
        link.symlink_to(real)
        assert (await waiting).items == {"apple": RED}
        waiting = asyncio.create_task(following_one(changes))
        await put(outside, plum=RED)
        assert (await waiting).items == {"plum": RED}
        link.unlink()
        waiting = asyncio.create_task(following_one(changes))
        await put(outside, pear=GREEN)
        await put(outside, apple=None)
        await eventually(lambda: "watches wait" in caplog.text)
        assert not waiting.done()
        link.symlink_to(real)
        found = await waiting
        assert (found.reset, found.items) == (False, {"pear": GREEN, "apple": None})
        await changes.aclose()


async def test_it_ends_when_the_store_is_closed(store: SqliteStore, clock: FakeClock) -> None:
    changes = following(store, clock)
    await anext(changes)
    waiting = asyncio.create_task(following_one(changes))
    await settle()
    await store.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_leaving_early_ends_the_watch_too(store: SqliteStore, clock: FakeClock) -> None:
    changes = following(store, clock)
    await anext(changes)
    await put(store, apple=RED)
    await anext(changes)
    await changes.aclose()
    await settle()
    assert not store._hub._watchers
