"""One lease a machine and the records under it, on both stores, with a clock moved by hand."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import cast

import pytest

from argosy.errors import Conflict, InvalidInput, LeaseLost
from argosy.reconcile import SystemClock
from argosy.state.lease import BEATS, BURST, WINDOW, Lease
from argosy.store.base import Condition, Delete, Put, Store, Write
from argosy.store.etcd import EtcdStore
from argosy.store.sqlite import SqliteStore
from tests.agent.stage import FlakyStore
from tests.conftest import FakeClock, settle

TTL = 5.0
BEAT = TTL / BEATS
DEADLINE = 20.0


class Process:
    """A process of one machine with its lease, on a line of its own to the store."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = FlakyStore(store)
        self.clock = clock
        self.lease = Lease(self.store, clock, TTL)
        self.task = asyncio.create_task(self.lease.run())

    async def keep_alive(self) -> None:
        """Time passes until the lease has been kept alive once more."""
        kept = asyncio.create_task(self.lease.kept())
        await self.clock.advance(BEAT)
        async with asyncio.timeout(DEADLINE):
            await kept

    async def lose(self) -> None:
        """The lease ends, and the process finds out at its next keep-alive."""
        lease = self.lease.id
        await self.store.store.revoke(lease)
        ended = asyncio.create_task(self.lease.ended(lease))
        await self.clock.advance(BEAT)
        async with asyncio.timeout(DEADLINE):
            await ended

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Ground:
    """A store that nobody else uses, below `root`, and the processes of one machine."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.root = f"/{uuid.uuid4().hex}/"
        self.processes: list[Process] = []

    def process(self) -> Process:
        self.processes.append(Process(self.store, self.clock))
        return self.processes[-1]

    def key(self, name: str) -> str:
        return self.root + name

    async def records(self) -> dict[str, tuple[bytes, int]]:
        """The value and the lease of each record that stands."""
        return {record.key.removeprefix(self.root): (record.value, record.lease) for record in (await self.store.list(self.root)).records}

    async def until(self, condition: Callable[[dict[str, tuple[bytes, int]]], bool]) -> None:
        """Until the records are so; told by the store, not by time."""
        async with asyncio.timeout(DEADLINE):
            listing = await self.store.list(self.root)
            if condition(await self.records()):
                return
            async with aclosing(cast("AsyncIterator[object]", self.store.watch(self.root, listing.revision))) as watch:  # type: ignore[type-var]
                async for _ in watch:
                    if condition(await self.records()):
                        return

    async def until_values(self, **values: bytes) -> None:
        await self.until(lambda records: {name: value for name, (value, _) in records.items()} == values)


@asynccontextmanager
async def ground_on(store: Store, clock: FakeClock) -> AsyncIterator[Ground]:
    ground = Ground(store, clock)
    try:
        yield ground
    finally:
        for process in ground.processes:
            await process.stop()


@pytest.fixture(params=["sqlite", "etcd"])
async def ground(request: pytest.FixtureRequest, endpoints: Sequence[str], clock: FakeClock) -> AsyncIterator[Ground]:
    opened: Store = SqliteStore(":memory:", clock) if request.param == "sqlite" else EtcdStore(endpoints, SystemClock())
    async with opened as store, ground_on(store, clock) as ground:
        yield ground


@pytest.fixture
async def embedded(clock: FakeClock) -> AsyncIterator[Ground]:
    """On SQLite only: for what does not depend on the store."""
    async with SqliteStore(":memory:", clock) as store, ground_on(store, clock) as ground:
        yield ground


async def test_records_are_written_once_there_is_a_lease_and_stand_under_it(ground: Ground) -> None:
    process = ground.process()
    process.lease.publish(ground.key("a"), b"1")
    await settle()
    assert await ground.records() == {}
    assert (process.lease.id, process.lease.sent) == (0, -math.inf)
    await process.lease.take()
    process.lease.publish(ground.key("b"), b"2")
    await ground.until_values(a=b"1", b=b"2")
    assert {lease for _, lease in (await ground.records()).values()} == {process.lease.id}
    process.lease.withdraw(ground.key("a"))
    process.lease.publish(ground.key("b"), b"3")
    await ground.until_values(b=b"3")


async def test_a_lease_is_kept_alive_and_tells_when_it_was(ground: Ground) -> None:
    process = ground.process()
    await process.lease.take()
    assert process.lease.sent == ground.clock.monotonic()
    lease = process.lease.id
    for _ in range(12):
        await process.keep_alive()
        assert (process.lease.id, process.lease.sent) == (lease, ground.clock.monotonic())
    assert await ground.store.remaining(lease) > 0


async def test_a_lost_lease_is_noticed_and_its_records_are_carried_over_to_the_next(ground: Ground) -> None:
    process = ground.process()
    for name in "abc":
        process.lease.publish(ground.key(name), name.encode())
    await process.lease.take()
    await ground.until_values(a=b"a", b=b"b", c=b"c")
    first = process.lease.id
    await process.lose()
    assert (process.lease.id, process.lease.sent) == (0, -math.inf)
    assert await ground.records() == {}
    process.lease.withdraw(ground.key("a"))
    process.lease.publish(ground.key("b"), b"new")
    await process.lease.take()
    await ground.until_values(b=b"new", c=b"c")
    assert {lease for _, lease in (await ground.records()).values()} == {process.lease.id}
    assert process.lease.id != first


async def test_a_record_published_under_a_lease_that_has_ended_ends_it_at_once(ground: Ground) -> None:
    process = ground.process()
    await process.lease.take()
    lease = process.lease.id
    await ground.store.revoke(lease)
    process.lease.publish(ground.key("a"), b"1")
    async with asyncio.timeout(DEADLINE):
        await process.lease.ended(lease)
    await process.lease.take()
    await ground.until_values(a=b"1")


async def test_a_commit_under_a_lease_that_has_ended_ends_it_at_once(ground: Ground) -> None:
    process = ground.process()
    with pytest.raises(LeaseLost):
        await process.lease.commit([], {ground.key("a"): b"1"})
    await process.lease.take()
    await process.lease.commit([Condition(ground.key("a"), 0)], {ground.key("a"): b"1"})
    with pytest.raises(Conflict):
        await process.lease.commit([Condition(ground.key("a"), 0)], {ground.key("a"): b"2"})
    await ground.store.revoke(process.lease.id)
    with pytest.raises(LeaseLost):
        await process.lease.commit([], {ground.key("a"): b"3"})
    assert process.lease.id == 0
    assert await ground.records() == {}


async def test_while_the_store_is_away_the_lease_stands_and_what_changed_is_written_when_it_is_back(ground: Ground) -> None:
    process = ground.process()
    process.lease.publish(ground.key("a"), b"1")
    await process.lease.take()
    await ground.until_values(a=b"1")
    lease, sent = process.lease.id, process.lease.sent
    process.store.away = True
    process.lease.publish(ground.key("a"), b"2")
    await ground.clock.advance(TTL / 2)
    assert (process.lease.id, process.lease.sent) == (lease, sent)
    assert process.lease.contact.settled(TTL) == TTL
    process.store.away = False
    await process.keep_alive()
    assert process.lease.sent > sent
    await ground.until_values(a=b"2")


async def test_a_process_that_stops_leaves_its_lease_to_end_by_itself(ground: Ground) -> None:
    process = ground.process()
    process.lease.publish(ground.key("a"), b"1")
    await process.lease.take()
    await ground.until_values(a=b"1")
    await process.stop()
    assert await ground.store.remaining(process.lease.id) > 0
    await ground.until_values(a=b"1")


async def test_of_two_processes_with_one_machine_id_only_the_first_writes(ground: Ground) -> None:
    first, second = ground.process(), ground.process()
    machine = Condition(ground.key("machine"), 0)
    for process, value in ((first, b"first"), (second, b"second")):
        process.lease.publish(machine.key, value)
        process.lease.publish(ground.key("router"), value)
    await first.lease.take([machine])
    with pytest.raises(Conflict):
        await second.lease.take([machine])
    assert second.lease.id == 0
    await first.keep_alive()
    await ground.until_values(machine=b"first", router=b"first")
    await first.lose()
    await second.lease.take([machine])
    await ground.until_values(machine=b"second", router=b"second")


async def test_many_records_are_carried_over_in_few_commits(embedded: Ground) -> None:
    process = embedded.process()
    for number in range(300):
        process.lease.publish(embedded.key(f"{number:03}"), b"x")
    await process.lease.take()
    await settle(100)
    await process.lose()
    process.store.commits.clear()
    await process.lease.take()
    await settle(100)
    assert len(await embedded.records()) == 300
    assert [len(writes) for writes in process.store.commits] == [128, 128, 44]


async def test_large_records_are_written_in_commits_that_a_store_takes(embedded: Ground) -> None:
    process = embedded.process()
    for number in range(5):
        process.lease.publish(embedded.key(f"{number}"), bytes(900_000))
    await process.lease.take()
    await settle(200)
    assert len(await embedded.records()) == 5


async def test_at_rest_a_lease_costs_one_keep_alive_a_beat_and_no_commit(embedded: Ground) -> None:
    process = embedded.process()
    calls = []
    keep_alive = process.store.keep_alive

    async def counted(lease: int) -> float:
        calls.append(lease)
        return await keep_alive(lease)

    process.store.keep_alive = counted  # type: ignore[method-assign]
    process.lease.publish(embedded.key("a"), b"1")
    await process.lease.take()
    await settle()
    process.store.commits.clear()
    await embedded.clock.advance(60)
    assert len(calls) == 60 / BEAT
    assert process.store.commits == []


async def test_a_record_that_flaps_is_written_a_few_times_a_second_and_in_the_end_with_its_latest_value(embedded: Ground) -> None:
    process = embedded.process()
    await process.lease.take()
    for number in range(40):
        process.lease.publish(embedded.key("a"), b"%d" % number)
        await embedded.clock.advance(0.05)
    assert len(process.store.commits) <= BURST * (40 * 0.05 / WINDOW + 1)
    await embedded.clock.advance(WINDOW)
    await embedded.until_values(a=b"39")


async def test_an_urgent_record_is_not_held_back_and_is_written_again_although_it_is_the_same(embedded: Ground) -> None:
    process = embedded.process()
    await process.lease.take()
    for _ in range(20):
        process.lease.publish(embedded.key("a"), b"1", urgent=True)
        await settle()
    assert len(process.store.commits) == 20


async def test_a_change_during_a_commit_is_written_after_it(embedded: Ground) -> None:
    process = embedded.process()
    await process.lease.take()
    commit, gate = process.store.commit, asyncio.Event()

    async def slow(conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        revision = await commit(conditions, writes)
        await gate.wait()
        return revision

    process.store.commit = slow  # type: ignore[method-assign]
    process.lease.publish(embedded.key("a"), b"1")
    process.lease.publish(embedded.key("b"), b"1")
    await settle()
    process.lease.publish(embedded.key("a"), b"2")
    process.lease.withdraw(embedded.key("b"))
    gate.set()
    await embedded.until_values(a=b"2")
    assert process.store.commits[-1] == [Put(embedded.key("a"), b"2", process.lease.id), Delete(embedded.key("b"))]


async def test_a_store_that_does_not_answer_is_asked_again_with_ever_longer_limits(embedded: Ground) -> None:
    process = embedded.process()
    await process.lease.take()
    began = embedded.clock.monotonic()
    tried: list[float] = []
    commit = process.store.commit

    async def hang(conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        tried.append(embedded.clock.monotonic() - began)
        if len(tried) < 4:
            await asyncio.Event().wait()
        return await commit(conditions, writes)

    process.store.commit = hang  # type: ignore[method-assign]
    process.lease.publish(embedded.key("a"), b"1")
    await embedded.clock.advance(10)
    assert tried == pytest.approx([0.0, 0.9, 2.1, 3.75])
    await embedded.until_values(a=b"1")


async def test_a_process_without_a_machine_takes_a_lease_whenever_there_is_none(embedded: Ground) -> None:
    process = embedded.process()
    await process.stop()
    process.store.away = True
    process.task = asyncio.create_task(process.lease.hold())
    process.lease.publish(embedded.key("a"), b"1")
    await embedded.clock.advance(3)
    assert process.lease.id == 0
    process.store.away = False
    await embedded.clock.advance(1)
    await embedded.until_values(a=b"1")
    await embedded.store.revoke(process.lease.id)
    await embedded.clock.advance(BEAT)
    await embedded.until_values(a=b"1")


@pytest.mark.parametrize(("key", "value"), [("", b""), ("a\0", b""), ("/a", bytes(1_000_001))])
async def test_a_record_that_no_store_takes_is_refused_when_it_is_published(embedded: Ground, key: str, value: bytes) -> None:
    with pytest.raises(InvalidInput):
        embedded.process().lease.publish(key, value)
