"""Blobs and uploads over HTTP."""

from __future__ import annotations

import re

from aiohttp import web

from argosy.errors import StoreUnavailable
from argosy.images import names
from argosy.images.blobs import Blob
from argosy.images.faults import Code, Fault
from argosy.images.filler import Filler
from argosy.images.names import Digest
from argosy.images.registry import Registry
from argosy.images.sending import part_of, send
from argosy.images.target import TARGET
from argosy.images.uploads import Upload, out_of_order
from argosy.web.answers import stream
from argosy.web.bodies import pieces
from argosy.web.errors import BEGUN

OCTETS = "application/octet-stream"
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d{1,18}|\*))?")


class BlobDoor:
    def __init__(self, registry: Registry, filler: Filler | None, anonymous_mounts: bool) -> None:
        self._registry = registry
        self._filler = filler
        self._anonymous_mounts = anonymous_mounts

    async def _find(self, repository: str, digest: Digest, *, pushing: bool, content: bool) -> Blob:
        blob = await self._registry.blobs.find(repository, digest, pushing=pushing, content=content)
        if blob is None and self._filler is not None:
            blob = await self._filler.blob(repository, digest)
        if blob is None:
            raise Fault(Code.BLOB_UNKNOWN, f"{digest} is not in {repository}", detail={"digest": str(digest)})
        return blob

    async def head(self, request: web.Request) -> web.StreamResponse:
        target = request[TARGET]
        digest = names.digest(target.reference)
        size = await self._size(target.repository, digest)
        return web.Response(headers={**_headers(digest), "Content-Length": str(size)})

    async def _size(self, repository: str, digest: Digest) -> int:
        """As a push asks for it; of a blob that a mirror, to which nobody pushes, has not fetched yet, what its upstream says."""
        if self._filler is None:
            return (await self._find(repository, digest, pushing=True, content=False)).size
        blob = await self._registry.blobs.find(repository, digest)
        size = blob.size if blob is not None else await self._filler.size(repository, digest)
        return size if size is not None else (await self._find(repository, digest, pushing=False, content=False)).size

    async def get(self, request: web.Request) -> web.StreamResponse:
        target = request[TARGET]
        digest = names.digest(target.reference)
        blob = await self._registry.blobs.find(target.repository, digest, content=True)
        if blob is None and self._filler is not None and "Range" not in request.headers:
            flow = await self._filler.flow(target.repository, digest)
            if flow is not None and not isinstance(flow, Blob):
                return await stream(request, flow.pieces(), headers=_headers(digest), size=flow.size)
            blob = flow
        if blob is None:
            blob = await self._find(target.repository, digest, pushing=False, content=True)
        headers = _headers(digest)
        if names_etag(request.headers.get("If-None-Match", ""), headers["ETag"]):
            return web.Response(status=304, headers={"ETag": headers["ETag"], "Docker-Content-Digest": str(digest)})
        wanted = part_of(request.headers, blob.size, headers["ETag"])
        start, end = wanted or (0, blob.size)
        status = 200
        if wanted is not None:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
        if blob.content is not None:
            return web.Response(status=status, headers=headers, body=blob.content[start:end])
        return await self._sent(request, blob, status, headers, start, end)

    async def _sent(
        self, request: web.Request, blob: Blob, status: int, headers: dict[str, str], start: int, end: int
    ) -> web.StreamResponse:
        blobs, storage = self._registry.blobs, self._registry.storage
        try:
            return await send(request, blobs, storage, blob, start, end, status=status, headers=headers)
        except FileNotFoundError:
            if BEGUN in request:
                raise
        blobs.forget(blob.digest)  # removed and pushed again since its record was remembered
        blob = await self._find(request[TARGET].repository, blob.digest, pushing=False, content=False)
        try:
            return await send(request, blobs, storage, blob, start, end, status=status, headers=headers)
        except FileNotFoundError:
            if BEGUN in request:
                raise
            raise StoreUnavailable(
                f"the data of {blob.digest} is not in the image store any more",
                remedy="restore it, or remove the blob's record and push again",
            ) from None

    async def delete(self, request: web.Request) -> web.StreamResponse:
        target = request[TARGET]
        digest = names.digest(target.reference)
        if not await self._registry.blobs.unlink(target.repository, digest):
            raise Fault(Code.BLOB_UNKNOWN, f"{digest} is not in {target.repository}", detail={"digest": str(digest)})
        return web.Response(status=202)

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """POST: mounts, takes in a whole blob, or begins an upload."""
        target = request[TARGET]
        algorithm = names.algorithm(request.query.get("digest-algorithm", "sha256"))
        if "mount" in request.query:
            digest = names.digest(request.query["mount"])
            if await self._mounted(target.repository, digest, target.source):
                return _created(target.repository, digest)
        elif "digest" in request.query:
            digest = names.digest(request.query["digest"])
            content = pieces(request)
            await self._registry.uploads.put(target.repository, digest, content, size=request.content_length)
            return _created(target.repository, digest)
        upload = await self._registry.uploads.begin(target.repository, algorithm)
        return _accepted(upload, 202)

    async def _mounted(self, repository: str, digest: Digest, source: str) -> bool:
        if not source and not self._anonymous_mounts:
            return False
        return await self._registry.blobs.mount(repository, digest, source)

    async def status(self, request: web.Request) -> web.StreamResponse:
        return _accepted(await self._upload(request), 204)

    async def append(self, request: web.Request) -> web.StreamResponse:
        upload = await self._upload(request)
        size = _announced(request, upload)
        content = pieces(request)
        return _accepted(await self._registry.uploads.append(upload, content, size=size), 202)

    async def finish(self, request: web.Request) -> web.StreamResponse:
        target = request[TARGET]
        if "digest" not in request.query:
            raise Fault(Code.DIGEST_INVALID, "the digest of the blob is missing", remedy="PUT to the upload's location with ?digest=")
        digest = names.digest(request.query["digest"])
        if not request.body_exists and await self._registry.uploads.resume(target.repository, target.reference, digest):
            return _created(target.repository, digest)
        upload = await self._upload(request)
        size = _announced(request, upload)
        content = pieces(request) if request.body_exists else None
        await self._registry.uploads.finish(upload, digest, content, size=size)
        return _created(target.repository, digest)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        await self._registry.uploads.cancel(await self._upload(request))
        return web.Response(status=204)

    async def _upload(self, request: web.Request) -> Upload:
        target = request[TARGET]
        return await self._registry.uploads.find(target.repository, target.reference)


