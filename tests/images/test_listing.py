"""argosy images ls: everything in a few questions, what has no tag, and registries that are not Argosy's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp import web
from obstore.store import MemoryStore

from argosy.errors import NotFound, Unsuitable
from argosy.images import documents, layout
from argosy.images.http import registry_api
from argosy.images.inventory import Inventory
from argosy.images.names import digest as parsed_digest
from argosy.images.objects import Objects
from argosy.images.registry import Registry
from argosy.images.storage import Storage
from argosy.images.upstream import Upstream, UpstreamAway
from argosy.reconcile import SystemClock
from tests.images.house import Client, client_of_api, digest_of, image, index

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Registering:
    """A registry, how often it was asked, and whether it knows Argosy's extension."""

    def __init__(self, storage: Storage) -> None:
        self.registry = Registry(storage)
        self.asked: list[str] = []
        self.foreign = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.foreign and "/_argosy/" in request.path:
            return web.Response(status=404)
        return await handler(request)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[Client, Inventory]]:
        api = registry_api(self.registry, middlewares=[self.middleware])
        async with (
            client_of_api(self.registry, api) as client,
            Upstream(f"http://127.0.0.1:{client.port}", SystemClock()) as upstream,
        ):
            yield client, Inventory(upstream)


@pytest.fixture
def registering(storage: Storage) -> Registering:
    return Registering(storage)


CONFIG = json.dumps({"os": "linux", "architecture": "arm64", "variant": "v8"}).encode()


async def push_platform(client: Client, reference: str, layer: bytes = b"layer") -> str:
    await client.push("apps/web", CONFIG)
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(CONFIG), "size": len(CONFIG)}
    await client.push("apps/web", layer)
    return await client.push_manifest("apps/web", reference, image([layer], config=described))


@pytest.mark.parametrize("foreign", [False, True])
async def test_tags_with_digest_size_and_platforms(registering: Registering, foreign: bool) -> None:
    registering.foreign = foreign
    async with registering.serving() as (client, inventory):
        one = await push_platform(client, "one")
        both = await client.push_manifest("apps/web", "both", index([one, one]))
        await client.push_image("apps/web", "plain", [b"x", b"yz"], annotations={"a": "b"})
        found = {each.reference: each for each in await inventory.listed(["apps/web"])}
        assert list(found) == ["both", "one", "plain"]
        assert (found["one"].digest, found["one"].size, found["one"].platforms) == (one, len(CONFIG) + 5, ("linux/arm64/v8",))
        assert found["one"].layers == ((digest_of(b"layer"), 5),)
        assert (found["both"].digest, found["both"].media_type) == (both, documents.OCI_INDEX)
        assert found["both"].size == 2 * (len(CONFIG) + 5)
        assert found["both"].manifests == ((one, "", len(CONFIG) + 5),) * 2
        assert (found["plain"].size, found["plain"].platforms, found["plain"].annotations) == (5, (), {"a": "b"})
        with pytest.raises(NotFound):
            await inventory.listed(["apps/nothere"])


async def test_a_tag_that_moves_and_a_manifest_that_goes_are_seen_at_once(registering: Registering) -> None:
    async with registering.serving() as (client, inventory):
        old = await push_platform(client, "t")
        assert [each.digest for each in await inventory.listed(["apps/web"])] == [old]
        new = await push_platform(client, "t", b"new")
        assert [each.digest for each in await inventory.listed(["apps/web"])] == [new]
        assert (await client.ask("DELETE", f"apps/web/manifests/{new}")).status == 202
        assert await inventory.listed(["apps/web"]) == []


async def test_what_has_no_tag_and_is_needed_by_nothing(registering: Registering) -> None:
    async with registering.serving() as (client, inventory):
        pushed = [await push_platform(client, "latest", b"layer %d" % number) for number in range(5)]
        await client.push_manifest("apps/web", "multi", index([pushed[0]]))
        found = await inventory.listed(["apps/web"], untagged=True)
        assert [each.digest for each in found] == sorted(pushed[1:4])
        assert all(each.reference == "" and each.pushed > 1_000_000_000 and each.size == len(CONFIG) + 7 for each in found)
        registering.foreign = True
        with pytest.raises(Unsuitable, match="only Argosy's"):
            await inventory.listed(["apps/web"], untagged=True)


async def test_two_thousand_tags_cost_a_few_questions() -> None:
    storage = Objects(MemoryStore(), "memory://")
    registering = Registering(storage)
    for number in range(2000):
        content = json.dumps(image([b"%d" % number])).encode()
        digest = parsed_digest(digest_of(content))
        await storage.put(layout.manifest("apps/web", digest), documents.OCI_IMAGE.encode() + b"\n" + content)
        await storage.put(layout.tag("apps/web", f"t{number:04d}"), str(digest).encode())
    async with registering.serving() as (_, inventory):
        found = await inventory.listed(await inventory.repositories())
        assert [each.reference for each in found] == [f"t{number:04d}" for number in range(2000)]
        assert len(registering.asked) <= 6
        assert inventory.seen == 2000


class Noting:
    """A Storage that notes what is read."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self.read: list[str] = []

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        self.read += keys
        return await self._inner.get(keys)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def test_a_tag_is_read_again_only_when_it_was_written(storage: Storage) -> None:
    noting = Noting(storage)
    async with Registering(cast("Storage", noting)).serving() as (client, inventory):
        for tag in ("a", "b"):
            await push_platform(client, tag, tag.encode())
        await inventory.listed(["apps/web"])
        noting.read.clear()
        await inventory.listed(["apps/web"])
        assert noting.read == []
        await push_platform(client, "a", b"another")
        noting.read.clear()
        assert len(await inventory.listed(["apps/web"])) == 2
        assert [key for key in noting.read if layout.is_tag(key)] == [layout.tag("apps/web", "a")]


async def test_a_list_that_breaks_off_is_no_list(registering: Registering) -> None:
    async with registering.serving() as (client, inventory):
        digest = await push_platform(client, "a")
        key = layout.manifest("apps/web", parsed_digest(digest))
        await registering.registry.storage.put(key, documents.OCI_IMAGE.encode() + b'\n{"layers": [7]}')
        with pytest.raises(UpstreamAway):
            await inventory.listed(["apps/web"])
