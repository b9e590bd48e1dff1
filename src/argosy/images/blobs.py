"""Blobs: finding, reading, taking in, mounting and removing them. See docs/images.md, "Layout in the store".

A blob that garbage collection has condemned is unknown to whoever pushes (`find(..., pushing=True)`, `mount`), so that it is pushed again;
`adopt` then takes it out of the condemned. One that is being removed (doomed) cannot be adopted: 503, come back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from argosy.images.names import Digest
from argosy.images.records import BlobRecord
from argosy.images.storage import Storage


class Blob(msgspec.Struct, frozen=True):
    digest: Digest
    record: BlobRecord

    @property
    def size(self) -> int:
        return self.record.size


class Blobs:
    def __init__(self, storage: Storage) -> None: ...

    async def find(self, repository: str, digest: Digest, *, pushing: bool = False) -> Blob | None:
        """The blob, if this repository may give it out. `pushing`: the question is whether it must be pushed."""

    async def find_all(self, repository: str, digests: Sequence[Digest]) -> set[Digest]:
        """Those of them that a manifest in this repository may refer to."""

    async def adopt(self, repository: str, digest: Digest, record: BlobRecord) -> bool:
        """Makes an uploaded, verified blob visible in the repository. False: the store had it already, under parts of its own; those of
        `record` are not needed. Raises Fault UNAVAILABLE while the old one is being removed."""

    async def mount(self, repository: str, digest: Digest, source: str) -> bool:
        """Makes a blob of repository `source` visible in this one. False: there is none (any more)."""

    async def unlink(self, repository: str, digest: Digest) -> bool:
        """The repository gives it out no longer; its data stays until garbage collection. False: it did not."""

    def read(self, blob: Blob, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`."""