def names_etag(header: str, etag: str) -> bool:
    """Whether If-None-Match names it."""
    return header.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in header.split(","))


def _headers(digest: Digest) -> dict[str, str]:
    return {
        "Content-Type": OCTETS,
        "Docker-Content-Digest": str(digest),
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000, immutable",
    }


def _announced(request: web.Request, upload: Upload) -> int | None:
    """How many bytes the client says that this piece has. Raises Fault for a piece that does not follow what the upload holds (416), and
    for headers that contradict each other."""
    text = request.headers.get("Content-Range")
    if text is None:
        return request.content_length
    found = _CONTENT_RANGE.fullmatch(text.strip())
    if found is None:
        raise Fault(Code.BLOB_UPLOAD_INVALID, f"Content-Range {text[:60]!r} is no range", remedy="write START-END, both inclusive")
    start, end = int(found[1]), int(found[2])
    if start != upload.size:
        fault = out_of_order(f"the upload holds {upload.size} bytes; a piece that begins at {start} does not follow")
        fault.headers.update(_progress(upload))
        raise fault
    size = end - start + 1
    if request.content_length is not None and request.content_length != size:
        raise Fault(Code.SIZE_INVALID, f"Content-Range {text!r} is {size} bytes, Content-Length {request.content_length}")
    return size


def _progress(upload: Upload) -> dict[str, str]:
    return {
        "Location": f"/v2/{upload.step.repository}/blobs/uploads/{upload.id}",
        "Range": f"0-{max(upload.size - 1, 0)}",
        "Docker-Upload-UUID": upload.id,
    }


def _accepted(upload: Upload, status: int) -> web.Response:
    return web.Response(status=status, headers=_progress(upload))


def _created(repository: str, digest: Digest) -> web.Response:
    return web.Response(status=201, headers={"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": str(digest)})
