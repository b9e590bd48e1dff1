"""Garbage collection: removes manifests that nothing needs, blobs that no manifest refers to, uploads that nobody goes on with, and data
that nothing names, while any number of registries push and pull. docs/images.md, "Garbage collection", says why no stored manifest ever
misses a blob. retention.py says which manifests are needed.

A round does four things, in this order:

1. what an earlier round condemned (or, manifests, marked as untagged) and is needed meanwhile is acquitted; what nobody took in since then,
   for longer than `grace`, is due;
2. manifests that are not needed, and that are older than `grace`, are marked as untagged; blobs as old that only such manifests refer to,
   or none, are condemned: pushes send them again rather than rely on them;
3. what is due is doomed; after `settle` seconds, in which every request that had looked before has ended, manifests that still are not
   needed go, and then what still is condemned and is referred to by no manifest that stays loses its links, its record, its data and its
   marks;
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

from argosy.errors import Conflict, StoreUnavailable
from argosy.images import layout
from argosy.images.names import Digest
from argosy.images.names import digest as parsed_digest
from argosy.images.records import BlobRecord, UploadStep, decoded, encoded
from argosy.images.retention import Scan
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
    earlier, not long enough ago), `removed`. Manifests that nothing needs: `untagged` (a later round removes them), `untagged_removed`.
    `uploads` that ended, `parts` of data that nothing named, `freed` bytes."""

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
    untagged: int = 0
    untagged_removed: int = 0
    dry: bool = False


class Due(msgspec.Struct, frozen=True):
    """What a round is to remove: keys of manifests; blobs, and since when they are condemned."""

    manifests: tuple[str, ...]
    blobs: dict[Digest, datetime]


