"""The Store contract as a test suite: `store/base.py`, sentence by sentence. Every store passes all of it.

To run it on a store, subclass `StoreContract` in a test file (its name must begin with `Test`) and give the fixtures `store` and `other`:
two stores that are open on the same data (the same object where there can be only one). The data may be used by earlier tests:
each test keeps to a prefix of its own. Time is real; waits have deadlines.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from argosy.errors import Conflict, HistoryGone, InvalidInput, LeaseLost, StoreUnavailable
from argosy.store.base import MAX_OPERATIONS, MAX_VALUE, Batch, Condition, Delete, DeletePrefix, Event, Put, Room, Store, Write

DEADLINE = 10.0


class Watching:
    """A watch that is read by a task: `batches` grows."""

    def __init__(self, previous: bool = True) -> None:
        self.previous = previous
        self.batches: list[Batch] = []
        self.deliveries: list[int] = []
        self.error: BaseException | None = None
        self.ended = False
        self._news = asyncio.Event()

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch.events]

    @property
    def position(self) -> int:
        """The revision of the last batch, 0 before the first."""
        return self.batches[-1].revision if self.batches else 0

    @property
    def keys(self) -> list[str]:
        return [event.key for event in self.events]

    async def read(self, store: Store, prefix: str, after: int) -> None:
        try:
            async for batches in store.watch(prefix, after, previous=self.previous):
                assert batches, "a delivery is never empty"
                self.batches.extend(batches)
                self.deliveries.append(len(batches))
                self._news.set()
            self.ended = True
        except (HistoryGone, StoreUnavailable, InvalidInput) as error:
            self.error = error
        self._news.set()

    async def until(self, met: Callable[[Watching], bool], deadline: float = DEADLINE) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                while not met(self) and self.error is None:
                    self._news.clear()
                    await self._news.wait()
        assert met(self), f"heard only {len(self.batches)} batches, the last {self.batches[-3:]}, {self.error!r}"

    async def count(self, events: int, deadline: float = DEADLINE) -> None:
        await self.until(lambda seen: len(seen.events) >= events, deadline)
        assert len(self.events) == events


@contextlib.asynccontextmanager
async def watching(store: Store, prefix: str, after: int, *, previous: bool = True) -> AsyncIterator[Watching]:
    seen = Watching(previous)
    task = asyncio.create_task(seen.read(store, prefix, after))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(met: Callable[[], object], deadline: float = DEADLINE) -> None:
    """Calls `met` (plain, or returning an awaitable) until it is true."""
    async with asyncio.timeout(deadline):
        while True:
            found = met()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


async def room_once(store: Store, key: str, met: Callable[[Room], bool], deadline: float = DEADLINE) -> Room:
    """Return how full the store is once that is so. `key` is written between two looks: etcd counts pages, given back ones too, when it
    commits what was written, which it does every 0.1 s and only if something was."""
    async with asyncio.timeout(deadline):
        while not met(room := await store.room()):
            await put(store, key)
        return room


async def put(store: Store, key: str, value: bytes = b"x", lease: int = 0) -> int:
    return await store.commit([], [Put(key, value, lease)])


BROKEN: Sequence[tuple[str, Sequence[Condition], Sequence[Write]]] = [
    ("an empty key", [], [Put("", b"x")]),
    ("a key with NUL", [], [Put("a\0b", b"x")]),
    ("a key that is no Unicode", [], [Put("a\udc80b", b"x")]),
    ("a key written twice", [], [Put("/twice", b"x"), Put("/twice", b"y")]),
    ("a key written and deleted", [], [Put("/twice", b"x"), Delete("/twice")]),
    ("a key written and deleted with its prefix", [], [Put("/twice/a", b"x"), DeletePrefix("/twice/")]),
    ("a prefix within a prefix", [], [DeletePrefix("/twice/a/"), DeletePrefix("/twice/")]),
    ("the deletion of everything", [], [DeletePrefix("")]),
    ("the deletion of a prefix with NUL", [], [DeletePrefix("a\0")]),
    ("a value that is too large", [], [Put("/large", b"x" * (MAX_VALUE + 1))]),
    ("values that are too large together", [], [Put(f"/large{n}", b"x" * (MAX_VALUE // 2)) for n in range(3)]),
    ("too many writes", [], [Put(f"/{n}", b"") for n in range(MAX_OPERATIONS + 1)]),
    ("too many conditions", [Condition(f"/{n}", 0) for n in range(MAX_OPERATIONS + 1)], []),
    ("too many of both together", [Condition(f"/{n}", 0) for n in range(MAX_OPERATIONS // 2 + 1)], [Put(f"/{n}", b"") for n in range(64)]),
    ("a condition without a key", [Condition("", 0)], []),
    ("a condition on a negative revision", [Condition("/a", -1)], []),
]


class StoreContract:
    """The suite."""

    ttl = 2.0
    """The shortest lease that the store grants; at most so long that a test can wait for its end."""

    @pytest.fixture
    def prefix(self) -> str:
        return f"/{uuid.uuid4().hex}/"

    # --- records ---

    async def test_a_key_that_was_never_written_is_none(self, store: Store, prefix: str) -> None:
        assert await store.get(prefix + "a") is None
        assert await store.get("") is None
        assert await store.get("a\0b") is None
        assert (await store.list(prefix)).records == ()

    async def test_what_was_put_is_read_back_with_the_revision_that_the_commit_returned(
        self, store: Store, other: Store, prefix: str
    ) -> None:
        revision = await put(store, prefix + "a", b"value")
        for reader in (store, other):
            record = await reader.get(prefix + "a")
            assert record is not None
            assert (record.key, record.value, record.created, record.modified, record.lease) == (
                prefix + "a",
                b"value",
                revision,
                revision,
                0,
            )
            assert (await reader.list(prefix)).records == (record,)
            assert (await reader.list(prefix)).revision == revision

    async def test_writing_a_key_again_keeps_created_and_moves_modified(self, store: Store, prefix: str) -> None:
        created = await put(store, prefix + "a", b"1")
        modified = await put(store, prefix + "a", b"2")
        record = await store.get(prefix + "a")
        assert record is not None
        assert (record.value, record.created, record.modified) == (b"2", created, modified)

    async def test_a_key_that_was_deleted_and_written_again_is_created_anew(self, store: Store, prefix: str) -> None:
        await put(store, prefix + "a")
        await store.commit([], [Delete(prefix + "a")])
        assert await store.get(prefix + "a") is None
        anew = await put(store, prefix + "a")
        record = await store.get(prefix + "a")
        assert record is not None
        assert (record.created, record.modified) == (anew, anew)

    @pytest.mark.parametrize("value", [b"", b"\0\xff\xfe" * 10, b"{}", b"x" * MAX_VALUE], ids=["empty", "binary", "json", "largest"])
    async def test_any_bytes_are_a_value(self, store: Store, prefix: str, value: bytes) -> None:
        await put(store, prefix + "a", value)
        record = await store.get(prefix + "a")
        assert record is not None
        assert record.value == value

    async def test_a_listing_is_sorted_by_the_bytes_of_its_keys(self, store: Store, prefix: str) -> None:
        names = [
            "Z",
            "a",
            "a b",
            "a%2F",
            "a/b",
            "a.service",
            "a@.service",
            "a@1.service",
            "ab",
            "é",
            "ü",
            "中",
            "\uffff",
            "😀",
            "\U0010ffff",
        ]
        await store.commit([], [Put(prefix + name, name.encode()) for name in reversed(names)])
        listing = await store.list(prefix)
        assert [record.key for record in listing.records] == sorted((prefix + name for name in names), key=str.encode)

    @pytest.mark.parametrize("end", ["a", "a/", "\u007f", "\ud7ff", "\uffff", "\U0010ffff", "z\U0010ffff\U0010ffff"])
    async def test_a_listing_holds_exactly_what_starts_with_the_prefix(self, store: Store, prefix: str, end: str) -> None:
        inside = [prefix + end, prefix + end + "a", prefix + end + "/b", prefix + end + "\U0010ffff"]
        outside = [prefix, prefix + "A", prefix + "b", prefix + "\ue000", prefix[:-1], prefix[:-1] + "0", prefix + "zz"]
        await store.commit(
            [], [Put(key, b"") for key in dict.fromkeys(inside + [key for key in outside if not key.startswith(prefix + end)])]
        )
        assert [record.key for record in (await store.list(prefix + end)).records] == sorted(inside, key=str.encode)

    async def test_the_empty_prefix_is_everything(self, store: Store, prefix: str) -> None:
        await store.commit([], [Put(prefix + "a", b""), Put("\U0010ffff" + prefix, b"")])
        keys = [record.key for record in (await store.list("")).records]
        assert prefix + "a" in keys
        assert keys[-1] == "\U0010ffff" + prefix
        await store.commit([], [Delete("\U0010ffff" + prefix)])

    async def test_a_long_listing_is_complete_and_of_one_revision(self, store: Store, prefix: str) -> None:
        names = [f"{number:05}" for number in range(6_000)]
        values = {name: name.encode() * (1 + int(name) % 150) for name in names}
        for start in range(0, len(names), 100):
            await store.commit([], [Put(prefix + name, values[name]) for name in names[start : start + 100]])

        async def disturb() -> None:
            while True:
                await write_ends()

        async def write_ends() -> None:
            await store.commit([], [Put(prefix + name, values[name]) for name in (names[0], names[-1])])

        await write_ends()
        task = asyncio.create_task(disturb())
        try:
            for _ in range(3):
                listing = await store.list(prefix)
                assert [record.key for record in listing.records] == [prefix + name for name in names]
                assert {record.key[len(prefix) :]: record.value for record in listing.records} == values
                assert listing.records[0].modified == listing.records[-1].modified, "both are always written together"
                assert all(record.modified <= listing.revision for record in listing.records)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @pytest.mark.parametrize("prefix", ["a\0b", "a\udc80"], ids=["NUL", "no Unicode"])
    async def test_a_prefix_that_no_key_can_have_is_refused(self, store: Store, prefix: str) -> None:
        with pytest.raises(InvalidInput):
            await store.list(prefix)
        with pytest.raises(InvalidInput):
            await anext(aiter(store.watch(prefix, 0)))

    # --- commits ---

    async def test_the_revision_grows_by_one_with_each_commit_that_writes(self, store: Store, prefix: str) -> None:
        first = await put(store, prefix + "a")
        assert first > 0
        assert await store.commit([], [Put(prefix + "a", b"1"), Put(prefix + "b", b"2"), Delete(prefix + "c")]) == first + 1
        assert await store.commit([], [Delete(prefix + "a"), Delete(prefix + "b")]) == first + 2
        assert (await store.list(prefix)).revision == first + 2

    async def test_a_commit_that_writes_nothing_returns_the_revision_as_it_is(self, store: Store, prefix: str) -> None:
        revision = await put(store, prefix + "a")
        assert await store.commit([], []) == revision
        assert await store.commit([Condition(prefix + "a", revision)], []) == revision
        assert await store.commit([], [Delete(prefix + "missing")]) == revision
        assert (await store.list("")).revision == revision

    async def test_a_condition_on_a_revision_holds_only_for_exactly_that_one(self, store: Store, prefix: str) -> None:
        first = await put(store, prefix + "a", b"1")
        second = await store.commit([Condition(prefix + "a", first)], [Put(prefix + "a", b"2")])
        for stale in (first, 0, second + 1):
            with pytest.raises(Conflict) as raised:
                await store.commit([Condition(prefix + "a", stale)], [Put(prefix + "a", b"3")])
            assert raised.value.key == prefix + "a"
            assert str(second) in str(raised.value)
        record = await store.get(prefix + "a")
        assert record is not None
        assert (record.value, record.modified) == (b"2", second)

    async def test_a_condition_on_revision_zero_holds_only_for_a_missing_key(self, store: Store, prefix: str) -> None:
        await store.commit([Condition(prefix + "a", 0)], [Put(prefix + "a", b"1")])
        with pytest.raises(Conflict):
            await store.commit([Condition(prefix + "a", 0)], [Put(prefix + "a", b"2")])
        await store.commit([], [Delete(prefix + "a")])
        await store.commit([Condition(prefix + "a", 0)], [Put(prefix + "a", b"3")])

    async def test_if_one_condition_fails_nothing_at_all_is_written_and_its_key_is_named(self, store: Store, prefix: str) -> None:
        revision = await put(store, prefix + "a")
        with pytest.raises(Conflict) as raised:
            await store.commit(
                [Condition(prefix + "a", revision), Condition(prefix + "gone", 7), Condition(prefix + "gone too", 8)],
                [Put(prefix + "b", b""), Delete(prefix + "a")],
            )
        assert raised.value.key == prefix + "gone"
        assert [record.key for record in (await store.list(prefix)).records] == [prefix + "a"]
        assert (await store.list(prefix)).revision == revision

    async def test_conditions_may_name_other_keys_than_the_writes(self, store: Store, prefix: str) -> None:
        leader = await put(store, prefix + "leader")
        await store.commit([Condition(prefix + "leader", leader)], [Put(prefix + "work", b"1")])
        await put(store, prefix + "leader")
        with pytest.raises(Conflict):
            await store.commit([Condition(prefix + "leader", leader)], [Put(prefix + "work", b"2")])

    @pytest.mark.parametrize(("what", "conditions", "writes"), BROKEN, ids=[row[0] for row in BROKEN])
    async def test_a_commit_that_breaks_a_rule_is_refused(
        self, store: Store, what: str, conditions: Sequence[Condition], writes: Sequence[Write]
    ) -> None:
        before = (await store.list("")).revision
        with pytest.raises(InvalidInput):
            await store.commit(conditions, writes)
        assert (await store.list("")).revision == before, what

    async def test_a_commit_may_hold_as_many_operations_as_promised(self, store: Store, prefix: str) -> None:
        revision = await store.commit([], [Put(f"{prefix}{n:03}", b"") for n in range(MAX_OPERATIONS)])
        half = MAX_OPERATIONS // 2
        after = await store.commit(
            [Condition(f"{prefix}{n:03}", revision) for n in range(half)], [Delete(f"{prefix}{n:03}") for n in range(half)]
        )
        assert after == revision + 1
        assert len((await store.list(prefix)).records) == half

    async def test_a_prefix_is_deleted_in_one_revision_however_much_is_below_it(self, store: Store, other: Store, prefix: str) -> None:
        count, step = 20_000, MAX_OPERATIONS
        names = [f"{prefix}d/{number:05}" for number in range(count)]
        for at in range(0, count, step):
            await store.commit([], [Put(name, b"x") for name in names[at : at + step]])
        beside = [prefix + "d", prefix + "d0", prefix + "e/00001"]
        start = await store.commit([], [Put(name, b"y") for name in beside])
        async with watching(other, prefix, start, previous=False) as seen:
            revision = await store.commit([Condition(prefix + "d", start)], [DeletePrefix(prefix + "d/"), Put(prefix + "mark", b"z")])
            assert [record.key for record in (await other.list(prefix)).records] == sorted([*beside, prefix + "mark"])
            await seen.count(count + 1)
        assert revision == start + 1
        assert [batch.revision for batch in seen.batches] == [revision], "all of it is one batch"
        assert seen.keys == [*names, prefix + "mark"]
        assert all(event.record is None for event in seen.events[:-1])

    async def test_deleting_a_prefix_without_keys_writes_nothing_and_conditions_hold_it_back(self, store: Store, prefix: str) -> None:
        revision = await put(store, prefix + "a/b")
        assert await store.commit([], [DeletePrefix(prefix + "a/b/"), DeletePrefix(prefix + "c")]) == revision
        with pytest.raises(Conflict):
            await store.commit([Condition(prefix + "a/b", revision + 1)], [DeletePrefix(prefix + "a")])
        assert [record.key for record in (await store.list(prefix)).records] == [prefix + "a/b"]

    async def test_of_many_that_raise_a_counter_at_once_no_step_is_lost(self, store: Store, other: Store, prefix: str) -> None:
        await put(store, prefix + "n", b"0")

        async def step(through: Store) -> None:
            while True:
                record = await through.get(prefix + "n")
                assert record is not None
                with contextlib.suppress(Conflict):
                    await through.commit([Condition(prefix + "n", record.modified)], [Put(prefix + "n", b"%d" % (int(record.value) + 1))])
                    return

        await asyncio.gather(*(step(through) for _ in range(8) for through in (store, other)))
        record = await other.get(prefix + "n")
        assert record is not None
        assert record.value == b"16"

    async def test_commits_at_once_get_revisions_of_their_own_and_a_refused_one_harms_no_other(self, store: Store, prefix: str) -> None:
        results = await asyncio.gather(
            *(store.commit([Condition(f"{prefix}{n}", n % 2)], [Put(f"{prefix}{n}", b"")]) for n in range(40)), return_exceptions=True
        )
        revisions = [result for result in results if isinstance(result, int)]
        assert len(set(revisions)) == 20
        assert sum(isinstance(result, Conflict) for result in results) == 20
        assert {(record.key, record.modified) for record in (await store.list(prefix)).records} == {
            (f"{prefix}{n}", result) for n, result in enumerate(results) if isinstance(result, int)
        }

    # --- watches ---

    async def test_a_watch_hears_every_batch_after_its_revision_and_nothing_before(self, store: Store, other: Store, prefix: str) -> None:
        first = await put(store, prefix + "a", b"1")
        second = await put(store, prefix + "b", b"2")
        async with watching(other, prefix, first) as seen, watching(store, prefix, second) as later:
            await seen.count(1)
            third = await put(store, prefix + "a", b"3")
            await seen.count(2)
            await later.count(1)
            assert [batch.revision for batch in seen.batches] == [second, third]
            assert [batch.revision for batch in later.batches] == [third]

    async def test_a_batch_holds_what_one_commit_wrote_in_its_order_with_what_stood_before(self, store: Store, prefix: str) -> None:
        before = await store.commit([], [Put(prefix + "b", b"old"), Put(prefix + "c", b"old")])
        async with watching(store, prefix, before) as seen:
            revision = await store.commit(
                [], [Put(prefix + "z", b"new"), Delete(prefix + "c"), Put(prefix + "b", b"new"), Delete(prefix + "missing")]
            )
            await seen.count(3)
        (batch,) = seen.batches
        assert batch.revision == revision
        z, c, b = batch.events
        assert (z.key, c.key, b.key) == (prefix + "z", prefix + "c", prefix + "b")
        assert z.record is not None
        assert (z.record.value, z.record.created, z.record.modified) == (b"new", revision, revision)
        assert z.previous is None
        assert c.record is None
        assert c.previous is not None
        assert (c.previous.value, c.previous.modified) == (b"old", before)
        assert b.record is not None
        assert (b.record.value, b.record.created, b.record.modified) == (b"new", before, revision)
        assert b.previous is not None
        assert (b.previous.value, b.previous.created, b.previous.modified) == (b"old", before, before)

    async def test_a_watch_hears_nothing_outside_its_prefix(self, store: Store, prefix: str) -> None:
        start = (await store.list("")).revision
        async with watching(store, prefix + "in/", start) as seen:
            await put(store, prefix + "out")
            both = await store.commit(
                [], [Put(prefix + "in/a", b""), Put(prefix + "in0", b""), Put(prefix + "in", b""), Put(prefix + "i", b"")]
            )
            await put(store, prefix + "out")
            last = await put(store, prefix + "in/b")
            await seen.count(2)
        assert [(batch.revision, [event.key for event in batch.events]) for batch in seen.batches] == [
            (both, [prefix + "in/a"]),
            (last, [prefix + "in/b"]),
        ]

    async def test_a_watch_of_everything_hears_everything(self, store: Store, prefix: str) -> None:
        start = (await store.list("")).revision
        async with watching(store, "", start) as seen:
            await put(store, prefix + "a")
            await put(store, "zzz" + prefix)
            await seen.count(2)
        assert seen.keys == [prefix + "a", "zzz" + prefix]

    async def test_a_watch_may_begin_in_the_future(self, store: Store, prefix: str) -> None:
        now = await put(store, prefix + "a")
        async with watching(store, prefix, now + 2) as seen:
            for name in "bcd":
                await put(store, prefix + name)
            await seen.count(1)
        assert seen.keys == [prefix + "d"]

    async def test_between_a_listing_and_the_watch_after_it_nothing_is_lost(self, store: Store, other: Store, prefix: str) -> None:
        stop = asyncio.Event()
        written = 0

        async def write() -> None:
            nonlocal written
            while not stop.is_set():
                written += 1
                await store.commit([], [Put(f"{prefix}{written:05}", b"")])

        task = asyncio.create_task(write())
        async with contextlib.AsyncExitStack() as stack:
            views = []
            for _ in range(5):
                await asyncio.sleep(0.02)
                listing = await other.list(prefix)
                seen = await stack.enter_async_context(watching(other, prefix, listing.revision))
                views.append(([record.key for record in listing.records], seen))
            stop.set()
            await task
            wanted = [f"{prefix}{number + 1:05}" for number in range(written)]
            await asyncio.gather(*(seen.count(written - len(listed)) for listed, seen in views))
        for listed, seen in views:
            assert listed + seen.keys == wanted
            assert [batch.revision for batch in seen.batches] == sorted({batch.revision for batch in seen.batches})

    async def test_what_has_piled_up_is_delivered_together(self, store: Store, prefix: str) -> None:
        start = (await store.list("")).revision
        watch = aiter(store.watch(prefix, start))
        await put(store, prefix + "first")
        heard = list(await anext(watch))
        for number in range(50):
            await put(store, f"{prefix}{number:02}")
        deliveries = 0
        async with asyncio.timeout(DEADLINE):
            while len(heard) < 51:
                heard.extend(await anext(watch))
                deliveries += 1
        assert [batch.events[0].key for batch in heard] == [prefix + "first", *(f"{prefix}{number:02}" for number in range(50))]
        assert deliveries < 25
        await watch.aclose()  # type: ignore[attr-defined]

    async def test_a_watch_that_begins_far_back_hears_all_of_it(self, store: Store, other: Store, prefix: str) -> None:
        start = (await store.list("")).revision
        for number in range(25):
            await asyncio.gather(*(put(store, f"{prefix}{number:02}/{part:03}") for part in range(100)))
        async with watching(other, prefix, start) as seen:
            await seen.count(2500)
            last = await put(store, prefix + "last")
            await seen.count(2501)
        assert [batch.revision for batch in seen.batches] == list(range(start + 1, last + 1))

    async def test_large_batches_arrive_whole_live_and_later(self, store: Store, other: Store, prefix: str) -> None:
        start = (await store.list("")).revision
        revisions = []
        async with watching(store, prefix, start) as live:
            for number in range(6):
                revisions.append(await store.commit([], [Put(f"{prefix}{part}", b"%d" % number * 440_000) for part in range(3)]))
            await live.count(18)
        async with watching(other, prefix, start) as later:
            await later.count(18)
        for seen in (live, later):
            assert [(batch.revision, len(batch.events)) for batch in seen.batches] == [(revision, 3) for revision in revisions]
        assert live.batches == later.batches

    async def test_a_slow_watcher_gets_everything_and_holds_up_nobody(self, store: Store, prefix: str) -> None:
        start = (await store.list("")).revision
        watch = aiter(store.watch(prefix, start))
        await put(store, prefix + "first")
        heard = list(await anext(watch))
        async with watching(store, prefix, start) as fast:
            for number in range(30):
                await asyncio.gather(*(put(store, f"{prefix}{number:02}/{part:02}", b"x" * 100) for part in range(50)))
            await fast.count(1501)
        async with asyncio.timeout(DEADLINE):
            while len(heard) < 1501:
                heard.extend(await anext(watch))
        assert heard == fast.batches
        await watch.aclose()  # type: ignore[attr-defined]

    async def test_closing_the_iterator_ends_a_watch_and_cancelling_its_reader_too(self, store: Store, prefix: str) -> None:
        start = (await store.list("")).revision
        watch = aiter(store.watch(prefix, start))
        await put(store, prefix + "a")
        assert await anext(watch)
        await watch.aclose()  # type: ignore[attr-defined]
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
        async with watching(store, prefix, start) as seen:
            await seen.count(1)
        await put(store, prefix + "b")
        assert seen.keys == [prefix + "a"]

    # --- history ---

    async def test_a_watch_after_a_compacted_revision_is_told_that_history_is_gone(self, store: Store, prefix: str) -> None:
        first = await put(store, prefix + "a", b"1")
        second = await put(store, prefix + "a", b"2")
        await store.compact(second)
        for after in (0, first, second - 1):
            with pytest.raises(HistoryGone):
                async with asyncio.timeout(DEADLINE):
                    await anext(aiter(store.watch(prefix, after)))

    async def test_a_watch_after_the_last_compacted_revision_goes_on_and_records_stay(self, store: Store, prefix: str) -> None:
        await put(store, prefix + "a", b"1")
        last = await store.commit([], [Put(prefix + "b", b"2")])
        third = await store.commit([], [Delete(prefix + "b")])
        await store.compact(last)
        async with watching(store, prefix, last) as seen:
            await seen.count(1)
        assert [batch.revision for batch in seen.batches] == [third]
        assert seen.events[0].record is None
        record = await store.get(prefix + "a")
        assert record is not None
        assert record.value == b"1"

    async def test_a_watch_that_is_up_to_date_does_not_mind_a_compaction(self, store: Store, prefix: str) -> None:
        start = await put(store, prefix + "a")
        async with watching(store, prefix, start) as seen:
            revision = await put(store, prefix + "b")
            await seen.count(1)
            await store.compact(revision)
            await put(store, prefix + "c")
            await seen.count(2)
        assert seen.keys == [prefix + "b", prefix + "c"]

    async def test_compacting_twice_or_what_is_long_gone_is_no_error_and_the_future_cannot_be_compacted(
        self, store: Store, prefix: str
    ) -> None:
        revision = await put(store, prefix + "a")
        await store.compact(revision)
        await store.compact(revision)
        await store.compact(revision - 1)
        await store.compact(0)
        with pytest.raises(InvalidInput):
            await store.compact(revision + 1000)

    # --- leases ---

    async def test_a_lease_says_how_long_it_lasts_and_a_keep_alive_makes_it_whole(self, store: Store, other: Store) -> None:
        lease = await store.grant(600)
        for holder in (store, other):
            assert 590 <= await holder.remaining(lease) <= 600
        await store.keep_alive(lease)
        assert 590 <= await other.remaining(lease) <= 600
        await store.revoke(lease)
        with pytest.raises(LeaseLost):
            await other.remaining(lease)

    async def test_a_store_says_how_full_it_is_and_tidying_keeps_records_and_watches(self, store: Store, prefix: str) -> None:
        start = await put(store, prefix + "a", b"1")
        async with watching(store, prefix, start) as seen:
            for number in range(20):
                await put(store, prefix + "a", bytes([number]) * 100_000)
            await seen.count(20)
            room = await room_once(store, prefix + "b", lambda room: room.live >= 20 * 100_000)
            assert 0 < room.live <= room.used <= room.limit
            assert not room.full
            await store.tidy((await store.list(prefix)).revision)
            assert (await room_once(store, prefix + "b", lambda after: after.live <= room.live)).live <= room.live
            last = await put(store, prefix + "a", b"2")
            await seen.until(lambda seen: seen.position >= last)
        with pytest.raises(HistoryGone):
            async with asyncio.timeout(DEADLINE):
                await anext(aiter(store.watch(prefix, start)))

    async def test_leases_end_after_their_time_unless_they_are_kept_alive(self, store: Store, other: Store, prefix: str) -> None:
        start = (await store.list("")).revision
        ending, kept, detached, moved = [await store.grant(self.ttl) for _ in range(4)]
        granted = await store.keep_alive(kept)
        assert self.ttl <= granted <= math.ceil(self.ttl)
        for name, lease in (("ending", ending), ("kept", kept), ("detached", detached), ("moved", moved)):
            await put(store, prefix + name, b"", lease)
            record = await store.get(prefix + name)
            assert record is not None
            assert record.lease == lease
        await put(store, prefix + "detached")
        await put(store, prefix + "moved", b"", kept)
        began = asyncio.get_running_loop().time()
        async with watching(other, prefix + "ending", start) as seen:
            while not any(event.record is None for event in seen.events):
                assert await other.keep_alive(kept) == granted
                await asyncio.sleep(self.ttl / 5)
                assert asyncio.get_running_loop().time() - began < granted + 4, "the lease should have ended"
            assert asyncio.get_running_loop().time() - began >= self.ttl - 0.1
        assert seen.events[-1].previous is not None
        await asyncio.sleep(self.ttl / 5)
        assert [record.key for record in (await store.list(prefix)).records] == [prefix + "detached", prefix + "kept", prefix + "moved"]
        with pytest.raises(LeaseLost):
            await store.keep_alive(ending)
        with pytest.raises(LeaseLost):
            await put(store, prefix + "late", b"", ending)
        await store.revoke(kept)

    async def test_revoking_a_lease_deletes_its_keys_in_one_revision(self, store: Store, other: Store, prefix: str) -> None:
        lease = await store.grant(60)
        await store.commit([], [Put(prefix + name, b"", lease) for name in ("c", "a", "b")])
        before = await put(store, prefix + "kept")
        async with watching(store, prefix, before) as seen:
            await other.revoke(lease)
            await seen.count(3)
        (batch,) = seen.batches
        assert batch.revision == before + 1
        assert sorted(seen.keys) == [prefix + "a", prefix + "b", prefix + "c"]
        assert all(event.record is None and event.previous is not None for event in batch.events)
        assert [record.key for record in (await store.list(prefix)).records] == [prefix + "kept"]
        with pytest.raises(LeaseLost):
            await store.keep_alive(lease)

    async def test_revoking_a_lease_that_holds_nothing_or_is_unknown_changes_nothing(self, store: Store, prefix: str) -> None:
        lease = await store.grant(60)
        revision = await put(store, prefix + "a")
        await store.revoke(lease)
        await store.revoke(lease)
        await store.revoke(123_456_789)
        assert (await store.list("")).revision == revision

    async def test_a_key_leaves_its_lease_when_it_is_written_without_or_with_another_or_deleted(self, store: Store, prefix: str) -> None:
        one, two = await store.grant(60), await store.grant(60)
        await store.commit([], [Put(prefix + name, b"", one) for name in "abc"])
        await store.commit([], [Put(prefix + "a", b""), Put(prefix + "b", b"", two), Delete(prefix + "c")])
        await put(store, prefix + "c")
        await store.revoke(one)
        assert [(record.key, record.lease) for record in (await store.list(prefix)).records] == [
            (prefix + "a", 0),
            (prefix + "b", two),
            (prefix + "c", 0),
        ]
        await store.revoke(two)
        assert [record.key for record in (await store.list(prefix)).records] == [prefix + "a", prefix + "c"]

    async def test_a_commit_under_a_lease_that_does_not_exist_is_refused_whole(self, store: Store, prefix: str) -> None:
        with pytest.raises(LeaseLost):
            await store.commit([], [Put(prefix + "a", b""), Put(prefix + "b", b"", 123_456_789)])
        with pytest.raises(Conflict):
            await store.commit([Condition(prefix + "a", 5)], [Put(prefix + "b", b"", 123_456_789)])
        assert (await store.list(prefix)).records == ()

    @pytest.mark.parametrize("ttl", [0.0, -1.0, math.nan, math.inf])
    async def test_a_lease_must_last_some_time(self, store: Store, ttl: float) -> None:
        with pytest.raises(InvalidInput):
            await store.grant(ttl)

    async def test_keeping_alive_what_never_was_is_lease_lost(self, store: Store) -> None:
        with pytest.raises(LeaseLost):
            await store.keep_alive(123_456_789)

    # --- the end ---

    async def test_closing_ends_watches_after_what_they_have_and_everything_else_is_refused(self, store: Store, prefix: str) -> None:
        start = await put(store, prefix + "a")
        async with watching(store, prefix, start - 1) as seen, watching(store, prefix + "none", start) as silent:
            await seen.count(1)
            await store.close()
            await store.close()
            await seen.until(lambda seen: seen.ended)
            await silent.until(lambda seen: seen.ended)
        assert [batches async for batches in store.watch(prefix, 0)] == []
        for call in (
            store.get("a"),
            store.list(""),
            store.commit([], []),
            store.grant(5),
            store.keep_alive(1),
            store.revoke(1),
            store.compact(1),
        ):
            with pytest.raises(StoreUnavailable):
                await call

    async def test_calls_that_are_cancelled_leave_the_store_in_order(self, store: Store, prefix: str) -> None:
        tasks = [asyncio.create_task(put(store, f"{prefix}{number}")) for number in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, int) for result in results[1::2])
        keys = {record.key for record in (await store.list(prefix)).records}
        assert keys >= {f"{prefix}{number}" for number in range(1, 50, 2)}
        assert await put(store, prefix + "after") > 0
