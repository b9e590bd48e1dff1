"""A registry to test: served on a port of its own, over memory or a folder, with a client that says what it wants in one line."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp.typedefs import Middleware
from obstore.store import MemoryStore

from argosy.images import documents
from argosy.images.filler import Filler
from argosy.images.folder import Folder
from argosy.images.http import LIMITS, registry_api
from argosy.images.objects import Objects
from argosy.images.registry import Registry
from argosy.images.storage import Storage
from argosy.web.addresses import split_address
from argosy.web.limits import Limits
from argosy.web.server import HttpApi
from tests.web.serving import served

OCTETS = "application/octet-stream"


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """Of an error."""
        return [error["code"] for error in self.json["errors"]]

    @property
    def told(self) -> tuple[int, str]:
        """Status and first code of an error, in the form that the specification asks for."""
        assert self.headers["Content-Type"].startswith("application/json")
        for error in self.json["errors"]:
            assert error["message"]
            assert "Traceback" not in error["message"]
        return self.status, self.codes[0]


class Client:
    """Speaks to one registry. Paths are beneath /v2/, or whole (a Location)."""

    def __init__(self, session: aiohttp.ClientSession, registry: Registry, port: int) -> None:
        self._session = session
        self.registry = registry
        self.port = port

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """`headers`: underscores become hyphens."""
        url = path if path.startswith("/") else f"/v2/{path}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            body = io.BytesIO(body)
        async with self._session.request(method, url, data=body, headers=sent, allow_redirects=False) as response:
            return Answer(response.status, response.headers.copy(), await response.read())

    async def begin(self, repository: str, query: str = "") -> str:
        """The location of a new upload."""
        answer = await self.ask("POST", f"{repository}/blobs/uploads/{query}")
        assert answer.status == 202
        return answer.headers["Location"]

    async def push(self, repository: str, content: bytes, algorithm: str = "sha256") -> str:
        """A blob, in one piece; its digest."""
        digest = digest_of(content, algorithm)
        answer = await self.ask("PUT", f"{await self.begin(repository)}?digest={digest}", content, Content_Type=OCTETS)
        assert answer.status == 201, answer.body
        return digest

    async def push_manifest(self, repository: str, reference: str, manifest: Mapping[str, Any]) -> str:
        content = json.dumps(manifest).encode()
        answer = await self.ask("PUT", f"{repository}/manifests/{reference}", content, Content_Type=manifest["mediaType"])
        assert answer.status == 201, answer.body
        return answer.headers["Docker-Content-Digest"]

    async def push_image(self, repository: str, reference: str, layers: Sequence[bytes] = (b"layer",), **more: Any) -> str:
        """An image with those layers; its digest."""
        return await self.push_manifest(repository, reference, await self.image(repository, layers, **more))

    async def image(self, repository: str, layers: Sequence[bytes] = (b"layer",), **more: Any) -> dict[str, Any]:
        """A manifest whose blobs are in the repository."""
        for content in (b"{}", *layers):
            await self.push(repository, content)
        return image(layers, **more)

    async def keys(self, prefix: str = "") -> list[str]:
        """What is in the store."""
        return [entry.key for top in (prefix and [prefix]) or TOPS for entry in await self.registry.storage.entries(top)]


TOPS = ["blobs/", "condemned/", "doomed/", "parts/", "repositories/", "uploads/"]


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def image(layers: Sequence[bytes] = (b"layer",), **more: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": documents.OCI_IMAGE,
        "config": descriptor(b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(layer, "application/vnd.oci.image.layer.v1.tar+gzip") for layer in layers],
        **more,
    }


def index(digests: Sequence[str], **more: Any) -> dict[str, Any]:
    manifests = [{"mediaType": documents.OCI_IMAGE, "digest": digest, "size": 1} for digest in digests]
    return {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": manifests, **more}


@asynccontextmanager
async def storage_of(kind: str, folder: Path) -> AsyncIterator[Storage]:
    """`kind`: memory or folder."""
    if kind == "memory":
        yield Objects(MemoryStore(), "memory://")
        return
    made = Folder(folder)
    await made.open()
    yield made
    await made.close()


@asynccontextmanager
async def client_of(
    storage: Storage, *, limits: Limits = LIMITS, filler: Filler | None = None, middlewares: Sequence[Middleware] = ()
) -> AsyncIterator[Client]:
    """A registry of its own on that store, and a client of it."""
    registry = Registry(storage)
    api = registry_api(registry, limits=limits, filler=filler, middlewares=middlewares)
    async with client_of_api(registry, api) as client:
        yield client


@asynccontextmanager
async def client_of_api(registry: Registry, api: HttpApi) -> AsyncIterator[Client]:
    async with served(api) as address, aiohttp.ClientSession(f"http://{address}", auto_decompress=False) as session:
        yield Client(session, registry, split_address(address)[1])