class Collector:
    """`grace`: seconds that a push may take from its first question to its manifest, and that a manifest without a tag is kept; `settle`:
    that a single request may take. `keep_untagged`: all manifests are needed."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        grace: float = GRACE_SECONDS,
        settle: float = SETTLE_SECONDS,
        keep_untagged: bool = False,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._grace = timedelta(seconds=grace)
        self._settle = settle
        self._keep_untagged = keep_untagged
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
        condemned = {layout.digest_of(entry.key): entry.modified for entry in await self._storage.entries(layout.CONDEMNED)}
        marked = {layout.marked_manifest(entry.key): entry.modified async for entry in self._each(layout.UNTAGGED)}
        records = {layout.digest_of(entry.key): entry.modified async for entry in self._each(layout.BLOBS)}
        scan = Scan()
        await self._scan(scan)
        old = began - self._grace
        needed = self._needed(scan, old)
        unneeded = scan.without(needed)
        wanted = scan.referenced(needed)
        expired = tuple(key for key in unneeded if key in marked and marked[key] <= old)
        staying = scan.referenced(scan.without(set(expired)))
        acquitted = [digest for digest in condemned if digest in wanted or digest not in records]
        due = Due(expired, {d: since for d, since in condemned.items() if d in records and d not in staying and since <= old})
        fresh = [digest for digest, since in records.items() if digest not in wanted and digest not in condemned and since <= old]
        report = Report(
            blobs=len(records),
            manifests=len(scan.pushed),
            condemned=len(fresh),
            condemned_bytes=await self._bytes(fresh),
            acquitted=len(acquitted),
            waiting=len(condemned) - len(acquitted) - len(due.blobs),
            untagged=len(unneeded) - len(expired),
            dry=dry,
        )
        if dry:
            return await self._foreseen(report, due, began)
        stale = [layout.untagged(key) for key in marked if key in needed or key not in scan.pushed]
        await self._storage.delete([*stale, *(layout.condemned(digest) for digest in acquitted)])
        await self._create([layout.untagged(key) for key in unneeded if key not in marked])
        await self._create([layout.condemned(digest) for digest in fresh])
        report = await self._remove(report, due, scan, old)
        return await self._sweep_data(report, began)

    def _needed(self, scan: Scan, old: datetime) -> set[str]:
        return set(scan.pushed) if self._keep_untagged else scan.needed(old)

    async def _create(self, keys: Sequence[str]) -> None:
        for some in _batches(keys, READ_AT_ONCE):
            for key in some:
                await self._storage.create(key, b"")
            await self._confirm()

    async def _each(self, prefix: str) -> AsyncIterator[Entry]:
        async for batch in self._storage.walk(prefix):
            for entry in batch:
                yield entry
            await self._confirm()

    async def _scan(self, scan: Scan, links_of: Iterable[Digest] = ()) -> None:
        """Looks at all tags and manifests anew, and reads the manifests that `scan` has not read yet; the links of those digests, seen on
        the way."""
        scan.pushed, scan.tagged, scan.links = {}, set(), {digest: [] for digest in links_of}
        async for batch in self._storage.walk(layout.REPOSITORIES):
            pushed, tags = {}, []
            for entry in batch:
                if layout.is_link(entry.key):
                    if scan.links and (digest := layout.digest_of(entry.key)) in scan.links:
                        scan.links[digest].append(entry.key)
                elif layout.is_manifest(entry.key):
                    pushed[entry.key] = entry.modified
                elif layout.is_tag(entry.key):
                    tags.append(entry.key)
            async for key, content in self._read([key for key in pushed if key not in scan.contents]):
                scan.add(key, content)
            scan.pushed |= {key: modified for key, modified in pushed.items() if key in scan.contents}
            async for key, content in self._read(tags):
                scan.tagged.add(layout.manifest(layout.repository_of(key), parsed_digest(content.decode())))
            await self._confirm()

    async def _read(self, keys: Sequence[str]) -> AsyncIterator[tuple[str, bytes]]:
        """Those that are still there."""
        for some in _batches(keys, READ_AT_ONCE):
            for key, content in zip(some, await self._storage.get(some), strict=True):
                if content is not None:
                    yield key, content
            await self._confirm()

    async def _bytes(self, digests: Sequence[Digest]) -> int:
        return sum([record.size async for _, record in self._records(digests)])

    async def _records(self, digests: Sequence[Digest]) -> AsyncIterator[tuple[Digest, BlobRecord]]:
        for some in _batches(digests, READ_AT_ONCE):
            keys = [layout.blob(digest) for digest in some]
            for digest, key, content in zip(some, keys, await self._storage.get(keys), strict=True):
                if content is not None:
                    yield digest, decoded(content, BlobRecord, key)
            await self._confirm()

    async def _remove(self, report: Report, due: Due, scan: Scan, old: datetime) -> Report:
        """Dooms them, waits, looks again, and removes those whose sentence stands: manifests first."""
        if not due.manifests and not due.blobs:
            return report
        doomed = [layout.doomed(digest) for digest in {*due.blobs, *(layout.digest_of(key) for key in due.manifests)}]
        for key in doomed:
            await self._storage.put(key, b"")
            await self._confirm()
        removed, freed = 0, 0
        before = scan.pushed
        try:
            await self._wait()
            await self._confirm(now=True)
            still = {layout.digest_of(entry.key): entry.modified for entry in await self._storage.entries(layout.CONDEMNED)}
            await self._scan(scan, due.blobs)
            needed = self._needed(scan, old)
            manifests = [key for key in due.manifests if key not in needed and scan.pushed.get(key) == before[key]]
            for some in _batches(manifests, REMOVED_AT_ONCE):
                await self._confirm(now=True)
                await self._remove_manifests(some, scan)
            staying = scan.referenced(scan.without(set(manifests)))
            sentenced = [digest for digest, since in due.blobs.items() if still.get(digest) == since and digest not in staying]
            for some in _batches(sentenced, REMOVED_AT_ONCE):
                await self._confirm(now=True)
                freed += await self._removed(some, scan.links)
                removed += len(some)
        finally:
            if await self._holds():
                await self._storage.delete(doomed)
        spared = len(due.blobs) - removed
        done = msgspec.structs.replace(report, removed=removed, freed=freed, acquitted=report.acquitted + spared)
        return msgspec.structs.replace(done, untagged_removed=len(manifests))

    async def _remove_manifests(self, keys: Sequence[str], scan: Scan) -> None:
        """Their places among referrers, themselves, their marks: whatever dies in between is marked still, and goes with the next round."""
        places = [
            layout.referrer(layout.repository_of(key), subject, layout.digest_of(key))
            for key in keys
            if (subject := scan.contents[key].subject) is not None
        ]
        await self._storage.delete(places)
        await self._storage.delete(keys)
        await self._storage.delete([layout.untagged(key) for key in keys])

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

    async def _foreseen(self, report: Report, due: Due, began: datetime) -> Report:
        old = began - self._grace
        living, ended = await self._uploads(old)
        unnamed = {entry.key: entry.size async for entry in self._each(layout.PARTS) if _is_old(entry, old, living)}
        for key in await self._named_parts() if unnamed else ():
            unnamed.pop(key, None)
        freed = await self._bytes(list(due.blobs)) + sum(unnamed.values())
        report = msgspec.structs.replace(report, removed=len(due.blobs), untagged_removed=len(due.manifests))
        return msgspec.structs.replace(report, uploads=len(ended), parts=len(unnamed), freed=freed)


def _is_old(entry: Entry, old: datetime, living: set[str]) -> bool:
    return entry.modified <= old and layout.upload_of(entry.key) not in living


def _batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
