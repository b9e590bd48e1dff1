"""What clients send: bodies, with patience for slow clients but not for silent ones, and queries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec
from aiohttp import web

from argosy.errors import InvalidInput, TooLarge
from argosy.web.errors import Malformed, Slow, WrongType
from argosy.web.limits import LIMITS

T = TypeVar("T")

LARGEST_BODY = 8 * 1024 * 1024
"""Bytes that a body may have where an API does not say otherwise."""


async def pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises Slow for a client that has fallen silent, and Malformed for a body that ends too early."""
    content = request.content
    silence = request.app[LIMITS].silence
    while True:
        try:
            async with asyncio.timeout(silence):
                piece = await content.readany()
        except TimeoutError:
            raise Slow(f"nothing came for {silence:g} s") from None
        except (web.PayloadAccessError, web.RequestPayloadError) as error:
            raise _truncated() from error
        if not piece:
            break
        yield piece
    if content.exception() is not None:
        raise _truncated()


def _truncated() -> Malformed:
    return Malformed("the body is malformed, or ended before the bytes that were announced")


async def whole(request: web.Request, limit: int = LARGEST_BODY) -> bytes:
    """The body, of at most `limit` bytes. Raises TooLarge, Slow and Malformed."""
    if (request.content_length or 0) > limit:
        raise TooLarge(f"the body has {request.content_length} bytes; at most {limit} are taken")
    content = request.content
    if content.is_eof() and content.exception() is None and content.total_bytes <= limit:  # it has come with the head
        return content.read_nowait()
    taken = bytearray()
    patience = request.app[LIMITS].body
    try:
        async with asyncio.timeout(patience):
            async for piece in pieces(request):
                taken += piece
                if len(taken) > limit:
                    raise TooLarge(f"the body has more than {limit} bytes")
    except TimeoutError:
        raise Slow(f"the body did not arrive within {patience:g} s") from None
    return bytes(taken)


async def body_as(request: web.Request, kind: type[T], limit: int = LARGEST_BODY, *, remedy: str = "") -> T:
    """The body as JSON of that shape. It must be called JSON, which makes a browser ask first. Raises WrongType, TooLarge, and InvalidInput
    that names the field."""
    if request.content_type != "application/json":
        raise WrongType("the body must be JSON", remedy="send Content-Type: application/json")
    content = await whole(request, limit)
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body is not valid: {error}", remedy=remedy) from error


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
