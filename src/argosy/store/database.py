"""One SQLite file, opened, watched over and closed: everything that can go wrong with a file becomes StoreUnavailable.

Used by one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from argosy.errors import ArgosyError, StoreFull, StoreUnavailable
from argosy.store.bell import SUFFIX, Bell
from argosy.store.tables import Tables

MEMORY = ":memory:"

LOCK_TIMEOUT = 3.0
"""Seconds to wait for another process that is writing."""

Work = Callable[[Tables], Any]

_opening = threading.Lock()
"""Within one process, files are opened one after the other: who makes the tables, makes them alone."""

_REMEDIES = {
    "SQLITE_FULL": "make room on its disk; it goes on by itself",
    "SQLITE_BUSY": "see which process holds it: fuser FILE",
    "SQLITE_READONLY": "let this user write the file and its folder",
    "SQLITE_CANTOPEN": "let this user write the file and its folder",
    "SQLITE_CORRUPT": "stop all that use it and put a backup in its place",
    "SQLITE_NOTADB": "stop all that use it and put a backup in its place",
    "SQLITE_IOERR": "look at the disk it is on; it goes on by itself",
}
_OF_THE_FILE = {sqlite3.OperationalError, sqlite3.DatabaseError, sqlite3.InternalError}
"""Errors that concern the whole transaction; anything else concerns one piece of work."""

_CONNECTION_STAYS = {"SQLITE_FULL", "SQLITE_BUSY", "SQLITE_CONSTRAINT"}


class Database:
    """`apply` runs pieces of work in one transaction. Opens the file when first needed, and anew after a failure that calls for it."""

    def __init__(self, path: str, *, writes: bool, create: bool, patience: float = LOCK_TIMEOUT) -> None:
        self.path = path
        self.bell: Bell | None = None
        self.bell_path = ""
        self._writes = writes
        self._patience = patience
        self._create = create and writes
        self._connection: sqlite3.Connection | None = None
        self._tables: Tables | None = None
        self.inode: tuple[int, int] | None = None
        self._wal: tuple[int, int] | None = None
        self._durable = True

    def apply(self, works: Sequence[Work], durable: bool) -> Sequence[Any]:
        """The result of each piece of work, or the exception it raised (then it changed nothing).

        Raises StoreUnavailable when none of them is known to have happened. `durable`: on the disk when this returns, not only safe
        from the end of this process.
        """
        try:
            tables, connection = self._open()
            if self._writes and durable != self._durable:
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            connection.execute("BEGIN IMMEDIATE" if self._writes else "BEGIN")
            results = [self._do(work, tables, connection) for work in works]
            if self._writes:
                self.check()
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error
        except StoreUnavailable:
            self._rollback()
            raise
        if tables.wrote:
            tables.wrote = False
            if self.bell is not None:
                self.bell.ring()
        return results

    def check(self) -> None:
        """Raises StoreUnavailable unless the path still leads to the file that is open."""
        if self.path == MEMORY:
            return
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise StoreUnavailable(
                f"store {self.path} is not there: {error.strerror}", remedy="put it back; it goes on by itself"
            ) from error
        if self.inode is not None and (found.st_dev, found.st_ino) != self.inode:
            wal = os.path.realpath(self.path) + "-wal"
            if _inode(wal) == self._wal:  # what stands there would be mixed into the new file
                remedy = f"stop all that use it, remove {wal}, start them again"
                raise StoreUnavailable(f"store {self.path} has been replaced by another file, but not its -wal", remedy=remedy)
            self.close()
            raise StoreUnavailable(f"store {self.path} has been replaced by another file", remedy="it is opened next")

    def close(self) -> None:
        """The next `apply` opens it again."""
        connection, self._connection, self._tables, self.inode = self._connection, None, None, None
        if self.bell is not None:
            self.bell.close()
            self.bell = None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _do(self, work: Work, tables: Tables, connection: sqlite3.Connection) -> Any:
        if not self._writes:
            try:
                return work(tables)
            except ArgosyError as error:
                return error
        connection.execute("SAVEPOINT piece")
        try:
            result = work(tables)
        except Exception as error:
            if type(error) in _OF_THE_FILE:
                raise
            result = error
            connection.execute("ROLLBACK TO piece")
        connection.execute("RELEASE piece")
        return result

    def _open(self) -> tuple[Tables, sqlite3.Connection]:
        if self._tables is not None and self._connection is not None:
            self.check()
            return self._tables, self._connection
        if self.path == MEMORY:
            connection = sqlite3.connect(MEMORY, isolation_level=None, check_same_thread=False)
            tables = Tables(connection)
            tables.prepare()
        else:
            with _opening:
                connection, tables = self._open_file()
        self._connection, self._tables, self._durable = connection, tables, True
        return tables, connection

    def _open_file(self) -> tuple[sqlite3.Connection, Tables]:
        if self._create:
            self._make_file()
        self.check()
        self._create = False  # from here on a missing file is a fault, never a new beginning
        real = os.path.realpath(self.path)
        found = os.stat(real)
        connection = sqlite3.connect(
            f"{Path(real).as_uri()}?mode={'rw' if self._writes else 'ro'}",
            uri=True,
            timeout=self._patience,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            tables = Tables(connection)
            if fault := tables.fault():
                raise StoreUnavailable(f"store {self.path} {fault}", remedy="name another file, or use the program that made it")
            if self._writes:
                _set_wal(connection, self._patience)
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("BEGIN IMMEDIATE")
                tables.prepare()
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self.inode, self._wal = (found.st_dev, found.st_ino), _inode(real + "-wal")
        self.bell_path = real + SUFFIX
        if self._writes:
            self.bell = Bell(self.bell_path)
        return connection, tables

    def _make_file(self) -> None:
        """An empty file that only this user may read. Never opened here: closing it would drop SQLite's locks on it.

        A link into a folder that does not exist stands for a store that is away: nothing is made there.
        """
        try:
            os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mknod(os.path.realpath(self.path), 0o600 | stat.S_IFREG)
        except OSError as error:
            raise StoreUnavailable(f"store {self.path} cannot be made: {error.strerror}") from error

    def _rollback(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _failed(self, error: sqlite3.Error) -> StoreUnavailable:
        name = getattr(error, "sqlite_errorname", "") or ""
        kind = "_".join(name.split("_")[:2])
        self._rollback()
        if kind not in _CONNECTION_STAYS:
            self.close()
        unavailable = StoreFull if kind == "SQLITE_FULL" else StoreUnavailable
        return unavailable(f"store {self.path}: {error}{f' [{name}]' if name else ''}", remedy=_REMEDIES.get(kind, ""))


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Changing the mode needs the file alone for a moment, and SQLite does not wait for that by itself."""
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if not getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
