"""Taking in the bytes of one piece of an upload: from the client into parts, hashed on the way, with memory bounded and nothing left behind
if it ends early."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import deque
from collections.abc import AsyncIterable
from types import TracebackType
from typing import Self

from argosy.images import layout
from argosy.images.faults import Code, Fault
from argosy.images.records import Part
from argosy.images.storage import Storage, Writer

BATCH = 1024 * 1024
"""Bytes that are handed to a thread at once."""

CLOSING_AT_ONCE = 2
"""Parts on their way to the store while the next one is filled."""


class Intake:
    """`take` once; then `keep`, or everything that was written is removed at the end of the block."""

    def __init__(self, storage: Storage, upload: str) -> None:
        self._storage = storage
        self._upload = upload
        self._writer: Writer | None = None
        self._filled = 0
        self._parts: list[Part] = []
        self._closing: deque[asyncio.Task[None]] = deque()
        self._kept = False

    async def __aenter__(self) -> Self:
        return self

    def keep(self) -> None:
        """What was taken is referred to from now on."""
        self._kept = True

    async def take(self, content: AsyncIterable[bytes], size: int | None, hash_: hashlib._Hash | None) -> tuple[Part, ...]:
        """The parts that hold it; none for no bytes. Raises Fault SIZE_INVALID unless it has `size` bytes."""
        pending: list[bytes] = []
        held = taken = 0
        async for piece in content:
            pending.append(piece)
            held += len(piece)
            taken += len(piece)
            if held >= BATCH:
                await self._write(pending, hash_)
                pending, held = [], 0
        if size is not None and taken != size:
            raise Fault(Code.SIZE_INVALID, f"{size} bytes were announced and {taken} came")
        if pending:
            await self._write(pending, hash_)
        await self._turn()
        while self._closing:
            await self._closing.popleft()
        return tuple(self._parts)

    async def _write(self, pieces: list[bytes], hash_: hashlib._Hash | None) -> None:
        hashes = () if hash_ is None else (hash_,)
        limit = self._storage.part_limit
        for group in _cut(pieces, self._filled, limit) if limit else [pieces]:
            if self._writer is None:
                self._begin()
            assert self._writer is not None
            await self._writer.write(group, *hashes)
            self._filled += sum(len(piece) for piece in group)
            if limit and self._filled >= limit:
                await self._turn()

    def _begin(self) -> None:
        key = layout.part(self._upload, uuid.uuid4().hex[:16])
        self._writer = self._storage.writer(key)
        self._parts.append(Part(key, 0))

    async def _turn(self) -> None:
        """This part is complete; the next one may be filled while it is brought to the store."""
        if self._writer is None:
            return
        self._parts[-1] = Part(self._parts[-1].key, self._filled)
        self._closing.append(asyncio.create_task(self._writer.close()))
        self._writer, self._filled = None, 0
        if len(self._closing) > CLOSING_AT_ONCE:
            await self._closing.popleft()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._kept:
            return
        if self._closing:
            for closing in self._closing:
                closing.cancel()
            await asyncio.wait(self._closing)
        if self._writer is not None:
            await self._writer.abort()
        if self._parts:
            await self._storage.delete([part.key for part in self._parts])


def _cut(pieces: list[bytes], filled: int, limit: int) -> list[list[bytes]]:
    """The same bytes in groups, the first of which fills up to `limit` what holds `filled` already."""
    groups: list[list[bytes]] = [[]]
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            room = limit - filled
            if not room:
                groups.append([])
                filled, room = 0, limit
            groups[-1].append(bytes(rest[:room]) if len(rest) > room else bytes(rest))
            filled += min(room, len(rest))
            rest = rest[room:]
    return groups
