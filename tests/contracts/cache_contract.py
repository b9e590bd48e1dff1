"""What a process sees of the store through `state.cache`, on each store: whatever happens there, the view comes to equal its listing.

Subclass `CacheContract` in a test file and give the fixtures `store` and `other`: two stores that are open on the same data.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
import pytest

from argosy.reconcile import SystemClock
from argosy.state.cache import Cache
from argosy.state.kinds import CLUSTER, RecordKind
from argosy.state.records import encode
from argosy.store.base import Delete, Put, Store
from tests.contracts.store_contract import eventually


class Fruit(msgspec.Struct, frozen=True):
    colour: str


RED, GREEN = Fruit("red"), Fruit("green")


def _colour(key: str, fruit: Fruit) -> str:
    return fruit.colour


@dataclass
class Garden:
    """Two kinds below a prefix of their own: fruits by colour, and trees."""

    root: str = field(default_factory=lambda: f"/{uuid.uuid4().hex}")

    def __post_init__(self) -> None:
        self.fruits = RecordKind(f"{self.root}/fruit/", Fruit, CLUSTER, {"colour": _colour})
        self.trees = RecordKind(f"{self.root}/tree/", Fruit, CLUSTER)
        self.alone = RecordKind(f"{self.root}/fruit/", Fruit, f"{self.root}/fruit/")

    async def put(self, store: Store, **fruits: Fruit | bytes | None) -> int:
        """Writes fruits; None deletes."""
        return await store.commit([], [self.write(name, fruit) for name, fruit in fruits.items()])

    def write(self, name: str, fruit: Fruit | bytes | None, where: str = "fruit") -> Put | Delete:
        key = f"{self.root}/{where}/{name}"
        return Delete(key) if fruit is None else Put(key, fruit if isinstance(fruit, bytes) else encode(fruit))


async def equal(cache: Cache, store: Store, kind: RecordKind[Fruit]) -> None:
    """The view, asked now, holds what a listing says."""
    table = (await cache.read(kind))[kind]
    listing = await store.list(kind.prefix)
    assert table.modified == {record.key.removeprefix(kind.prefix): record.modified for record in listing.records}
    assert table.values.keys() <= table.modified.keys()
    for record in listing.records:
        name = record.key.removeprefix(kind.prefix)
        assert name not in table.values or encode(table.values[name]) == record.value
    assert list(table.sorted_keys()) == sorted(table.values)
    for index, value_of in kind.indexes.items():
        groups: dict[str, dict[str, Fruit]] = {}
        for name, value in table.values.items():
            groups.setdefault(value_of(name, value), {})[name] = value
        assert table.groups(index) == groups


class CacheContract:
    @pytest.fixture
    def garden(self) -> Garden:
        return Garden()

    @pytest.fixture
    async def cache(self, store: Store) -> AsyncIterator[Cache]:
        async with Cache(store, SystemClock(), fresh=0.0) as cache:
            yield cache

    async def test_a_read_includes_what_anybody_wrote_before_it(self, cache: Cache, store: Store, other: Store, garden: Garden) -> None:
        for number in range(20):
            revision = await garden.put(other if number % 2 else store, apple=Fruit(f"colour {number}"), pear=None if number % 3 else RED)
            reading = await cache.read(garden.fruits, garden.trees)
            assert reading.index >= revision
            await equal(cache, store, garden.fruits)

    async def test_kinds_read_together_are_of_one_revision(self, cache: Cache, store: Store, other: Store, garden: Garden) -> None:
        async def write() -> None:
            for number in range(100):
                fruit = Fruit(str(number))
                await other.commit([], [garden.write("twin", fruit), garden.write("twin", fruit, "tree")])

        writing = asyncio.create_task(write())
        while not writing.done():
            reading = await cache.read(garden.fruits, garden.trees)
            assert reading[garden.fruits].get("twin") == reading[garden.trees].get("twin")
            await asyncio.sleep(0.001)
        await writing

    async def test_a_write_can_be_waited_for_until_it_is_seen(self, store: Store, garden: Garden) -> None:
        async with Cache(store, SystemClock(), fresh=3600.0) as cache:
            await cache.read(garden.fruits)
            for number in range(10):
                assert await cache.seen(await garden.put(store, apple=Fruit(str(number))))
                assert (await cache.read(garden.fruits))[garden.fruits].get("apple") == Fruit(str(number))

    async def test_who_waits_is_told_of_nothing_else(self, cache: Cache, store: Store, other: Store, garden: Garden) -> None:
        await garden.put(store, apple=RED, pear=GREEN)
        index = (await cache.read(garden.fruits)).index
        topics = {
            "apple": garden.fruits.key("apple"),
            "red": garden.fruits.where("colour", "red"),
            "all": garden.fruits.all(),
            "pear": garden.fruits.key("pear"),
        }
        waiting = {name: asyncio.create_task(cache.wait(index, [topic], 30)) for name, topic in topics.items()}
        await eventually(lambda: cache.blocked == 4)
        await garden.put(other, apple=GREEN)
        for name in ("apple", "red", "all"):
            assert await waiting[name]
        assert not waiting["pear"].done()
        await garden.put(other, pear=None)
        assert await waiting["pear"]
        assert cache.blocked == 0

    async def test_a_client_with_an_old_index_is_told_at_once(self, cache: Cache, store: Store, garden: Garden) -> None:
        revision = await garden.put(store, apple=RED)
        await cache.read(garden.fruits)
        assert await cache.wait(revision - 1, [garden.fruits.key("apple")], 30)
        await garden.put(store, apple=None)
        index = (await cache.read(garden.fruits)).index
        assert await cache.wait(index - 1, [garden.fruits.key("apple")], 30)
        assert not await cache.wait(index, [garden.fruits.key("apple")], 0.1)

    async def test_an_index_not_reached_yet_is_waited_for(self, cache: Cache, store: Store, other: Store, garden: Garden) -> None:
        await cache.read(garden.fruits)
        revision = await garden.put(other, apple=RED)
        assert not await cache.wait(revision, [garden.fruits.all()], 0.1)
        assert (await cache.read(garden.fruits)).index >= revision
        assert await cache.wait(revision + 1000, [garden.fruits.all()], 30), "another history: there is no such revision"

    async def test_all_followers_come_to_the_same(self, cache: Cache, store: Store, other: Store, garden: Garden) -> None:
        seen: list[dict[str, Fruit]] = [{} for _ in range(3)]

        async def follow(number: int) -> None:
            async for changes in cache.follow(garden.alone):
                if changes.reset:
                    seen[number].clear()
                for name, fruit in changes.items.items():
                    if fruit is None:
                        seen[number].pop(name, None)
                    else:
                        seen[number][name] = fruit
                if number:
                    await asyncio.sleep(0.01 * number)

        following = [asyncio.create_task(follow(number)) for number in range(3)]
        for number in range(50):
            await garden.put(other, **{f"f{number % 7}": None if number % 5 == 0 else Fruit(str(number))})
        standing = {
            record.key.removeprefix(garden.fruits.prefix): msgspec.json.decode(record.value, type=Fruit)
            for record in (await store.list(garden.fruits.prefix)).records
        }
        await eventually(lambda: seen == [standing] * 3)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)

    async def test_when_history_is_gone_everything_is_read_anew(self, cache: Cache, store: Store, other: Store, garden: Garden) -> None:
        await garden.put(store, apple=RED)
        await equal(cache, store, garden.fruits)
        for number in range(200):
            last = await garden.put(other, apple=Fruit(str(number)), **{f"f{number % 3}": RED if number % 2 else None})
        await other.compact(last)
        await equal(cache, store, garden.fruits)
        await garden.put(other, apple=None)
        await equal(cache, store, garden.fruits)
