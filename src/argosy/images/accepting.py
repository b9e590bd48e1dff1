"""Which of a tag's manifests a client can take: its Accept header against what is stored, as Docker's registry does it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from argosy.images import documents, names
from argosy.images.documents import Kind
from argosy.images.faults import Fault
from argosy.images.names import Digest

ANYTHING = {"*/*", "application/*", "application/json"}
DEFAULT_PLATFORM = ("linux", "amd64")


def accepts(headers: Iterable[str], media_type: str) -> bool:
    """No Accept header at all accepts everything."""
    given = [one.partition(";")[0].strip().lower() for header in headers for one in header.split(",")]
    return not any(given) or media_type in given or not ANYTHING.isdisjoint(given)


class _Platform(msgspec.Struct):
    os: str = ""
    architecture: str = ""


class _Entry(msgspec.Struct, rename="camel"):
    digest: str
    media_type: str = ""
    platform: _Platform | None = None


class _Index(msgspec.Struct):
    manifests: list[_Entry] = []


def default_image(content: bytes, media_type: str) -> Digest | None:
    """Of an index, the image for those who know no indexes: that of linux/amd64."""
    if documents.KINDS.get(media_type) is not Kind.INDEX:
        return None
    try:
        entries = msgspec.json.decode(content, type=_Index).manifests
        for entry in entries:
            if entry.platform is not None and (entry.platform.os, entry.platform.architecture) == DEFAULT_PLATFORM:
                return names.digest(entry.digest)
    except (msgspec.DecodeError, Fault):
        return None
    return None
