"""What a registry holds, asked over its API, as people want to see it: repositories, tags, sizes, platforms."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from argosy.errors import InvalidInput, NotFound
from argosy.images import documents, names
from argosy.images.faults import Fault
from argosy.images.upstream import Upstream, UpstreamAbsent, UpstreamAway, read_at_most

ASKED_AT_ONCE = 8
LARGEST_LIST = 16 * 1024 * 1024
ACCEPT = {"Accept": ", ".join(documents.KINDS)}

_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


class Image(msgspec.Struct, frozen=True):
    """`size`: bytes of config and layers, of all platforms together. `platforms`: os/architecture; empty if unknown. `config`: of an
    image for one platform, what it says; None for an index."""

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


class Reference(msgspec.Struct, frozen=True):
    """NAME, NAME:TAG or NAME@DIGEST; `reference` is a tag or digest, "" for the name alone."""

    repository: str
    reference: str

    @property
    def by_digest(self) -> bool:
        return ":" in self.reference


def parse_reference(text: str) -> Reference:
    """Raises InvalidInput."""
    name, at, digest = text.partition("@")
    tag = ""
    if not at:
        name, _, tag = text.partition(":")
    try:
        return Reference(names.repository(name), str(names.digest(digest)) if at else names.tag(tag) if tag else "")
    except Fault as fault:
        raise InvalidInput(fault.message, remedy="write NAME, NAME:TAG or NAME@sha256:... without the registry's address") from fault


class Inventory:
    def __init__(self, registry: Upstream) -> None:
        self._registry = registry
        self._places = asyncio.Semaphore(ASKED_AT_ONCE)

    async def repositories(self) -> list[str]:
        return await self._pages("_catalog?n=1000", "registry:catalog:*", "repositories")

    async def tags(self, repository: str) -> list[str]:
        """Raises NotFound."""
        try:
            return await self._pages(f"{repository}/tags/list?n=1000", f"repository:{repository}:pull", "tags")
        except UpstreamAbsent as error:
            raise _not_found(repository) from error

    async def _pages(self, path: str, scope: str, field: str) -> list[str]:
        found: list[str] = []
        while path:
            async with self._registry.answered("GET", path, scope, {}) as response:
                page = _decoded(await read_at_most(response, LARGEST_LIST))
                following = _NEXT.search(response.headers.get("Link", ""))
            found += [str(one) for one in page.get(field) or []]
            path = following[1].removeprefix(self._registry.url).removeprefix("/v2/") if following else ""
        return found

    async def listed(self, repositories: Sequence[str]) -> list[Image]:
        """Every tag of them."""
        tagged = [(name, tag) for name in repositories for tag in await self.tags(name)]
        return list(await asyncio.gather(*(self.image(name, tag, config=True) for name, tag in tagged)))

    async def image(self, repository: str, reference: str, *, config: bool = False) -> Image:
        """`config`: also what the image's configuration says. Raises NotFound."""
        async with self._places:
            media_type, digest, document = await self._manifest(repository, reference)
            children = document.get("manifests")
            if isinstance(children, list):
                return await self._index(repository, reference, digest, media_type, document)
            about = await self._config(repository, document) if config else None
        parts = [one for one in [document.get("config"), *(document.get("layers") or document.get("blobs") or [])] if one]
        layers = tuple((str(one["digest"]), int(one["size"])) for one in document.get("layers") or document.get("blobs") or [])
        platforms = (_platform(about),) if about and about.get("os") else ()
        size = sum(int(one["size"]) for one in parts)
        return Image(repository, reference, digest, media_type, size, platforms, layers, (), about, document.get("annotations") or {})

    async def _index(self, repository: str, reference: str, digest: str, media_type: str, document: dict[str, Any]) -> Image:
        manifests, platforms, size = [], [], 0
        for child in document["manifests"]:
            platform = _platform(child.get("platform") or {})
            try:
                _, _, image = await self._manifest(repository, str(child["digest"]))
                parts = [one for one in [image.get("config"), *(image.get("layers") or [])] if one]
                own = sum(int(one["size"]) for one in parts)
            except NotFound:  # a mirror that has not been asked for this platform
                own = 0
            manifests.append((str(child["digest"]), platform, own))
            size += own
            if platform and platform != "unknown/unknown":
                platforms.append(platform)
        annotations = document.get("annotations") or {}
        return Image(repository, reference, digest, media_type, size, tuple(platforms), (), tuple(manifests), None, annotations)

    async def _manifest(self, repository: str, reference: str) -> tuple[str, str, dict[str, Any]]:
        try:
            async with self._registry.asked("GET", repository, f"manifests/{reference}", ACCEPT) as response:
                content = await read_at_most(response, documents.LARGEST)
                return response.content_type, response.headers.get("Docker-Content-Digest", ""), _decoded(content)
        except UpstreamAbsent as error:
            raise _not_found(f"{repository}{'@' if ':' in reference else ':'}{reference}") from error

    async def _config(self, repository: str, document: dict[str, Any]) -> dict[str, Any] | None:
        config = document.get("config") or {}
        if "digest" not in config or "json" not in str(config.get("mediaType", "json")) or int(config.get("size", 0)) > documents.LARGEST:
            return None
        async with self._registry.asked("GET", repository, f"blobs/{config['digest']}") as response:
            return _decoded(await read_at_most(response, documents.LARGEST))

    async def remove(self, reference: Reference) -> str:
        """A tag, or a manifest with all its tags; its digest. Raises NotFound."""
        digest = reference.reference
        if not reference.by_digest:
            _, digest, _ = await self._manifest(reference.repository, reference.reference)
        try:
            async with self._registry.asked("DELETE", reference.repository, f"manifests/{reference.reference}", actions="delete"):
                return digest
        except UpstreamAbsent as error:
            raise _not_found(f"{reference.repository}:{reference.reference}") from error


def _not_found(what: str) -> NotFound:
    return NotFound(f"there is no {what} in this registry")


def _platform(of: dict[str, Any]) -> str:
    pieces = [str(of[field]) for field in ("os", "architecture", "variant") if of.get(field)]
    return "/".join(pieces)


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise UpstreamAway(f"the registry's answer is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise UpstreamAway("the registry's answer is not what its API says")
    return found
