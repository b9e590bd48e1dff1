"""Blobs: finding, reading, taking in, mounting and removing them. See docs/images.md, "Layout in the store".

A blob that garbage collection has condemned is unknown to whoever pushes (`find(..., pushing=True)`, `mount`), so that it is pushed again;
`adopt` then takes it out of the condemned. One that is being removed (doomed) cannot be adopted: 503, come back.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence

import msgspec

from argosy.errors import StoreUnavailable
from argosy.images import layout
from argosy.images.faults import Code, Fault
from argosy.images.names import Digest
from argosy.images.records import BlobRecord, decoded, encoded
from argosy.images.storage import Storage

RECORDS_AT_MOST = 4096
"""Records that are remembered: they never change."""

LONGEST_REMEMBERED = 64
"""Parts of a record that is remembered."""

ADOPTION_SECONDS = 45.0
"""How long an adoption may take: garbage collection waits for a minute between dooming a blob and removing it."""

SMALL = 64 * 1024
"""Bytes of a blob that is fetched together with the answer to whether the repository may give it out."""

LOOKED_UP_AT_ONCE = 200


class Blob(msgspec.Struct, frozen=True):
    """`content` is there where it came along with the question for it, which it does for small blobs."""

    digest: Digest
    record: BlobRecord
    content: bytes | None = None

    @property
    def size(self) -> int:
        return self.record.size


class Blobs:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._records: OrderedDict[Digest, BlobRecord] = OrderedDict()

    async def find(self, repository: str, digest: Digest, *, pushing: bool = False, content: bool = False) -> Blob | None:
        """The blob, if this repository may give it out. `pushing`: the question is whether to push it. `content`: it will be read."""
        record = self._records.get(digest)
        keys = [layout.link(repository, digest), layout.blob(digest) if record is None else ""]
        if pushing:
            keys.append(layout.condemned(digest))
        if record is not None and content and _small(record):
            keys.append(record.parts[0].key)
        got = dict(zip(filter(None, keys), await self._storage.get([key for key in keys if key]), strict=True))
        if got[keys[0]] is None or got.get(layout.condemned(digest)) is not None:
            return None
        if record is None:
            raw = got[keys[1]]
            return None if raw is None else Blob(digest, self._remembered(digest, decoded(raw, BlobRecord, keys[1])))
        if not (content and _small(record)):
            return Blob(digest, record)
        return await self._with_content(repository, digest, record, got[record.parts[0].key])

    async def _with_content(self, repository: str, digest: Digest, record: BlobRecord, content: bytes | None) -> Blob | None:
        if content is None:  # removed, and pushed again since, or damaged
            self.forget(digest)
            return await self.find(repository, digest)
        return Blob(digest, record, content)

    def _remembered(self, digest: Digest, record: BlobRecord) -> BlobRecord:
        if len(record.parts) <= LONGEST_REMEMBERED:
            self._records[digest] = record
            if len(self._records) > RECORDS_AT_MOST:
                self._records.popitem(last=False)
        return record

    def forget(self, digest: Digest) -> None:
        """What it was remembered to consist of is not there any more."""
        self._records.pop(digest, None)

    async def missing(self, repository: str, digests: Sequence[Digest], most: int) -> list[Digest]:
        """Those of them that a manifest in this repository may not refer to: the first `most`, or a few more. Sentences are lifted
        before the collector's mark is looked for, and the collector looks for the sentence after setting its mark: one of the two sees the
        other. The mark counts also where no sentence is: another push may just have lifted it, too late."""
        missing: list[Digest] = []
        for start in range(0, len(digests), LOOKED_UP_AT_ONCE):
            some = digests[start : start + LOOKED_UP_AT_ONCE]
            sentences = await self._storage.get([layout.condemned(digest) for digest in some])
            await self._storage.delete(
                [layout.condemned(digest) for digest, sentence in zip(some, sentences, strict=True) if sentence is not None]
            )
            doomed = await self._storage.get([layout.doomed(digest) for digest in some])
            lost = {digest for digest, mark in zip(some, doomed, strict=True) if mark is not None}
            got = await self._storage.get([layout.link(repository, digest) for digest in some] + [layout.blob(digest) for digest in some])
            found = zip(some, got[: len(some)], got[len(some) :], strict=True)
            missing += [digest for digest, link, record in found if link is None or record is None or digest in lost]
            if len(missing) >= most:
                break
        return missing

    async def adopt(self, repository: str, digest: Digest, record: BlobRecord) -> BlobRecord:
        """Makes an uploaded, verified blob visible in the repository. Answers with the record that stands for it from now on: another one
        if the store had the blob already; the parts of `record` that it does not name are then not needed. Raises Fault UNAVAILABLE
        while an old one is being removed."""
        try:
            async with asyncio.timeout(ADOPTION_SECONDS):
                return await self._adopt(repository, digest, record)
        except TimeoutError:
            raise StoreUnavailable("the image store is too slow to take the blob in") from None

    async def _adopt(self, repository: str, digest: Digest, record: BlobRecord) -> BlobRecord:
        key = layout.blob(digest)
        standing, condemned, doomed = await self._storage.get([key, layout.condemned(digest), layout.doomed(digest)])
        if doomed is not None:
            raise being_removed(digest)
        if standing is None and not await self._storage.create(key, encoded(record)):
            (standing,) = await self._storage.get([key])
        if standing is not None:
            record = decoded(standing, BlobRecord, key)
        await self._storage.put(layout.link(repository, digest), b"")
        if condemned is not None:
            await self._storage.delete([layout.condemned(digest)])
        return self._remembered(digest, record)

    async def mount(self, repository: str, digest: Digest, source: str) -> bool:
        """Makes a blob of repository `source` ("": of any) visible in this one. False: there is none (any more)."""
        if source:
            if await self.find(source, digest, pushing=True) is None:
                return False
        elif (await self._storage.get([layout.blob(digest)]))[0] is None:
            return False
        await self._storage.put(layout.link(repository, digest), b"")
        condemned, doomed = await self._storage.get([layout.condemned(digest), layout.doomed(digest)])
        return condemned is None and doomed is None

    async def unlink(self, repository: str, digest: Digest) -> bool:
        """The repository gives it out no longer; its data stays until garbage collection. False: it did not."""
        key = layout.link(repository, digest)
        (link,) = await self._storage.get([key])
        if link is None:
            return False
        await self._storage.delete([key])
        return True

    async def read(self, blob: Blob, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to before `end`. Raises FileNotFoundError, before the first, if the blob has been removed meanwhile."""
        for key, first, last in spans(blob.record, start, end):
            async for piece in self._storage.read(key, first, last):
                yield piece


def being_removed(digest: Digest) -> Fault:
    return Fault(Code.UNAVAILABLE, f"{digest} is being removed at this moment", remedy="try again", headers={"Retry-After": "60"})


def spans(record: BlobRecord, start: int, end: int) -> list[tuple[str, int, int]]:
    """Which bytes of which objects make up those from `start` to before `end`."""
    found, offset = [], 0
    for part in record.parts:
        first, last = max(start - offset, 0), min(end - offset, part.size)
        if first < last:
            found.append((part.key, first, last))
        offset += part.size
    return found


def _small(record: BlobRecord) -> bool:
    return len(record.parts) == 1 and record.size <= SMALL
