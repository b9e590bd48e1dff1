"""Bodies of requests and answers: read with patience for slow clients but not for silent ones, sent by the kernel where that can be."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec
from aiohttp import web

from argosy.errors import ArgosyError, InvalidInput, StoreUnavailable
from argosy.images.blobs import Blob, Blobs, spans
from argosy.images.faults import Code, Fault
from argosy.images.filler import Flow
from argosy.images.storage import Storage

SENT_AT_ONCE = 2 * 1024 * 1024
"""Bytes that must be taken within `Limits.silence`, when the kernel sends."""

FETCHED_AT_ONCE = 1024 * 1024

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Limits(msgspec.Struct, frozen=True):
    """Seconds: `silence` is how long a client may send nothing in the middle of a body, or take nothing of an answer; `manifest` how
    long it may take to send a whole manifest."""

    silence: float = 60.0
    manifest: float = 30.0


PATIENT = Limits()


class Slow(InvalidInput):
    """408: a client that has fallen silent in the middle of a body."""

    status = 408


async def pieces(request: web.Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises Slow, and Fault SIZE_INVALID if it ends before what was announced."""
    content = request.content
    while True:
        try:
            async with asyncio.timeout(limits.silence):
                piece = await content.readany()
        except TimeoutError:
            raise Slow(f"nothing came for {limits.silence:g} s") from None
        except (web.PayloadAccessError, web.RequestPayloadError) as error:
            raise _truncated() from error
        if not piece:
            break
        yield piece
    if content.exception() is not None:
        raise _truncated()


async def whole(request: web.Request, limit: int, limits: Limits) -> bytes:
    """The body, if it has at most `limit` bytes. Raises Fault (413) and Slow."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    taken = bytearray()
    try:
        async with asyncio.timeout(limits.manifest):
            async for piece in pieces(request, limits):
                taken += piece
                if len(taken) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise Slow(f"the body did not arrive within {limits.manifest:g} s") from None
    return bytes(taken)


def _truncated() -> Fault:
    return Fault(Code.SIZE_INVALID, "the body ended before the bytes that were announced")


def _too_large(limit: int) -> Fault:
    return Fault(Code.MANIFEST_INVALID, f"a manifest has at most {limit} bytes", status=413)


def part_of(headers: Mapping[str, str], size: int, etag: str) -> tuple[int, int] | None:
    """What a Range header asks for, as start and end (exclusive); None: everything. Several ranges, and what is no range of bytes, are
    answered with everything, as HTTP allows. Raises Fault (416)."""
    text = headers.get("Range")
    if text is None or headers.get("If-Range", etag) != etag:
        return None
    found = _RANGE.fullmatch(text.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(size - int(found[2]), 0), size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    if start >= end:
        raise Fault(
            Code.SIZE_INVALID,
            f"the blob has {size} bytes; there are none at {text[:60]!r}",
            status=416,
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end


async def send(
    request: web.Request, response: web.StreamResponse, blobs: Blobs, storage: Storage, blob: Blob, start: int, end: int
) -> None:
    """Prepares the answer and sends these bytes of the blob. Raises FileNotFoundError, before anything is sent, if they are gone; what
    fails later ends the connection, so that nobody takes a part for the whole."""
    todo = spans(blob.record, start, end)
    first = storage.path(todo[0][0]) if todo and request.transport is not None else None
    if first is None or request.secure:
        await _stream(request, response, blobs, blob, start, end)
        return
    opened: BinaryIO | None = await asyncio.to_thread(_open, first, todo[0][2])
    try:
        await response.prepare(request)
        for key, offset, last in todo:
            if opened is None:
                opened = await asyncio.to_thread(_open, storage.path(key), last)
            await _send_file(request, opened, offset, last)
            opened.close()
            opened = None
        await response.write_eof()
    except (OSError, TimeoutError, RuntimeError, ArgosyError) as error:
        raise _broken(request) from error
    finally:
        if opened is not None:
            opened.close()


def _open(path: Path | None, last: int) -> BinaryIO:
    """Raises FileNotFoundError, and StoreUnavailable for a file that ends before byte `last`."""
    assert path is not None, "a store with a file for one object has one for all"
    file = path.open("rb", buffering=0)
    size = os.fstat(file.fileno()).st_size
    if size < last:
        file.close()
        raise StoreUnavailable(f"{path} has {size} bytes; the record of the blob says {last}", remedy="restore it, or push the blob again")
    return file


def _in_memory(descriptor: int, offset: int, last: int) -> bool:
    """Whether the kernel can send these bytes without waiting for a disk, judged by the first and the last of them."""
    probe = [bytearray(1)]
    try:
        return all(os.preadv(descriptor, probe, at, os.RWF_NOWAIT) == 1 for at in (offset, last - 1))
    except OSError:
        return False


def _fetch(descriptor: int, offset: int, last: int) -> None:
    """Reads what the kernel is about to send, in a thread: sendfile itself would stop the event loop for as long as the disk takes."""
    while offset < last:
        offset += len(os.pread(descriptor, min(FETCHED_AT_ONCE, last - offset), offset)) or last


async def _send_file(request: web.Request, file: BinaryIO, offset: int, last: int) -> None:
    limits = request.app[LIMITS]
    loop = asyncio.get_running_loop()
    while offset < last:
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client has gone")
        count = min(SENT_AT_ONCE, last - offset)
        if not _in_memory(file.fileno(), offset, offset + count):
            await asyncio.to_thread(_fetch, file.fileno(), offset, offset + count)
        async with asyncio.timeout(limits.silence):
            await loop.sendfile(request.transport, file, offset, count)
        offset += count


async def _stream(request: web.Request, response: web.StreamResponse, blobs: Blobs, blob: Blob, start: int, end: int) -> None:
    limits = request.app[LIMITS]
    content = blobs.read(blob, start, end)
    try:
        piece = await anext(content, b"")
        await response.prepare(request)
        try:
            while piece:
                async with asyncio.timeout(limits.silence):
                    await response.write(piece)
                piece = await anext(content, b"")
            await response.write_eof()
        except (OSError, TimeoutError, ArgosyError) as error:
            raise _broken(request) from error
    finally:
        await content.aclose()


async def forward(request: web.Request, flow: Flow, headers: Mapping[str, str]) -> web.StreamResponse:
    """Sends a blob while it is on its way into the store."""
    return await stream(request, flow.pieces(), headers, flow.size)


async def stream(
    request: web.Request, content: AsyncGenerator[bytes, None], headers: Mapping[str, str], size: int | None = None
) -> web.StreamResponse:
    """Sends what comes, as it comes; hangs up if it ends with an error, so that nobody takes a part for the whole."""
    limits = request.app[LIMITS]
    response = web.StreamResponse(headers=headers)
    response.content_length = size
    try:
        await response.prepare(request)
        async for piece in content:
            async with asyncio.timeout(limits.silence):
                await response.write(piece)
        await response.write_eof()
    except (OSError, TimeoutError, ArgosyError) as error:
        raise _broken(request) from error
    finally:
        await content.aclose()
    return response


def _broken(request: web.Request) -> ConnectionResetError:
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("the answer could not be sent whole")


LIMITS = web.AppKey("limits", Limits)
