"""One watch's mailbox: filled by whoever reads the store, emptied by whoever watches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from argosy.store.base import Batch

BACKLOG = 1_000
"""Batches that may wait in memory for a slow watcher; the rest waits in the store."""


class Subscription:
    """`position` is the revision up to which everything has been put into the mailbox; `previous`: what stood before is asked for."""

    def __init__(self, prefix: str, after: int, previous: bool = False) -> None:
        self.prefix = prefix
        self.previous = previous
        self.position = max(after, 0)
        self._batches: list[Batch] = []
        self._end: BaseException | None = None
        self._ended = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    @property
    def full(self) -> bool:
        return len(self._batches) >= BACKLOG

    @property
    def ended(self) -> bool:
        return self._ended

    def put(self, batches: Sequence[Batch], upto: int) -> None:
        """Keeps what is new of `batches`, which are all there is up to revision `upto`, and touches the prefix."""
        if self._ended:
            return
        for batch in batches:
            if batch.revision > self.position:
                events = tuple([event for event in batch.events if event.key.startswith(self.prefix)])
                if events:
                    self._batches.append(Batch(batch.revision, events))
        self.position = max(self.position, upto)
        if self._batches:
            self._filled.set()

    def end(self, error: BaseException | None = None) -> None:
        """After what is in the mailbox, the watch raises `error`, or just ends."""
        if not self._ended:
            self._ended, self._end = True, error
            self._filled.set()

    async def room(self) -> None:
        """Waits until the mailbox is not full."""
        while self.full:
            self._emptied.clear()
            await self._emptied.wait()

    async def take(self) -> Sequence[Batch] | None:
        """All that is in the mailbox, as soon as there is something; None at the end. Raises what it was ended with."""
        while not self._batches:
            if self._ended:
                if self._end is not None:
                    raise self._end
                return None
            self._filled.clear()
            await self._filled.wait()
        taken, self._batches = self._batches, []
        self._emptied.set()
        return taken
