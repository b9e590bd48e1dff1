"""What the registry asks of a store of objects. Drivers: folder.py (a folder) and objects.py (Azure Blob, S3, Google Cloud Storage, memory
through obstore); tests/contracts/storage_contract.py is what both keep.

Keys are slash-separated and come from layout.py only; none continues another one with a slash. An object appears whole or not at all and is
seen by every process that shares the store from the moment that `put`, `create` or `Writer.close` returns; lists show it as well.

Errors of every call: StoreUnavailable (cannot be reached, refuses the credentials, ...) and StorageFull.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec


class Hash(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class Entry(msgspec.Struct, frozen=True, order=True):
    """An object in a list. `size` in bytes; `modified` is when it was written last, by the store's clock, with a time zone.
    `version` is another one after each write ("": the store does not tell)."""

    key: str
    size: int
    modified: datetime
    version: str = ""


class Children(msgspec.Struct, frozen=True):
    """What lies directly beneath a prefix, names only, each sorted: objects, and prefixes that hold something."""

    objects: tuple[str, ...]
    prefixes: tuple[str, ...]


class Writer(Protocol):
    """Writes one object. Nothing of it is visible before `close` has returned; without `close`, nothing ever is."""

    async def write(self, pieces: Sequence[bytes], *hashes: Hash) -> None:
        """Appends, and feeds the same bytes to `hashes`, both off the event loop. Wants pieces of a megabyte or so in sum."""

    async def close(self) -> None:
        """Makes the object visible, durably."""

    async def abort(self) -> None:
        """Forgets what was written. Also after a `write` that failed or was cancelled, and (without effect) after `close`."""


class Storage(Protocol):
    @property
    def url(self) -> str:
        """Where it is, without secrets."""

    @property
    def part_limit(self) -> int:
        """How many bytes one Writer takes; 0: any number."""

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The content of each, None where there is no such object: one round trip for all of them. For small objects."""

    async def put(self, key: str, content: bytes) -> None:
        """Writes or replaces; `modified` becomes now."""

    async def create(self, key: str, content: bytes) -> bool:
        """Writes unless there is one already (False). Of several at once, exactly one is told True."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Those that are gone already are no error."""

    async def stat(self, key: str) -> Entry | None: ...

    async def children(self, prefix: str) -> Children:
        """One level beneath `prefix`, which ends with a slash."""

    async def entries(self, prefix: str, after: str = "", limit: int = 0) -> list[Entry]:
        """All objects beneath `prefix` (at any depth) with keys greater than `after`, sorted by key; at most `limit` unless that is 0."""

    def walk(self, prefix: str) -> AsyncIterator[list[Entry]]:
        """All objects beneath `prefix` in batches, in no order: for collections that may be too large to hold."""

    def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end` (which lies within the object), in pieces of at most a few megabytes. FileNotFoundError on
        the first piece if there is no such object."""

    def writer(self, key: str) -> Writer: ...

    def path(self, key: str) -> Path | None:
        """The file that holds exactly this object, where the store is a folder: the kernel then sends it by itself."""

    async def tidy(self, before: datetime) -> int:
        """Removes what writers that died left behind unseen before that time; how many."""

    async def close(self) -> None: ...
