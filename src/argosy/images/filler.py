"""The seam for a mirror: who is asked for what the store does not have."""

from __future__ import annotations

from typing import Protocol

from argosy.images.blobs import Blob
from argosy.images.manifests import Manifest
from argosy.images.names import Digest


class Filler(Protocol):
    """A mirror of an upstream registry. It stores what it fetches through the Registry (`uploads.put`, `manifests.put(sparse=True)`)."""

    async def manifest(self, repository: str, reference: str | Digest, known: Manifest | None) -> Manifest | None:
        """Asked for every tag, and for digests that are not here (`known` None). What is to be answered: `known` if it still holds."""

    async def blob(self, repository: str, digest: Digest) -> Blob | None:
        """Asked for blobs that are not here."""
