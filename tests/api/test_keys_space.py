"""The keyspace over a store: ends of keys and directories, watchers, several doors at once, the store away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest

from argosy.api.keys.shapes import Ask, KeyEvent, KeyFault, node_told, value_of
from argosy.api.keys.space import DEFAULT, Keyspace
from argosy.api.keys.tree import Tree
from argosy.config import KeysSection
from argosy.errors import StoreUnavailable
from argosy.model import Entry
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import Condition, Listing, Put, Record, Write
from argosy.store.sqlite import SqliteStore
from tests.conftest import FakeClock, settle


def ask(method: str, path: str, **fields: Any) -> Ask:
    return Ask(method, path, **fields)


def put(path: str, value: str = "v", **fields: Any) -> Ask:
    return Ask("PUT", path, value=value.encode(), **fields)


class Flaky:
    """A store that can be sent away. What it was asked to do in the meantime is not done."""

    def __init__(self, store: SqliteStore) -> None:
        self.inner = store
        self.away = False
        self.reads = 0

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the store is away")

    async def get(self, key: str) -> Record | None:
        self._check()
        self.reads += 1
        return await self.inner.get(key)

    async def list(self, prefix: str) -> Listing:
        self._check()
        self.reads += 1
        return await self.inner.list(prefix)

    async def commit(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        self._check()
        return await self.inner.commit(conditions, writes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@asynccontextmanager
async def spaces(
    clock: FakeClock, count: int = 1, limits: KeysSection = DEFAULT, **sizes: int
) -> AsyncIterator[tuple[Flaky, list[Keyspace]]]:
    """So many doors over one store."""
    async with AsyncExitStack() as stack:
        store = Flaky(await stack.enter_async_context(SqliteStore(":memory:", clock)))
        found = [Keyspace(store, clock, limits, **sizes) for _ in range(count)]
        tasks = [asyncio.create_task(space.run()) for space in found]
        try:
            await asyncio.gather(*(space.ready.wait() for space in found))
            yield store, found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def value(space: Keyspace, path: str) -> str | None:
    node = space.tree.get(path)
    return value_of(node.entry).decode() if node is not None else None


async def first(space: Keyspace, wanted: Ask) -> KeyEvent | None:
    async with aclosing(space.wait(wanted)) as events:
        return await anext(events, None)


async def test_a_key_ends_when_nobody_refreshes_it_and_watchers_hear_expire(clock: FakeClock) -> None:
    async with spaces(clock) as (_, (space,)):
        await space.write(put("/a", ttl=10))
        waiting = asyncio.create_task(first(space, ask("GET", "/a", wait=True)))
        await clock.advance(8)
        await space.write(put("/a", "", ttl=10, refresh=True, prev_exist=True))
        await clock.advance(8)
        assert value(space, "/a") == "v"
        assert not waiting.done()  # a refresh wakes nobody
        await clock.advance(5)
        event = await waiting
        assert event is not None
        assert (event.action, event.node.path, value(space, "/a")) == ("expire", "/a", None)
        assert event.previous is not None
        assert value_of(event.previous.entry) == b"v"


async def test_a_key_set_anew_with_the_same_time_keeps_its_lease(clock: FakeClock) -> None:
    async with spaces(clock) as (store, (space,)):
        leases = set()
        for number in range(5):
            await space.write(put("/a", str(number), ttl=60))
            await clock.advance(45)
            record = await store.inner.get("/argosy/kv/a")
            assert record is not None
            leases.add(record.lease)
        assert len(leases) == 1
        await space.write(put("/a", "x", ttl=30))
        await space.write(put("/a", "kept"))
        await clock.advance(100)
        assert value(space, "/a") == "kept"


class Skewed(FakeClock):
    """A machine's clock that is wrong by some seconds, beside another that is right."""

    def __init__(self, right: FakeClock, wrong: float) -> None:
        super().__init__()
        self._right, self._wrong = right, wrong

    def now(self) -> float:
        return self._right.now() + self._wrong

    def monotonic(self) -> float:
        return self._right.monotonic() + self._wrong / 7

    async def sleep(self, seconds: float) -> None:
        await self._right.sleep(seconds)


