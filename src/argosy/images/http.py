"""The OCI distribution API (1.1) and Docker's registry API v2 over a Registry, as an aiohttp application.

Two seams. **Access control** is a middleware: middlewares given to `application` run inside the one that tells errors, so they raise Fault
(UNAUTHORIZED with headers={"WWW-Authenticate": …}, DENIED, TOOMANYREQUESTS); `request[TARGET]` says what is asked for, with valid names.
**A mirror** is a Filler: it is asked for what the store does not have, and whether a tag has moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from argosy.images.blobs import Blob
from argosy.images.manifests import Manifest
from argosy.images.names import Digest
from argosy.images.registry import Registry


class Target(msgspec.Struct, frozen=True):
    """What a request is about. `kind`: base, catalog, manifest, blob, uploads, upload, tags or referrers; `repository`: "" for the first
    two; `reference`: a tag, a digest or the id of an upload; `source`: of a mount, the repository to read from ("" otherwise)."""

    kind: str
    repository: str = ""
    reference: str = ""
    source: str = ""


TARGET: web.RequestKey[Target] = web.RequestKey("target", Target)


class Filler(Protocol):
    """A mirror of an upstream registry. It stores what it fetches through the Registry (`uploads.put`, `manifests.put(sparse=True)`)."""

    async def manifest(self, repository: str, reference: str | Digest, known: Manifest | None) -> Manifest | None:
        """Asked for every tag, and for digests that are not here (`known` None). What is to be answered: `known` if it still holds."""

    async def blob(self, repository: str, digest: Digest) -> Blob | None:
        """Asked for blobs that are not here."""


class Limits(msgspec.Struct, frozen=True):
    """Seconds: `silence` is how long a client may send nothing in the middle of a body, or take nothing of an answer; `manifest` how
    long it may take to send a whole manifest."""

    silence: float = 60.0
    manifest: float = 30.0


PATIENT = Limits()


def application(
    registry: Registry, *, middlewares: Sequence[Middleware] = (), filler: Filler | None = None, limits: Limits = PATIENT
) -> web.Application:
    """Everything beneath /v2/."""
    raise NotImplementedError
