"""Users' keys that share leases: none ends early or more than a second late, whatever happens to its neighbours, and leases stay few."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.api.keys.leases import IDLE_SECONDS, SHARED_SECONDS, SOON_SECONDS
from argosy.api.keys.shapes import Ask
from argosy.api.keys.space import Keyspace
from argosy.errors import StoreUnavailable
from argosy.state import keys
from argosy.store.base import Condition, Write
from argosy.store.sqlite import SqliteStore
from tests.conftest import FakeClock, settle


class Counting:
    """A store that counts leases. `lose_answer`: the next commit is done, and its answer is lost."""

    def __init__(self, store: SqliteStore) -> None:
        self.inner = store
        self.granted: list[int] = []
        self.kept_alive = 0
        self.revoked: set[int] = set()
        self.lose_answer = False

    async def grant(self, ttl: float) -> int:
        lease = await self.inner.grant(ttl)
        self.granted.append(lease)
        return lease

    async def keep_alive(self, lease: int) -> float:
        self.kept_alive += 1
        return await self.inner.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        self.revoked.add(lease)
        await self.inner.revoke(lease)

    async def commit(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        revision = await self.inner.commit(conditions, writes)
        if self.lose_answer:
            self.lose_answer = False
            raise StoreUnavailable("the answer is lost")
        return revision

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@asynccontextmanager
async def keyspaces(clock: FakeClock, count: int = 1) -> AsyncIterator[tuple[Counting, list[Keyspace]]]:
    """So many keys APIs over one store."""
    async with AsyncExitStack() as stack:
        store = Counting(await stack.enter_async_context(SqliteStore(":memory:", clock)))
        found = [Keyspace(store, clock) for _ in range(count)]
        tasks = [asyncio.create_task(space.run()) for space in found]
        try:
            await asyncio.gather(*(space.ready.wait() for space in found))
            yield store, found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def put(path: str, ttl: int | None, **fields: Any) -> Ask:
    return Ask("PUT", path, value=b"" if fields.get("refresh") else b"v", ttl=ttl, **fields)


async def lease_of(store: Counting, path: str) -> int:
    record = await store.inner.get(f"{keys.KV[:-1]}{path}")
    return record.lease if record is not None else 0


async def test_keys_that_are_set_one_by_one_within_a_second_share_a_lease_and_each_ends_at_its_time(clock: FakeClock) -> None:
    async with keyspaces(clock) as (store, (space,)):
        ends = {}
        for number in range(40):
            await space.write(put(f"/a/{number}", 30))
            ends[f"/a/{number}"] = clock.monotonic() + 30
            await clock.advance(0.05)
        assert len(store.granted) <= 4
        while ends:
            await clock.advance(0.05)
            for path, end in tuple(ends.items()):
                if space.tree.get(path) is None:
                    assert end <= clock.monotonic() <= end + SHARED_SECONDS + 0.1
                    del ends[path]
                else:
                    assert clock.monotonic() <= end + SHARED_SECONDS + 0.1


async def test_keys_that_are_set_at_once_wait_for_one_lease(clock: FakeClock) -> None:
    async with keyspaces(clock) as (store, (space,)):
        await space.write(put("/a/first", 60))
        await clock.advance(0.1)
        await asyncio.gather(*(space.write(put(f"/a/{number}", 60)) for number in range(30)))
        assert len(store.granted) == 2


async def test_a_key_that_is_set_alone_ends_exactly_at_its_time(clock: FakeClock) -> None:
    async with keyspaces(clock) as (_, (space,)):
        for ttl in (5, 7):
            await space.write(put("/alone", ttl))
            await clock.advance(ttl - 0.1)
            assert space.tree.get("/alone") is not None
            await clock.advance(0.2)
            assert space.tree.get("/alone") is None
            await clock.advance(5)


async def test_the_end_of_one_key_or_its_renewal_does_nothing_to_the_others_of_its_lease(clock: FakeClock) -> None:
    async with keyspaces(clock) as (store, (space,)):
        for name in ("warm", "deleted", "renewed", "kept", "without", "stays"):
            await space.write(put(f"/a/{name}", 60))
            await clock.advance(0.1)
        shared = await lease_of(store, "/a/stays")
        assert await lease_of(store, "/a/renewed") == shared
        await clock.advance(30)
        await space.write(Ask("DELETE", "/a/deleted"))
        await space.write(put("/a/renewed", 60, refresh=True, prev_exist=True))
        await space.write(put("/a/kept", 60))
        await space.write(put("/a/without", None))
        assert await lease_of(store, "/a/stays") == shared
        assert shared not in {await lease_of(store, f"/a/{name}") for name in ("renewed", "kept", "without")}
        await clock.advance(28)
        assert space.tree.get("/a/stays") is not None
        await clock.advance(4)
        assert [name for name in ("deleted", "stays", "renewed", "kept", "without") if space.tree.get(f"/a/{name}")] == [
            "renewed",
            "kept",
            "without",
        ]
        await clock.advance(40)
        assert {node.path for node in space.tree.below("/a")} == {"/a/without"}


async def test_a_sidekick_keeps_the_lease_that_it_has_alone(clock: FakeClock) -> None:
    async with keyspaces(clock) as (store, (space,)):
        for _ in range(50):
            await space.write(put("/services/web/app/1", 60))
            await clock.advance(45)
        assert (len(store.granted), store.kept_alive) == (1, 49)


async def test_the_last_key_of_a_shared_lease_keeps_it(clock: FakeClock) -> None:
    async with keyspaces(clock) as (store, (space,)):
        for name in ("warm", "a", "b"):
            await space.write(put(f"/x/{name}", 60))
            await clock.advance(0.1)
        shared = await lease_of(store, "/x/a")
        assert await lease_of(store, "/x/b") == shared
        await clock.advance(30)
        await space.write(put("/x/b", 60))
        await space.write(put("/x/a", 60))
        assert await lease_of(store, "/x/b") != shared
        assert await lease_of(store, "/x/a") == shared


async def test_leases_without_keys_are_revoked_so_that_they_stay_few(clock: FakeClock) -> None:
    async with keyspaces(clock) as (store, (space,)):
        for _ in range(300):
            for name in ("a", "b", "c"):
                await space.write(put(f"/x/{name}", 1_000_000))
            await clock.advance(3)
            assert len(set(store.granted) - store.revoked) <= 3 + 3 * IDLE_SECONDS
        await space.write(Ask("DELETE", "/x", recursive=True, directory=True))
        await clock.advance(3 * IDLE_SECONDS)
        assert set(store.granted) == store.revoked


async def test_a_lease_that_soon_ends_by_itself_is_not_revoked(clock: FakeClock) -> None:
    async with keyspaces(clock) as (store, (space,)):
        await space.write(put("/a", int(SOON_SECONDS)))
        await space.write(Ask("DELETE", "/a"))
        await clock.advance(10 * SOON_SECONDS)
        assert not store.revoked


async def test_a_commit_whose_answer_is_lost_never_costs_a_key_its_lease(clock: FakeClock) -> None:
    async with keyspaces(clock) as (store, (space,)):
        store.lose_answer = True
        with pytest.raises(StoreUnavailable):
            await space.write(put("/a", 100_000))
        await settle()
        await space.write(put("/b", 100_000))
        await space.write(Ask("DELETE", "/b"))
        await clock.advance(10 * IDLE_SECONDS)
        assert space.tree.get("/a") is not None
        assert await lease_of(store, "/a") not in store.revoked


async def test_a_key_that_is_renewed_through_another_machine_gets_a_lease_of_that_one(clock: FakeClock) -> None:
    async with keyspaces(clock, 2) as (store, (one, other)):
        for name in ("warm", "a", "b"):
            await one.write(put(f"/x/{name}", 60))
            await clock.advance(0.1)
        shared = await lease_of(store, "/x/a")
        await clock.advance(40)
        await other.write(put("/x/a", 60))
        assert await lease_of(store, "/x/a") != shared
        await clock.advance(30)
        assert {node.path for node in one.tree.below("/x")} == {"/x/a"}


async def test_a_store_that_lost_its_leases_gets_new_ones(clock: FakeClock) -> None:
    async with keyspaces(clock) as (store, (space,)):
        await space.write(put("/a", 600))
        await store.inner.revoke(await lease_of(store, "/a"))
        await settle()
        assert space.tree.get("/a") is None
        for name in ("a", "b"):
            await space.write(put(f"/{name}", 600))
        assert {node.path for node in space.tree.below("/")} == {"/a", "/b"}


steps = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "refresh", "delete", "wait"]),
        st.integers(0, 4),
        st.sampled_from([3, 3, 3, 8]),
        st.integers(0, 1),
        st.floats(0, 2.5),
    ),
    max_size=40,
)


@given(steps)
@settings(max_examples=60, deadline=None)
def test_in_any_history_no_key_ends_early_or_more_than_a_second_late(history: list[tuple[str, int, int, int, float]]) -> None:
    asyncio.run(_play(history))


async def _play(history: list[tuple[str, int, int, int, float]]) -> None:
    clock = FakeClock()
    async with keyspaces(clock, 2) as (_, spaces):
        ends: dict[str, float] = {}

        def check() -> None:
            now = clock.monotonic()
            standing = {node.path for node in spaces[0].tree.below("/x")}
            assert {path for path, end in ends.items() if end > now} <= standing
            assert standing <= {path for path, end in ends.items() if end + SHARED_SECONDS >= now}

        for what, number, ttl, door, pause in history:
            path = f"/x/{number}"
            if what == "wait":
                await clock.advance(pause)
            elif what == "delete":
                if spaces[0].tree.get(path) is not None:
                    await spaces[door].write(Ask("DELETE", path))
                ends.pop(path, None)
            elif what == "set" or spaces[0].tree.get(path) is not None:
                await spaces[door].write(put(path, ttl, refresh=what == "refresh"))
                ends[path] = clock.monotonic() + ttl
            await settle()
            check()
        for _ in range(40):
            await clock.advance(0.5)
            check()
        assert not list(spaces[0].tree.below("/x"))
