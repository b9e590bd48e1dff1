"""Manifests, tags and referrers of repositories. See docs/images.md, "Layout in the store", for the order in which they are written."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from argosy.errors import StoreUnavailable
from argosy.images import documents, layout, names
from argosy.images.blobs import ADOPTION_SECONDS, LOOKED_UP_AT_ONCE, Blobs, being_removed
from argosy.images.documents import Descriptor, Document
from argosy.images.faults import Code, Fault, Faults
from argosy.images.names import Digest
from argosy.images.storage import Storage

GUESSES_AT_MOST = 4096
"""Tags whose last known digest is remembered, so that tag and manifest are asked for together."""

TOLD_AT_MOST = 100
"""Missing blobs and manifests that are named in one answer."""

REFERRERS_PAGE = 500
REFERRERS_BYTES = 3 * 1024 * 1024
"""Entries and bytes of one page of referrers: clients take no more than 4 MiB."""


class Manifest(msgspec.Struct, frozen=True):
    """`content` is byte for byte what was pushed."""

    digest: Digest
    media_type: str
    content: bytes


class Pushed(msgspec.Struct, frozen=True):
    """`subject`: the manifest that this one refers to, if any: it is listed among that one's referrers from now on."""

    digest: Digest
    subject: Digest | None


class Manifests:
    def __init__(self, storage: Storage, blobs: Blobs) -> None:
        self._storage = storage
        self._blobs = blobs
        self._guesses: OrderedDict[str, Digest] = OrderedDict()

    async def find(self, repository: str, reference: str | Digest) -> Manifest | None:
        """By tag or digest. Never stale: a tag that was moved by another registry is seen at once."""
        if isinstance(reference, Digest):
            (content,) = await self._storage.get([layout.manifest(repository, reference)])
            return _manifest(reference, content)
        return await self._find_tagged(repository, reference)

    async def _find_tagged(self, repository: str, tag: str) -> Manifest | None:
        key = layout.tag(repository, tag)
        guess = self._guesses.get(key)
        content = None
        if guess is None:
            (text,) = await self._storage.get([key])
        else:
            text, content = await self._storage.get([key, layout.manifest(repository, guess)])
        digest = _tagged(text)
        if digest is None:
            self._guesses.pop(key, None)
            return None
        if digest != guess:
            self._guesses[key] = digest
            if len(self._guesses) > GUESSES_AT_MOST:
                self._guesses.popitem(last=False)
            (content,) = await self._storage.get([layout.manifest(repository, digest)])
        return _manifest(digest, content)

    async def tag_digest(self, repository: str, tag: str) -> Digest | None:
        (text,) = await self._storage.get([layout.tag(repository, tag)])
        return _tagged(text)

    async def put(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: Digest | None = None,
        tags: Sequence[str] = (),
        sparse: bool = False,
    ) -> Pushed:
        """Stores a manifest, then its tags. `digest`: what the client says it is (None: sha256 of it). `sparse`: what it refers to need not
        be here (a mirror that takes things in as they are asked for). Raises Fault MANIFEST_INVALID, DIGEST_INVALID, and
        MANIFEST_BLOB_UNKNOWN for each blob and manifest that is missing."""
        document = documents.parse(content, media_type)
        algorithm = "sha256" if digest is None else digest.algorithm
        actual = Digest(algorithm, hashlib.new(algorithm, content).hexdigest())
        if digest is not None and digest != actual:
            raise Fault(Code.DIGEST_INVALID, f"the manifest has the digest {actual}, not {digest}")
        if not sparse:
            await self._check_references(repository, document)
        try:
            async with asyncio.timeout(ADOPTION_SECONDS):
                await self._write(repository, document, actual, content, tags)
        except TimeoutError:
            raise StoreUnavailable("the image store is too slow to take the manifest in") from None
        return Pushed(actual, document.subject)

    async def _write(self, repository: str, document: Document, actual: Digest, content: bytes, tags: Sequence[str]) -> None:
        """Garbage collection marks what it removes, and waits for whoever looked before: so this looks first, and is soon done. Raises
        Fault UNAVAILABLE."""
        concerned = [actual, *document.manifests]
        for start in range(0, len(concerned), LOOKED_UP_AT_ONCE):
            some = concerned[start : start + LOOKED_UP_AT_ONCE]
            marks = await self._storage.get([layout.doomed(digest) for digest in some])
            removing = [digest for digest, mark in zip(some, marks, strict=True) if mark is not None]
            if removing:
                raise being_removed(removing[0])
        if document.subject is not None:
            entry = msgspec.json.encode(documents.descriptor(document, actual, len(content)))
            await self._storage.put(layout.referrer(repository, document.subject, actual), entry)
        await self._storage.put(layout.manifest(repository, actual), document.media_type.encode() + b"\n" + content)
        for tag in tags:
            await self._storage.put(layout.tag(repository, tag), str(actual).encode())

    async def _check_references(self, repository: str, document: Document) -> None:
        missing = await self._blobs.missing(repository, document.blobs, TOLD_AT_MOST)
        keys = [layout.manifest(repository, digest) for digest in document.manifests]
        here = await self._present(keys)
        missing += [digest for digest, key in zip(document.manifests, keys, strict=True) if key not in here]
        if missing:
            raise Faults(
                [
                    Fault(
                        Code.MANIFEST_BLOB_UNKNOWN,
                        f"{digest} is not in {repository}",
                        remedy="push it first",
                        detail={"digest": str(digest)},
                    )
                    for digest in missing[:TOLD_AT_MOST]
                ]
            )

    async def _present(self, keys: Sequence[str]) -> set[str]:
        present: set[str] = set()
        for start in range(0, len(keys), LOOKED_UP_AT_ONCE):
            some = keys[start : start + LOOKED_UP_AT_ONCE]
            got = await self._storage.get(some)
            present.update(key for key, content in zip(some, got, strict=True) if content)
        return present

    async def delete(self, repository: str, digest: Digest) -> bool:
        """The manifest, the tags that stand for it and its place among referrers. False: there is none."""
        key = layout.manifest(repository, digest)
        (content,) = await self._storage.get([key])
        manifest = _manifest(digest, content)
        if manifest is None:
            return False
        await self._storage.delete([key])
        await self._delete_tags(repository, digest)
        subject = documents.parse(manifest.content, manifest.media_type).subject
        if subject is not None:
            await self._storage.delete([layout.referrer(repository, subject, digest)])
        return True

    async def _delete_tags(self, repository: str, digest: Digest) -> None:
        keys = [entry.key for entry in await self._storage.entries(layout.tags(repository))]
        for start in range(0, len(keys), LOOKED_UP_AT_ONCE):
            some = keys[start : start + LOOKED_UP_AT_ONCE]
            got = await self._storage.get(some)
            for key in [key for key, text in zip(some, got, strict=True) if _tagged(text) == digest]:
                (text,) = await self._storage.get([key])  # a push may have moved it meanwhile
                if _tagged(text) == digest:
                    await self._storage.delete([key])

    async def untag(self, repository: str, tag: str) -> bool:
        """False: there is no such tag."""
        if await self.tag_digest(repository, tag) is None:
            return False
        await self._storage.delete([layout.tag(repository, tag)])
        return True

    async def referrers(self, repository: str, subject: Digest, last: str = "") -> tuple[list[Descriptor], str]:
        """A page of the manifests with that subject, sorted by digest, those after the digest `last`; and `last` for the next page, "" if
        this is the end."""
        prefix = layout.referrers(repository, subject)
        entries = await self._storage.entries(prefix, prefix + last.replace(":", "/") if last else "", REFERRERS_PAGE)
        page: list[str] = []
        size = 0
        for entry in entries:
            size += entry.size
            if page and size > REFERRERS_BYTES:
                break
            page.append(entry.key)
        full = len(page) < len(entries) or len(entries) == REFERRERS_PAGE
        return await self._described(repository, page), str(layout.digest_of(page[-1])) if full else ""

    async def _described(self, repository: str, keys: list[str]) -> list[Descriptor]:
        """An entry is written before its manifest and removed after it: one without a manifest is not shown."""
        present = await self._present([layout.manifest(repository, layout.digest_of(key)) for key in keys])
        shown = [key for key in keys if layout.manifest(repository, layout.digest_of(key)) in present]
        contents = await self._storage.get(shown)
        try:
            return [msgspec.json.decode(content, type=Descriptor) for content in contents if content is not None]
        except msgspec.DecodeError as error:
            raise StoreUnavailable(f"the referrers in {repository} are damaged: {error}", remedy="push them again") from error


def _manifest(digest: Digest, content: bytes | None) -> Manifest | None:
    if not content:
        return None
    media_type, _, body = content.partition(b"\n")
    return Manifest(digest, media_type.decode(), body)


def _tagged(text: bytes | None) -> Digest | None:
    return None if not text else names.digest(text.decode())
