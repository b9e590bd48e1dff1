"""The records of one kind in memory: decoded once, indexed, and told to those who follow them. Waits for nothing but its followers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from argosy.state.kinds import KEY, RecordKind, Topic
from argosy.state.records import decoded
from argosy.state.waiters import Waiters
from argosy.store.base import Event, Record

T = TypeVar("T")

REMEMBERED = 10_000
"""Topics of a table whose latest change is known. What changed before them is only known to be older than that."""

PENDING = 1_000
"""Keys that may wait for a slow follower before it is told everything anew, if that is less."""


class Changes(msgspec.Struct, Generic[T], frozen=True):
    """What changed under a prefix. `reset`: `items` is all there is, forget what you knew. Otherwise each item is one key's new record,
    None where it was deleted. Keys are without the prefix. `modified` holds the revision of each key that stands; a key that stands there
    without an item (or with None) holds something that could not be decoded."""

    items: Mapping[str, T | None]
    modified: Mapping[str, int]
    revision: int
    reset: bool = False


class Table(Generic[T]):
    """`values` by key (without the prefix), `modified` the revision of each key that stands, also of those that cannot be decoded. Once it
    is `loaded`, it holds all there is up to `revision`. Values may be kept; the mappings change whenever the event loop turns."""

    def __init__(self, kind: RecordKind[T], waiters: Waiters) -> None:
        self.kind = kind
        self.values: dict[str, T] = {}
        self.modified: dict[str, int] = {}
        self.revision = 0
        self.loaded = False
        self._waiters = waiters
        self._groups: dict[str, dict[str, dict[str, T]]] = {index: {} for index in kind.indexes}
        self._moved: dict[tuple[str, str], int] = {}
        self._horizon = 0
        self._sorted: list[str] | None = None
        self._followers: set[Follower[T]] = set()
        self._missed: dict[str, tuple[int, Event]] = {}

    def get(self, key: str) -> T | None:
        return self.values.get(key)

    def where(self, index: str, value: str) -> Mapping[str, T]:
        """Return the records that the index has under this value, by key."""
        return self._groups[index].get(value, {})

    def groups(self, index: str) -> Mapping[str, Mapping[str, T]]:
        """Return all records by an index's value, then by key."""
        return self._groups[index]

    def sorted_keys(self) -> Sequence[str]:
        """Return the keys of all records in order."""
        if self._sorted is None:
            self._sorted = sorted(self.values)
        return self._sorted

    def changed(self, topic: Topic) -> int:
        """Return the revision of the topic's latest change, or a later one if that is not known."""
        return self._moved.get((topic.by, topic.value), self._horizon)

    @property
    def followed(self) -> bool:
        return bool(self._followers)

    # What the stream does

    def unload(self) -> None:
        """What it holds is of another history, or has gaps: nobody is told of it until it is filled again."""
        self.loaded = False
        self._missed.clear()

    def fill(self, values: dict[str, T], modified: dict[str, int], revision: int) -> None:
        """Hold what a listing said at `revision`, and what has happened after it meanwhile."""
        self.values, self.modified, self.revision = values, modified, revision
        self._groups = {index: {} for index in self.kind.indexes}
        for key, value in values.items():
            self._index(key, value)
        self._sorted = None
        for number, event in self._missed.values():
            if number > revision:
                self.revision = max(self.revision, number)
                self._take(event.key[len(self.kind.prefix) :], event.record)
        self._missed = {}
        self._moved = {}
        self._horizon = self.revision
        self.loaded = True
        self._waiters.wake_kind(self.kind)
        for follower in self._followers:
            follower.restart()

    def apply(self, event: Event, revision: int) -> None:
        """Take what happened at `revision` to a key of the kind."""
        if not self.loaded:
            self._missed[event.key] = (revision, event)
        elif revision > self.revision:
            key = event.key[len(self.kind.prefix) :]
            for index, value in (("", ""), (KEY, key), *self._take(key, event.record)):
                self._moved.pop((index, value), None)
                self._moved[index, value] = revision
                self._waiters.wake(Topic(self.kind, index, value))
            while len(self._moved) > REMEMBERED:
                oldest = next(iter(self._moved))
                self._horizon = max(self._horizon, self._moved.pop(oldest))
            for follower in self._followers:
                follower.tell(key)

    def advance(self, revision: int) -> None:
        """Everything up to `revision` has been applied."""
        self.revision = max(self.revision, revision)

    def follower(self) -> Follower[T]:
        """Add a follower, who is told everything first."""
        follower = Follower(self)
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower[T]) -> None:
        self._followers.discard(follower)

    def end(self, error: BaseException | None) -> None:
        """Nothing more comes: followers end, or raise `error`."""
        for follower in self._followers:
            follower.end(error)

    def _take(self, key: str, record: Record | None) -> list[tuple[str, str]]:
        """Returns the indexes and values under which something has changed."""
        before = self.values.get(key)
        after = decoded(self.kind.type, record) if record is not None else None
        touched = self._unindex(key, before) if before is not None else []
        if after is None:
            self.values.pop(key, None)
        else:
            self.values[key] = after
            touched += [place for place in self._index(key, after) if place not in touched]
        if (before is None) != (after is None):
            self._sorted = None
        if record is None:
            self.modified.pop(key, None)
        else:
            self.modified[key] = record.modified
        return touched

    def _index(self, key: str, value: T) -> list[tuple[str, str]]:
        places = [(index, value_of(key, value)) for index, value_of in self.kind.indexes.items()]
        for index, found in places:
            self._groups[index].setdefault(found, {})[key] = value
        return places

    def _unindex(self, key: str, value: T) -> list[tuple[str, str]]:
        places = [(index, value_of(key, value)) for index, value_of in self.kind.indexes.items()]
        for index, found in places:
            group = self._groups[index][found]
            del group[key]
            if not group:
                del self._groups[index][found]
        return places


class Follower(Generic[T]):
    """One who follows a table. What it has not taken yet is kept as keys only, so a slow one costs little, and is told the newest."""

    def __init__(self, table: Table[T]) -> None:
        self._table = table
        self._reset = True
        self._keys: set[str] = set()
        self._told = asyncio.Event()
        self._ended = False
        self._error: BaseException | None = None
        if table.loaded:
            self._told.set()

    def tell(self, key: str) -> None:
        if self._reset:
            return
        self._keys.add(key)
        if len(self._keys) > max(PENDING, len(self._table.values)):
            self._reset, self._keys = True, set()
        self._told.set()

    def restart(self) -> None:
        self._reset, self._keys = True, set()
        self._told.set()

    def end(self, error: BaseException | None) -> None:
        self._ended, self._error = True, error
        self._told.set()

    async def take(self) -> Changes[T] | None:
        """Return what has changed since the last time as soon as something has, None at the end."""
        table = self._table
        while True:
            await self._told.wait()
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._told.clear()
            if table.loaded:
                break
        if self._reset:
            self._reset = False
            return Changes(dict(table.values), dict(table.modified), table.revision, reset=True)
        keys, self._keys = self._keys, set()
        items = {key: table.values.get(key) for key in keys}
        return Changes(items, {key: table.modified[key] for key in keys if key in table.modified}, table.revision)
