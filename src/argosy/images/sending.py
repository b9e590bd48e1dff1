"""Sending blobs: by the kernel where that can be, else in pieces."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from argosy.errors import StoreUnavailable
from argosy.images.blobs import Blob, Blobs, spans
from argosy.images.faults import Code, Fault
from argosy.images.storage import Storage
from argosy.web.answers import stream
from argosy.web.limits import LIMITS

SENT_AT_ONCE = 2 * 1024 * 1024
"""Bytes that must be taken within `Limits.silence`, when the kernel sends."""

FETCHED_AT_ONCE = 1024 * 1024

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


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
    request: web.Request, blobs: Blobs, storage: Storage, blob: Blob, start: int, end: int, *, status: int, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answers with these bytes of the blob. Raises FileNotFoundError, before anything is sent, if they are gone; what fails later ends the
    connection, so that nobody takes a part for the whole."""
    todo = spans(blob.record, start, end)
    first = storage.path(todo[0][0]) if todo and request.transport is not None else None
    if first is None or request.secure:
        content = blobs.read(blob, start, end)
        return await stream(request, content, headers=headers, status=status, size=end - start, hold=None)
    opened: BinaryIO | None = await asyncio.to_thread(_open, first, todo[0][2])
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = end - start
    try:
        await response.prepare(request)
        for key, offset, last in todo:
            if opened is None:
                opened = await asyncio.to_thread(_open, storage.path(key), last)
            await _send_file(request, opened, offset, last)
            opened.close()
            opened = None
        await response.write_eof()
    finally:
        if opened is not None:
            opened.close()
    return response


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
    silence = request.app[LIMITS].silence
    loop = asyncio.get_running_loop()
    while offset < last:
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client has gone")
        count = min(SENT_AT_ONCE, last - offset)
        if not _in_memory(file.fileno(), offset, offset + count):
            await asyncio.to_thread(_fetch, file.fileno(), offset, offset + count)
        try:
            async with asyncio.timeout(silence):
                await loop.sendfile(request.transport, file, offset, count)
        except RuntimeError as error:  # so the event loop says that the transport is closing
            raise ConnectionResetError("the client has gone") from error
        offset += count
