"""All images of a repository in one answer: what `argosy images ls` asks for, instead of a question for each tag.

What a digest stands for never changes, so its summary is remembered; a tag is read when its object has another version than the last time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from argosy.errors import StoreUnavailable
from argosy.images import layout
from argosy.images.names import Digest
from argosy.images.names import digest as parsed_digest
from argosy.images.records import BlobRecord, decoded
from argosy.images.registry import Registry
from argosy.images.retention import Scan
from argosy.images.storage import Entry, Storage
from argosy.images.summary import Document, Image, children_of, config_digest, image_of

T = TypeVar("T")

REMEMBERED = 20_000
READ_AT_ONCE = 128
LARGEST_CONFIG = 1024 * 1024


class Listing:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._storage: Storage = registry.storage
        self._known: OrderedDict[tuple[str, Digest], Image] = OrderedDict()
        self._seen: dict[str, tuple[str, Digest]] = {}

    async def tagged(self, repository: str) -> AsyncIterator[list[Image]]:
        """The images of all tags, in order, some at a time."""
        entries = await self._storage.entries(layout.tags(repository))
        for some in _batches(entries, READ_AT_ONCE):
            digests = await self._tags(some)
            images = await self._images(repository, list(dict.fromkeys(digests.values())))
            yield [
                msgspec.structs.replace(images[digest], reference=key.removeprefix(layout.tags(repository)))
                for key, digest in digests.items()
                if digest in images
            ]

    async def _tags(self, entries: Sequence[Entry]) -> dict[str, Digest]:
        """What each stands for, by key; read are those that were written since the last time."""
        unread = [entry for entry in entries if not entry.version or self._seen.get(entry.key, ("",))[0] != entry.version]
        texts = await self._storage.get([entry.key for entry in unread])
        read = {entry.key: (entry.version, parsed_digest(text.decode())) for entry, text in zip(unread, texts, strict=True) if text}
        for entry in unread:
            self._seen.pop(entry.key, None)
        self._seen |= read
        found = {entry.key: self._seen[entry.key][1] for entry in entries if entry.key in self._seen}
        while len(self._seen) > REMEMBERED:
            self._seen.pop(next(iter(self._seen)))
        return found

    async def untagged(self, repository: str) -> AsyncIterator[list[Image]]:
        """The same for manifests that garbage collection will remove: no tag, index or referrer needs them."""
        scan = Scan()
        for entry in await self._storage.entries(layout.manifests(repository)):
            scan.pushed[entry.key] = entry.modified
        for some in _batches(list(scan.pushed), READ_AT_ONCE):
            for key, content in zip(some, await self._storage.get(some), strict=True):
                if content is None:
                    del scan.pushed[key]
                else:
                    scan.add(key, content)
        for entries in _batches(await self._storage.entries(layout.tags(repository)), READ_AT_ONCE):
            scan.tagged |= {layout.manifest(repository, digest) for digest in (await self._tags(entries)).values()}
        needed = scan.needed(datetime.max.replace(tzinfo=UTC))
        pushed = {layout.digest_of(key): scan.pushed[key].timestamp() for key in scan.without(needed)}
        for digests in _batches(sorted(pushed), READ_AT_ONCE):
            images = await self._images(repository, digests)
            yield [msgspec.structs.replace(image, pushed=pushed[digest]) for digest, image in images.items()]

    async def _images(self, repository: str, digests: Sequence[Digest]) -> dict[Digest, Image]:
        """Those that are there, in the same order."""
        found = {digest: self._known[repository, digest] for digest in digests if (repository, digest) in self._known}
        for some in _batches([digest for digest in digests if digest not in found], READ_AT_ONCE):
            found |= await self._read(repository, some)
        return {digest: found[digest] for digest in digests if digest in found}

    async def _read(self, repository: str, digests: Sequence[Digest]) -> dict[Digest, Image]:
        """Remembers those of which everything was there: a mirror may have a part only, and the rest later."""
        stored = await self._documents(repository, digests)
        children = [parsed_digest(text) for _, document in stored.values() for text in children_of(document)]
        inner = {str(digest): document for digest, (_, document) in (await self._documents(repository, children)).items()}
        configs = await self._configs({text for _, document in stored.values() if (text := config_digest(document))})
        found = {}
        for digest, (media_type, document) in stored.items():
            here = {text: inner[text] for text in children_of(document) if text in inner}
            config = config_digest(document)
            try:
                image = image_of(repository, str(digest), media_type, document, here, configs.get(config))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise StoreUnavailable(f"{digest} in {repository} is damaged: {error}", remedy="push it again, or delete it") from error
            found[digest] = msgspec.structs.replace(image, config=None)
            if len(here) == len(set(children_of(document))) and (not config or config in configs):
                self._known[repository, digest] = found[digest]
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _documents(self, repository: str, digests: Sequence[Digest]) -> dict[Digest, tuple[str, Document]]:
        found: dict[Digest, tuple[str, Document]] = {}
        for some in _batches(list(dict.fromkeys(digests)), READ_AT_ONCE):
            contents = await self._storage.get([layout.manifest(repository, digest) for digest in some])
            for digest, content in zip(some, contents, strict=True):
                media_type, _, body = (content or b"").partition(b"\n")
                document = _json(body)
                if document is not None:
                    found[digest] = (media_type.decode(), document)
        return found

    async def _configs(self, texts: set[str]) -> dict[str, dict[str, Any]]:
        digests = [parsed_digest(text) for text in sorted(texts)]
        keys = [layout.blob(digest) for digest in digests]
        records = await self._storage.get(keys)
        small = {}
        for digest, key, content in zip(digests, keys, records, strict=True):
            record = decoded(content, BlobRecord, key) if content else None
            if record is not None and len(record.parts) == 1 and record.size <= LARGEST_CONFIG:
                small[str(digest)] = record.parts[0].key
        contents = await self._storage.get(list(small.values()))
        found = {text: _json(content or b"") for text, content in zip(small, contents, strict=True)}
        return {text: document for text, document in found.items() if document is not None}


def _json(content: bytes) -> dict[str, Any] | None:
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
