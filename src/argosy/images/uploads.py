"""Uploads: begun, continued and finished by any registry on the store.

Data goes once, streaming, to the object that will hold it for good. What an upload holds is told by its last step (records.UploadStep);
each step is created once, so that of two clients or machines that go on from the same place exactly one wins and the other is told 416.
A piece that does not arrive whole leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterable

import msgspec

from argosy.images.blobs import Blobs
from argosy.images.names import Digest
from argosy.images.storage import Storage
from argosy.reconcile import Clock


class Upload(msgspec.Struct, frozen=True):
    """`size`: bytes that it holds."""

    id: str
    repository: str
    size: int


class Uploads:
    def __init__(self, storage: Storage, blobs: Blobs, clock: Clock) -> None: ...

    async def begin(self, repository: str, algorithm: str = "sha256") -> Upload: ...

    async def find(self, repository: str, id_: str) -> Upload:
        """Raises Fault BLOB_UPLOAD_UNKNOWN, also for an upload of another repository."""

    async def append(self, upload: Upload, content: AsyncIterable[bytes], *, size: int | None = None) -> Upload:
        """`size`: what was announced. Raises Fault SIZE_INVALID if another number of bytes came, 416 if somebody else went on meanwhile."""

    async def finish(self, upload: Upload, digest: Digest, content: AsyncIterable[bytes] | None = None, *, size: int | None = None) -> None:
        """Takes in the last piece, if there is one, verifies the digest and makes the blob visible in the repository. Raises Fault
        DIGEST_INVALID; the upload is then gone."""

    async def cancel(self, upload: Upload) -> None: ...

    async def put(self, repository: str, digest: Digest, content: AsyncIterable[bytes], *, size: int | None = None) -> None:
        """A whole blob at once: begin and finish. Nothing is left behind if it fails."""
