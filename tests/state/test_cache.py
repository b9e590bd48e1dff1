"""The view on both stores, and a random history that it must come to equal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from argosy.errors import HistoryGone, StoreUnavailable
from argosy.reconcile import SystemClock
from argosy.state.cache import Cache
from argosy.state.table import Changes
from argosy.store.base import Batch, Listing, Put, Record, Store
from argosy.store.etcd import EtcdStore
from argosy.store.sqlite import SqliteStore
from tests.conftest import FakeClock, settle
from tests.contracts.cache_contract import GREEN, RED, CacheContract, Fruit, Garden, equal
from tests.contracts.store_contract import eventually
from tests.etcd_server import etcd_cluster, fast_folder
from tests.opened import OnEtcd, OnSqliteFile
from tests.relay import relay


class TestOnEtcd(OnEtcd, CacheContract):
    pass


class TestOnSqlite(OnSqliteFile, CacheContract):
    pass


class Counting(SqliteStore):
    """Counts listings and watches; `away`: nothing answers. `held`: listings wait."""

    def __init__(self, clock: Any) -> None:
        super().__init__(":memory:", clock)
        self.lists: list[str] = []
        self.watches: list[str] = []
        self.away = False
        self.open = asyncio.Event()
        self.open.set()

    async def list(self, prefix: str) -> Listing:
        self.lists.append(prefix)
        if self.away:
            raise StoreUnavailable("the store is away")
        listing = await super().list(prefix)
        await self.open.wait()
        return listing

    def watch(self, prefix: str, after: int, *, previous: bool = False) -> Any:
        self.watches.append(prefix)
        return super().watch(prefix, after, previous=previous)


@pytest.fixture
async def counting(clock: FakeClock) -> AsyncIterator[Counting]:
    async with Counting(clock) as store:
        yield store


async def test_many_readers_cost_one_listing_and_one_watch(counting: Counting, clock: FakeClock) -> None:
    garden = Garden()
    await garden.put(counting, apple=RED)
    async with Cache(counting, clock) as cache:
        await asyncio.gather(*(cache.read(garden.fruits, garden.trees) for _ in range(100)))
        waiting = [asyncio.create_task(cache.wait(0, [garden.fruits.all()], 5)) for _ in range(100)]
        assert all(await asyncio.gather(*waiting))
        assert counting.lists.count(garden.fruits.prefix) == counting.lists.count(garden.trees.prefix) == 1
        assert counting.watches == [""]
        asked = len(counting.lists)
        await clock.advance(0.9)
        await cache.read(garden.fruits)
        assert len(counting.lists) == asked
        await clock.advance(0.2)
        await asyncio.gather(*(cache.read(garden.fruits) for _ in range(100)))
        assert len(counting.lists) == asked + 1, "all of them ask once how far the store is"


async def test_what_nobody_asks_for_is_followed_no_longer(counting: Counting, clock: FakeClock) -> None:
    garden = Garden()
    async with Cache(counting, clock, idle=60) as cache:
        await cache.read(garden.fruits, garden.trees)
        waiting = asyncio.create_task(cache.wait((await cache.read(garden.trees)).index, [garden.trees.all()], 100))
        await clock.advance(61)
        assert cache.followed == {garden.trees.prefix}, "somebody is blocked on them"
        await clock.advance(40)
        assert not await waiting
        await clock.advance(58)
        assert cache.followed == {garden.trees.prefix}
        await clock.advance(3)
        assert cache.followed == frozenset()
        assert not counting._hub._watchers
        await garden.put(counting, apple=RED)
        assert (await cache.read(garden.fruits))[garden.fruits].get("apple") == RED


async def test_a_follower_keeps_what_it_follows_and_nothing_else(counting: Counting, clock: FakeClock) -> None:
    garden = Garden()
    async with Cache(counting, clock, idle=60) as cache:
        following = cache.follow(garden.alone)
        await anext(following)
        await clock.advance(1000)
        assert cache.followed == {garden.alone.prefix}
        await following.aclose()
        await clock.advance(61)
        assert cache.followed == frozenset()


async def test_a_slow_follower_is_told_everything_anew_when_that_is_less(counting: Counting, clock: FakeClock) -> None:
    garden = Garden()
    async with Cache(counting, clock) as cache:
        following = cache.follow(garden.alone)
        assert (await anext(following)).reset
        for number in range(1200):
            await garden.put(counting, **{f"f{number}": RED})
            await garden.put(counting, **{f"f{number}": None})
        last = await garden.put(counting, apple=GREEN)
        await settle()
        assert await anext(following) == Changes({"apple": GREEN}, {"apple": last}, last, reset=True)
        await following.aclose()


async def test_what_happens_while_a_kind_is_listed_is_not_lost(counting: Counting, clock: FakeClock) -> None:
    garden = Garden()
    await garden.put(counting, apple=RED, pear=RED, plum=RED)
    async with Cache(counting, clock) as cache:
        await cache.read(garden.trees)
        counting.open.clear()
        reading = asyncio.create_task(cache.read(garden.fruits))
        await settle()
        await garden.put(counting, apple=GREEN, pear=None)
        await garden.put(counting, pear=GREEN, plum=None)
        await settle()
        counting.open.set()
        fruits = (await reading)[garden.fruits]
        assert fruits.values == {"apple": GREEN, "pear": GREEN}
        await equal(cache, counting, garden.fruits)


async def test_while_the_store_is_away_nothing_is_read_that_may_be_old(counting: Counting, clock: FakeClock) -> None:
    garden = Garden()
    await garden.put(counting, apple=RED)
    async with Cache(counting, clock, fresh=1.0) as cache:
        await cache.read(garden.fruits)
        counting.away = True
        await cache.read(garden.fruits)
        await clock.advance(1.5)
        with pytest.raises(StoreUnavailable, match="the store is away"):
            await cache.read(garden.fruits)
        with pytest.raises(StoreUnavailable, match="the store is away"):
            await cache.read(garden.trees)
        counting.away = False
        assert (await cache.read(garden.fruits))[garden.fruits].get("apple") == RED
        await clock.advance(10)
        await cache.read(garden.trees)


async def test_waits_end_in_time_and_together(counting: Counting, clock: FakeClock) -> None:
    garden = Garden()
    async with Cache(counting, clock) as cache:
        index = (await cache.read(garden.fruits)).index
        waiting = [asyncio.create_task(cache.wait(index, [garden.fruits.key(str(number))], 5 + number % 2)) for number in range(2000)]
        await settle()
        assert cache.blocked == 2000
        await clock.advance(5)
        assert sum(task.done() for task in waiting) == cache.blocked == 1000
        await garden.put(counting, **{"1": RED})
        await settle()
        assert await waiting[1]
        for task in waiting[2:]:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert cache.blocked == 0


async def test_a_restored_etcd_is_never_mixed_with_what_was_before() -> None:
    garden = Garden()
    with fast_folder() as folder:
        async with (
            etcd_cluster(folder, 1, secure=False) as cluster,
            relay(cluster.endpoints[0]) as line,
            EtcdStore([line.endpoint], SystemClock()) as store,
            Cache(store, SystemClock(), fresh=0.0) as cache,
        ):
            await garden.put(store, apple=RED, pear=RED)
            await equal(cache, store, garden.fruits)
            await cluster.snapshot(folder / "snapshot")
            await garden.put(store, apple=GREEN, pear=None)
            index = (await cache.read(garden.fruits)).index
            waiting = asyncio.create_task(cache.wait(index, [garden.fruits.key("plum")], 30))
            await eventually(lambda: cache.blocked == 1)
            line.cut()
            await cluster.restore(folder / "snapshot")
            async with EtcdStore(cluster.endpoints, SystemClock()) as other:
                for number in range(20):
                    await garden.put(other, **{f"new{number}": RED})
            line.heal()

            async def asked() -> bool:
                try:
                    await equal(cache, store, garden.fruits)
                except StoreUnavailable:
                    return False
                return True

            await eventually(asked)
            assert await waiting, "who waits is told that it may have missed something"


NAMES = [f"n{number}" for number in range(6)]
fruits = st.one_of(st.none(), st.sampled_from([RED, GREEN, b"rotten"]))


class Restorable:
    """A store that can be replaced by an older copy of itself; watches hear of it only when `tell` is called, or never. `away`: nothing
    answers and watches are silent."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.now = SqliteStore(":memory:", clock)
        self.replaced = asyncio.Event()
        self.away = False

    async def restore(self, records: Sequence[Record], commits: int) -> None:
        """`commits`: how many commits the copy is old, from which its revision follows."""
        old, self.now = self.now, SqliteStore(":memory:", self.clock)
        await self.now.commit([], [Put("/counted", b"")])
        for _ in range(commits):
            await self.now.commit([], [Put("/counted", b"")])
        for record in records:
            await self.now.commit([], [Put(record.key, record.value)])
        await old.close()

    def tell(self) -> None:
        self.replaced.set()
        self.replaced = asyncio.Event()

    async def list(self, prefix: str) -> Listing:
        if self.away:
            raise StoreUnavailable("the store is away")
        return await self.now.list(prefix)

    async def commit(self, conditions: Any, writes: Any) -> int:
        return await self.now.commit(conditions, writes)

    async def watch(self, prefix: str, after: int, *, previous: bool = False) -> AsyncIterator[Sequence[Batch]]:
        replaced = asyncio.create_task(self.replaced.wait())
        inner = self.now.watch(prefix, after)
        coming = asyncio.ensure_future(anext(inner, None))
        try:
            while True:
                await asyncio.wait((replaced, coming), return_when=asyncio.FIRST_COMPLETED)
                if replaced.done():
                    raise HistoryGone("the store has gone back in time")
                batches = coming.result()
                if batches is None:  # the copy that was replaced is closed
                    await replaced
                    raise HistoryGone("the store has gone back in time")
                yield batches
                coming = asyncio.ensure_future(anext(inner, None))
        finally:
            for task in (replaced, coming):
                task.cancel()
            await asyncio.gather(replaced, coming, return_exceptions=True)
            await inner.aclose()  # type: ignore[attr-defined]


