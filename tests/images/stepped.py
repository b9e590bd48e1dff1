"""A store whose operations happen one at a time, in the order that a test decides, and whose objects are dated by the test's clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from argosy.images.storage import Children, Entry, Hash, Storage, Writer
from tests.conftest import FakeClock, settle

T = TypeVar("T")


class Stepped:
    """A Storage over another one. Operations happen at once, or, while `stepping`, each waits until it is let go; what asks for several
    objects waits for each of them, as with a store that is asked over a network."""

    def __init__(self, inner: Storage, clock: FakeClock) -> None:
        self._inner = inner
        self._clock = clock
        self._dates: dict[str, datetime] = {}
        self.waiting: list[asyncio.Future[None]] = []
        self.stepping = False
        self.busy = 0
        self.part_limit = inner.part_limit
        self.url = inner.url

    async def _turn(self, call: Callable[[], Awaitable[T]]) -> T:
        if self.stepping:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(turn)
            await turn
        with self.working():
            return await call()

    @contextmanager
    def working(self) -> Iterator[None]:
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    async def quiet(self) -> None:
        """Until everything that was let go has happened, and whoever waited for it waits again."""
        await settle(6)
        while self.busy:
            await asyncio.sleep(0)
            if not self.busy:
                await settle(6)

    def let_go(self, number: int) -> None:
        self.waiting.pop(number % len(self.waiting)).set_result(None)

    def _dated(self, keys: Sequence[str]) -> None:
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        self._dates.update(dict.fromkeys(keys, now))

    def _entry(self, entry: Entry) -> Entry:
        return msgspec.structs.replace(entry, modified=self._dates.get(entry.key, entry.modified))

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        async def one(key: str) -> bytes | None:
            return (await self._turn(lambda: self._inner.get([key])))[0]

        return list(await asyncio.gather(*(one(key) for key in keys)))

    async def put(self, key: str, content: bytes) -> None:
        async def call() -> None:
            self._dated([key])
            await self._inner.put(key, content)

        await self._turn(call)

    async def create(self, key: str, content: bytes) -> bool:
        async def call() -> bool:
            made = await self._inner.create(key, content)
            if made:
                self._dated([key])
            return made

        return await self._turn(call)

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            await self._turn(lambda key=key: self._inner.delete([key]))  # type: ignore[misc]

    async def stat(self, key: str) -> Entry | None:
        async def call() -> Entry | None:
            found = await self._inner.stat(key)
            return found and self._entry(found)

        return await self._turn(call)

    async def children(self, prefix: str) -> Children:
        return await self._turn(lambda: self._inner.children(prefix))

    async def entries(self, prefix: str, after: str = "", limit: int = 0) -> list[Entry]:
        async def call() -> list[Entry]:
            return [self._entry(entry) for entry in await self._inner.entries(prefix, after, limit)]

        return await self._turn(call)

    async def walk(self, prefix: str) -> AsyncIterator[list[Entry]]:
        """In small batches, between which things happen."""
        found = await self.entries(prefix)
        for start in range(0, len(found), 3):
            batch = found[start : start + 3]

            async def call(batch: list[Entry] = batch) -> list[Entry]:
                return batch

            yield await self._turn(call)

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        async for piece in self._inner.read(key, start, end):
            yield piece

    def writer(self, key: str) -> Writer:
        return _Writer(self, key, self._inner.writer(key))

    def path(self, key: str) -> Path | None:
        return None

    async def tidy(self, before: datetime) -> int:
        return await self._inner.tidy(before)

    async def close(self) -> None:
        await self._inner.close()


class _Writer:
    def __init__(self, stepped: Stepped, key: str, inner: Writer) -> None:
        self._stepped = stepped
        self._key = key
        self._inner = inner

    async def write(self, pieces: Sequence[bytes], *hashes: Hash) -> None:
        with self._stepped.working():
            await self._inner.write(pieces, *hashes)

    async def close(self) -> None:
        async def call() -> None:
            self._stepped._dated([self._key])
            await self._inner.close()

        await self._stepped._turn(call)

    async def abort(self) -> None:
        await self._inner.abort()
