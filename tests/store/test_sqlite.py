"""The store in SQLite: a file that several processes share, or private memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from argosy.errors import Conflict
from argosy.reconcile import SystemClock
from argosy.store.base import Condition, Put, Store
from argosy.store.database import Database
from argosy.store.sqlite import SqliteStore
from tests.conftest import FakeClock, settle
from tests.contracts.store_contract import StoreContract, watching
from tests.opened import OnSqliteFile


class TestFile(OnSqliteFile, StoreContract):
    ttl = 0.6


class TestMemory(StoreContract):
    ttl = 0.6

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        async with SqliteStore(":memory:", SystemClock()) as store:
            yield store

    @pytest.fixture
    def other(self, store: Store) -> Store:
        return store


async def test_in_memory_a_lease_ends_when_a_fake_clock_says_so_to_the_millisecond(clock: FakeClock) -> None:
    async with SqliteStore(":memory:", clock) as store:
        short, long = await store.grant(5), await store.grant(0.5)
        start = await store.commit([], [Put("/short", b"", short), Put("/long", b"", long)])
        async with watching(store, "/", start) as seen:
            for _ in range(10):
                await clock.advance(0.4)
                assert await store.keep_alive(long) == 0.5
            await clock.advance(0.499)
            assert seen.keys == []
            await clock.advance(0.002)
            assert seen.keys == ["/long"]
            await clock.advance(0.499)
            assert await store.get("/short") is not None
            await clock.advance(0.002)
            assert await store.get("/short") is None


async def test_in_memory_a_watcher_hears_of_a_commit_within_a_few_turns_of_the_loop(clock: FakeClock) -> None:
    async with SqliteStore(":memory:", clock) as store, watching(store, "/", 1) as seen:
        await settle()
        await store.commit([], [Put("/a", b"")])
        await settle(10)
        assert seen.keys == ["/a"]


async def test_private_memory_is_private(clock: FakeClock) -> None:
    async with SqliteStore(":memory:", clock) as one, SqliteStore(":memory:", clock) as two:
        await one.commit([], [Put("/a", b"")])
        assert await two.get("/a") is None


def test_a_defect_in_one_piece_of_work_harms_no_other_in_its_transaction() -> None:
    database = Database(":memory:", writes=True, create=True)
    first, defect, refused, last = database.apply(
        [
            lambda tables: tables.commit([], [Put("/a", b"1")]),
            lambda tables: tables.commit([], [Put("/b", b"2"), Put("/c", object())]),  # type: ignore[arg-type]
            lambda tables: tables.commit([Condition("/a", 99)], [Put("/d", b"3")]),
            lambda tables: tables.commit([], [Put("/e", b"4")]),
        ],
        durable=True,
    )
    assert (first, last) == (2, 3)
    assert isinstance(defect, Exception)
    assert isinstance(refused, Conflict)
    (listing,) = database.apply([lambda tables: tables.list("/")], durable=False)
    assert [record.key for record in listing.records] == ["/a", "/e"]
    database.close()
