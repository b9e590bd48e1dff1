"""The keyspace as a tree in memory, made of the store's records and kept current with its events; and those events in etcd's terms. Pure.

A directory is a record of its own. One that has none but has keys below it (somebody wrote them past this door) is there as long as they
are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from argosy.api.keys.shapes import KeyEvent, NodeView
from argosy.errors import InvalidInput
from argosy.model import Entry
from argosy.state import keys
from argosy.state.records import decode
from argosy.store.base import Batch, Event, Record

PREFIX = keys.KV[:-1]
OVERHEAD = 200
"""Bytes that a key is taken to cost beside its record's key and value: very many small ones fill stores and memories, too."""

DIRECTORY = Entry(directory=True, action="")


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a deletion that somebody asked for was: its action and the path of its node. "sweep" tidies up after one and is told to
    nobody."""

    action: str
    path: str = "/"
    directory: bool = False


class Node:
    """A key. `record` is None for a directory that has none; `sure`: the entry's end is known by this machine's clock, not by that of
    whoever wrote it."""

    __slots__ = ("children", "entry", "path", "record", "sure")

    def __init__(self, path: str, entry: Entry, record: Record | None) -> None:
        self.path = path
        self.entry = entry
        self.record = record
        self.sure = not entry.expires
        self.children: dict[str, Node] | None = {} if entry.directory else None

    @property
    def revision(self) -> int:
        """What a commit that builds on this node must be conditioned on."""
        return self.record.modified if self.record else 0

    @property
    def lease(self) -> int:
        return self.record.lease if self.record else 0

    def view(self) -> NodeView:
        if self.record is None:
            return NodeView(self.path, self.entry, self.entry.created, self.entry.modified)
        return view(self.path, self.entry, self.record)


class Tree:
    """All keys (or those that a question is about) as of `revision`. `timed` are the directories with a time to live; `ended` those of them
    whose time is over and whose keys are still in the store: nobody sees these, and they are to be deleted.
    `size`: bytes of all records, `sizes`: of those below each directory of the first level, by its name."""

    def __init__(self, records: Sequence[Record] = (), revision: int = 0) -> None:
        self.root = Node("/", Entry(directory=True), None)
        self.revision = revision
        self.timed: set[str] = set()
        self.ended: set[str] = set()
        self.size = 0
        self.sizes: dict[str, int] = {}
        for record in records:
            self.put(record)
        for path in self.timed:
            node = self.get(path)
            if node is None or node.record is None:
                self._end(path)

    def walk(self, path: str) -> Iterator[Node]:
        """The nodes on the way to a path, the root first, as far as there are any."""
        node = self.root
        yield node
        for part in parts(path):
            if node.children is None or part not in node.children:
                return
            node = node.children[part]
            yield node

    def get(self, path: str) -> Node | None:
        *_, last = self.walk(path)
        return last if last.path == path else None

    def put(self, record: Record, now: float | None = None) -> None:
        """With `now`, the record was written just now, whatever its writer's clock says. One that is not a valid Entry (or is not under the
        prefix) is left out."""
        if record.key.startswith(keys.KV_TIMED):
            self.timed.add(record.key[len(keys.KV_TIMED) :])
        if not record.key.startswith(keys.KV):
            return
        path = record.key[len(PREFIX) :]
        entry = read_entry(record)
        names = parts(path)
        if entry is None or not names or "/" + "/".join(names) != path:
            return
        node = self.root
        for name in names[:-1]:
            if node.children is None:
                return  # below a file: it cannot be reached
            child = node.children.get(name)
            if child is None:
                made = msgspec.structs.replace(DIRECTORY, created=record.modified, modified=record.modified)
                child = node.children[name] = Node(f"{node.path.rstrip('/')}/{name}", made, None)
            node = child
        if node.children is None:
            return
        old = node.children.get(names[-1])
        new = Node(path, entry, record)
        if now is not None:
            new.entry, new.sure = from_now(entry, now), True
        self._count(names[0], self.size_of(new))
        if old is not None and old.children and new.children is not None:
            new.children = old.children
            self._count(names[0], -self.size_of(old))
        elif old is not None:
            self._count(names[0], -self._weight(old))
        node.children[names[-1]] = new

    def drop(self, path: str) -> None:
        """A key and all that is below it."""
        way = list(self.walk(path))
        if way[-1].path != path or len(way) < 2:
            return
        names = parts(path)
        name = names[-1]
        self._count(names[0], -self._weight(way[-1]))
        for parent, child in zip(reversed(way[:-1]), reversed(way[1:]), strict=True):
            assert parent.children is not None
            if child.path == path:
                del parent.children[name]
            elif child.record is None and not child.children:
                del parent.children[child.path.rpartition("/")[2]]
            else:
                return

    def apply(self, batch: Batch, now: float | None = None) -> tuple[KeyEvent, ...]:
        """Takes over what a commit did; returns what watchers are told of it. What stood before is what stands here."""
        told = events_of(Batch(batch.revision, tuple([self._with_previous(event) for event in batch.events])))
        if now is not None:
            told = tuple([self._by_our_clock(event, now) for event in told])
        for event in batch.events:
            if event.record is not None:
                self.put(event.record, now)
            elif event.key.startswith(keys.KV):
                self.drop(event.key[len(PREFIX) :])
            elif event.key.startswith(keys.KV_TIMED):
                self.timed.discard(event.key[len(keys.KV_TIMED) :])
                self.ended.discard(event.key[len(keys.KV_TIMED) :])
        for happened in told:
            if happened.node.entry.directory and happened.action == "expire":
                self._end(happened.node.path)
        self.revision = max(self.revision, batch.revision)
        return told

    def _with_previous(self, event: Event) -> Event:
        node = self.get(event.key[len(PREFIX) :]) if event.key.startswith(keys.KV) else None
        return Event(event.key, event.record, node.record if node is not None else None)

    def _by_our_clock(self, event: KeyEvent, now: float) -> KeyEvent:
        node, previous = event.node, event.previous
        node = msgspec.structs.replace(node, entry=from_now(node.entry, now))
        standing = self.get(node.path) if previous is not None else None
        if previous is not None and standing is not None:
            previous = msgspec.structs.replace(previous, entry=standing.entry)
        return msgspec.structs.replace(event, node=node, previous=previous)

    def _end(self, path: str) -> None:
        self.ended.add(path)
        self.drop(path)

    def _count(self, top: str, more: int) -> None:
        self.size += more
        held = self.sizes.pop(top, 0) + more
        if held:
            self.sizes[top] = held

    @staticmethod
    def size_of(node: Node) -> int:
        """Bytes that a node's own record counts."""
        return len(node.record.key) + len(node.record.value) + OVERHEAD if node.record is not None else 0

    def _weight(self, node: Node) -> int:
        """Bytes of a node's record and of all below it."""
        total, waiting = 0, [node]
        while waiting:
            found = waiting.pop()
            total += self.size_of(found)
            waiting.extend((found.children or {}).values())
        return total

    def below(self, path: str) -> Iterator[Node]:
        """All nodes under a path, parents first."""
        node = self.get(path)
        waiting = list(node.children.values()) if node is not None and node.children else []
        while waiting:
            found = waiting.pop()
            yield found
            if found.children:
                waiting.extend(found.children.values())


def parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def key(path: str) -> str:
    """The store's key of a path."""
    return PREFIX + path


def from_now(entry: Entry, now: float) -> Entry:
    """An entry that was written just now: when it ends by the clock that says `now`."""
    return msgspec.structs.replace(entry, expires=now + entry.ttl) if entry.expires else entry


def timed(path: str) -> str:
    """The store's key of the record that says that a directory has a time to live."""
    return keys.KV_TIMED + path


def parents(path: str) -> list[str]:
    """The directories that a path lies in, outermost first, without the root."""
    names = parts(path)
    return ["/" + "/".join(names[:end]) for end in range(1, len(names))]


def read_entry(record: Record) -> Entry | None:
    try:
        return decode(Entry, record.value, record.key)
    except InvalidInput:
        return None


def view(path: str, entry: Entry, record: Record) -> NodeView:
    return NodeView(path, entry, entry.created or record.modified, entry.modified or record.modified)


def events_of(batch: Batch) -> tuple[KeyEvent, ...]:
    """What a commit means in etcd's terms: one event for what a user did, one for each key whose time was over. The batch's events say what
    stood before."""
    mark = _mark(batch)
    if mark is not None and mark.action == "sweep":
        return ()
    told: list[KeyEvent] = []
    removed: dict[str, Record] = {}
    for event in batch.events:
        if not event.key.startswith(keys.KV):
            continue
        if event.record is not None:
            happened = _written(batch.revision, event)
            if happened is not None:
                told.append(happened)
        elif event.previous is not None:
            removed[event.key[len(PREFIX) :]] = event.previous
    if mark is not None:
        told.append(_deleted(batch.revision, mark.action, mark.path, removed.get(mark.path), mark.directory))
        return tuple(told)
    for path, record in removed.items():
        told.append(_deleted(batch.revision, "expire" if record.lease else "delete", path, record, directory=False))
    return tuple(told)


def _mark(batch: Batch) -> Mark | None:
    for event in batch.events:
        if event.key == keys.KV_MARK and event.record is not None:
            try:
                return decode(Mark, event.record.value, event.key)
            except InvalidInput:
                return None
    return None


def _written(revision: int, event: Event) -> KeyEvent | None:
    assert event.record is not None
    path = event.key[len(PREFIX) :]
    entry = read_entry(event.record)
    if entry is None or not entry.action:
        return None
    previous = read_entry(event.previous) if event.previous else None
    before = view(path, previous, event.previous) if previous is not None and event.previous is not None else None
    node = view(path, entry, event.record)
    if entry.directory and entry.action == "update":
        node = NodeView(path, entry, node.created, revision)
    return KeyEvent(revision, entry.action, node, before if entry.action != "create" else None, entry.refresh)


def _deleted(revision: int, action: str, path: str, record: Record | None, directory: bool) -> KeyEvent:
    entry = (read_entry(record) if record else None) or Entry(directory=directory)
    before = view(path, entry, record) if record else None
    node = NodeView(path, Entry(directory=entry.directory), before.created if before else revision, revision)
    return KeyEvent(revision, action, node, before)
