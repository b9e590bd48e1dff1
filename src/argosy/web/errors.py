"""Failures: every error becomes one answer, worded as the API words its failures.

Whatever a handler raises is turned into an ArgosyError with status, message and remedy. The API's `failed` makes a body of it; the guard
adds what HTTP asks for (Allow, Retry-After, WWW-Authenticate) and counts. Nothing of a traceback leaves the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping

from aiohttp import web
from aiohttp.typedefs import Middleware

from argosy.errors import ArgosyError, InvalidInput
from argosy.web.admission import Admission
from argosy.web.answers import answer
from argosy.web.shapes import Failure, Fault

log = logging.getLogger(__name__)

RETRY_AFTER = "1"
"""Seconds, for clients that ask while something that answers need is away."""

BEGUN = web.RequestKey("begun", bool)
"""In the request once the head of its answer has been sent: nothing else can be answered then."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Failed = Callable[[ArgosyError], web.Response]
"""Words a failure as an API has it: makes the body of an answer from status, message and remedy."""


class HttpError(ArgosyError):
    """A failure with a status of its own, and headers that go with the answer."""

    def __init__(self, message: str, *, status: int, remedy: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.headers = dict(headers or {})


class Slow(InvalidInput):
    """408: a client that takes too long to send a body."""

    status = 408


class WrongType(InvalidInput):
    """415: a body of a type that is not taken."""

    status = 415


class Malformed(InvalidInput):
    """A body that is no HTTP, or that ends before the bytes that were announced. The connection is closed after the answer."""


def failure(error: ArgosyError) -> web.Response:
    """The wording of Argosy's own API and of fleet's: {"error": {"code": 404, "message": "…", "remedy": "…"}}."""
    return answer(Failure(Fault(error.status, error.message, error.remedy)), error.status)


def guard(listener: str, admission: Admission, failed: Failed, quiet: Collection[int], counted: Callable[[str, int], None]) -> Middleware:
    """The outermost middleware of a listener: asks `admission`, answers every error as `failed` words it, counts. `quiet`: statuses of 500
    and above whose cause is logged elsewhere."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            await admission.check(request)
            response = await handler(request)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            if BEGUN in request:
                raise _cut_off(request, error) from error
            response = _refusal(request, error, failed, quiet)
        counted(listener, response.status)
        return response

    return guarded


def _cut_off(request: web.Request, error: Exception) -> ConnectionResetError:
    """Hang up in the middle of an answer, so that nobody takes a part for the whole; returns what is to be raised."""
    if not isinstance(error, OSError | ArgosyError):
        log.error("%s %s failed", request.method, request.path, exc_info=error)
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("the answer could not be sent whole")


def _refusal(request: web.Request, raised: Exception, failed: Failed, quiet: Collection[int]) -> web.Response:
    error = _meaning(request, raised)
    response = failed(error)
    if isinstance(error, HttpError):
        response.headers.update(error.headers)
    if response.status == 503:
        response.headers.setdefault("Retry-After", RETRY_AFTER)
    if isinstance(error, Malformed):
        response.force_close()
    if error is raised and error.status >= 500:
        log.log(logging.DEBUG if error.status in quiet else logging.WARNING, "%s %s: %s", request.method, request.path, error)
    return response


def _meaning(request: web.Request, raised: Exception) -> ArgosyError:
    if isinstance(raised, ArgosyError):
        return raised
    if isinstance(raised, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(raised.allowed_methods))
        return HttpError(f"{raised.method} is not possible here", status=405, headers={"Allow": allowed})
    if isinstance(raised, web.HTTPNotFound):
        return HttpError("there is nothing at this path", status=404)
    if isinstance(raised, web.HTTPException):
        return HttpError(raised.reason, status=raised.status)
    if isinstance(raised, web.RequestPayloadError | web.PayloadAccessError):
        log.debug("%s %s: its body is no HTTP (%s)", request.method, request.path, type(raised).__name__)
        return Malformed("the body is malformed HTTP")
    log.error("%s %s failed", request.method, request.path, exc_info=raised)
    return HttpError("this is a defect in argosy; its log says more", status=500)
