"""What a registry holds, asked over its API, as people want to see it: repositories, tags, sizes, platforms."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from argosy.errors import InvalidInput, NotFound, Unsuitable
from argosy.images import documents, names
from argosy.images.faults import Fault
from argosy.images.summary import Image, children_of, config_digest, image_of
from argosy.images.upstream import Upstream, UpstreamAbsent, UpstreamAway, UpstreamRefuses, read_at_most

ASKED_AT_ONCE = 32
LARGEST_LIST = 16 * 1024 * 1024
ACCEPT = {"Accept": ", ".join(documents.KINDS)}

_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


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
    """`seen`: images that were looked at so far."""

    def __init__(self, registry: Upstream) -> None:
        self._registry = registry
        self.seen = 0
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
                path = self._following(response.headers.get("Link", ""))
            found += [str(one) for one in page.get(field) or []]
        return found

    def _following(self, link: str) -> str:
        """The path of the next page, beneath /v2/; "" if this is the last."""
        following = _NEXT.search(link)
        return following[1].removeprefix(self._registry.url).removeprefix("/v2/") if following else ""

    async def listed(self, repositories: Sequence[str], *, untagged: bool = False) -> list[Image]:
        """Every tag of them; or, `untagged`, their manifests that nothing needs. Raises NotFound, and Unsuitable where a registry that is
        not Argosy's is asked for those."""
        found = await asyncio.gather(*(self._listed(name, untagged) for name in repositories))
        return [image for images in found for image in images]

    async def _listed(self, repository: str, untagged: bool) -> list[Image]:
        """In a few questions where the registry is Argosy's; elsewhere a few for each tag."""
        try:
            async with self._places:
                return await self._summaries(repository, untagged)
        except (UpstreamAbsent, UpstreamRefuses):
            tags = await self.tags(repository)
        if untagged:
            raise Unsuitable("only Argosy's registries list manifests without a tag", remedy="leave --untagged out")
        return list(await asyncio.gather(*(self.image(repository, tag, config=True) for tag in tags)))

    async def _summaries(self, repository: str, untagged: bool) -> list[Image]:
        """As they come, an image a line."""
        found: list[Image] = []
        path = f"{repository}/_argosy/images/list" + ("?untagged=true" if untagged else "")
        async with self._registry.answered("GET", path, f"repository:{repository}:pull", {}) as response:
            if response.content_type != "application/x-ndjson":
                raise UpstreamAbsent("what answers is no registry of Argosy's")
            rest = b""
            async for piece in response.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                found += [_image(line) for line in lines]
                self.seen += len(lines)
        return found

    async def image(self, repository: str, reference: str, *, config: bool = False) -> Image:
        """`config`: also what the image's configuration says. Raises NotFound."""
        async with self._places:
            media_type, digest, document = await self._manifest(repository, reference)
            children = {child: await self._child(repository, child) for child in children_of(document)}
            about = await self._config(repository, document) if config and not children else None
        self.seen += 1
        try:
            image = image_of(repository, digest, media_type, document, children, about)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UpstreamAway(f"the manifest of {repository}:{reference} is damaged: {error}") from error
        return msgspec.structs.replace(image, reference=reference)

    async def _child(self, repository: str, digest: str) -> dict[str, Any]:
        """A mirror has only those that it was asked for."""
        try:
            return (await self._manifest(repository, digest))[2]
        except NotFound:
            return {}

    async def _manifest(self, repository: str, reference: str) -> tuple[str, str, dict[str, Any]]:
        try:
            async with self._registry.asked("GET", repository, f"manifests/{reference}", ACCEPT) as response:
                content = await read_at_most(response, documents.LARGEST)
                return response.content_type, response.headers.get("Docker-Content-Digest", ""), _decoded(content)
        except UpstreamAbsent as error:
            raise _not_found(f"{repository}{'@' if ':' in reference else ':'}{reference}") from error

    async def _config(self, repository: str, document: dict[str, Any]) -> dict[str, Any] | None:
        digest = config_digest(document)
        if not digest:
            return None
        async with self._registry.asked("GET", repository, f"blobs/{digest}") as response:
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


def _image(line: bytes) -> Image:
    try:
        return msgspec.json.decode(line, type=Image)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamAway(f"the registry's list of images is damaged: {error}") from error


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise UpstreamAway(f"the registry's answer is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise UpstreamAway("the registry's answer is not what its API says")
    return found
