"""A store that is filled: users are refused long before the platform is, deleting works when it is full, and upkeep makes room. On a real
etcd with a small quota, and on SQLite."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from argosy.api.keys.shapes import Ask, KeyFault
from argosy.api.keys.space import DEFAULT, Keyspace
from argosy.config import KeysSection
from argosy.engine.upkeep import Upkeep
from argosy.errors import StoreFull
from argosy.reconcile import SystemClock
from argosy.store.base import Put, Room, Store
from argosy.store.etcd import EtcdStore
from argosy.store.sqlite import SqliteStore
from tests.conftest import FakeClock
from tests.etcd_server import etcd_server, fast_folder

QUOTA = 32 * 1024**2
CLOCK = SystemClock()
DEADLINE = 30.0
LARGE = b"x" * 699_000


@pytest.fixture
async def endpoints() -> AsyncIterator[Sequence[str]]:
    with fast_folder() as folder:
        async with etcd_server(folder, extra=[f"--quota-backend-bytes={QUOTA}"]) as endpoints:
            yield endpoints


@asynccontextmanager
async def door(store: Store, limits: KeysSection = DEFAULT) -> AsyncIterator[Keyspace]:
    space = Keyspace(store, CLOCK, limits)
    task = asyncio.create_task(space.run())
    try:
        await space.ready.wait()
        yield space
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def kept(store: Store, told: list[str], leading: bool = True) -> AsyncIterator[None]:
    task = asyncio.create_task(Upkeep(store, CLOCK, lambda: leading, told.append, every=0.2).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not await condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.05)


async def fill(space: Keyspace, path: str, count: int) -> KeyFault:
    """Writes large values until one is refused."""
    for number in range(count):
        try:
            await space.write(Ask("PUT", path.format(number), value=LARGE))
        except KeyFault as fault:
            return fault
    raise AssertionError("nothing was refused")


async def test_users_cannot_fill_the_store_and_the_platform_goes_on(endpoints: Sequence[str]) -> None:
    async with EtcdStore(endpoints, CLOCK, quota=QUOTA) as store, door(store) as space:
        fault = await fill(space, "/a/{}", 43)
        assert (fault.code, fault.status) == (300, 413)
        assert "the keys below /a hold" in fault.cause
        await fill(space, "/b/{}", 43)
        assert "all keys together" in (await fill(space, "/c/{}", 43)).cause
        for number in range(100):
            await store.commit([], [Put(f"/argosy/units/{number}", b"x" * 1000)])
        assert not (await store.room()).full
        await space.write(Ask("DELETE", "/a", recursive=True))
        await space.write(Ask("PUT", "/c/again", value=LARGE))


async def test_a_key_that_is_rewritten_again_and_again_stops_at_the_reserve_until_upkeep_has_tidied(
    endpoints: Sequence[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Each value stays in etcd's history: what is rewritten fills it as well as what is added."""
    async with EtcdStore(endpoints, CLOCK, quota=QUOTA) as store, door(store) as space:
        fault = await fill(space, "/a", 60)
        assert (fault.code, fault.status) == (300, 507)
        room = await store.room()
        assert room.used <= 0.78 * QUOTA
        assert not room.full
        await fill_up_to(store, 0.75)
        told: list[str] = []
        async with kept(store, told):

            async def accepted() -> bool:
                try:
                    await space.write(Ask("PUT", "/a", value=LARGE))
                except KeyFault:
                    return False
                return True

            await until(accepted)
        assert any("nearly full" in words for words in told)
        assert (await store.room()).used < QUOTA // 4


async def fill_up_to(store: Store, part: float) -> None:
    """As the platform may, past all doors."""
    for _ in range(60):
        if (await store.room()).used >= part * QUOTA:
            return
        await store.commit([], [Put("/argosy/units/a", b"x" * 900_000)])
    raise AssertionError("it does not fill")


async def fill_past_all_doors(store: Store) -> None:
    """Until etcd itself refuses."""
    for _ in range(60):
        await store.commit([], [Put("/filling", LARGE)])


