"""Clients that are blocked until something changes: found by what they wait for, and by when they have waited long enough."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import math
from collections.abc import Sequence
from typing import Any

from argosy.reconcile import Clock, Wake
from argosy.state.kinds import RecordKind, Topic

TICKS = 10
"""Ends of waits in a second: those that end within the same tenth share a timer."""


class Waiters:
    """A waiting client is one future in a few sets. One task, which runs only while somebody waits, ends the waits that are over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._topics: dict[Topic, set[asyncio.Future[bool]]] = {}
        self._ends: dict[int, set[asyncio.Future[bool]]] = {}
        self._order: list[int] = []
        self._revisions: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._number = 0
        self._earlier = Wake()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._ends.values()))

    async def wait(self, topics: Sequence[Topic], seconds: float) -> bool:
        """Return True when one of the topics has changed, False when `seconds` have passed first."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        for topic in topics:
            self._topics.setdefault(topic, set()).add(future)
        try:
            return await self._until(future, seconds)
        finally:
            for topic in topics:
                waiting = self._topics.get(topic)
                if waiting is not None:
                    waiting.discard(future)
                    if not waiting:
                        del self._topics[topic]

    async def reached(self, revision: int, seconds: float) -> bool:
        """Return True when `reach` has been called with this revision or a later one, False when `seconds` have passed first, or the
        history of revisions has ended."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self._revisions, (revision, self._number, future))
        return await self._until(future, seconds)

    def wake(self, topic: Topic) -> None:
        for future in self._topics.get(topic, ()):
            _finish(future, True)

    def wake_kind(self, kind: RecordKind[Any]) -> None:
        """Wake everybody who waits for records of the kind: what they know may be all wrong."""
        for topic in self._topics:
            if topic.kind is kind:
                self.wake(topic)

    def reach(self, revision: int) -> None:
        while self._revisions and self._revisions[0][0] <= revision:
            _finish(heapq.heappop(self._revisions)[2], True)

    def forget_revisions(self) -> None:
        """Revisions are counted anew: those that are waited for mean nothing any more."""
        revisions, self._revisions = self._revisions, []
        for _, _, future in revisions:
            _finish(future, False)

    async def close(self) -> None:
        """End all waits as if their time had passed."""
        for futures in self._ends.values():
            for future in futures:
                _finish(future, False)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _until(self, future: asyncio.Future[bool], seconds: float) -> bool:
        end = math.ceil((self._clock.monotonic() + seconds) * TICKS)
        futures = self._ends.get(end)
        if futures is None:
            futures = self._ends[end] = set()
            heapq.heappush(self._order, end)
            if self._order[0] == end:
                self._earlier.set()
        futures.add(future)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._end_waits(), name="ends of waits")
        try:
            return await future
        finally:
            futures.discard(future)
            if not futures and self._ends.get(end) is futures:
                del self._ends[end]

    async def _end_waits(self) -> None:
        while self._order:
            end = self._order[0]
            pause = end / TICKS - self._clock.monotonic()
            if end in self._ends and pause > 0:
                await self._earlier.wait(self._clock, pause)
                continue
            heapq.heappop(self._order)
            for future in self._ends.get(end, ()):
                _finish(future, False)


def _finish(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)
