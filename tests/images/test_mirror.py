"""A mirror of another registry: fetched once, kept, compared, and served while upstream is away."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from obstore.store import MemoryStore

from argosy.errors import InvalidInput
from argosy.images import documents
from argosy.images.http import registry_api
from argosy.images.mirror import Mirror
from argosy.images.objects import Objects
from argosy.images.registry import Registry
from argosy.images.upstream import Challenge, Upstream, parse_challenge, parse_upstream
from argosy.web.addresses import split_address
from argosy.web.server import HttpApi, Route
from tests.conftest import FakeClock
from tests.images.house import Client, client_of_api, digest_of
from tests.web.serving import served

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LARGE = bytes(range(256)) * 8192


class Origin:
    """An upstream registry: what it was asked, and what it is to do instead of answering."""

    def __init__(self) -> None:
        self.registry = Registry(Objects(MemoryStore(), "memory://"))
        self.asked: list[str] = []
        self.away = 0
        self.want = ""
        self.tokens = 0
        self.gate: asyncio.Event | None = None
        self.damaged = False
        self.port = 0

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/auth":
            return await handler(request)
        self.asked.append(f"{request.method} {request.path.removeprefix('/v2/')}")
        if self.away:
            return web.Response(status=self.away)
        if self.want and request.headers.get("Authorization") != self.want:
            return web.Response(status=401, headers={"WWW-Authenticate": self.challenge()})
        if self.gate is not None and "/blobs/" in request.path and request.method == "GET":
            return await self._slowly(request)
        return await handler(request)

    def challenge(self) -> str:
        if self.want.startswith("Basic"):
            return 'Basic realm="origin"'
        return f'Bearer realm="http://127.0.0.1:{self.port}/auth",service="origin",scope="repository:apps/web:pull"'

    async def auth(self, request: web.Request) -> web.Response:
        self.tokens += 1
        assert request.query["service"] == "origin"
        assert request.query["scope"] == "repository:apps/web:pull"
        return web.json_response({"token": self.want.removeprefix("Bearer "), "expires_in": 300})

    async def _slowly(self, request: web.Request) -> web.StreamResponse:
        assert self.gate is not None
        response = web.StreamResponse()
        response.content_length = len(LARGE)
        await response.prepare(request)
        await response.write(LARGE[:100_000])
        await self.gate.wait()
        await response.write(LARGE[100_000:] if not self.damaged else b"x" * (len(LARGE) - 100_000))
        await response.write_eof()
        return response

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Client]:
        api = registry_api(self.registry, routes=[Route("GET", "/auth", self.auth)], middlewares=[self.middleware])
        async with client_of_api(self.registry, api) as client:
            self.port = client.port
            yield client


@pytest.fixture
async def origin() -> AsyncIterator[tuple[Origin, Client]]:
    made = Origin()
    async with made.serving() as client:
        yield made, client


@asynccontextmanager
async def mirror_of(port: int, clock: FakeClock, *, user: str = "", password: str = "") -> AsyncIterator[Client]:
    registry = Registry(Objects(MemoryStore(), "memory://"))
    async with (
        Upstream(f"http://127.0.0.1:{port}", clock, user=user, password=password) as upstream,
        Mirror(registry, upstream) as mirror,
        client_of_api(registry, registry_api(registry, filler=mirror)) as client,
    ):
        yield client


async def pull(client: Client, reference: str = "1") -> list[bytes]:
    """As a client does; the layers."""
    answer = await client.ask("GET", f"apps/web/manifests/{reference}")
    assert answer.status == 200, answer.body
    return [(await client.ask("GET", f"apps/web/blobs/{layer['digest']}")).body for layer in answer.json["layers"]]


async def test_what_is_not_here_is_fetched_once_and_stays(origin: tuple[Origin, Client], clock: FakeClock) -> None:
    upstream, there = origin
    digest = await there.push_image("apps/web", "1", [b"layer", LARGE])
    async with mirror_of(there.port, clock) as mirror:
        upstream.asked.clear()
        assert await pull(mirror) == [b"layer", LARGE]
        assert len(upstream.asked) == 3
        upstream.asked.clear()
        assert await pull(mirror) == [b"layer", LARGE]
        assert await pull(mirror, digest) == [b"layer", LARGE]
        assert upstream.asked == ["HEAD apps/web/manifests/1"]


async def test_a_tag_that_moved_upstream_moves_here(origin: tuple[Origin, Client], clock: FakeClock) -> None:
    _, there = origin
    await there.push_image("apps/web", "1", [b"old"])
    async with mirror_of(there.port, clock) as mirror:
        assert await pull(mirror) == [b"old"]
        await there.push_image("apps/web", "1", [b"new"])
        assert await pull(mirror) == [b"new"]


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_while_upstream_is_away_the_tag_that_is_here_is_served(origin: tuple[Origin, Client], clock: FakeClock, status: int) -> None:
    upstream, there = origin
    await there.push_image("apps/web", "1", [b"layer"])
    async with mirror_of(there.port, clock) as mirror:
        assert await pull(mirror) == [b"layer"]
        upstream.away = status
        assert await pull(mirror) == [b"layer"]
        assert (await mirror.ask("GET", "apps/web/manifests/2")).status == 503


async def test_a_mirror_serves_what_it_has_when_upstream_has_gone_for_good(clock: FakeClock) -> None:
    upstream = Origin()
    async with upstream.serving() as there:
        await there.push_image("apps/web", "1", [b"layer"])
        port = there.port
        mirror_context = mirror_of(port, clock)
        mirror = await mirror_context.__aenter__()
        assert await pull(mirror) == [b"layer"]
    assert await pull(mirror) == [b"layer"]
    await mirror_context.__aexit__(None, None, None)


REFERRER_OF = digest_of(b"a subject")
ASKED = ["apps/web/manifests/1", "apps/web/manifests/2", "apps/web/tags/list", "_catalog", f"apps/web/referrers/{REFERRER_OF}",
         f"apps/web/manifests/{REFERRER_OF}", f"apps/web/blobs/{digest_of(b'another')}"]  # fmt: skip


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("status", [401, 403])
async def test_what_upstream_refuses_is_refused(origin: tuple[Origin, Client], clock: FakeClock, status: int, path: str) -> None:
    upstream, there = origin
    await there.push_image("apps/web", "1", [b"layer"])
    async with mirror_of(there.port, clock) as mirror:
        assert await pull(mirror) == [b"layer"]
        upstream.away = status
        answer = await mirror.ask("GET", path)
        assert answer.told == (403, "DENIED")
        assert upstream_url(there) in answer.json["errors"][0]["message"]
        assert (await mirror.ask("HEAD", path)).status in (403, 405)


def upstream_url(there: Client) -> str:
    return f"http://127.0.0.1:{there.port}"


@pytest.mark.parametrize("path", [path for path in ASKED if path != "_catalog"])
async def test_what_upstream_does_not_have_is_not_there(origin: tuple[Origin, Client], clock: FakeClock, path: str) -> None:
    upstream, there = origin
    await there.push_image("apps/web", "1", [b"layer"])
    async with mirror_of(there.port, clock) as mirror:
        assert await pull(mirror) == [b"layer"]
        upstream.away = 404
        assert (await mirror.ask("GET", path)).status == 404


async def test_a_tag_that_upstream_has_removed_does_not_come_back_when_it_is_away(origin: tuple[Origin, Client], clock: FakeClock) -> None:
    upstream, there = origin
    await there.push_image("apps/web", "1", [b"layer"])
    async with mirror_of(there.port, clock) as mirror:
        assert await pull(mirror) == [b"layer"]
        assert (await there.ask("DELETE", "apps/web/manifests/1")).status == 202
        assert (await mirror.ask("GET", "apps/web/manifests/1")).told == (404, "MANIFEST_UNKNOWN")
        upstream.away = 503
        assert (await mirror.ask("GET", "apps/web/manifests/1")).status == 503


async def test_lists_are_upstreams_page_by_page(origin: tuple[Origin, Client], clock: FakeClock) -> None:
    _, there = origin
    image = await there.push_image("apps/web", "t0", [b"layer"])
    for number in range(1, 8):
        await there.push_image("apps/web", f"t{number}", [b"layer"])
    await there.push_image("apps/other", "1", [b"layer"])
    subject = {"mediaType": documents.OCI_IMAGE, "digest": image, "size": 1}
    await there.push_image("apps/web", "sig", [b"signature"], subject=subject, artifactType="application/x.signature")
    async with mirror_of(there.port, clock) as mirror:
        await pull(mirror, "t3")
        for path in ("apps/web/tags/list", "apps/web/tags/list?n=3", "apps/web/tags/list?n=3&last=t2", "_catalog", "_catalog?n=1",
                     f"apps/web/referrers/{image}", f"apps/web/referrers/{image}?artifactType=none"):  # fmt: skip
            ours, theirs = await mirror.ask("GET", path), await there.ask("GET", path)
            assert (ours.status, ours.json) == (200, theirs.json), path
            assert ours.headers.get("Link") == theirs.headers.get("Link"), path
            assert "Warning" not in ours.headers
        assert len((await mirror.ask("GET", "apps/web/tags/list")).json["tags"]) == 9


async def test_while_upstream_is_away_lists_and_tags_are_the_caches_and_say_so(origin: tuple[Origin, Client], clock: FakeClock) -> None:
    upstream, there = origin
    image = await there.push_image("apps/web", "1", [b"layer"])
    await there.push_image("apps/web", "2", [b"layer"])
    async with mirror_of(there.port, clock) as mirror:
        await pull(mirror)
        upstream.away = 503
        for path, field, expected in (
            ("apps/web/tags/list", "tags", ["1"]),
            ("_catalog", "repositories", ["apps/web"]),
            (f"apps/web/referrers/{image}", "manifests", []),
        ):
            answer = await mirror.ask("GET", path)
            assert (answer.status, answer.json[field]) == (200, expected)
            assert answer.headers["Warning"].startswith(f'299 - "{upstream_url(there)} is away')
        answer = await mirror.ask("GET", "apps/web/manifests/1")
        assert answer.headers["Warning"].startswith(f'299 - "{upstream_url(there)} is away')
        assert "Warning" not in (await mirror.ask("GET", f"apps/web/manifests/{image}")).headers
        assert (await mirror.ask("HEAD", f"apps/web/blobs/{digest_of(b'layer')}")).status == 200


async def test_a_list_that_is_none_is_not_passed_on(clock: FakeClock) -> None:
    async def nonsense(request: web.Request) -> web.Response:
        return web.Response(body=b'{"tags": ["ok", "not ok", 7, "<script>"]}' if "tags" in request.path else b"[]")

    async with served(HttpApi([Route("GET", "/{path:.*}", nonsense)])) as there, mirror_of(split_address(there)[1], clock) as mirror:
        assert (await mirror.ask("GET", "apps/web/tags/list")).json["tags"] == ["ok"]
        assert (await mirror.ask("GET", "_catalog")).status == 503


async def test_many_who_ask_at_once_cost_one_fetch(origin: tuple[Origin, Client], clock: FakeClock) -> None:
    upstream, there = origin
    digest = await there.push_image("apps/web", "1", [LARGE])
    async with mirror_of(there.port, clock) as mirror:
        upstream.asked.clear()
        pulled = await asyncio.gather(*(pull(mirror) for _ in range(20)))
        assert pulled == [[LARGE]] * 20
        assert upstream.asked.count("GET apps/web/manifests/1") <= 2  # who comes after the first compares the tag
        assert upstream.asked.count(f"GET apps/web/blobs/{digest_of(LARGE)}") == 1
        assert (await mirror.ask("GET", f"apps/web/manifests/{digest}")).status == 200


async def test_a_blob_is_sent_while_it_comes(origin: tuple[Origin, Client], clock: FakeClock) -> None:
    upstream, there = origin
    await there.push_image("apps/web", "1", [LARGE])
    upstream.gate = asyncio.Event()
    async with mirror_of(there.port, clock) as mirror:
        path = f"/v2/apps/web/blobs/{digest_of(LARGE)}"
        async with mirror._session.get(path) as first:
            assert first.content_length == len(LARGE)
            assert await first.content.readexactly(50_000) == LARGE[:50_000]
            second = asyncio.create_task(mirror.ask("GET", path))
            part = asyncio.create_task(mirror.ask("GET", path, Range="bytes=10-19"))
            await asyncio.sleep(0)
            upstream.gate.set()
            assert await first.content.read() == LARGE[50_000:]
        assert (await second).body == LARGE
        assert (await part).body == LARGE[10:20]
        assert upstream.asked.count(f"GET apps/web/blobs/{digest_of(LARGE)}") == 1


async def test_a_fetch_goes_on_when_whoever_asked_has_gone(origin: tuple[Origin, Client], clock: FakeClock) -> None:
    upstream, there = origin
    await there.push_image("apps/web", "1", [LARGE])
    upstream.gate = asyncio.Event()
    async with mirror_of(there.port, clock) as mirror:
        path = f"/v2/apps/web/blobs/{digest_of(LARGE)}"
        async with mirror._session.get(path) as first:
            await first.content.readexactly(10)
        upstream.gate.set()
        assert (await mirror.ask("GET", path)).body == LARGE
        assert upstream.asked.count(f"GET apps/web/blobs/{digest_of(LARGE)}") == 1


async def test_bytes_that_are_not_what_the_digest_says_are_not_kept(origin: tuple[Origin, Client], clock: FakeClock) -> None:
    upstream, there = origin
    await there.push_image("apps/web", "1", [LARGE])
    upstream.gate = asyncio.Event()
    upstream.gate.set()
    upstream.damaged = True
    async with mirror_of(there.port, clock) as mirror:
        path = f"apps/web/blobs/{digest_of(LARGE)}"
        await mirror.ask("GET", path, Range="bytes=0-9")
        assert await mirror.keys("blobs/") == []
        assert await mirror.keys("parts/") == []
        upstream.gate = None
        assert (await mirror.ask("GET", path)).body == LARGE


@pytest.mark.parametrize("kind", ["Basic", "Bearer"])
async def test_upstream_is_told_who_asks_as_it_wants_it(origin: tuple[Origin, Client], clock: FakeClock, kind: str) -> None:
    upstream, there = origin
    await there.push_image("apps/web", "1", [b"layer"])
    upstream.want = "Basic " + base64.b64encode(b"me:word").decode() if kind == "Basic" else "Bearer good"
    async with mirror_of(there.port, clock, user="me", password="word") as mirror:
        upstream.asked.clear()
        assert await pull(mirror) == [b"layer"]
        assert len(upstream.asked) == 3  # one more than without
        assert upstream.tokens == (kind == "Bearer")
        upstream.want = upstream.want if kind == "Basic" else "Bearer renewed"
        assert await pull(mirror) == [b"layer"]


async def test_without_credentials_what_upstream_keeps_private_is_refused(origin: tuple[Origin, Client], clock: FakeClock) -> None:
    upstream, there = origin
    await there.push_image("apps/web", "1", [b"layer"])
    upstream.want = "Basic x"
    async with mirror_of(there.port, clock) as mirror:
        answer = await mirror.ask("GET", "apps/web/manifests/1")
        assert answer.told == (403, "DENIED")
        assert "give it a user and password" in answer.json["errors"][0]["message"]


async def test_the_size_of_a_blob_is_told_without_fetching_it(origin: tuple[Origin, Client], clock: FakeClock) -> None:
    upstream, there = origin
    await there.push_image("apps/web", "1", [LARGE])
    async with mirror_of(there.port, clock) as mirror:
        answer = await mirror.ask("HEAD", f"apps/web/blobs/{digest_of(LARGE)}")
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(LARGE)))
        assert not [asked for asked in upstream.asked if asked.startswith("GET") and "/blobs/" in asked]


async def test_a_manifest_that_is_none_is_not_served(clock: FakeClock) -> None:
    async def nonsense(request: web.Request) -> web.Response:
        return web.Response(body=b"{}", content_type="text/html")

    async with served(HttpApi([Route("GET", "/{path:.*}", nonsense)])) as there, mirror_of(split_address(there)[1], clock) as mirror:
        assert (await mirror.ask("GET", "apps/web/manifests/1")).status == 503
        assert await mirror.keys("repositories/") == []


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ('Basic realm="x"', Challenge("basic", {"realm": "x"})),
        (
            'Bearer realm="https://a/t",service="r",scope="repository:a:pull,push"',
            Challenge("bearer", {"realm": "https://a/t", "service": "r", "scope": "repository:a:pull,push"}),
        ),
        ('bearer Realm="a\\"b", error=invalid_token', Challenge("bearer", {"realm": 'a"b', "error": "invalid_token"})),
        ("Negotiate", None),
        ("Digest realm=x", None),
        ("", None),
    ],
)
def test_challenges_are_read(header: str, challenge: Challenge | None) -> None:
    assert parse_challenge(header) == challenge


@pytest.mark.parametrize("url", ["registry-1.docker.io", "ftp://x", "https://", "https://x/path", "https://me:word@x", "https://x?y"])
def test_what_is_no_registry_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_upstream(url)
    assert "word" not in str(caught.value)