class History(RuleBasedStateMachine):
    """Writes, compactions, copies that replace the store, outages, and readers that come and go: in the end the view is the listing."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.commits = 0

    def do(self, call: Any) -> Any:
        return self.runner.run(call)

    @initialize(idle=st.sampled_from([0.0, 60.0]))
    def begin(self, idle: float) -> None:
        async def start() -> None:
            self.garden = Garden()
            self.store = Restorable(SystemClock())
            self.view: Any = self.store
            self.copy: tuple[Sequence[Record], int] | None = None
            self.cache = Cache(cast(Store, self.store), SystemClock(), fresh=0.0, idle=idle)
            self.known: dict[str, Fruit] = {}
            self.following = asyncio.create_task(self._follow())

        self.do(start())

    async def _follow(self) -> None:
        async for changes in self.cache.follow(self.garden.fruits):
            if changes.reset:
                self.known = {}
            for name, fruit in changes.items.items():
                if fruit is None:
                    self.known.pop(name, None)
                else:
                    self.known[name] = fruit

    @rule(changes=st.dictionaries(st.sampled_from(NAMES), fruits, min_size=1))
    def write(self, changes: dict[str, Any]) -> None:
        self.do(self.garden.put(self.view, **changes))
        self.commits += 1

    @rule(changes=st.lists(st.dictionaries(st.sampled_from(NAMES), fruits, min_size=1), max_size=5))
    def write_while_somebody_reads(self, changes: Sequence[dict[str, Any]]) -> None:
        async def both() -> None:
            reading = asyncio.create_task(self.cache.read(self.garden.fruits, self.garden.trees))
            for change in changes:
                await self.garden.put(self.view, **change)
                self.commits += 1
            await asyncio.gather(reading, return_exceptions=self.store.away)

        self.do(both())

    @rule()
    def compact(self) -> None:
        async def compact() -> None:
            await self.store.now.compact((await self.store.now.list("/none")).revision)

        self.do(compact())

    @rule()
    def back_up(self) -> None:
        self.copy = self.do(self.store.now.list("/")).records, self.commits

    @rule(told=st.booleans())
    def restore(self, told: bool) -> None:
        """Not told of: only if the revision shows it."""
        if self.copy is None:
            return
        records, commits = self.copy

        async def restore() -> None:
            before = (await self.store.now.list("/none")).revision
            await self.store.restore(records, commits)
            if told or (await self.store.now.list("/none")).revision >= before:
                self.store.tell()
            elif not self.store.away:
                await self._read()

        self.do(restore())
        self.commits = commits

    @rule()
    def outage(self) -> None:
        async def outage() -> None:
            self.store.away = True
            with pytest.raises(StoreUnavailable):
                await self.cache.read(self.garden.fruits)
            self.store.away = False

        self.do(outage())

    async def _read(self) -> None:
        async def asked() -> bool:
            try:
                await equal(self.cache, self.view, self.garden.fruits)
            except StoreUnavailable:
                return False
            return True

        await eventually(asked)

    @rule()
    def read(self) -> None:
        self.do(self._read())

    @rule()
    def compare(self) -> None:
        async def compare() -> None:
            await self._read()
            table = (await self.cache.read(self.garden.fruits))[self.garden.fruits]
            await eventually(lambda: self.known == table.values)

        self.do(compare())

    def teardown(self) -> None:
        async def end() -> None:
            self.following.cancel()
            await asyncio.gather(self.following, return_exceptions=True)
            await self.cache.close()
            await self.store.now.close()

        if hasattr(self, "following"):
            self.do(end())
        self.runner.close()


def test_whatever_happens_the_view_comes_to_equal_the_store() -> None:
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
        ),
    )
