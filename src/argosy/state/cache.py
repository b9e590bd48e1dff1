"""The one view that a process has of the store: what it reads and follows is in memory, decoded once, and shared by all who ask.

A kind of records is followed from its first reader until nobody has asked for a while. The kinds of the cluster share a watch of the whole
store, so what is read of them together is from one revision, the `index` of every answer. Blocking reads wait here: they cost the store
nothing. While the store does not answer, nothing is read here either: see docs/decisions/0016.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from argosy.errors import StoreUnavailable
from argosy.reconcile import Clock, Wake
from argosy.state import keys
from argosy.state.kinds import CLUSTER, RecordKind, Topic
from argosy.state.stream import Stream
from argosy.state.table import Changes, Table
from argosy.state.waiters import Waiters
from argosy.store.base import Store

T = TypeVar("T")

IDLE = 60.0
"""Seconds after which records that nobody has asked for are followed no longer."""

FRESH = 1.0
"""Seconds for which the store's answer, that nothing is missing here, holds."""

LAG = 2.0
"""Seconds that a view may need to reach a revision that the store has told."""


class Reading:
    """The tables of some kinds, all of them loaded. They hold one revision until the event loop turns."""

    def __init__(self, tables: Sequence[Table[Any]], index: int) -> None:
        self._tables = {table.kind.prefix: table for table in tables}
        self.index = index

    def __getitem__(self, kind: RecordKind[T]) -> Table[T]:
        return self._tables[kind.prefix]


class _Followed:
    """A table with its stream, how many use it now, and when it was last used."""

    def __init__(self, stream: Stream, table: Table[Any], now: float) -> None:
        self.stream = stream
        self.table = table
        self.used = now
        self.users = 0


