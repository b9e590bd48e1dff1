"""What a request is about, read from its path and query. A repository's name may have any number of components, so a path is read from its
end: /v2/<name>/manifests/<reference>, /v2/<name>/blobs/<digest>, /v2/<name>/blobs/uploads/[<id>], /v2/<name>/tags/list,
/v2/<name>/referrers/<digest>; /v2/<name>/_argosy/images/list, an extension of ours; and /v2/, /v2/_catalog."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from argosy.images import names
from argosy.images.faults import Code, Fault

BASE = "/v2/"


class Target(msgspec.Struct, frozen=True):
    """`kind`: base, catalog, manifest, blob, uploads, upload, tags, referrers or images; `repository`: "" for the first two; `reference`: a
    tag, a digest or the id of an upload; `source`: of a mount, the repository to read from ("" otherwise). All names are valid."""

    kind: str
    repository: str = ""
    reference: str = ""
    source: str = ""


TARGET: web.RequestKey[Target] = web.RequestKey("target", Target)


def parse(path: str, query: Mapping[str, str]) -> Target:
    """Raises Fault: NAME_INVALID, DIGEST_INVALID, ..., or UNSUPPORTED (404) for what is no path of the API."""
    if path in (BASE, "/v2"):
        return Target("base")
    pieces = path.removeprefix(BASE).split("/")
    if pieces == ["_catalog"]:
        return Target("catalog")
    match pieces:
        case [*name, "tags", "list"] if name:
            return Target("tags", _repository(name))
        case [*name, "_argosy", "images", "list"] if name:
            return Target("images", _repository(name))
        case [*name, "manifests", reference] if name:
            return Target("manifest", _repository(name), _reference(reference))
        case [*name, "blobs", "uploads", ""] | [*name, "blobs", "uploads"] if name:
            source = query.get("from", "") if "mount" in query else ""
            return Target("uploads", _repository(name), source=names.repository(source) if source else "")
        case [*name, "blobs", "uploads", upload] if name:
            return Target("upload", _repository(name), names.upload(upload))
        case [*name, "blobs", digest] if name:
            return Target("blob", _repository(name), str(names.digest(digest)))
        case [*name, "referrers", digest] if name:
            return Target("referrers", _repository(name), str(names.digest(digest)))
    raise Fault(
        Code.UNSUPPORTED, "there is no such path in the registry's API", remedy="see the OCI distribution specification", status=404
    )


def _repository(pieces: list[str]) -> str:
    return names.repository("/".join(pieces))


def _reference(text: str) -> str:
    return str(names.digest(text)) if ":" in text else names.tag(text)