@pytest.mark.parametrize("leading", [True, False], ids=["this machine leads", "nobody leads: a full store elects nobody"])
async def test_in_a_full_store_deleting_works_and_makes_room(
    endpoints: Sequence[str], leading: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with EtcdStore(endpoints, CLOCK, quota=QUOTA) as store, door(store, KeysSection(most=QUOTA, most_below=QUOTA)) as space:
        await fill(space, "/a/{}", 60)
        with pytest.raises(StoreFull) as refused:
            await fill_past_all_doors(store)
        assert "NOSPACE" in str(refused.value) or "space exceeded" in str(refused.value)
        assert (await store.room()).full
        with pytest.raises(StoreFull):
            await store.grant(5)
        assert (await fill(space, "/b", 1)).status == 507
        told: list[str] = []
        async with kept(store, told, leading):
            await space.write(Ask("DELETE", "/a", recursive=True))
            assert space.tree.get("/a") is None

            async def works() -> bool:
                try:
                    await space.write(Ask("PUT", "/b", value=LARGE))
                except (KeyFault, StoreFull):
                    return False
                return True

            await until(works)
        assert any("is full" in words for words in told)
        assert not (await store.room()).full
        assert "alarm of member" in caplog.text


async def test_a_sqlite_store_is_bounded_likewise(tmp_path: Path) -> None:
    async with SqliteStore(str(tmp_path / "store.db"), CLOCK, quota=QUOTA) as store, door(store) as space:
        assert (await fill(space, "/a/{}", 43)).status == 413
        fault = await fill(space, "/b", 60)
        assert fault.status == 507
        await store.commit([], [Put("/argosy/units/a", b"x" * 900_000)])
        async with kept(store, []):

            async def accepted() -> bool:
                try:
                    await space.write(Ask("PUT", "/b", value=LARGE))
                except KeyFault:
                    return False
                return True

            await until(accepted)


LIMITS = [
    ("a value that is too large", KeysSection(largest=10), "/a", b"x" * 11, "the value has 11 bytes"),
    ("a directory of the first level that is full", KeysSection(most_below=500), "/d/new", b"x" * 300, "the keys below /d hold"),
    ("all keys together", KeysSection(most=500, most_below=9000), "/e", b"x" * 300, "all keys together hold"),
]


@pytest.mark.parametrize(("case", "limits", "path", "value", "said"), LIMITS, ids=[row[0] for row in LIMITS])
async def test_limits_are_said_with_their_name_and_leave_the_rest_alone(
    case: str, limits: KeysSection, path: str, value: bytes, said: str
) -> None:
    async with SqliteStore(":memory:", CLOCK) as store, door(store, limits) as space:
        await space.write(Ask("PUT", "/d/1", value=b"1"))
        with pytest.raises(KeyFault) as refused:
            await space.write(Ask("PUT", path, value=value))
        assert (refused.value.status, said in refused.value.cause) == (413, True)
        await space.write(Ask("PUT", "/d/1", value=b"2", ttl=100))
        await space.write(Ask("DELETE", "/d", recursive=True))
        assert (space.tree.size, space.tree.sizes) == (0, {})


class Filling(SqliteStore):
    """A store that says what it is told to."""

    said = Room(0, 0, 100)
    tidied: tuple[int, ...] = ()

    async def room(self) -> Room:
        return self.said

    async def tidy(self, revision: int) -> None:
        self.tidied += (revision,)


UPKEEP = [
    ("half empty", Room(49, 49, 100), True, False, ""),
    ("half full: its history is forgotten", Room(50, 20, 100), True, True, ""),
    ("half full, but another leads", Room(50, 20, 100), False, False, ""),
    ("nearly full", Room(75, 75, 100), True, True, "nearly full"),
    ("full: everybody tries", Room(75, 75, 100, full=True), False, True, "is full"),
]


@pytest.mark.parametrize(("case", "room", "leading", "tidies", "said"), UPKEEP, ids=[row[0] for row in UPKEEP])
async def test_upkeep(clock: FakeClock, case: str, room: Room, leading: bool, tidies: bool, said: str) -> None:
    told: list[str] = []
    async with Filling(":memory:", clock) as store:
        store.said = room
        task = asyncio.create_task(Upkeep(store, clock, lambda: leading, told.append).run())
        await clock.advance(11)
        assert bool(store.tidied) == tidies
        assert said in told[-1] if said else told[-1] == ""
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
