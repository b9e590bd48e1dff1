"""What all listeners do with a request before and after their own work: how much may be sent, how errors are told, what is counted.
Who may ask is decided by `argosy.web.admission`. JSON is taken only when it is called JSON, which makes a browser ask first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from argosy import __version__
from argosy.errors import ArgosyError, InvalidInput, TooLarge
from argosy.web.admission import Admission

log = logging.getLogger(__name__)

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LARGEST_BODY = 8 * 1024 * 1024
"""Bytes of a request's body, for a batch of units."""

RETRY_AFTER = "1"
"""Seconds, for clients that ask while the store is away."""

_encoder = msgspec.json.Encoder()


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong: the HTTP status again, which input broke which rule, and what to do next."""

    code: int
    message: str
    remedy: str = ""


class Failure(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: Fault


class Limits(msgspec.Struct, frozen=True):
    """Seconds: that a client may take to send a request's body, and between two signs of life in a stream that has nothing to say."""

    body: float = 30.0
    beat: float = 10.0


PATIENT = Limits()
LIMITS = web.AppKey("limits", Limits)


def answer(value: object, status: int = 200) -> web.Response:
    """JSON, UTF-8."""
    return web.Response(body=_encoder.encode(value), status=status, content_type="application/json")


def failure(status: int, message: str, remedy: str = "") -> web.Response:
    response = answer(Failure(Fault(status, message, remedy)), status)
    if status == 503:
        response.headers["Retry-After"] = RETRY_AFTER
    return response


Failed = Callable[[int, str, str], web.Response]
"""The answer to a failure, given its status, message and remedy."""


async def body(request: web.Request, limit: int = LARGEST_BODY) -> bytes:
    """The request's body. Raises TooLarge above `limit` bytes and InvalidInput for a client that does not get it sent."""
    if (request.content_length or 0) > limit:
        raise TooLarge(f"the body has {request.content_length} bytes; at most {limit} are taken")
    taken = bytearray()
    patience = request.app[LIMITS].body
    try:
        async with asyncio.timeout(patience):
            async for piece in request.content.iter_any():
                taken += piece
                if len(taken) > limit:
                    raise TooLarge(f"the body has more than {limit} bytes")
    except TimeoutError:
        raise Slow(f"the body did not arrive within {patience:g} s") from None
    return bytes(taken)


class Slow(InvalidInput):
    """408: a client that takes too long to say what it wants."""

    status = 408


class WrongType(InvalidInput):
    """415: a body that is not called JSON."""

    status = 415


async def body_as(request: web.Request, kind: type[T], limit: int = LARGEST_BODY) -> T:
    """The body as JSON of that shape. Raises WrongType, TooLarge and InvalidInput that names the field."""
    if request.content_type != "application/json":
        raise WrongType("the body must be JSON", remedy="send Content-Type: application/json")
    content = await body(request, limit)
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body is not valid: {error}", remedy="see /argosy/v1/openapi.json for its shape") from error


def query_as(request: web.Request, kind: type[T]) -> T:
    """The query string as that struct: each field at most once unless it is a list. Raises InvalidInput that names the parameter."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}  # type: ignore[arg-type]
    given: dict[str, object] = {}
    for name in request.query:
        if name == "alt":
            continue
        if name not in fields:
            raise InvalidInput(f"there is no parameter {name!r} here", remedy=f"there are: {', '.join(fields) or 'none'}")
        values = request.query.getall(name)
        if getattr(fields[name], "__origin__", None) is list:
            given[name] = values
        elif len(values) == 1:
            given[name] = values[0]
        else:
            raise InvalidInput(f"parameter {name!r} is given {len(values)} times", remedy="give it once")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"a parameter is not valid: {error}") from error


async def signed(request: web.Request, response: web.StreamResponse) -> None:
    """Says who answers, and not what it is made of."""
    response.headers["Server"] = f"argosy/{__version__}"


def guarded(door: str, counted: Callable[[str, int], None], admission: Admission, failed: Failed = failure) -> Middleware:
    """The outermost middleware of a listener: asks `admission`, tells every error as `failed` words it, without a traceback, counts."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            await admission.check(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = failed(error.status, _said(error), "")
            if isinstance(error, web.HTTPMethodNotAllowed):
                response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        except ArgosyError as error:
            response = failed(error.status, error.message, error.remedy)
            if error.status >= 500:  # the store away is known already, and asked about all the time
                log.log(logging.DEBUG if error.status == 503 else logging.WARNING, "%s %s: %s", request.method, request.path, error)
        except web.RequestPayloadError as error:
            log.debug("%s %s: its body is no HTTP (%s)", request.method, request.path, type(error).__name__)
            response = failed(400, "the body is malformed HTTP", "")
            response.force_close()
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            response = failed(500, "this is a defect in argosy; its log says more", "")
        counted(door, response.status)
        return response

    return guard


def _said(error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPNotFound):
        return "there is nothing at this path"
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{error.method} is not possible here"
    return error.reason
