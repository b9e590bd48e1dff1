"""Uploads: begun, continued and finished by any registry on the store.

Data goes once, streaming, to the object that will hold it for good. What an upload holds is told by its last step (records.UploadStep);
each step is created once, so that of two clients or machines that go on from the same place exactly one wins and the other is told 416.
Ending is a step as well. A piece that does not arrive whole leaves nothing behind.

A hash cannot be handed from one process to another: the registry that has seen all bytes of an upload has it running; another one reads
the parts again when the upload is finished.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterable, Sequence

import msgspec

from argosy.images import layout, names
from argosy.images.blobs import Blobs
from argosy.images.faults import Code, Fault
from argosy.images.intake import Intake
from argosy.images.names import Digest
from argosy.images.records import BlobRecord, Part, UploadStep, decoded, encoded
from argosy.images.storage import Storage

RUNNING_AT_MOST = 256
"""Uploads whose hashes are kept running; those that were touched last."""

STEPS_AT_MOST = 10_000
"""Pieces of one upload."""

CANCELLED = "cancelled"
DEFAULT = "sha256"


class Upload(msgspec.Struct, frozen=True):
    """As it was when it was looked at: `number` is that of its last step."""

    id: str
    number: int
    step: UploadStep

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return self.step.size


class _Running(msgspec.Struct, frozen=True):
    """The state after step `number`; `hash` has seen all its bytes, or is None."""

    number: int
    step: UploadStep
    hash: hashlib._Hash | None


class Uploads:
    def __init__(self, storage: Storage, blobs: Blobs) -> None:
        self._storage = storage
        self._blobs = blobs
        self._running: OrderedDict[str, _Running] = OrderedDict()

    async def begin(self, repository: str, algorithm: str = DEFAULT) -> Upload:
        upload = Upload(str(uuid.uuid4()), 0, UploadStep(repository, algorithm))
        await self._storage.create(layout.step(upload.id, 0), encoded(upload.step))
        self._keep(upload, hashlib.new(algorithm))
        return upload

    def _keep(self, upload: Upload, hash_: hashlib._Hash | None) -> None:
        self._running[upload.id] = _Running(upload.number, upload.step, hash_)
        self._running.move_to_end(upload.id)
        if len(self._running) > RUNNING_AT_MOST:
            self._running.popitem(last=False)

    async def find(self, repository: str, id_: str) -> Upload:
        """Raises Fault BLOB_UPLOAD_UNKNOWN, also for an upload of another repository and for one that has ended."""
        upload = await self._last(names.upload(id_))
        if upload is None or upload.step.repository != repository or upload.step.ended:
            raise _unknown(id_)
        return upload

    async def _last(self, id_: str) -> Upload | None:
        """Looks into the store: another registry may have gone on with it."""
        steps = await self._storage.entries(layout.upload(id_))
        if not steps:
            self._running.pop(id_, None)
            return None
        number = int(steps[-1].key.rpartition("/")[2])
        known = self._running.get(id_)
        if known is not None and known.number == number:
            return Upload(id_, number, known.step)
        (content,) = await self._storage.get([steps[-1].key])
        return None if not content else Upload(id_, number, decoded(content, UploadStep, steps[-1].key))

    def _hash(self, upload: Upload) -> hashlib._Hash | None:
        """The hash of what the upload holds, if it is running here."""
        known = self._running.get(upload.id)
        if known is not None and known.number == upload.number:
            return known.hash.copy() if known.hash is not None else None
        return hashlib.new(upload.step.algorithm) if not upload.size else None

    async def append(self, upload: Upload, content: AsyncIterable[bytes], *, size: int | None = None) -> Upload:
        """`size`: what was announced. Raises Fault SIZE_INVALID if another number of bytes came, and 416 if somebody else went on
        meanwhile."""
        hash_ = self._hash(upload)
        async with Intake(self._storage, upload.id) as intake:
            parts = await intake.take(content, size, hash_)
            if not parts:
                return upload
            upload = await self._stepped(upload, msgspec.structs.replace(upload.step, parts=upload.step.parts + parts))
            intake.keep()
        self._keep(upload, hash_)
        return upload

    async def _stepped(self, upload: Upload, step: UploadStep) -> Upload:
        number = upload.number + 1
        if number > STEPS_AT_MOST:
            raise Fault(Code.BLOB_UPLOAD_INVALID, f"an upload has at most {STEPS_AT_MOST} pieces", remedy="send larger ones")
        if not await self._storage.create(layout.step(upload.id, number), encoded(step)):
            raise out_of_order("another request has gone on with this upload meanwhile")
        return Upload(upload.id, number, step)

    async def finish(self, upload: Upload, digest: Digest, content: AsyncIterable[bytes] | None = None, *, size: int | None = None) -> None:
        """Takes in the last piece, if there is one, verifies the digest and makes the blob visible in the repository. Raises Fault
        DIGEST_INVALID; the upload is then gone."""
        hash_ = self._hash(upload)
        if hash_ is None or hash_.name != digest.algorithm:
            hash_ = hashlib.new(digest.algorithm) if not upload.size else None
        async with Intake(self._storage, upload.id) as intake:
            parts = upload.step.parts + (await intake.take(content, size, hash_) if content is not None else ())
            if hash_ is None:
                try:
                    hash_ = await self._read_again(parts, digest.algorithm)
                except FileNotFoundError:  # ended meanwhile
                    raise _unknown(upload.id) from None
            if hash_.hexdigest() != digest.hex:
                await self.cancel(upload)
                raise Fault(Code.DIGEST_INVALID, f"the content has the digest {hash_.name}:{hash_.hexdigest()}, not {digest}")
            ended = await self._stepped(upload, msgspec.structs.replace(upload.step, parts=parts, ended=str(digest)))
            intake.keep()
        await self._adopt(ended, digest)

    async def _read_again(self, parts: Sequence[Part], algorithm: str) -> hashlib._Hash:
        hash_ = hashlib.new(algorithm)
        for part in parts:
            async for piece in self._storage.read(part.key, 0, part.size):
                await asyncio.to_thread(hash_.update, piece)
        return hash_

    async def resume(self, repository: str, id_: str, digest: Digest) -> bool:
        """Finishes an upload that was verified to have this digest, but whose blob was not taken in then (the store failed, the machine
        died). False: there is no such upload."""
        upload = await self._last(names.upload(id_))
        if upload is None or upload.step.repository != repository or upload.step.ended != str(digest):
            return False
        await self._adopt(upload, digest)
        return True

    async def _adopt(self, upload: Upload, digest: Digest) -> None:
        record = await self._blobs.adopt(upload.step.repository, digest, BlobRecord(upload.size, upload.step.parts))
        await self._discard(upload, keeping=record.parts)

    async def _discard(self, upload: Upload, keeping: Sequence[Part] = ()) -> None:
        """The last step goes after the others, so that a half-removed upload looks ended, and the data after that: without steps nobody
        goes on with it."""
        self._running.pop(upload.id, None)
        await self._storage.delete([layout.step(upload.id, number) for number in range(upload.number)])
        await self._storage.delete([layout.step(upload.id, upload.number)])
        kept = {part.key for part in keeping}
        await self._storage.delete([part.key for part in upload.step.parts if part.key not in kept])

    async def cancel(self, upload: Upload) -> None:
        """Raises Fault 416 if somebody else went on meanwhile."""
        ended = await self._stepped(upload, msgspec.structs.replace(upload.step, ended=CANCELLED))
        await self._discard(ended)

    async def put(self, repository: str, digest: Digest, content: AsyncIterable[bytes], *, size: int | None = None) -> None:
        """A whole blob at once: begin and finish. Nothing is left behind if it fails."""
        upload = await self.begin(repository, digest.algorithm)
        done = False
        try:
            await self.finish(upload, digest, content, size=size)
            done = True
        finally:
            if not done:
                await self._discard(upload)


def out_of_order(why: str) -> Fault:
    return Fault(Code.BLOB_UPLOAD_INVALID, why, remedy="GET the upload to learn from where to go on", status=416)


def _unknown(id_: str) -> Fault:
    return Fault(Code.BLOB_UPLOAD_UNKNOWN, f"there is no upload {id_}", remedy="begin one with POST")
