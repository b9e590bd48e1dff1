"""Manifests and tags of repositories."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from argosy.images.blobs import Blobs
from argosy.images.names import Digest
from argosy.images.storage import Storage


class Manifest(msgspec.Struct, frozen=True):
    """`content` is byte for byte what was pushed."""

    digest: Digest
    media_type: str
    content: bytes


class Pushed(msgspec.Struct, frozen=True):
    digest: Digest
    subject: Digest | None
    """The manifest that this one refers to, if any: it is listed among that one's referrers from now on."""


class Manifests:
    def __init__(self, storage: Storage, blobs: Blobs) -> None: ...

    async def find(self, repository: str, reference: str | Digest) -> Manifest | None:
        """By tag or digest. Never stale: a tag that was moved by another registry is seen at once."""

    async def put(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: Digest | None = None,
        tags: Sequence[str] = (),
        sparse: bool = False,
    ) -> Pushed:
        """Stores a manifest, then its tags. `digest`: what the client says it is (None: sha256 of it). `sparse`: what it refers to need not
        be here (a mirror that takes things in as they are asked for). Raises Fault MANIFEST_INVALID, DIGEST_INVALID, and
        MANIFEST_BLOB_UNKNOWN for each blob and manifest that is missing."""

    async def delete(self, repository: str, digest: Digest) -> bool:
        """The manifest, the tags that stand for it and its place among referrers. False: there is none."""

    async def untag(self, repository: str, tag: str) -> bool:
        """False: there is no such tag."""

    async def tag_digest(self, repository: str, tag: str) -> Digest | None: ...

    async def referrers(self, repository: str, subject: Digest, last: str = "") -> tuple[list[bytes], str]:
        """A page of descriptors (JSON each), sorted by digest, after `last`; and the `last` of the next page, "" if this is the end."""
