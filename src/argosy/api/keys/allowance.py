"""How much users' keys may hold: in all, below each directory of the first level, and never so much that the store has no room left for the
platform's own records."""

from __future__ import annotations

from collections import deque

import msgspec

from argosy.api.keys.shapes import INTERNAL, KeyFault
from argosy.api.keys.tree import OVERHEAD, Tree, key, parts
from argosy.config import KeysSection
from argosy.reconcile import Clock
from argosy.store.base import Room, Store

RESERVED = 4
"""One part in so many of the store is kept for the platform's own records: units, placements, states."""

SHARE = 4
"""One part in so many of the store is what users' keys may hold in all, unless it is configured, ..."""

MOST = 512 * 1024**2
"""... and no more than this: every machine has all of them in memory."""

LOOK_EVERY = 1.0
LOOK_BYTES = 1024**2
"""The store is asked how full it is again after so many seconds, and after so many bytes that were written through this door."""

LAG = 1.0
"""Seconds after which what was written is counted by the store itself (etcd counts it when its backend commits, ten times a second)."""


class Allowance:
    """Says whether a write may go ahead. `pending` are bytes that have been admitted and are not in the tree yet."""

    def __init__(self, store: Store, clock: Clock, limits: KeysSection) -> None:
        self.limits = limits
        self._store = store
        self._clock = clock
        self._room: Room | None = None
        self._looked = 0.0
        self._since_look = 0
        self._recent: deque[tuple[float, int]] = deque()
        self._recent_bytes = 0
        self.pending = 0

    async def admit(self, tree: Tree, path: str, size: int) -> None:
        """Raises KeyFault (413, 507) for a value of `size` bytes that there is no room for, and StoreUnavailable."""
        if size > self.limits.largest:
            raise KeyFault(INTERNAL, f"the value has {size} bytes; at most {self.limits.largest} are taken", tree.revision, status=413)
        size += len(key(path)) + OVERHEAD
        room = await self._how_full(size)
        node = tree.get(path)
        growth = size - (tree.size_of(node) if node is not None else 0)
        if growth > 0:
            self._within(tree, path, growth + self.pending, room)
        reserve = room.limit - room.limit // RESERVED
        if room.full or room.used + size > reserve:
            self._room = None
            cause = f"the store holds {room.used} of {room.limit} bytes, the rest is for the platform: delete keys, try again in a minute"
            raise KeyFault(INTERNAL, cause, tree.revision, status=507)
        self._since_look += size
        self._recent.append((self._clock.monotonic(), size))
        self._recent_bytes += size

    def _within(self, tree: Tree, path: str, growth: int, room: Room) -> None:
        total = self.limits.most or min(MOST, room.limit // SHARE)
        top = parts(path)[0]
        for what, most, held in (
            (f"the keys below /{top}", self.limits.most_below or total // 2, tree.sizes.get(top, 0)),
            ("all keys together", total, tree.size),
        ):
            if held + growth > most:
                cause = f"{what} hold {held} bytes of the {most} that they may ([keys] most, most_below): delete some first"
                raise KeyFault(INTERNAL, cause, tree.revision, status=413)

    async def _how_full(self, size: int) -> Room:
        now = self._clock.monotonic()
        room = self._room
        if room is None or now - self._looked >= LOOK_EVERY or self._since_look + size >= LOOK_BYTES:
            room = self._room = await self._store.room()
            self._looked, self._since_look = now, 0
        while self._recent and self._recent[0][0] < self._looked - LAG:
            self._recent_bytes -= self._recent.popleft()[1]
        return msgspec.structs.replace(room, used=room.used + self._recent_bytes)
