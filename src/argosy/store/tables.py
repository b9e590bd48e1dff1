"""The store's tables in SQLite, and what each call of the contract does to them.

Everything here runs inside a transaction that the caller began, on the caller's thread, and raises sqlite3.Error as it comes.
`history` holds each event with what stood before it, so that a watcher can be told without looking anywhere else; its id is the
revision shifted left by POSITION_BITS, plus the event's position in its commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

from argosy.errors import Conflict, HistoryGone, InvalidInput, LeaseLost
from argosy.store.base import Batch, Condition, Delete, DeletePrefix, Event, Listing, Put, Record, Write, prefix_end

APPLICATION = 0x41524759
"""Marks the file as ours (SQLite's application_id: "ARGY")."""

VERSION = 1
"""Of the tables (SQLite's user_version)."""

POSITION_BITS = 24

KEEP_REVISIONS = 10_000
KEEP_BYTES = 64 * 1024 * 1024
"""How much history is kept for watchers that were away: at most so many revisions and so many bytes of values, plus a tenth."""

SCHEMA = f"""
CREATE TABLE meta (
  only INTEGER PRIMARY KEY CHECK (only = 1), revision INTEGER NOT NULL, compacted INTEGER NOT NULL, identity TEXT NOT NULL
);
INSERT INTO meta VALUES (1, 1, 0, lower(hex(randomblob(16))));
CREATE TABLE records (
  key TEXT PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL, modified INTEGER NOT NULL, lease INTEGER NOT NULL
);
CREATE INDEX records_by_lease ON records (lease) WHERE lease != 0;
CREATE TABLE leases (id INTEGER PRIMARY KEY AUTOINCREMENT, ttl REAL NOT NULL, deadline REAL NOT NULL);
CREATE TABLE history (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, created INTEGER, lease INTEGER,
  old_value BLOB, old_created INTEGER, old_modified INTEGER, old_lease INTEGER
);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION}
"""

Row = tuple[bytes, int, int, int]


class News(msgspec.Struct, frozen=True):
    """The batches after a revision: all of them if `upto`, the revision they reach, is `revision`, the store's."""

    batches: tuple[Batch, ...]
    upto: int
    revision: int
    compacted: int
    identity: str


class Tables:
    """The contract's calls on one connection. `wrote`: the revision has grown since somebody set it to False."""

    def __init__(self, connection: sqlite3.Connection, keep_revisions: int = KEEP_REVISIONS, keep_bytes: int = KEEP_BYTES) -> None:
        self._execute = connection.execute
        self.wrote = False
        self._keep_revisions = keep_revisions
        self._keep_bytes = keep_bytes
        self._untrimmed = 0
        self._untrimmed_bytes = 0

    def fault(self) -> str:
        """Why the file is not a store of ours, in words; "" if it is one, or empty."""
        application = self._number("PRAGMA application_id")
        version = self._number("PRAGMA user_version")
        if application == 0 and self._empty():
            return ""
        if application != APPLICATION:
            return "is a database of something else"
        return "" if version == VERSION else f"has tables of version {version}, this program knows {VERSION}"

    def prepare(self) -> None:
        """Makes the tables if the file is empty."""
        if self._empty():
            for statement in SCHEMA.split(";"):
                self._execute(statement)

    def get(self, key: str) -> Record | None:
        row = self._row(key)
        return Record(key, *row) if row else None

    def list(self, prefix: str) -> Listing:
        end = prefix_end(prefix)
        rows = self._execute(
            "SELECT key, value, created, modified, lease FROM records WHERE key >= ? AND (key < ? OR ? = '') ORDER BY key",
            (prefix, end, end),
        )
        return Listing(tuple([Record(*row) for row in rows]), self.revision())

    def revision(self) -> int:
        return self._number("SELECT revision FROM meta")

    def commit(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        for condition in conditions:
            row = self._execute("SELECT modified FROM records WHERE key = ?", (condition.key,)).fetchone()
            modified = row[0] if row else 0
            if modified != condition.revision:
                found = f"was last modified at revision {modified}" if modified else "does not exist"
                wanted = f"at revision {condition.revision}" if condition.revision else "missing"
                raise Conflict(f"key {condition.key} {found}; the commit wanted it {wanted}", key=condition.key)
        for lease in {write.lease for write in writes if isinstance(write, Put) and write.lease}:
            self._ttl(lease)
        return self._write(writes)

    def grant(self, ttl: float, now: float) -> int:
        lease = self._execute("INSERT INTO leases (ttl, deadline) VALUES (?, ?)", (ttl, now + ttl)).lastrowid
        assert lease is not None
        return lease

    def keep_alive(self, lease: int, now: float) -> float:
        ttl = self._ttl(lease)
        self._execute("UPDATE leases SET deadline = ? WHERE id = ?", (now + ttl, lease))
        return ttl

    def remaining(self, lease: int, now: float) -> float:
        self._ttl(lease)
        return max(0.0, float(self._execute("SELECT deadline FROM leases WHERE id = ?", (lease,)).fetchone()[0]) - now)

    def revoke(self, lease: int) -> int:
        """Returns the revision after it."""
        self._execute("DELETE FROM leases WHERE id = ?", (lease,))
        keys = self._execute("SELECT key FROM records WHERE lease = ? AND lease != 0 ORDER BY key", (lease,)).fetchall()
        return self._write([Delete(key) for (key,) in keys])

    def next_deadline(self) -> float | None:
        """When the next lease ends unless it is kept alive; None without leases."""
        row = self._execute("SELECT min(deadline) FROM leases").fetchone()
        return None if row[0] is None else float(row[0])

    def reap(self, now: float) -> Sequence[int]:
        """Ends the leases whose time has come, each in a revision of its own; returns them."""
        ended = [lease for (lease,) in self._execute("SELECT id FROM leases WHERE deadline <= ? ORDER BY deadline, id", (now,)).fetchall()]
        for lease in ended:
            self.revoke(lease)
        return ended

    def rearm(self, now: float) -> int:
        """Gives every lease its full time anew; returns how many there are."""
        return self._execute("UPDATE leases SET deadline = ttl + ?", (now,)).rowcount

    def compact(self, revision: int) -> None:
        current = self.revision()
        if revision > current:
            raise InvalidInput(f"cannot compact to revision {revision}: the store is at {current}")
        self._execute("UPDATE meta SET compacted = ? WHERE compacted < ?", (revision, revision))
        self._execute("DELETE FROM history WHERE id < ?", ((revision + 1) << POSITION_BITS,))

    def sizes(self) -> tuple[int, int]:
        """Bytes of the file, and those of it that hold something."""
        size, pages = self._number("PRAGMA page_size"), self._number("PRAGMA page_count")
        return size * pages, size * (pages - self._number("PRAGMA freelist_count"))

    def trim(self) -> None:
        """Compacts what is further back than is kept for watchers that were away."""
        current = self.revision()
        oldest = current - self._keep_revisions
        total = 0
        rows = self._execute(
            "SELECT id, coalesce(length(value), 0) + coalesce(length(old_value), 0) FROM history WHERE id >= ? ORDER BY id DESC",
            ((oldest + 1) << POSITION_BITS,),
        )
        for number, length in rows:
            total += length
            if total > self._keep_bytes:
                oldest = min(number >> POSITION_BITS, current - 1)
                break
        rows.close()
        if oldest > 0:
            self.compact(oldest)

    def news(self, after: int, limit: int) -> News:
        """What happened after a revision, about `limit` events of it, whole revisions only. Raises HistoryGone."""
        revision, compacted, identity = self._execute("SELECT revision, compacted, identity FROM meta").fetchone()
        if after < compacted:
            raise HistoryGone(f"the history after revision {after} is gone: it begins after {compacted}", remedy="list again, then watch")
        batches: list[Batch] = []
        events: list[Event] = []
        at = after
        rows = self._execute("SELECT * FROM history WHERE id >= ? ORDER BY id", ((after + 1) << POSITION_BITS,))
        for number, key, value, created, lease, *old in rows:
            if number >> POSITION_BITS != at:
                if events:
                    batches.append(Batch(at, tuple(events)))
                    limit -= len(events)
                    events = []
                if limit <= 0:
                    break
                at = number >> POSITION_BITS
            record = None if value is None else Record(key, value, created, at, lease)
            events.append(Event(key, record, None if old[0] is None else Record(key, *old)))
        else:
            if events:
                batches.append(Batch(at, tuple(events)))
            at = max(revision, after)
        rows.close()
        return News(tuple(batches), at, revision, compacted, identity)

    def _write(self, writes: Sequence[Write]) -> int:
        current = self.revision()
        revision = current + 1
        number = revision << POSITION_BITS
        for write in self._single(writes):
            row = self._row(write.key)
            if isinstance(write, Put):
                created = row[1] if row else revision
                self._execute(
                    "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (key) DO UPDATE SET value = ?2, modified = ?4, lease = ?5",
                    (write.key, write.value, created, revision, write.lease),
                )
                event = (number, write.key, write.value, created, write.lease, *(row or (None,) * 4))
            elif row:
                self._execute("DELETE FROM records WHERE key = ?", (write.key,))
                event = (number, write.key, None, None, None, *row)
            else:
                continue
            self._untrimmed_bytes += len(event[2] or b"") + len(event[5] or b"")
            self._execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", event)
            number += 1
        if number == revision << POSITION_BITS:
            return current
        self._execute("UPDATE meta SET revision = ?", (revision,))
        self.wrote = True
        self._untrimmed += 1
        if self._untrimmed * 10 >= self._keep_revisions or self._untrimmed_bytes * 10 >= self._keep_bytes:
            self._untrimmed = self._untrimmed_bytes = 0
            self.trim()
        return revision

    def _single(self, writes: Sequence[Write]) -> Iterator[Put | Delete]:
        """The writes with each DeletePrefix as the deletions it stands for."""
        for write in writes:
            if isinstance(write, DeletePrefix):
                end = prefix_end(write.prefix)
                query = "SELECT key FROM records WHERE key >= ? AND (key < ? OR ? = '') ORDER BY key"
                for (key,) in self._execute(query, (write.prefix, end, end)).fetchall():
                    yield Delete(key)
            else:
                yield write

    def _row(self, key: str) -> Row | None:
        row: Row | None = self._execute("SELECT value, created, modified, lease FROM records WHERE key = ?", (key,)).fetchone()
        return row

    def _ttl(self, lease: int) -> float:
        row = self._execute("SELECT ttl FROM leases WHERE id = ?", (lease,)).fetchone()
        if row is None:
            raise LeaseLost(f"lease {lease} has ended, or never was", remedy="grant a new one and write its keys again")
        return float(row[0])

    def _empty(self) -> bool:
        return self._number("SELECT count(*) FROM sqlite_schema") == 0

    def _number(self, query: str) -> int:
        return int(self._execute(query).fetchone()[0])
