"""Lets work through in the order it came, as long as what is under way stays small: what waits here delays nobody else's answers."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator


class Gate:
    """At most `count` pieces of work at once, and at most `size` in all (one piece larger than that passes alone)."""

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._size = size
        self._inside = 0
        self._inside_size = 0
        self._waiting: collections.deque[tuple[int, asyncio.Future[None]]] = collections.deque()

    @contextlib.asynccontextmanager
    async def passing(self, size: int) -> AsyncIterator[None]:
        await self._enter(size)
        try:
            yield
        finally:
            self._leave(size)

    async def _enter(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._take(size)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(size)  # let in just when it gave up
            raise

    def _fits(self, size: int) -> bool:
        return self._inside == 0 or (self._inside < self._count and self._inside_size + size <= self._size)

    def _take(self, size: int) -> None:
        self._inside += 1
        self._inside_size += size

    def _leave(self, size: int) -> None:
        self._inside -= 1
        self._inside_size -= size
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            waiting, turn = self._waiting.popleft()
            if not turn.done():
                self._take(waiting)
                turn.set_result(None)
