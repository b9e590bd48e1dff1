"""One random history, lived through by SQLite and by a real etcd at once: they answer the same, revision by revision."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule, run_state_machine_as_test

from argosy.errors import ArgosyError
from argosy.reconcile import SystemClock
from argosy.store.base import Batch, Condition, Delete, DeletePrefix, Put, Record, Store
from argosy.store.etcd import EtcdStore
from argosy.store.sqlite import SqliteStore
from tests.contracts.store_contract import Watching

NAMES = ["a", "a/", "a/b", "a/b/c", "a0", "b", "é", "\U0010ffff"]
PREFIXES = ["", "a", "a/", "a/b", "b", "c"]

names = st.sampled_from(NAMES)
values = st.binary(max_size=20)
back = st.integers(min_value=0, max_value=6)


class Side:
    """One of the two stores. Its revisions and leases are told in numbers that both share: from 0, in the order they came up."""

    def __init__(self, store: Store, root: str) -> None:
        self.store = store
        self.root = root
        self.start = 0
        self.leases = [0]
        self.watches: list[tuple[Watching, asyncio.Task[None]]] = []

    async def begin(self) -> None:
        self.start = (await self.store.list("")).revision

    def revision(self, shared: int) -> int:
        return self.start + shared if shared > 0 else 0

    def plain(self, found: Any) -> Any:
        """What was found, without anything that is this side's own."""
        if isinstance(found, Record):
            created, modified = found.created - self.start, found.modified - self.start
            return found.key.removeprefix(self.root), found.value, created, modified, self.leases.index(found.lease)
        if isinstance(found, Batch):
            return found.revision - self.start, [self.plain(event) for event in found.events]
        if isinstance(found, msgspec.Struct):
            return {name: self.plain(getattr(found, name)) for name in found.__struct_fields__ if name not in ("revision", "key")}
        if isinstance(found, tuple | list):
            return [self.plain(one) for one in found]
        return found

    async def commit(self, conditions: Sequence[tuple[str, int]], writes: Sequence[tuple[str, bytes | None, int]]) -> int:
        revision = await self.store.commit(
            [Condition(self.root + name, self.revision(shared)) for name, shared in conditions],
            [
                Delete(self.root + name) if value is None else Put(self.root + name, value, self.leases[lease])
                for name, value, lease in writes
            ],
        )
        return revision - self.start

    async def delete(self, prefix: str) -> int:
        return await self.store.commit([], [DeletePrefix(self.root + prefix)]) - self.start

    async def grant(self) -> int:
        self.leases.append(await self.store.grant(600))
        return len(self.leases) - 1

    def watch(self, prefix: str, after: int) -> int:
        seen = Watching()
        task = asyncio.ensure_future(seen.read(self.store, self.root + prefix, self.start + after))
        self.watches.append((seen, task))
        return len(self.watches)

    async def heard(self, prefix: str, number: int, upto: int) -> Any:
        """What a watch has heard up to a revision that touched its prefix, or the error that ended it."""
        seen, _ = self.watches[number]
        await seen.until(lambda seen: seen.position >= self.start + upto or seen.error is not None)
        return type(seen.error).__name__ if seen.error else self.plain(seen.batches)

    async def end(self) -> None:
        for _, task in self.watches:
            task.cancel()
        await asyncio.gather(*(task for _, task in self.watches), return_exceptions=True)
        for lease in self.leases[1:]:
            await self.store.revoke(lease)
        await self.store.close()


