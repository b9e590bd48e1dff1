"""The OCI distribution API (1.1) and Docker's registry API v2 over a Registry.

Two seams. **Access control** is a middleware, which raises Fault (UNAUTHORIZED with headers={"WWW-Authenticate": …}, DENIED,
TOOMANYREQUESTS); `request[TARGET]` says what is asked for, with valid names. **A mirror** is a Filler: it is asked for what the store does
not have, and whether a tag has moved.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from argosy.images import target
from argosy.images.faults import Code, Fault, failed
from argosy.images.filler import Filler
from argosy.images.http_blobs import BlobDoor
from argosy.images.http_manifests import ManifestDoor
from argosy.images.registry import Registry
from argosy.images.target import TARGET
from argosy.web.errors import Handler
from argosy.web.limits import Limits
from argosy.web.server import HttpApi, Route

LIMITS = Limits(closing=5.0, line=32 * 1024, field=32 * 1024, buffer=1024 * 1024)
"""`buffer`: of a body, while a thread hashes and writes the bytes before."""

HEADERS = {"Docker-Distribution-Api-Version": "registry/2.0", "X-Content-Type-Options": "nosniff"}


def registry_api(
    registry: Registry,
    *,
    routes: Sequence[Route] = (),
    middlewares: Sequence[Middleware] = (),
    filler: Filler | None = None,
    limits: Limits = LIMITS,
    anonymous_mounts: bool | None = None,
) -> HttpApi:
    """Everything beneath /v2/, and further `routes`. `anonymous_mounts`: whether POST ?mount=<digest> without `from` finds the blob in
    whichever repository has it, which tells those who may not read that one; None: only where there are no middlewares, hence no access
    control."""
    blobs = BlobDoor(registry, filler, not middlewares if anonymous_mounts is None else anonymous_mounts)
    handlers = _handlers(blobs, ManifestDoor(registry, filler))

    async def dispatch(request: web.Request) -> web.StreamResponse:
        kind = request[TARGET].kind
        handler = handlers[kind].get(request.method)
        if handler is None:
            allowed = ", ".join(sorted(handlers[kind]))
            raise Fault(Code.UNSUPPORTED, f"{request.method} is not served here", remedy=f"use {allowed}", headers={"Allow": allowed})
        return await handler(request)

    return HttpApi(
        [Route("*", "/v2{path:(?:/.*)?}", dispatch), *routes],
        failed,
        limits,
        middlewares=[_read_target, *middlewares],
        headers=HEADERS,
        cancels=False,
    )


@web.middleware
async def _read_target(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path.startswith("/v2"):
        request[TARGET] = target.parse(request.path, request.query)
    return await handler(request)


def _handlers(blobs: BlobDoor, manifests: ManifestDoor) -> dict[str, dict[str, Handler]]:
    return {
        "base": {"GET": _base, "HEAD": _base},
        "catalog": {"GET": manifests.catalog},
        "manifest": {"GET": manifests.get, "HEAD": manifests.get, "PUT": manifests.put, "DELETE": manifests.delete},
        "tags": {"GET": manifests.tags},
        "referrers": {"GET": manifests.referrers},
        "images": {"GET": manifests.images},
        "blob": {"GET": blobs.get, "HEAD": blobs.head, "DELETE": blobs.delete},
        "uploads": {"POST": blobs.begin},
        "upload": {"GET": blobs.status, "PATCH": blobs.append, "PUT": blobs.finish, "DELETE": blobs.cancel},
    }


async def _base(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"{}", content_type="application/json")
