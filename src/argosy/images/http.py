"""The OCI distribution API (1.1) and Docker's registry API v2 over a Registry, as an aiohttp application.

Two seams. **Access control** is a middleware: middlewares given to `application` run inside the one that tells errors, so they raise Fault
(UNAUTHORIZED with headers={"WWW-Authenticate": …}, DENIED, TOOMANYREQUESTS); `request[TARGET]` says what is asked for, with valid names.
**A mirror** is a Filler: it is asked for what the store does not have, and whether a tag has moved.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from argosy import __version__
from argosy.errors import ArgosyError
from argosy.images import faults, target
from argosy.images.bodies import LIMITS, PATIENT, Limits
from argosy.images.faults import Code, Fault
from argosy.images.filler import Filler
from argosy.images.http_blobs import BlobDoor
from argosy.images.http_manifests import ManifestDoor
from argosy.images.registry import Registry
from argosy.images.target import TARGET, Target

__all__ = ["PATIENT", "TARGET", "Filler", "Limits", "Target", "application"]

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(
    registry: Registry,
    *,
    middlewares: Sequence[Middleware] = (),
    filler: Filler | None = None,
    limits: Limits = PATIENT,
    anonymous_mounts: bool | None = None,
) -> web.Application:
    """Everything beneath /v2/. `anonymous_mounts`: whether POST ?mount=<digest> without `from` finds the blob in whichever repository has
    it, which tells those who may not read that one; None: only where there are no middlewares, hence no access control."""
    app = web.Application(middlewares=[_guard, *middlewares], client_max_size=0)
    app[LIMITS] = limits
    app.on_response_prepare.append(_signed)
    blobs = BlobDoor(registry, filler, not middlewares if anonymous_mounts is None else anonymous_mounts)
    handlers = _handlers(blobs, ManifestDoor(registry, filler))

    async def dispatch(request: web.Request) -> web.StreamResponse:
        kind = request[TARGET].kind
        handler = handlers[kind].get(request.method)
        if handler is None:
            allowed = ", ".join(sorted(handlers[kind]))
            raise Fault(Code.UNSUPPORTED, f"{request.method} is not served here", remedy=f"use {allowed}", headers={"Allow": allowed})
        return await handler(request)

    app.router.add_route("*", "/v2{path:(?:/.*)?}", dispatch)
    return app


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


async def _signed(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = f"argosy/{__version__}"
    response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    response.headers["X-Content-Type-Options"] = "nosniff"


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: reads what is asked for, and tells every error as the specification has it, without a traceback."""
    try:
        if request.path.startswith("/v2"):
            request[TARGET] = target.parse(request.path, request.query)
        return await handler(request)
    except web.HTTPException as error:
        fault = Fault(Code.UNSUPPORTED, error.reason, status=error.status)
    except ArgosyError as error:
        fault = faults.of(error)
        if error.status >= 500:
            log.warning("%s %s: %s", request.method, request.path, error)
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        fault = Fault(Code.UNKNOWN, "this is a defect in argosy; its log says more")
    return web.Response(status=fault.status, headers=fault.headers, body=faults.told(fault), content_type="application/json")
