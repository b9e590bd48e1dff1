"""A store that fails: the client is told to come back, or that it is full; nothing half-done is seen, and all works again after it."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from argosy.errors import ArgosyError, StoreUnavailable
from argosy.images.faults import StorageFull
from argosy.images.storage import Children, Entry, Hash, Storage, Writer
from tests.images.house import Client, client_of, digest_of, storage_of

CONTENT = random.Random(6).randbytes(300_000)
AWAY = StoreUnavailable("the image store cannot be reached")
FULL = StorageFull("the image store is full")


class Failing:
    """Another Storage, until `error` is set; then each call whose key begins with one of `prefixes` fails."""

    def __init__(self, inner: Storage) -> None:
        self.url = inner.url
        self.part_limit = inner.part_limit
        self.error: ArgosyError | None = None
        self.prefixes: tuple[str, ...] = ("",)
        self._inner = inner

    def check(self, key: str) -> None:
        if self.error is not None and key.startswith(self.prefixes):
            raise self.error

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        for key in keys:
            self.check(key)
        return await self._inner.get(keys)

    async def put(self, key: str, content: bytes) -> None:
        self.check(key)
        await self._inner.put(key, content)

    async def create(self, key: str, content: bytes) -> bool:
        self.check(key)
        return await self._inner.create(key, content)

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.check(key)
        await self._inner.delete(keys)

    async def stat(self, key: str) -> Entry | None:
        self.check(key)
        return await self._inner.stat(key)

    async def children(self, prefix: str) -> Children:
        self.check(prefix)
        return await self._inner.children(prefix)

    async def entries(self, prefix: str, after: str = "", limit: int = 0) -> list[Entry]:
        self.check(prefix)
        return await self._inner.entries(prefix, after, limit)

    def walk(self, prefix: str) -> AsyncIterator[list[Entry]]:
        return self._inner.walk(prefix)

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        self.check(key)
        async for piece in self._inner.read(key, start, end):
            yield piece

    def writer(self, key: str) -> Writer:
        return FailingWriter(self, key, self._inner.writer(key))

    def path(self, key: str) -> Path | None:
        return None

    async def tidy(self, before: datetime) -> int:
        return await self._inner.tidy(before)

    async def close(self) -> None:
        await self._inner.close()


class FailingWriter:
    def __init__(self, failing: Failing, key: str, inner: Writer) -> None:
        self._failing = failing
        self._key = key
        self._inner = inner

    async def write(self, pieces: Sequence[bytes], *hashes: Hash) -> None:
        self._failing.check(self._key)
        await self._inner.write(pieces, *hashes)

    async def close(self) -> None:
        self._failing.check(self._key)
        await self._inner.close()

    async def abort(self) -> None:
        await self._inner.abort()


@pytest.fixture
async def failing(storage: Storage) -> Failing:
    return Failing(storage)


@pytest.fixture
async def client(failing: Failing) -> AsyncIterator[Client]:
    async with client_of(failing) as client:
        yield client


REQUESTS = [
    ("GET", "a/manifests/1", None),
    ("GET", f"a/blobs/{digest_of(CONTENT)}", None),
    ("HEAD", f"a/blobs/{digest_of(CONTENT)}", None),
    ("POST", "a/blobs/uploads/", None),
    ("POST", f"a/blobs/uploads/?digest={digest_of(b'new')}", b"new"),
    ("POST", f"a/blobs/uploads/?mount={digest_of(CONTENT)}&from=a", None),
    ("GET", "a/tags/list", None),
    ("GET", "_catalog", None),
    ("GET", f"a/referrers/{digest_of(CONTENT)}", None),
    ("DELETE", "a/manifests/1", None),
    ("DELETE", f"a/blobs/{digest_of(CONTENT)}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
async def test_while_the_store_is_away_clients_are_told_to_come_back(
    client: Client, failing: Failing, method: str, path: str, body: bytes | None
) -> None:
    await client.push_image("a", "1", [CONTENT])
    failing.error = AWAY
    answer = await client.ask(method, path, body)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    if method != "HEAD":
        assert answer.told == (503, "UNAVAILABLE")
    failing.error = None
    assert (await client.ask("GET", "a/manifests/1")).status == 200


@pytest.mark.parametrize(("error", "expected"), [(AWAY, (503, "UNAVAILABLE")), (FULL, (507, "UNKNOWN"))], ids=["away", "full"])
@pytest.mark.parametrize("prefix", ["parts/", "uploads/", "blobs/", "repositories/"])
async def test_a_push_that_fails_anywhere_shows_nothing_and_succeeds_later(
    client: Client, failing: Failing, error: ArgosyError, expected: tuple[int, str], prefix: str
) -> None:
    location = await client.begin("a")
    failing.error, failing.prefixes = error, (prefix,)
    answer = await client.ask("PUT", f"{location}?digest={digest_of(CONTENT)}", CONTENT)
    assert answer.told == expected
    failing.error = None
    assert (await client.ask("GET", f"a/blobs/{digest_of(CONTENT)}")).told == (404, "BLOB_UNKNOWN")
    assert await client.keys("repositories/") == []
    await client.push("a", CONTENT)
    assert (await client.ask("GET", f"a/blobs/{digest_of(CONTENT)}")).body == CONTENT


@pytest.mark.parametrize("prefix", ["blobs/", "repositories/"])
async def test_a_verified_upload_is_not_sent_again_when_the_store_is_back(client: Client, failing: Failing, prefix: str) -> None:
    location = await client.begin("a")
    await client.ask("PATCH", location, CONTENT)
    failing.error, failing.prefixes = AWAY, (prefix,)
    assert (await client.ask("PUT", f"{location}?digest={digest_of(CONTENT)}")).told == (503, "UNAVAILABLE")
    failing.error = None
    assert (await client.ask("PUT", f"{location}?digest={digest_of(CONTENT)}")).status == 201
    assert (await client.ask("GET", f"a/blobs/{digest_of(CONTENT)}")).body == CONTENT


async def test_a_piece_that_the_store_did_not_take_can_be_sent_again(client: Client, failing: Failing) -> None:
    location = await client.begin("a")
    await client.ask("PATCH", location, CONTENT[:1000])
    failing.error, failing.prefixes = FULL, ("parts/",)
    assert (await client.ask("PATCH", location, CONTENT[1000:])).told == (507, "UNKNOWN")
    failing.error = None
    assert (await client.ask("GET", location)).headers["Range"] == "0-999"
    assert (await client.ask("PUT", f"{location}?digest={digest_of(CONTENT)}", CONTENT[1000:])).status == 201


async def test_a_blob_whose_data_is_lost_is_not_sent_in_part(client: Client, storage: Storage) -> None:
    pushed = await client.push("a", CONTENT)
    await storage.delete(await client.keys("parts/"))
    for _ in range(2):
        assert (await client.ask("GET", f"a/blobs/{pushed}")).told == (503, "UNAVAILABLE")


async def test_a_damaged_record_is_told_and_nothing_else_suffers(client: Client, storage: Storage) -> None:
    pushed = await client.push("a", CONTENT)
    (key,) = await client.keys("blobs/")
    await storage.put(key, b'{"size": "many"}')
    async with client_of(storage) as other:
        answer = await other.ask("GET", f"a/blobs/{pushed}")
        assert answer.told == (503, "UNAVAILABLE")
        assert "damaged" in answer.json["errors"][0]["message"]
        await other.push("a", b"something else")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this host does not let file systems be mounted")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def test_a_full_disk_is_told_and_leaves_nothing(small_disk: Path) -> None:
    async with storage_of("folder", small_disk / "images") as storage, client_of(storage) as client:
        pushed = await client.push("a", CONTENT)
        before = await client.keys()
        location = await client.begin("a")
        content = bytes(4_000_000)
        answer = await client.ask("PATCH", location, content)
        assert answer.told == (507, "UNKNOWN")
        assert "full" in answer.json["errors"][0]["message"]
        assert (await client.ask("DELETE", location)).status == 204
        assert await client.keys() == before
        assert os.listdir(small_disk / "images/.incoming") == []
        assert (await client.ask("GET", f"a/blobs/{pushed}")).body == CONTENT
        await client.push("a", b"there is room for this")
