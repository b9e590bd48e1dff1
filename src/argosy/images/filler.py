"""The seam for a mirror: who is asked for what the store does not have."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from argosy.images.blobs import Blob
from argosy.images.manifests import Manifest
from argosy.images.names import Digest


class Flow(Protocol):
    """A blob that is on its way into the store: `size` bytes, which `pieces` yields as they come. It raises if they stop coming."""

    @property
    def size(self) -> int: ...

    def pieces(self) -> AsyncGenerator[bytes, None]: ...


class Filler(Protocol):
    """A mirror of an upstream registry. It stores what it fetches through the Registry (`uploads.put`, `manifests.put(sparse=True)`)."""

    async def manifest(self, repository: str, reference: str | Digest, known: Manifest | None) -> Manifest | None:
        """Asked for every tag, and for digests that are not here (`known` None). What is to be answered: `known` if it still holds."""

    async def blob(self, repository: str, digest: Digest) -> Blob | None:
        """Asked for blobs that are not here, a part of which is wanted: returns when all of it is."""

    async def flow(self, repository: str, digest: Digest) -> Blob | Flow | None:
        """The same for a blob that is wanted whole: a Flow where it can be sent while it comes; its `pieces` must be asked for."""

    async def size(self, repository: str, digest: Digest) -> int | None:
        """Of a blob that is not here, without fetching it."""
