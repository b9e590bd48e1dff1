"""Manifests, tags, the catalog and referrers over HTTP."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from argosy.errors import StoreUnavailable, TooLarge
from argosy.images import accepting, documents, names
from argosy.images.documents import Descriptor
from argosy.images.faults import Code, Fault
from argosy.images.filler import Filler, Page
from argosy.images.http_blobs import names_etag
from argosy.images.listing import Listing
from argosy.images.manifests import Manifest
from argosy.images.names import Digest
from argosy.images.registry import Registry
from argosy.images.summary import Image
from argosy.images.target import TARGET
from argosy.web.answers import answer, stream
from argosy.web.bodies import whole

log = logging.getLogger(__name__)

LARGEST_PAGE = 10_000
CATALOG_PAGE = 100
CATALOG_LARGEST_PAGE = 1000
MOST_TAGS = 100
"""Tags that one push by digest may set."""


class _Tags(msgspec.Struct):
    name: str
    tags: list[str]


class _Catalog(msgspec.Struct):
    repositories: list[str]


class _Referrers(msgspec.Struct):
    manifests: list[Descriptor]
    schema_version: int = msgspec.field(name="schemaVersion", default=2)
    media_type: str = msgspec.field(name="mediaType", default=documents.OCI_INDEX)


class ManifestDoor:
    def __init__(self, registry: Registry, filler: Filler | None) -> None:
        self._registry = registry
        self._filler = filler
        self._listing = Listing(registry)

    async def _find(self, repository: str, reference: str | Digest) -> tuple[Manifest, str]:
        """And what the client should know about it."""
        manifest, warning = await self._registry.manifests.find(repository, reference), ""
        if self._filler is not None and (manifest is None or isinstance(reference, str)):
            manifest, warning = await self._filler.manifest(repository, reference, manifest)
        if manifest is None:
            raise Fault(
                Code.MANIFEST_UNKNOWN, f"{reference} is not in {repository}", detail={"name": repository, "reference": str(reference)}
            )
        return manifest, warning

    async def get(self, request: web.Request) -> web.StreamResponse:
        target = request[TARGET]
        manifest, warning = await self._find(target.repository, _reference(target.reference))
        accept = request.headers.getall("Accept", [])
        if ":" not in target.reference and not accepting.accepts(accept, manifest.media_type):
            manifest = await self._acceptable(target.repository, manifest, accept)
        headers = {
            "Content-Type": manifest.media_type,
            "Docker-Content-Digest": str(manifest.digest),
            "ETag": f'"{manifest.digest}"',
            **_warned(warning),
        }
        if names_etag(request.headers.get("If-None-Match", ""), headers["ETag"]):
            return web.Response(status=304, headers=headers)
        return web.Response(body=manifest.content, headers=headers)

    async def _acceptable(self, repository: str, manifest: Manifest, accept: Sequence[str]) -> Manifest:
        """For clients that know no index, the image for the usual platform."""
        digest = accepting.default_image(manifest.content, manifest.media_type)
        if digest is not None:
            image, _ = await self._find(repository, digest)
            if accepting.accepts(accept, image.media_type):
                return image
        raise Fault(
            Code.MANIFEST_UNKNOWN,
            f"{manifest.digest} is {manifest.media_type}, which the request does not accept",
            remedy="name it in Accept",
        )

    async def put(self, request: web.Request) -> web.StreamResponse:
        target = request[TARGET]
        reference = _reference(target.reference)
        tags = [names.tag(tag) for tag in request.query.getall("tag", [])]
        if len(tags) > MOST_TAGS:
            raise Fault(Code.UNSUPPORTED, f"at most {MOST_TAGS} tags are set at once", status=414)
        digest = reference if isinstance(reference, Digest) else None
        if isinstance(reference, str):
            if tags:
                raise Fault(Code.UNSUPPORTED, "?tag= goes with a push by digest", remedy="name the digest in the path", status=400)
            tags = [reference]
            digest = names.digest(request.query["digest"]) if "digest" in request.query else None
        try:
            content = await whole(request, documents.LARGEST)
        except TooLarge:
            raise Fault(Code.MANIFEST_INVALID, f"a manifest has at most {documents.LARGEST} bytes", status=413) from None
        pushed = await self._registry.manifests.put(target.repository, content, _media_type(request), digest=digest, tags=tags)
        response = web.Response(status=201, headers={"Docker-Content-Digest": str(pushed.digest)})
        response.headers["Location"] = f"/v2/{target.repository}/manifests/{pushed.digest}"
        if pushed.subject is not None:
            response.headers["OCI-Subject"] = str(pushed.subject)
        if isinstance(reference, Digest) and tags:
            response.headers["OCI-Tag"] = ", ".join(tags)
        return response

    async def delete(self, request: web.Request) -> web.StreamResponse:
        target = request[TARGET]
        reference = _reference(target.reference)
        if isinstance(reference, Digest):
            gone = await self._registry.manifests.delete(target.repository, reference)
        else:
            gone = await self._registry.manifests.untag(target.repository, reference)
        if not gone:
            raise Fault(Code.MANIFEST_UNKNOWN, f"{reference} is not in {target.repository}")
        return web.Response(status=202)

    async def tags(self, request: web.Request) -> web.StreamResponse:
        name = request[TARGET].repository
        upstream = await self._upstream_page(request, f"{name}/tags/list", f"repository:{name}:pull", "tags")
        if upstream is not None:
            tags = [tag for tag in upstream.entries if isinstance(tag, str) and names.is_tag(tag)]
            return answer(_Tags(name, tags), headers=_next(f"/v2/{name}/tags/list", upstream.following))
        count = _count(request.query, LARGEST_PAGE)
        last = request.query.get("last", "")
        if last:
            names.tag(last)
        limit = (count or LARGEST_PAGE) + 1 if count != 0 else 1
        tags = await self._registry.repositories.tags(name, last, limit if count is not None else 0)
        if not tags and not await self._registry.repositories.exists(name):
            raise Fault(Code.NAME_UNKNOWN, f"there is no repository {name}", detail={"name": name})
        page, headers = _page(tags, count, f"/v2/{name}/tags/list")
        return answer(_Tags(name, page), headers=headers | self._alone())

    async def catalog(self, request: web.Request) -> web.StreamResponse:
        upstream = await self._upstream_page(request, "_catalog", "registry:catalog:*", "repositories")
        if upstream is not None:
            found = [name for name in upstream.entries if isinstance(name, str) and names.is_repository(name)]
            return answer(_Catalog(found), headers=_next("/v2/_catalog", upstream.following))
        count = _count(request.query, CATALOG_LARGEST_PAGE)
        last = request.query.get("last", "")
        if last:
            names.repository(last)
        count = CATALOG_PAGE if count is None else count
        found = await self._registry.repositories.names(last, count + 1)
        page, headers = _page(found, count, "/v2/_catalog")
        return answer(_Catalog(page), headers=headers | self._alone())

    async def _upstream_page(self, request: web.Request, path: str, scope: str, field: str) -> Page | None:
        """None where there is no upstream, or it is away."""
        if self._filler is None:
            return None
        query = {name: value for name, value in request.query.items() if name != "artifactType"}
        return await self._filler.page(path, scope, field, query)

    def _alone(self) -> dict[str, str]:
        """What goes with a list that is answered without upstream."""
        return _warned(self._filler.warning()) if self._filler is not None else {}

    async def images(self, request: web.Request) -> web.StreamResponse:
        """An extension: what this registry holds, of a mirror what it has taken in, an image a line; `?untagged=true`: what nothing
        needs."""
        name = request[TARGET].repository
        if not await self._registry.repositories.exists(name):
            raise Fault(Code.NAME_UNKNOWN, f"there is no repository {name}", detail={"name": name})
        list_ = self._listing.untagged if request.query.get("untagged") == "true" else self._listing.tagged
        return await stream(request, _lines(list_(name)), headers={"Content-Type": "application/x-ndjson"})

    async def referrers(self, request: web.Request) -> web.StreamResponse:
        target = request[TARGET]
        path = f"{target.repository}/referrers/{target.reference}"
        upstream = await self._upstream_page(request, path, f"repository:{target.repository}:pull", "manifests")
        if upstream is not None:
            page, query, headers = documents.descriptors(upstream.entries), upstream.following, {}
        else:
            last = request.query.get("last", "")
            if last:
                names.digest(last)
            page, following = await self._registry.manifests.referrers(target.repository, names.digest(target.reference), last)
            query, headers = {"last": following} if following else {}, self._alone()
        wanted = request.query.get("artifactType", "")
        if wanted:
            page = [descriptor for descriptor in page if descriptor.artifact_type == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
            query = {"artifactType": wanted, **query} if query else {}
        return answer(_Referrers(page), headers=headers | _next(f"/v2/{path}", query), content_type=documents.OCI_INDEX)


async def _lines(images: AsyncIterator[list[Image]]) -> AsyncGenerator[bytes, None]:
    try:
        async for some in images:
            yield b"".join(msgspec.json.encode(image) + b"\n" for image in some)
    except StoreUnavailable as error:
        log.warning("the list of images broke off: %s", error)
        raise


def _reference(text: str) -> str | Digest:
    return names.digest(text) if ":" in text else text


def _media_type(request: web.Request) -> str:
    """Without parameters; "" where the client does not say, and its manifest has to."""
    if "Content-Type" not in request.headers:
        return ""
    return request.headers["Content-Type"].partition(";")[0].strip()


def _count(query: Mapping[str, str], largest: int) -> int | None:
    """`n`, no more than `largest`; None where it is not given. Raises Fault (400)."""
    text = query.get("n")
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise Fault(Code.UNSUPPORTED, f"n={text[:40]!r} is no number", status=400)
    return min(int(text), largest)


def _page(found: list[str], count: int | None, path: str) -> tuple[list[str], dict[str, str]]:
    """`found` has one more than `count` if there are more."""
    if count is None or len(found) <= count or count == 0:
        return found[:count], {}
    page = found[:count]
    return page, _next(path, {"n": str(count), "last": page[-1]})


def _next(path: str, query: Mapping[str, str]) -> dict[str, str]:
    """The header that names the next page; none if there is none."""
    return {"Link": f'<{path}?{urlencode(query)}>; rel="next"'} if query else {}


def _warned(text: str) -> dict[str, str]:
    """As the OCI distribution specification has warnings; clients show them."""
    return {"Warning": f'299 - "{text}"'} if text else {}