class Cache:
    """`idle` and `fresh` in seconds; with `fresh` 0 each read asks the store how far it is, and includes what anybody had written before.
    It belongs to the event loop that first uses it, and must be closed before its store."""

    def __init__(self, store: Store, clock: Clock, *, idle: float = IDLE, fresh: float = FRESH) -> None:
        self.store = store
        self._clock = clock
        self._idle = idle
        self._fresh = fresh
        self._waiters = Waiters(clock)
        self._streams: dict[str, Stream] = {}
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._confirmed = -math.inf
        self._asked = 0
        self._answered = 0
        self._asking: asyncio.Task[None] | None = None
        self._releasing: asyncio.Task[None] | None = None
        self._left = Wake()

    @property
    def followed(self) -> frozenset[str]:
        """The prefixes that are followed now."""
        return frozenset(prefix for _, prefix in self._followed)

    @property
    def blocked(self) -> int:
        """How many wait for changes now."""
        return len(self._waiters)

    async def read(self, *kinds: RecordKind[Any]) -> Reading:
        """Return the records of these kinds, as the store had them within the last `fresh` seconds, or later. Raises StoreUnavailable."""
        asked = self._asked
        with self._held(kinds) as held:
            while True:
                for each in held:
                    await each.stream.loaded(each.table)
                shared = [each for each in held if each.stream.prefix == CLUSTER]
                newest = max((each.table.revision for each in shared), default=0)
                if shared and newest > shared[0].stream.position:
                    await self._reach(newest)
                elif shared and self._answered <= asked and self._clock.monotonic() - self._confirmed >= self._fresh:
                    await self._confirm()
                elif all(each.table.loaded for each in held):
                    index = shared[0].stream.position if shared else min(each.table.revision for each in held)
                    return Reading([each.table for each in held], index)

    async def wait(self, after: int, topics: Sequence[Topic], seconds: float) -> bool:
        """Return True as soon as one of the topics has changed at a revision above `after`, or may have: what happened before the view
        began is not known, and revisions mean nothing when the store has gone back in time. Return False when `seconds` have passed.
        All topics are of kinds of the cluster. Raises StoreUnavailable."""
        end = self._clock.monotonic() + seconds
        with self._held([*dict.fromkeys(topic.kind for topic in topics)]) as held:
            for each in held:
                await each.stream.loaded(each.table)
            if after > held[0].stream.position:
                if after > (await self.store.list(keys.ENGINE_LEADER)).revision:
                    return True
                await self.seen(after, end - self._clock.monotonic())
            tables = {each.table.kind: each.table for each in held}
            if any(not tables[topic.kind].loaded or tables[topic.kind].changed(topic) > after for topic in topics):
                return True
            return await self._waiters.wait(topics, max(0.0, end - self._clock.monotonic()))

    async def seen(self, revision: int, seconds: float = LAG) -> bool:
        """Wait until what is read of the cluster here includes a revision that the store has told: False if that takes longer."""
        cluster = self._streams.get(CLUSTER)
        if cluster is None or cluster.ended or cluster.position >= revision:
            return True
        return await self._waiters.reached(revision, seconds)

    async def follow(self, kind: RecordKind[T]) -> AsyncGenerator[Changes[T], None]:
        """Yield everything there is of a kind (reset), then what changes, until the store is closed. While the store is away it yields
        nothing. What a slow reader has missed is merged, or told as a reset."""
        with self._held([kind]) as (followed,):
            follower = followed.table.follower()
            try:
                while (changes := await follower.take()) is not None:
                    yield changes
            finally:
                followed.table.leave(follower)

    async def close(self) -> None:
        """End everything. Idempotent."""
        tasks = [task for task in (self._asking, self._releasing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._waiters.close()
        streams, self._streams = self._streams, {}
        self._followed.clear()
        for stream in streams.values():
            await stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @contextmanager
    def _held(self, kinds: Sequence[RecordKind[Any]]) -> Iterator[Sequence[_Followed]]:
        """The kinds are followed at least as long as the block lasts."""
        held = [self._follow(kind) for kind in kinds]
        for each in held:
            each.users += 1
        try:
            yield held
        finally:
            for each in held:
                each.users -= 1
                each.used = self._clock.monotonic()
                if not each.users:
                    self._left.set()

    def _follow(self, kind: RecordKind[T]) -> _Followed:
        now = self._clock.monotonic()
        followed = self._followed.get((kind.watch, kind.prefix))
        if followed is None or followed.stream.ended:
            stream = self._streams.get(kind.watch)
            if stream is None or stream.ended:
                stream = self._streams[kind.watch] = Stream(self.store, self._clock, kind.watch, self._waiters)
            followed = self._followed[kind.watch, kind.prefix] = _Followed(stream, stream.add(kind), now)
            if self._releasing is None or self._releasing.done():
                self._releasing = asyncio.create_task(self._release(), name="releasing records that nobody asks for")
            self._left.set()
        followed.used = now
        return followed

    async def _confirm(self) -> None:
        """Have the store say how far it is, once for all who ask meanwhile, and wait until the view is as far. Raises StoreUnavailable."""
        if self._asking is None or self._asking.done():
            self._asked += 1
            self._asking = asyncio.create_task(self._ask(self._asked), name="asking how far the store is")
            self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())  # whoever asked may be gone
        await asyncio.shield(self._asking)

    async def _ask(self, number: int) -> None:
        begun = self._clock.monotonic()
        stream = self._streams.get(CLUSTER)
        position = stream.position if stream is not None else 0
        revision = (await self.store.list(keys.ENGINE_LEADER)).revision
        if stream is None or stream.check(position, revision):
            await self._reach(revision)
        self._confirmed = begun
        self._answered = number

    async def _reach(self, revision: int) -> None:
        """Wait until the view is at a revision that the store has told. Raises StoreUnavailable if it does not come so far."""
        stream = self._streams.get(CLUSTER)
        if not await self.seen(revision) and stream is self._streams.get(CLUSTER) and stream is not None and stream.position:
            raise StoreUnavailable(f"the view of the store is at revision {stream.position}, the store at {revision}", remedy="ask again")

    async def _release(self) -> None:
        """Ends the following of what nobody has asked for, for as long as anything is followed."""
        while self._followed:
            now = self._clock.monotonic()
            unused = [(key, each) for key, each in self._followed.items() if not each.users]
            over = [(key, each) for key, each in unused if now - each.used >= self._idle]
            for key, each in over:
                del self._followed[key]
                each.stream.drop(each.table)
            for stream in [stream for stream in self._streams.values() if not stream.tables]:
                del self._streams[stream.prefix]
                await stream.close()
            if not over:
                await self._left.wait(self._clock, min((each.used + self._idle - now for _, each in unused), default=None))
