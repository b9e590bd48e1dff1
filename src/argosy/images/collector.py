"""Garbage collection: removes blobs that no manifest refers to, uploads that nobody goes on with, and data that nothing names, while any
number of registries push and pull. docs/images.md, "Garbage collection", says why no stored manifest ever misses a blob.

A round does four things, in this order:

1. what an earlier round condemned and a manifest refers to meanwhile is acquitted; what nobody took in since then, for longer than `grace`,
   is due;
2. blobs that no manifest refers to, and that are older than `grace`, are condemned: pushes send them again rather than rely on them;
3. what is due is doomed; after `settle` seconds, in which every request that had looked before has ended, what still is condemned and
   still is referred to by nothing loses its links, its record, its data and its marks;
4. uploads whose last step is older than `grace` end; data older than `grace` that no record and no upload names is removed.

One collector at a time: the holder of the newest key beneath `collecting/`. One that was silent for longer than `STALE_SECONDS` is followed
by the next; it notices before it removes anything more.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from argosy.errors import ArgosyError, Conflict, StoreUnavailable
from argosy.images import layout
from argosy.images.names import Digest
from argosy.images.names import digest as parsed_digest
from argosy.images.records import BlobRecord, UploadStep, decoded, encoded
from argosy.images.storage import Entry, Storage
from argosy.images.uploads import CANCELLED
from argosy.reconcile import Clock

log = logging.getLogger(__name__)

GRACE_SECONDS = 86_400.0
SETTLE_SECONDS = 60.0
STALE_SECONDS = 900.0
REFRESH_SECONDS = 60.0
READ_AT_ONCE = 64
REMOVED_AT_ONCE = 256
"""Blobs that lose their data between two looks at the lock."""


class Report(msgspec.Struct, frozen=True):
    """What a round did, or would do. Blobs: `condemned` now, `acquitted` (referred to again, or taken in again), `waiting` (condemned
    earlier, not long enough ago), `removed`. `uploads` that ended, `parts` of data that nothing named, `freed` bytes of both."""

    blobs: int = 0
    manifests: int = 0
    condemned: int = 0
    condemned_bytes: int = 0
    acquitted: int = 0
    waiting: int = 0
    removed: int = 0
    uploads: int = 0
    parts: int = 0
    freed: int = 0
    dry: bool = False


class Marks(msgspec.Struct):
    """What the manifests of a store refer to, as far as they were read; `read` are their keys."""

    referenced: set[Digest] = msgspec.field(default_factory=set)
    read: set[str] = msgspec.field(default_factory=set)


class Collector:
    """`grace`: seconds that a push may take from its first question to its manifest; `settle`: that a single request may take."""

    def __init__(self, storage: Storage, clock: Clock, *, grace: float = GRACE_SECONDS, settle: float = SETTLE_SECONDS) -> None:
        self._storage = storage
        self._clock = clock
        self._grace = timedelta(seconds=grace)
        self._settle = settle
        self._token = uuid.uuid4().hex
        self._number = 0
        self._confirmed = 0.0
        self._ahead = timedelta()

    async def collect(self, *, dry: bool = False) -> Report:
        """One round. `dry`: writes nothing. Raises Conflict while another collector is at work, and when another has taken over."""
        if dry:
            return await self._round(dry=True)
        async with self._alone():
            report = await self._round(dry=False)
            await self._storage.put(layout.COLLECTED, b"")
        return report

    async def due_in(self, every: float) -> float:
        """Seconds until a collection is due if there is to be one `every` so many, whoever does it."""
        last = await self._storage.stat(layout.COLLECTED)
        if last is None:
            return 0.0
        await self._ask_the_time()
        return every - (self._now() - last.modified).total_seconds()

    # who collects

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        await self._ask_the_time()
        taken = await self._storage.entries(layout.COLLECTING)
        if taken and self._now() - taken[-1].modified < timedelta(seconds=STALE_SECONDS):
            since = taken[-1].modified.astimezone(UTC)
            raise Conflict(f"another garbage collection is at work in {self._storage.url} (a sign of life at {since:%H:%M:%S} UTC)")
        self._number = layout.collecting_number(taken[-1].key) + 1 if taken else 1
        if not await self._storage.create(layout.collecting(self._number), self._token.encode()):
            raise Conflict(f"another garbage collection has just begun in {self._storage.url}")
        self._confirmed = self._clock.monotonic()
        try:
            yield
        finally:
            mine = [layout.collecting(self._number)] if await self._holds() else []
            await self._storage.delete([each.key for each in taken] + mine)

    async def _ask_the_time(self) -> None:
        """How far the store's clock, which dates all objects, is ahead of ours."""
        key = layout.clock(self._token)
        await self._storage.put(key, b"")
        entry = await self._storage.stat(key)
        await self._storage.delete([key])
        if entry is None:
            raise StoreUnavailable(f"{self._storage.url} has lost {key}")
        self._ahead = entry.modified - datetime.fromtimestamp(self._clock.now(), UTC)

    def _now(self) -> datetime:
        """By the store's clock."""
        return datetime.fromtimestamp(self._clock.now(), UTC) + self._ahead

    async def _holds(self) -> bool:
        taken = await self._storage.entries(layout.COLLECTING)
        if not taken or taken[-1].key != layout.collecting(self._number):
            return False
        return (await self._storage.get([taken[-1].key]))[0] == self._token.encode()

    async def _confirm(self, *, now: bool = False) -> None:
        """Shows a sign of life now and then (or now). Raises Conflict if another collector has taken over meanwhile."""
        silent = self._clock.monotonic() - self._confirmed
        if not self._number or (silent < REFRESH_SECONDS and not now):
            return
        if silent > STALE_SECONDS / 2 or not await self._holds():
            raise Conflict(f"this garbage collection was silent for {silent:.0f} s, and another may have taken over", remedy="run it again")
        await self._storage.put(layout.collecting(self._number), self._token.encode())
        self._confirmed = self._clock.monotonic()

    # a round

    async def _round(self, *, dry: bool) -> Report:
        began = self._now()
        if not dry:
            await self._storage.delete([each.key for each in await self._storage.entries(layout.DOOMED)])  # left by one that died
        condemned = {layout.digest_of(entry.key): entry for entry in await self._storage.entries(layout.CONDEMNED)}
        records = {layout.digest_of(entry.key): entry.modified async for entry in self._each(layout.BLOBS)}
        marks = Marks()
        await self._mark(marks)
        acquitted = [digest for digest in condemned if digest in marks.referenced or digest not in records]
        due = [d for d, entry in condemned.items() if d in records and d not in marks.referenced and entry.modified <= began - self._grace]
        fresh = [
            digest
            for digest, modified in records.items()
            if digest not in marks.referenced and digest not in condemned and modified <= began - self._grace
        ]
        report = Report(
            blobs=len(records),
            manifests=len(marks.read),
            condemned=len(fresh),
            condemned_bytes=await self._bytes(fresh),
            acquitted=len(acquitted),
            waiting=len(condemned) - len(acquitted) - len(due),
            dry=dry,
        )
        if dry:
            return await self._foreseen(report, due, began)
        await self._storage.delete([layout.condemned(digest) for digest in acquitted])
        for some in _batches(fresh, READ_AT_ONCE):
            for digest in some:
                await self._storage.create(layout.condemned(digest), b"")
            await self._confirm()
        report = await self._remove(report, due, condemned, marks)
        return await self._sweep_data(report, began)

    async def _each(self, prefix: str) -> AsyncIterator[Entry]:
        async for batch in self._storage.walk(prefix):
            for entry in batch:
                yield entry
            await self._confirm()

    async def _mark(self, marks: Marks, links_of: Iterable[Digest] = ()) -> dict[Digest, list[str]]:
        """Reads the manifests that `marks` has not read yet; the links of those digests, seen on the way."""
        links: dict[Digest, list[str]] = {digest: [] for digest in links_of}
        async for batch in self._storage.walk(layout.REPOSITORIES):
            unread = []
            for entry in batch:
                if layout.is_link(entry.key):
                    if links and (digest := layout.digest_of(entry.key)) in links:
                        links[digest].append(entry.key)
                elif layout.is_manifest(entry.key) and entry.key not in marks.read:
                    unread.append(entry.key)
            for keys in _batches(unread, READ_AT_ONCE):
                for key, content in zip(keys, await self._storage.get(keys), strict=True):
                    marks.read.add(key)
                    marks.referenced |= references(content, key) if content is not None else set()
                await self._confirm()
            await self._confirm()
        return links

    async def _bytes(self, digests: Sequence[Digest]) -> int:
        return sum([record.size async for _, record in self._records(digests)])

    async def _records(self, digests: Sequence[Digest]) -> AsyncIterator[tuple[Digest, BlobRecord]]:
        for some in _batches(digests, READ_AT_ONCE):
            keys = [layout.blob(digest) for digest in some]
            for digest, key, content in zip(some, keys, await self._storage.get(keys), strict=True):
                if content is not None:
                    yield digest, decoded(content, BlobRecord, key)
            await self._confirm()

    async def _remove(self, report: Report, due: list[Digest], condemned: dict[Digest, Entry], marks: Marks) -> Report:
        """Dooms them, waits, looks again, and removes those whose sentence stands."""
        if not due:
            return report
        for digest in due:
            await self._storage.put(layout.doomed(digest), b"")
            await self._confirm()
        removed, freed = 0, 0
        try:
            await self._wait()
            await self._confirm(now=True)
            still = {layout.digest_of(entry.key): entry.modified for entry in await self._storage.entries(layout.CONDEMNED)}
            links = await self._mark(marks, due)
            sentenced = [d for d in due if still.get(d) == condemned[d].modified and d not in marks.referenced]
            for some in _batches(sentenced, REMOVED_AT_ONCE):
                await self._confirm(now=True)
                freed += await self._removed(some, links)
                removed += len(some)
        finally:
            if await self._holds():
                await self._storage.delete([layout.doomed(digest) for digest in due])
        spared = len(due) - removed
        return msgspec.structs.replace(report, removed=removed, freed=freed, acquitted=report.acquitted + spared)

    async def _wait(self) -> None:
        """`settle` seconds, with signs of life."""
        until = self._clock.monotonic() + self._settle
        while (left := until - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(left, REFRESH_SECONDS))
            await self._confirm()

    async def _removed(self, digests: Sequence[Digest], links: dict[Digest, list[str]]) -> int:
        """Links, records, data, sentences: whatever dies in between leaves no link to a blob that is gone, and no record without its data.
        Returns the bytes."""
        records = [record async for _, record in self._records(digests)]
        await self._storage.delete([key for digest in digests for key in links[digest]])
        await self._storage.delete([layout.blob(digest) for digest in digests])
        await self._storage.delete([part.key for record in records for part in record.parts])
        await self._storage.delete([layout.condemned(digest) for digest in digests])
        return sum(record.size for record in records)

    # uploads and data

    async def _sweep_data(self, report: Report, began: datetime) -> Report:
        """An upload ends by a step of its own, which is created once: whoever goes on with it at the same time either was faster, and it
        lives, or is told. The step stays for another `grace`, for whoever has been at it for that long."""
        old = began - self._grace
        living, idle = await self._uploads(old)
        ended = [upload for upload, steps in idle.items() if await self._ended(upload, steps)]
        living |= idle.keys() - set(ended)
        unnamed = {entry.key: entry.size async for entry in self._each(layout.PARTS) if _is_old(entry, old, living)}
        if unnamed or ended:
            await self._wait()
            for key in await self._named_parts():
                unnamed.pop(key, None)
            for some in _batches([*unnamed, *(step.key for upload in ended for step in idle[upload])], REMOVED_AT_ONCE):
                await self._confirm(now=True)
                await self._storage.delete(some)
        hidden = await self._storage.tidy(old)
        freed = report.freed + sum(unnamed.values())
        return msgspec.structs.replace(report, uploads=len(ended), parts=len(unnamed) + hidden, freed=freed)

    async def _uploads(self, old: datetime) -> tuple[set[str], dict[str, list[Entry]]]:
        """Those that somebody may go on with, and the steps, in order, of those whose last step is old."""
        steps: dict[str, list[Entry]] = {}
        async for entry in self._each(layout.UPLOADS):
            steps.setdefault(layout.upload_of(entry.key), []).append(entry)
        idle = {upload: sorted(entries) for upload, entries in steps.items() if max(entry.modified for entry in entries) <= old}
        return steps.keys() - idle.keys(), idle

    async def _ended(self, upload: str, steps: list[Entry]) -> bool:
        """Ends an upload that nobody goes on with. False: somebody did, just now."""
        (content,) = await self._storage.get([steps[-1].key])
        if content is None:
            return True
        last = decoded(content, UploadStep, steps[-1].key)
        if last.ended == CANCELLED:
            return True
        number = layout.step_number(steps[-1].key) + 1
        return await self._storage.create(
            layout.step(upload, number), encoded(UploadStep(last.repository, last.algorithm, ended=CANCELLED))
        )

    async def _named_parts(self) -> set[str]:
        digests = [layout.digest_of(entry.key) async for entry in self._each(layout.BLOBS)]
        return {part.key async for _, record in self._records(digests) for part in record.parts}

    async def _foreseen(self, report: Report, due: list[Digest], began: datetime) -> Report:
        old = began - self._grace
        living, ended = await self._uploads(old)
        unnamed = {entry.key: entry.size async for entry in self._each(layout.PARTS) if _is_old(entry, old, living)}
        for key in await self._named_parts() if unnamed else ():
            unnamed.pop(key, None)
        freed = await self._bytes(due) + sum(unnamed.values())
        return msgspec.structs.replace(report, removed=len(due), uploads=len(ended), parts=len(unnamed), freed=freed)


def _is_old(entry: Entry, old: datetime, living: set[str]) -> bool:
    return entry.modified <= old and layout.upload_of(entry.key) not in living


def _batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def references(stored: bytes, key: str) -> set[Digest]:
    """Every digest that a stored manifest names anywhere: rather one too many than one too few. Raises StoreUnavailable for one that cannot
    be read, for nothing can be removed then."""
    if not stored:  # as much as deleted
        return set()
    try:
        left: list[Any] = [msgspec.json.decode(stored.partition(b"\n")[2])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreUnavailable(
            f"{key} in the image store is damaged: {error}", remedy="restore or delete it; nothing was removed"
        ) from error
    found: set[Digest] = set()
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, str) and ":" in value[:8]:
            try:
                found.add(parsed_digest(value))
            except ArgosyError:
                continue
    return found