@pytest.mark.parametrize("wrong", [3600.0, -3600.0], ids=["fast", "slow"])
async def test_the_time_left_is_right_on_a_machine_whose_clock_is_wrong(clock: FakeClock, wrong: float) -> None:
    """Whoever wrote the key, whether this door heard of it or read it when it was opened; also in answers to waits, with their prevNode."""

    def left(space: Keyspace, path: str) -> int:
        node = space.tree.get(path)
        assert node is not None
        return int(node_told(node.view(), space.now())["ttl"])

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(SqliteStore(":memory:", clock))
        tasks = []

        async def door(of: FakeClock) -> Keyspace:
            space = Keyspace(store, of)
            tasks.append(asyncio.create_task(space.run()))
            await space.ready.wait()
            return space

        right, other = await door(clock), await door(Skewed(clock, wrong))
        await right.write(put("/by-right", ttl=100))
        await other.write(put("/by-other", ttl=100))
        await clock.advance(40)
        late, late_other = await door(clock), await door(Skewed(clock, wrong))
        for space in (right, other, late, late_other):
            assert [left(space, path) for path in ("/by-right", "/by-other")] == [60, 60]
        quorum, _ = await late_other.read(ask("GET", "/by-right", quorum=True))
        assert node_told(quorum.view(), late_other.now())["ttl"] == 60
        waiting = asyncio.create_task(first(other, ask("GET", "/by-right", wait=True)))
        await settle()
        await right.write(put("/by-right", ttl=30))
        event = await waiting
        assert event is not None
        told = event.told(other.now())
        assert (told["node"]["ttl"], told["prevNode"]["ttl"]) == (30, 60)
        clock.jump(-7200)  # and setting the right one moves nothing
        assert left(right, "/by-right") == 30
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_deleted_key_with_time_left_is_deleted_not_expired(clock: FakeClock) -> None:
    async with spaces(clock) as (_, (space,)):
        await space.write(put("/a", ttl=10))
        waiting = asyncio.create_task(first(space, ask("GET", "/a", wait=True)))
        await settle()
        await space.write(ask("DELETE", "/a"))
        event = await waiting
        assert event is not None
        assert event.action == "delete"


async def test_a_directory_that_ends_takes_all_below_it_along_as_one_event(clock: FakeClock) -> None:
    async with spaces(clock, 2) as (store, (space, other)):
        await space.write(ask("PUT", "/d", directory=True, ttl=5))
        for number in range(200):
            await space.write(put(f"/d/{number}"))
        await space.write(put("/d/timed", ttl=100))
        seen: list[KeyEvent] = []

        async def watch() -> None:
            async with aclosing(other.wait(ask("GET", "/", wait=True, recursive=True, stream=True))) as events:
                while (event := await anext(events, None)) is not None:
                    seen.append(event)

        watching = asyncio.create_task(watch())
        await settle()
        inside = asyncio.create_task(first(other, ask("GET", "/d/7", wait=True)))
        await clock.advance(8)
        await settle(2000)
        assert [(event.action, event.node.path) for event in seen] == [("expire", "/d")]
        told = await inside
        assert told is not None
        assert (told.action, told.node.path) == ("expire", "/d")
        assert space.tree.get("/d") is other.tree.get("/d") is None
        assert (await store.inner.list("/argosy/kv/")).records == ()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_tree_larger_than_a_commit_is_deleted_as_one_event(clock: FakeClock) -> None:
    async with spaces(clock) as (store, (space,)):
        for number in range(300):
            await space.write(put(f"/d/{number % 3}/{number}"))
        index = space.tree.revision
        await space.write(ask("DELETE", "/d", recursive=True))
        assert (await store.inner.list("/argosy/kv/")).records == ()
        events = [event async for event in _some(space, ask("GET", "/", wait=True, wait_index=index + 1, recursive=True), 1)]
        assert [(event.action, event.node.path) for event in events] == [("delete", "/d")]
        await space.write(put("/d/0/new"))
        assert value(space, "/d/0/new") == "v"


