"""The Storage contract as a test suite: `images/storage.py`, sentence by sentence. Every driver passes all of it.

To run it on a driver, subclass `StorageContract` in a test file (its name must begin with `Test`) and give the fixtures `storage` and
`other`: two that are open on the same objects (the same one where there can be only one). Objects of earlier tests may be there: each test
keeps to a prefix of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from argosy.images.storage import Entry, Storage

MEGABYTE = 1024 * 1024


async def all_of(storage: Storage, key: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in storage.read(key, start, end)])


async def walked(storage: Storage, prefix: str) -> list[Entry]:
    return [entry async for batch in storage.walk(prefix) for entry in batch]


class StorageContract:
    @pytest.fixture
    def under(self) -> str:
        """A prefix of this test's own."""
        return f"parts/{uuid.uuid4()}/"

    async def test_an_object_is_what_was_put_for_everyone_at_once(self, storage: Storage, other: Storage, under: str) -> None:
        await storage.put(under + "a", b"one")
        assert await other.get([under + "a"]) == [b"one"]
        await other.put(under + "a", b"two")
        assert await storage.get([under + "a"]) == [b"two"]

    async def test_several_are_asked_for_together_and_answered_in_order(self, storage: Storage, under: str) -> None:
        await storage.put(under + "a", b"")
        await storage.put(under + "b/c", bytes(range(256)))
        assert await storage.get([under + "b/c", under + "nothing", under + "a"]) == [bytes(range(256)), None, b""]
        assert await storage.get([]) == []

    async def test_what_is_only_a_prefix_is_no_object(self, storage: Storage, under: str) -> None:
        await storage.put(under + "a/b", b"x")
        assert await storage.get([under + "a", under + "a/b/c"]) == [None, None]
        assert await storage.stat(under + "a") is None

    async def test_of_several_that_create_an_object_exactly_one_succeeds(self, storage: Storage, other: Storage, under: str) -> None:
        created = await asyncio.gather(*(each.create(under + "a", f"{n}".encode()) for n, each in enumerate([storage, other] * 5)))
        assert sum(created) == 1
        assert await storage.get([under + "a"]) == [f"{created.index(True)}".encode()]
        assert not await other.create(under + "a", b"late")

    async def test_what_was_deleted_is_gone_and_may_be_gone_already(self, storage: Storage, other: Storage, under: str) -> None:
        for name in "abc":
            await storage.put(under + name, b"x")
        await other.delete([under + "a", under + "nothing", under + "b"])
        assert await storage.get([under + name for name in "abc"]) == [None, None, b"x"]
        await other.delete([under + "a"])
        await other.delete([under + "c"])
        await other.delete([])
        assert await storage.entries(under) == []
        assert await storage.create(under + "a", b"again")

    async def test_an_object_tells_its_size_and_when_it_was_written(self, storage: Storage, under: str) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)
        await storage.put(under + "a", b"12345")
        found = await storage.stat(under + "a")
        assert found is not None
        assert (found.key, found.size) == (under + "a", 5)
        assert before <= found.modified <= datetime.now(UTC) + timedelta(seconds=2)
        assert await storage.entries(under) == [found]
        assert await storage.stat(under + "b") is None

    async def test_every_write_makes_another_version(self, storage: Storage, under: str) -> None:
        versions = []
        for content in (b"1", b"2", b"1"):
            await storage.put(under + "a", content)
            (entry,) = await storage.entries(under)
            versions.append(entry.version)
            assert await storage.entries(under) == [entry]
        assert versions[0] != versions[1] != versions[2]

    async def test_one_level_is_listed_without_what_is_beneath(self, storage: Storage, under: str) -> None:
        for name in ("b", "a", "d/x", "d/y/z", "c/_tags/1", "b.1/x"):
            await storage.put(under + name, b"")
        children = await storage.children(under)
        assert children.objects == ("a", "b")
        assert children.prefixes == ("b.1", "c", "d")
        nothing = await storage.children(under + "nothing/")
        assert (nothing.objects, nothing.prefixes) == ((), ())

    async def test_a_prefix_is_gone_with_its_last_object(self, storage: Storage, under: str) -> None:
        await storage.put(under + "a/b/c", b"")
        await storage.delete([under + "a/b/c"])
        assert (await storage.children(under)).prefixes == ()

    async def test_lists_are_sorted_by_key_and_come_in_pages(self, storage: Storage, under: str) -> None:
        names = ["Z", "a-b", "a.b", "a/b", "a0", "b/_x", "b/c", "z"]
        for name in reversed(names):
            await storage.put(under + name, b"")
        assert [entry.key for entry in await storage.entries(under)] == [under + name for name in names]
        assert [entry.key for entry in await storage.entries(under, limit=3)] == [under + name for name in names[:3]]
        assert [entry.key for entry in await storage.entries(under, under + "a.b", 2)] == [under + "a/b", under + "a0"]
        assert [entry.key for entry in await storage.entries(under, under + "a/a", 1)] == [under + "a/b"]  # an end that is no object
        assert await storage.entries(under, under + "z") == []

    async def test_a_prefix_ends_at_its_slash(self, storage: Storage, under: str) -> None:
        await storage.put(under + "a/1", b"")
        await storage.put(under + "ab/1", b"")
        assert [entry.key for entry in await storage.entries(under + "a/")] == [under + "a/1"]

    async def test_everything_beneath_a_prefix_is_walked(self, storage: Storage, under: str) -> None:
        names = {f"{under}{a}/{b}" for a, b in itertools.product("abc", range(40))}
        await asyncio.gather(*(storage.put(name, b"x") for name in names))
        assert {entry.key for entry in await walked(storage, under)} == names
        assert {entry.size for entry in await walked(storage, under)} == {1}
        assert await walked(storage, under + "nothing/") == []

    async def test_any_part_of_an_object_can_be_read(self, storage: Storage, under: str) -> None:
        content = b"".join(n.to_bytes(4, "big") for n in range(2_500_000))  # more than the pieces that drivers read in
        writer = storage.writer(under + "a")
        step = min(storage.part_limit or MEGABYTE, MEGABYTE)
        content = content[: storage.part_limit] if storage.part_limit else content
        for start in range(0, len(content), step):
            await writer.write([content[start : start + step]])
        await writer.close()
        size = len(content)
        for start, end in [(0, size), (0, 1), (size - 1, size), (3, 5 * MEGABYTE + 7), (MEGABYTE, MEGABYTE), (4 * MEGABYTE, size)]:
            assert await all_of(storage, under + "a", start, end) == content[start:end]

    async def test_reading_may_be_given_up(self, storage: Storage, under: str) -> None:
        await storage.put(under + "a", bytes(6 * MEGABYTE))
        reading = storage.read(under + "a", 0, 6 * MEGABYTE)
        assert await anext(reading)
        await reading.aclose()  # type: ignore[attr-defined]

    async def test_reading_what_is_not_there_says_so_first(self, storage: Storage, under: str) -> None:
        with pytest.raises(FileNotFoundError):
            await anext(storage.read(under + "a", 0, 10))

    async def test_a_written_object_appears_whole_when_it_is_closed(self, storage: Storage, other: Storage, under: str) -> None:
        digest = hashlib.sha256()
        writer = storage.writer(under + "a")
        await writer.write([b"one ", b"two "], digest)
        await writer.write([b"three"], digest)
        assert await other.get([under + "a"]) == [None]
        assert await walked(other, under) == []
        await writer.close()
        assert await other.get([under + "a"]) == [b"one two three"]
        assert digest.hexdigest() == hashlib.sha256(b"one two three").hexdigest()
        await writer.abort()
        assert await other.get([under + "a"]) == [b"one two three"]

    async def test_nothing_was_written_is_an_empty_object(self, storage: Storage, under: str) -> None:
        await storage.writer(under + "a").close()
        assert await storage.get([under + "a"]) == [b""]

    async def test_an_aborted_object_never_was(self, storage: Storage, under: str) -> None:
        for written in ([], [b"x" * MEGABYTE]):
            writer = storage.writer(under + "a")
            if written:
                await writer.write(written)
            await writer.abort()
        assert await storage.get([under + "a"]) == [None]

    async def test_what_dead_writers_left_is_tidied_and_what_is_alive_is_not(self, storage: Storage, under: str) -> None:
        alive = storage.writer(under + "alive")
        await alive.write([b"x"])
        await storage.tidy(datetime.now(UTC) - timedelta(hours=1))
        await alive.close()
        assert await storage.get([under + "alive"]) == [b"x"]
        left = storage.writer(under + "left")
        await left.write([b"x"])
        await storage.tidy(datetime.now(UTC) + timedelta(hours=1))
        await left.abort()
        assert await storage.get([under + "alive", under + "left"]) == [b"x", None]

    async def test_objects_come_and_go_in_one_place_without_harm(self, storage: Storage, other: Storage, under: str) -> None:
        async def come_and_go(each: Storage, name: str) -> None:
            for _ in range(20):
                await each.put(f"{under}deep/er/{name}", b"x")
                assert await each.get([f"{under}deep/er/{name}"]) == [b"x"]
                await each.delete([f"{under}deep/er/{name}"])

        await asyncio.gather(*(come_and_go(each, f"{n}") for n, each in enumerate([storage, other] * 3)))
        assert (await storage.children(under)).prefixes == ()
