"""Which manifests of a store are needed, and which digests they refer to. Decides and touches nothing.

Needed is what a tag stands for, what was pushed a short time ago, and from there on: what a needed manifest refers to (the children of an
index, the subject of a referrer) and the referrers of a needed manifest, all within one repository.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import msgspec

from argosy.errors import ArgosyError, StoreUnavailable
from argosy.images import layout
from argosy.images.names import Digest
from argosy.images.names import digest as parsed_digest


class Content(msgspec.Struct, frozen=True):
    """Every digest that a manifest names, and the one of its subject."""

    references: tuple[Digest, ...] = ()
    subject: Digest | None = None


class Scan(msgspec.Struct):
    """The repositories of a store: what manifests say and when they were pushed last, by key; which of them tags stand for; the links of
    the digests that were asked for. Contents never change, and are kept from one scan to the next."""

    contents: dict[str, Content] = msgspec.field(default_factory=dict)
    pushed: dict[str, datetime] = msgspec.field(default_factory=dict)
    tagged: set[str] = msgspec.field(default_factory=set)
    links: dict[Digest, list[str]] = msgspec.field(default_factory=dict)
    digests: dict[Digest, Digest] = msgspec.field(default_factory=dict)

    def add(self, key: str, stored: bytes) -> None:
        """Raises StoreUnavailable for a damaged manifest."""
        found = read(stored, key)
        self.contents[key] = Content(tuple(self.digests.setdefault(one, one) for one in found.references), found.subject)

    def needed(self, young: datetime) -> set[str]:
        """The keys of the manifests that are needed; those pushed after `young` are."""
        referrers: dict[str, list[str]] = {}
        for key in self.pushed:
            subject = self.contents[key].subject
            if subject is not None:
                referrers.setdefault(layout.manifest(layout.repository_of(key), subject), []).append(key)
        left = [key for key, pushed in self.pushed.items() if key in self.tagged or pushed > young]
        found: set[str] = set()
        while left:
            key = left.pop()
            if key in found or key not in self.pushed:
                continue
            found.add(key)
            repository = layout.repository_of(key)
            left += [layout.manifest(repository, digest) for digest in self.contents[key].references]
            left += referrers.get(key, ())
        return found

    def referenced(self, keys: Iterable[str]) -> set[Digest]:
        """All digests that these manifests name."""
        return {digest for key in keys for digest in self.contents[key].references}

    def without(self, keys: Collection[str]) -> list[str]:
        """The other manifests."""
        return [key for key in self.pushed if key not in keys]


def read(stored: bytes, key: str) -> Content:
    """Every digest that a stored manifest names anywhere: rather one too many than one too few. Raises StoreUnavailable for one that cannot
    be read, for nothing can be removed then."""
    if not stored:  # as much as deleted
        return Content()
    try:
        document = msgspec.json.decode(stored.partition(b"\n")[2])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreUnavailable(
            f"{key} in the image store is damaged: {error}", remedy="restore or delete it; nothing was removed"
        ) from error
    return Content(tuple(sorted(_digests(document))), _subject(document))


def _digests(document: Any) -> set[Digest]:
    left = [document]
    found: set[Digest] = set()
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, str) and ":" in value[:8]:
            digest = _digest(value)
            if digest is not None:
                found.add(digest)
    return found


def _subject(document: Any) -> Digest | None:
    subject = document.get("subject") if isinstance(document, dict) else None
    return _digest(subject.get("digest")) if isinstance(subject, dict) else None


def _digest(value: Any) -> Digest | None:
    try:
        return parsed_digest(value) if isinstance(value, str) else None
    except ArgosyError:
        return None