async def test_a_directory_that_ends_while_no_door_is_open_does_not_come_back(clock: FakeClock) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(SqliteStore(":memory:", clock))

        async def door() -> tuple[Keyspace, asyncio.Task[None]]:
            space = Keyspace(store, clock)
            task = asyncio.create_task(space.run())
            await space.ready.wait()
            return space, task

        async def close(task: asyncio.Task[None]) -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        space, task = await door()
        await space.write(ask("PUT", "/d", directory=True, ttl=5))
        for number in range(300):
            await space.write(put(f"/d/e/{number}"))
        await close(task)
        await clock.advance(8)
        assert len((await store.list("/argosy/kv/")).records) == 301, "nobody was there to sweep"
        space, task = await door()
        assert space.tree.get("/d") is None, "nor is it seen before it is swept"
        await space.write(put("/d/e/1", "new"))
        assert [node.path for node in space.tree.below("/")] == ["/d", "/d/e", "/d/e/1"]
        assert [record.key for record in (await store.list("/argosy/kv")).records if record.key != keys.KV_MARK] == [
            f"/argosy/kv{path}" for path in ("/d", "/d/e", "/d/e/1")
        ]
        await close(task)


async def test_a_sweep_that_fails_is_done_as_soon_as_the_store_is_back(clock: FakeClock) -> None:
    async with spaces(clock) as (store, (space,)):
        await space.write(ask("PUT", "/d", directory=True, ttl=5))
        await space.write(put("/d/x"))
        store.away = True
        await clock.advance(8)
        assert space.tree.get("/d") is None
        assert len((await store.inner.list("/argosy/kv/")).records) == 1
        store.away = False
        await clock.advance(20)
        assert (await store.inner.list("/argosy/kv/")).records == ()
        assert space.tree.ended == set()


async def _some(space: Keyspace, wanted: Ask, count: int) -> AsyncIterator[KeyEvent]:
    async with aclosing(space.wait(wanted)) as events:
        async for event in events:
            yield event
            count -= 1
            if count == 0:
                return


async def test_two_doors_agree_and_each_reads_what_it_wrote(clock: FakeClock) -> None:
    async with spaces(clock, 2) as (_, (one, two)):
        for number in range(50):
            await (one if number % 2 else two).write(put("/a", str(number)))
            assert value(one if number % 2 else two, "/a") == str(number)
        await settle()
        assert value(one, "/a") == value(two, "/a") == "49"


async def test_of_many_that_swap_the_same_value_exactly_one_wins_at_whichever_door(clock: FakeClock) -> None:
    async with spaces(clock, 3) as (_, doors):
        await doors[0].write(put("/lock", "free"))
        swaps = [doors[number % 3].write(put("/lock", f"mine{number}", prev_value=b"free")) for number in range(30)]
        results = await asyncio.gather(*swaps, return_exceptions=True)
        won = [number for number, result in enumerate(results) if not isinstance(result, BaseException)]
        assert len(won) == 1
        assert value(doors[won[0] % 3], "/lock") == f"mine{won[0]}"
        assert all(isinstance(result, KeyFault) and result.code == 101 for number, result in enumerate(results) if number not in won)


async def test_a_door_that_lags_refuses_nobody_for_what_is_no_longer_so(clock: FakeClock) -> None:
    """The second door's tree is kept still; the comparison must be with what the store holds."""
    async with spaces(clock, 2) as (_, (one, two)):
        await one.write(put("/a", "1"))
        await settle()
        two.tree = Tree((), two.tree.revision)
        planned, _, _ = await asyncio.wait_for(two.write(put("/a", "2", prev_value=b"1")), 5)
        assert planned.action == "compareAndSwap"


async def test_in_order_keys_are_in_order_across_doors(clock: FakeClock) -> None:
    async with spaces(clock, 3) as (_, doors):
        made: list[str] = []
        for number in range(30):
            _, _, node = await doors[number % 3].write(ask("POST", "/q", value=str(number).encode()))
            made.append(node.path)
        assert made == sorted(made)
        assert len(set(made)) == 30
        at_once = await asyncio.gather(*(door.write(ask("POST", "/q", value=b"x")) for door in doors for _ in range(5)))
        assert len({node.path for _, _, node in at_once}) == 15


async def test_many_writers_of_one_key_all_get_through(clock: FakeClock) -> None:
    async with spaces(clock) as (_, (space,)):
        results = await asyncio.gather(*(space.write(put("/a", str(number))) for number in range(12)))
        assert len({index for _, index, _ in results}) == 12