class SameHistory(RuleBasedStateMachine):
    """`endpoints` is set by the test."""

    endpoints: Sequence[str] = ()
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.sides: list[Side] = []
        self.watched: list[str] = []
        self.last = 0

    @initialize(target=leases)
    def begin(self) -> Any:
        root = f"/{uuid.uuid4().hex}/"

        async def open_both() -> None:
            for store in (SqliteStore(":memory:", SystemClock()), EtcdStore(self.endpoints, SystemClock())):
                self.sides.append(Side(store, root))
            await asyncio.gather(*(side.begin() for side in self.sides))

        self.runner.run(open_both())
        return multiple(0)

    def both(self, call: Any) -> Any:
        """`call(side)` on both; they must answer alike, errors included."""

        async def one(side: Side) -> Any:
            try:
                return side.plain(await call(side))
            except ArgosyError as error:
                return type(error).__name__, getattr(error, "key", "").removeprefix(side.root)

        async def together() -> tuple[Any, Any]:
            return await one(self.sides[0]), await one(self.sides[1])

        sqlite, etcd = self.runner.run(together())
        assert sqlite == etcd
        return sqlite

    @rule(
        conditions=st.lists(st.tuples(names, back), max_size=3),
        exact=st.booleans(),
        writes=st.lists(st.tuples(names, st.none() | values), max_size=4, unique_by=lambda write: write[0]),
        lease=leases,
        data=st.data(),
    )
    def commit(
        self, conditions: list[tuple[str, int]], exact: bool, writes: list[tuple[str, bytes | None]], lease: int, data: st.DataObject
    ) -> None:
        if exact and self.last:
            standing = self.standing()
            conditions = [(name, standing.get(name, 0)) for name, _ in conditions]
        else:
            conditions = [(name, max(0, self.last - age)) for name, age in conditions]
        leased = [(name, value, lease if data.draw(st.booleans()) else 0) for name, value in writes]
        found = self.both(lambda side: side.commit(conditions, leased))
        if isinstance(found, int):
            self.last = found

    @rule(prefix=st.sampled_from(PREFIXES))
    def delete(self, prefix: str) -> None:
        self.last = self.both(lambda side: side.delete(prefix))

    def standing(self) -> dict[str, int]:
        records = self.both(lambda side: side.store.list(side.root))["records"]
        return {record[0]: record[3] for record in records}

    @rule(name=names)
    def get(self, name: str) -> None:
        self.both(lambda side: side.store.get(side.root + name))

    @rule(prefix=st.sampled_from(PREFIXES))
    def list(self, prefix: str) -> None:
        self.both(lambda side: side.store.list(side.root + prefix))

    @rule(target=leases)
    def grant(self) -> Any:
        return self.both(lambda side: side.grant())

    @rule(lease=leases)
    def keep_alive(self, lease: int) -> None:
        self.both(lambda side: side.store.keep_alive(side.leases[lease]))

    @rule(lease=leases)
    def revoke(self, lease: int) -> None:
        self.both(lambda side: side.store.revoke(side.leases[lease]))
        self.last = self.both(lambda side: side.commit([], []))

    @rule(age=back)
    def compact(self, age: int) -> None:
        if self.last - age > 0:
            self.both(lambda side: side.store.compact(side.revision(self.last - age)))

    @rule(prefix=st.sampled_from(PREFIXES), age=back)
    def watch(self, prefix: str, age: int) -> None:
        async def start(side: Side) -> int:
            return side.watch(prefix, max(0, self.last - age))

        if len(self.watched) < 4:
            self.both(start)
            self.watched.append(prefix)
            self.settle(len(self.watched) - 1)

    @rule()
    def listen(self) -> None:
        for number in range(len(self.watched)):
            self.settle(number)

    def settle(self, number: int) -> None:
        """Writes under the watch's prefix and waits until both have heard of it: then both have heard the same."""
        prefix = self.watched[number]
        self.last = self.both(lambda side: side.commit([], [(prefix + "/mark", b"", 0)]))
        self.both(lambda side: side.heard(prefix, number, self.last))

    def teardown(self) -> None:
        async def end() -> None:
            for side in self.sides:
                await side.end()

        try:
            if self.sides:
                self.listen()
                self.list("")
        finally:
            self.runner.run(end())
            self.runner.close()


def test_the_same_history_on_sqlite_and_on_etcd_gives_the_same_answers(endpoints: Sequence[str]) -> None:
    SameHistory.endpoints = endpoints
    run_state_machine_as_test(
        SameHistory,
        settings=settings(max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)),
    )
