"""The seam for a mirror: who is asked for what the store does not have."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple, Protocol

from argosy.images.blobs import Blob
from argosy.images.manifests import Manifest
from argosy.images.names import Digest


class Flow(Protocol):
    """A blob that is on its way into the store: `size` bytes, which `pieces` yields as they come. It raises if they stop coming."""

    @property
    def size(self) -> int: ...

    def pieces(self) -> AsyncGenerator[bytes, None]: ...


class Found(NamedTuple):
    """`manifest`: what is to be answered, None if there is none. `warning`: what the client should know about it ("": nothing)."""

    manifest: Manifest | None
    warning: str = ""


class Page(NamedTuple):
    """A page of an upstream's list, as it sent it, and the query of the next one ({}: this is the end)."""

    entries: list[Any]
    following: dict[str, str]


class Filler(Protocol):
    """A mirror of an upstream registry. It stores what it fetches through the Registry (`uploads.put`, `manifests.put(sparse=True)`). Every
    call raises UpstreamRefuses for what upstream does not let it see."""

    async def manifest(self, repository: str, reference: str | Digest, known: Manifest | None) -> Found:
        """Asked for every tag, and for digests that are not here (`known` None). What is to be answered: `known` if it still holds, or if
        upstream is away. Raises UpstreamAway if it is away and nothing is known."""

    async def page(self, path: str, scope: str, field: str, query: Mapping[str, str]) -> Page | None:
        """Upstream's list at `path` (beneath /v2/), whose entries are in `field`; None while it is away. Raises UpstreamAbsent."""

    def warning(self) -> str:
        """What a client should know about a list that is answered without upstream."""

    async def blob(self, repository: str, digest: Digest) -> Blob | None:
        """Asked for blobs that are not here, a part of which is wanted: returns when all of it is."""

    async def flow(self, repository: str, digest: Digest) -> Blob | Flow | None:
        """The same for a blob that is wanted whole: a Flow where it can be sent while it comes; its `pieces` must be asked for."""

    async def size(self, repository: str, digest: Digest) -> int | None:
        """Of a blob that is not here, without fetching it."""