async def test_while_the_store_is_away_reads_go_on_and_writes_are_refused(clock: FakeClock) -> None:
    async with spaces(clock) as (store, (space,)):
        await space.write(put("/a", "1"))
        store.away = True
        node, _ = await space.read(ask("GET", "/a"))
        assert value_of(node.entry) == b"1"
        with pytest.raises(StoreUnavailable):
            await space.read(ask("GET", "/a", quorum=True))
        with pytest.raises(StoreUnavailable):
            await space.write(put("/a", "2"))
        store.away = False
        await space.write(put("/a", "2"))
        assert value(space, "/a") == "2"


async def test_plain_reads_and_waits_cost_the_store_nothing(clock: FakeClock) -> None:
    async with spaces(clock) as (store, (space,)):
        await space.write(put("/a/b"))
        before = store.reads
        waits = [asyncio.create_task(first(space, ask("GET", "/a/b", wait=True))) for _ in range(2000)]
        for _ in range(100):
            await space.read(ask("GET", "/a", recursive=True))
        await settle()
        assert store.reads == before
        await space.write(put("/a/b", "2"))
        told = await asyncio.gather(*waits)
        assert all(event is not None and event.action == "set" for event in told)


async def test_a_watcher_may_begin_in_the_past_as_long_as_the_store_remembers(clock: FakeClock) -> None:
    async with spaces(clock, history=20) as (store, (space,)):
        _, begun, _ = await space.write(put("/a", "0"))
        for number in range(1, 40):
            await space.write(put("/a" if number == 5 else "/b", str(number)))
        event = await asyncio.wait_for(first(space, ask("GET", "/a", wait=True, wait_index=begun + 1)), 5)
        assert event is not None
        assert (value_of(event.node.entry), space.is_older(ask("GET", "/a", wait_index=begun + 1))) == (b"5", True)
        await store.inner.compact(space.tree.revision)
        with pytest.raises(KeyFault) as refused:
            await first(space, ask("GET", "/a", wait=True, wait_index=begun + 1))
        assert refused.value.code == 401
        assert refused.value.status == 400
        assert "the requested history has been cleared" in refused.value.cause


async def test_when_history_is_lost_the_tree_is_read_again_and_waiting_clients_are_let_go(clock: FakeClock) -> None:
    async with spaces(clock) as (store, (space,)):
        waiting = asyncio.create_task(first(space, ask("GET", "/a", wait=True)))
        await settle()
        await store.inner.commit([], [Put("/argosy/kv/seen", encode(Entry("1")))])
        await space._read_all()
        assert await waiting is None
        assert value(space, "/seen") == "1"


async def test_a_client_that_is_too_slow_is_let_go(clock: FakeClock) -> None:
    async with spaces(clock, queue=20) as (_, (space,)):
        async with aclosing(space.wait(ask("GET", "/a", wait=True, stream=True, wait_index=space.tree.revision + 1))) as events:
            opening = asyncio.ensure_future(anext(events))
            await settle()
            for number in range(60):
                await space.write(put("/a", str(number)))
            await opening
            rest = [event async for event in events]
        assert len(rest) < 60


async def test_what_others_write_past_the_door_is_served(clock: FakeClock) -> None:
    async with spaces(clock) as (store, (space,)):
        await store.inner.commit([], [Put("/argosy/kv/x/y", encode(Entry("1"))), Put("/argosy/kv/bad", b"{"), Put("/argosy/kv//odd", b"1")])
        await settle()
        assert value(space, "/x/y") == "1"
        assert [node.path for node in space.tree.below("/")] == ["/x", "/x/y"]
        await space.write(put("/x/z"))
        await space.write(ask("DELETE", "/x/y"))
        assert [node.path for node in space.tree.below("/")] == ["/x", "/x/z"]


async def test_a_value_that_is_no_text_is_kept(clock: FakeClock) -> None:
    async with spaces(clock) as (_, (space,)):
        await space.write(ask("PUT", "/a", value=b"\xff\x00\xfe"))
        node, _ = await space.read(ask("GET", "/a", quorum=True))
        assert value_of(node.entry) == b"\xff\x00\xfe"


async def test_a_broken_counter_or_mark_harms_nobody(clock: FakeClock) -> None:
    async with spaces(clock) as (store, (space,)):
        await store.inner.commit([], [Put(keys.KV_MARK, b"?"), Put("/argosy/kv/a", encode(Entry("1")))])
        await settle()
        assert value(space, "/a") == "1"
