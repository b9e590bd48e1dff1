"""Azure Blob, S3 and what is compatible with it, Google Cloud Storage and memory, through obstore.

Objects are put whole, at most `part_limit` bytes each: there are no multipart uploads that a process that dies could leave behind unseen,
and memory stays bounded whatever a client sends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError

from argosy.errors import StoreUnavailable
from argosy.images.storage import Children, Entry, Hash

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)

PART_LIMIT = 8 * 1024 * 1024
WINDOW = 4 * 1024 * 1024
"""Bytes asked for at once of an object that is read; the next ones are on their way while these are sent."""

AT_ONCE = 32
BATCH = 1000


class Objects:
    """A Storage over an obstore store. `url` is shown to people."""

    part_limit = PART_LIMIT

    def __init__(self, store: ObjectStore, url: str) -> None:
        self.url = url
        self._store = store
        self._places = asyncio.Semaphore(AT_ONCE)

    async def check(self) -> None:
        """Raises StoreUnavailable, with the reason, for a store that cannot be used."""
        try:
            await obstore.list_with_delimiter_async(self._store, "doomed/")
        except (BaseError, OSError) as error:
            reason = str(error).strip().splitlines()[0][:300]
            raise StoreUnavailable(
                f"the image store {self.url} cannot be used: {reason}", remedy="check its name, credentials and endpoint"
            ) from error

    def _explained(self, error: Exception) -> StoreUnavailable:
        log.warning("the image store %s: %s", self.url, error)
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return StoreUnavailable(f"the image store {self.url} refuses the registry's credentials")
        return StoreUnavailable(f"the image store {self.url} cannot be reached, or fails")

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        if len(keys) == 1:
            return [await self._get(keys[0])]
        return list(await asyncio.gather(*(self._get(key) for key in keys)))

    async def _get(self, key: str) -> bytes | None:
        try:
            async with self._places:
                found = await obstore.get_async(self._store, key)
                return (await found.bytes_async()).to_bytes()
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise self._explained(error) from error

    async def put(self, key: str, content: bytes) -> None:
        try:
            await obstore.put_async(self._store, key, content, use_multipart=False)
        except (BaseError, OSError) as error:
            raise self._explained(error) from error

    async def create(self, key: str, content: bytes) -> bool:
        try:
            await obstore.put_async(self._store, key, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        except (BaseError, OSError) as error:
            raise self._explained(error) from error
        return True

    async def delete(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        try:
            await obstore.delete_async(self._store, list(keys) if len(keys) > 1 else keys[0])
        except FileNotFoundError:
            if len(keys) > 1:  # some stores stop at the first that is gone
                await asyncio.gather(*(self._delete(key) for key in keys))
        except (BaseError, OSError) as error:
            raise self._explained(error) from error

    async def _delete(self, key: str) -> None:
        async with self._places:
            await self.delete([key])

    async def stat(self, key: str) -> Entry | None:
        try:
            found = await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise self._explained(error) from error
        return Entry(key, found["size"], found["last_modified"], _version(found["e_tag"]))

    async def children(self, prefix: str) -> Children:
        try:
            found = await obstore.list_with_delimiter_async(self._store, prefix)
        except FileNotFoundError:
            return Children((), ())
        except (BaseError, OSError) as error:
            raise self._explained(error) from error
        objects = sorted(each["path"].removeprefix(prefix) for each in found["objects"])
        prefixes = sorted(each.rstrip("/").removeprefix(prefix) for each in found["common_prefixes"])
        return Children(tuple(objects), tuple(prefixes))

    async def entries(self, prefix: str, after: str = "", limit: int = 0) -> list[Entry]:
        """The stores list by key, so that a page of a long list costs no more than what lies before its end."""
        found: list[Entry] = []
        async for batch in self._batches(prefix, after, min(limit, BATCH) or BATCH):
            found += batch
            if limit and len(found) >= limit:
                break
        found.sort()
        return found[:limit] if limit else found

    def walk(self, prefix: str) -> AsyncIterator[list[Entry]]:
        return self._batches(prefix, "", BATCH)

    async def _batches(self, prefix: str, after: str, size: int) -> AsyncIterator[list[Entry]]:
        try:
            async for batch in obstore.list(self._store, prefix, offset=after or None, chunk_size=size):
                # Azure's list takes an offset since 2025 only, and ignores it before
                yield [
                    Entry(each["path"], each["size"], each["last_modified"], _version(each["e_tag"]))
                    for each in batch
                    if each["path"] > after
                ]
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise self._explained(error) from error

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Each window is a request of its own: a client that takes its time holds no connection to the store."""
        ahead: asyncio.Task[bytes] | None = None
        try:
            while start < end:
                window = await (ahead or self._window(key, start, end))
                start += len(window)
                ahead = asyncio.create_task(self._window(key, start, end)) if start < end else None
                yield window
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.wait([ahead])

    async def _window(self, key: str, start: int, end: int) -> bytes:
        try:
            found = await obstore.get_range_async(self._store, key, start=start, length=min(WINDOW, end - start))
        except FileNotFoundError:
            raise
        except (BaseError, OSError, ValueError) as error:
            raise self._explained(error) from error
        if not len(found):
            raise StoreUnavailable(f"{key} in the image store is shorter than its record says", remedy="restore it, or push it again")
        return found.to_bytes()

    def writer(self, key: str) -> ObjectsWriter:
        return ObjectsWriter(self, key)

    def path(self, key: str) -> Path | None:
        return None

    async def tidy(self, before: datetime) -> int:
        return 0

    async def close(self) -> None:
        pass


class ObjectsWriter:
    """Holds the object until it is complete: it is as large as a part may be."""

    def __init__(self, objects: Objects, key: str) -> None:
        self._objects = objects
        self._key = key
        self._held = bytearray()

    async def write(self, pieces: Sequence[bytes], *hashes: Hash) -> None:
        if hashes:
            await asyncio.to_thread(_fed, pieces, hashes)
        for piece in pieces:
            self._held += piece

    async def close(self) -> None:
        await self._objects.put(self._key, bytes(self._held))
        self._held = bytearray()

    async def abort(self) -> None:
        self._held = bytearray()


def _version(tag: str | None) -> str:
    """Azure quotes it in one answer and not in another."""
    return (tag or "").strip('"')


def _fed(pieces: Sequence[bytes], hashes: tuple[Hash, ...]) -> None:
    for piece in pieces:
        for hash_ in hashes:
            hash_.update(piece)
