"""What a manifest says of an image, as people want to see it: size, platforms, layers. Decides and touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from argosy.images import documents

Document = Mapping[str, Any]


class Image(msgspec.Struct, frozen=True):
    """`size`: bytes of config and layers, of all platforms together. `platforms`: os/architecture; empty if unknown. `config`: of an
    image for one platform, what it says; None for an index. `reference`: a tag, or "" for a manifest without one; `pushed`: when that was,
    in seconds since 1970 (0: not asked for)."""

    repository: str
    reference: str
    digest: str
    media_type: str
    size: int
    platforms: tuple[str, ...] = ()
    layers: tuple[tuple[str, int], ...] = ()
    manifests: tuple[tuple[str, str, int], ...] = ()
    config: dict[str, Any] | None = None
    annotations: dict[str, str] = {}
    pushed: float = 0.0


def config_digest(document: Document) -> str:
    """Of the configuration that says the platform; "" if there is none, or it is not JSON."""
    config = document.get("config") or {}
    if "json" not in str(config.get("mediaType", "json")) or int(config.get("size", 0)) > documents.LARGEST:
        return ""
    return str(config.get("digest", ""))


def children_of(document: Document) -> list[str]:
    """The digests of an index's manifests."""
    children = document.get("manifests")
    return [str(child["digest"]) for child in children] if isinstance(children, list) else []


def image_of(
    repository: str, digest: str, media_type: str, document: Document, children: Mapping[str, Document], config: dict[str, Any] | None
) -> Image:
    """`children`: the manifests of an index that are there (a mirror has those that it was asked for), by digest. Raises KeyError,
    TypeError, ValueError and AttributeError for a document that does not keep to its type."""
    annotations = document.get("annotations") or {}
    if isinstance(document.get("manifests"), list):
        return _index(repository, digest, media_type, document, children)
    layers = tuple((str(one["digest"]), int(one["size"])) for one in document.get("layers") or document.get("blobs") or [])
    platforms = (platform(config),) if config and config.get("os") else ()
    return Image(repository, "", digest, media_type, _size(document), platforms, layers, (), config, annotations)


def _index(repository: str, digest: str, media_type: str, document: Document, children: Mapping[str, Document]) -> Image:
    manifests, platforms = [], []
    for child in document["manifests"]:
        name = platform(child.get("platform") or {})
        manifests.append((str(child["digest"]), name, _size(children.get(str(child["digest"]), {}))))
        if name and name != "unknown/unknown":
            platforms.append(name)
    size = sum(own for _, _, own in manifests)
    annotations = document.get("annotations") or {}
    return Image(repository, "", digest, media_type, size, tuple(platforms), (), tuple(manifests), None, annotations)


def _size(document: Document) -> int:
    parts = [document.get("config"), *(document.get("layers") or document.get("blobs") or [])]
    return sum(int(one["size"]) for one in parts if one)


def platform(of: Document) -> str:
    return "/".join(str(of[field]) for field in ("os", "architecture", "variant") if of.get(field))
