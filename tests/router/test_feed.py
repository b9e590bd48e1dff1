"""The feeds of a router: the store, this cluster's keys door, and a real etcd 2 API, by one suite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from argosy.errors import InvalidInput, StoreUnavailable
from argosy.model import Entry
from argosy.reconcile import SystemClock
from argosy.router.alone import keys_feed
from argosy.router.etcd2 import Etcd2Feed, Times, check_prefix
from argosy.router.feed import Feed, JoinedFeed, StoreFeed
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.table import Changes
from argosy.store.base import Batch, Listing
from argosy.store.sqlite import SqliteStore
from tests.api.house import a_house
from tests.contracts.feed_contract import FeedContract, following
from tests.etcd_server import etcd_server
from tests.relay import Relay, relay
from tests.router.web import until

CLOCK = SystemClock()
PREFIX = "/services/web"


class Keys:
    """Writes keys through a door, and follows them by way of a relay."""

    def __init__(self, session: aiohttp.ClientSession, door: str, way: Relay, prefix: str = PREFIX) -> None:
        self.session = session
        self.base = f"http://{door}/v2/keys{prefix}"
        self.way = way
        self.prefix = prefix
        self.times = Times(listing=2.0, head=0.5, wait=1.0, anew=300.0)

    def feed(self) -> Feed:
        return Etcd2Feed([f"http://{self.way.endpoint}"], CLOCK, self.prefix, self.times)

    async def put(self, key: str, value: str, ttl: int = 0) -> None:
        form = {"value": value} | ({"ttl": str(ttl)} if ttl else {})
        async with self.session.put(f"{self.base}/{quote(key)}", data=form) as response:
            assert response.status in (200, 201), await response.text()

    async def delete(self, key: str) -> None:
        async with self.session.delete(f"{self.base}/{quote(key)}?recursive=true") as response:
            assert response.status == 200, await response.text()

    async def away(self) -> None:
        self.way.cut()

    async def back(self) -> None:
        self.way.heal()


class Away(SqliteStore):
    """A store that can be away, for those who follow it."""

    away = False

    async def list(self, prefix: str) -> Listing:
        if self.away:
            raise StoreUnavailable("away")
        return await super().list(prefix)

    async def watch(self, prefix: str, after: int, *, previous: bool = False) -> AsyncIterator[Sequence[Batch]]:
        async for batches in super().watch(prefix, after, previous=previous):
            if self.away:
                raise StoreUnavailable("away")
            yield batches


class Inside(Keys):
    """The same, and follows the store itself."""

    store: Away

    def feed(self) -> Feed:
        return StoreFeed(Cache(self.store, CLOCK))

    async def away(self) -> None:
        self.store.away = True

    async def back(self) -> None:
        self.store.away = False


class TestStoreFeed(FeedContract):
    @pytest.fixture
    async def ground(self, tmp_path: Path) -> AsyncIterator[Inside]:
        async with Away(":memory:", CLOCK) as store, a_house(tmp_path, store=store) as house, aiohttp.ClientSession() as session:
            made = Inside(session, house.address("keys"), Relay(""))
            made.store = store
            yield made


class TestKeysDoorFeed(FeedContract):
    @pytest.fixture
    async def ground(self, tmp_path: Path) -> AsyncIterator[Keys]:
        async with a_house(tmp_path) as house, aiohttp.ClientSession() as session, relay(house.address("keys")) as way:
            yield Keys(session, house.address("keys"), way)


class TestEtcdFeed(FeedContract):
    @pytest.fixture
    async def ground(self, tmp_path: Path) -> AsyncIterator[Keys]:
        async with (
            etcd_server(tmp_path, extra=["--enable-v2"]) as endpoints,
            aiohttp.ClientSession() as session,
            relay(endpoints[0]) as way,
        ):
            yield Keys(session, endpoints[0], way)


class Standalone(Keys):
    """The same, as a router by itself follows them."""

    def feed(self) -> Feed:
        return keys_feed([f"http://{self.way.endpoint}"], CLOCK, self.prefix, self.times)


@asynccontextmanager
async def our_keys(folder: Path) -> AsyncIterator[str]:
    async with a_house(folder) as house:
        yield house.address("keys")


@asynccontextmanager
async def etcd_keys(folder: Path) -> AsyncIterator[str]:
    async with etcd_server(folder, extra=["--enable-v2"]) as endpoints:
        yield endpoints[0]


@pytest.mark.parametrize("keys_of", [our_keys, etcd_keys], ids=["argosy", "etcd"])
async def test_a_router_by_itself_hears_of_the_settings_that_are_hidden_from_listings(
    keys_of: Callable[[Path], AbstractAsyncContextManager[str]], tmp_path: Path
) -> None:
    async with keys_of(tmp_path) as door, aiohttp.ClientSession() as session, relay(door) as way:
        ground = Standalone(session, door, way)
        await ground.put("hello/1", "10.0.0.1:80")
        await ground.put("_settings/hello", "max_body=1g")
        async with following(ground) as seen:
            await seen.becomes({"hello/1": "10.0.0.1:80", "_settings/hello": "max_body=1g"})
            await ground.put("_settings/hello", "max_body=2g")
            await ground.put("hello/2", "10.0.0.2:80")
            await seen.becomes({"hello/1": "10.0.0.1:80", "hello/2": "10.0.0.2:80", "_settings/hello": "max_body=2g"})
            await ground.away()
            await ground.back()
            await ground.delete("_settings")
            await ground.delete("hello/1")
            await seen.becomes({"hello/2": "10.0.0.2:80"})


class Broken:
    async def follow(self) -> AsyncIterator[Changes[Entry]]:
        yield Changes({}, {}, 1, reset=True)
        raise KeyError("a mistake")


async def test_a_feed_that_fails_fails_those_that_it_is_joined_with() -> None:
    with pytest.raises(KeyError, match="a mistake"):
        async for _ in JoinedFeed({"": Broken()}).follow():
            pass


class Script:
    """A server that says what a test wants. `lists` and `waits` are answered in turn, the last for ever: (status, body, index), or a number
    of seconds to say nothing."""

    def __init__(self) -> None:
        self.lists: list[tuple[int, object, str]] = [listing()]
        self.waits: list[tuple[int, object, str] | float] = [60.0]
        self.asked: list[dict[str, str]] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.asked.append(query)
        answers = self.waits if "wait" in query else self.lists
        said = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(said, float):
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(said)
            return response
        status, body, index = said
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers={"X-Etcd-Index": index} if index else {})


def listing(index: str = "7", **values: str) -> tuple[int, object, str]:
    apps = {name.partition("__")[0] for name in values}
    nodes = [
        {
            "key": f"{PREFIX}/{app}",
            "dir": True,
            "nodes": [
                {"key": f"{PREFIX}/{name.replace('__', '/')}", "value": value}
                for name, value in values.items()
                if name.startswith(f"{app}__")
            ],
        }
        for app in apps
    ]
    return 200, {"action": "get", "node": {"key": PREFIX, "dir": True, "nodes": nodes}}, index


def event(action: str, key: str, value: str, index: int) -> tuple[int, object, str]:
    return 200, {"action": action, "node": {"key": f"{PREFIX}/{key}", "value": value, "modifiedIndex": index}}, str(index)


@pytest.fixture
async def script() -> AsyncIterator[tuple[Script, Feed]]:
    made = Script()
    app = web.Application()
    app.router.add_get("/v2/keys/services/web", made.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    host, port = runner.addresses[0][:2]
    yield made, Etcd2Feed([f"http://{host}:{port}"], CLOCK, times=Times(listing=0.5, head=0.5, wait=0.2, anew=60.0))
    await runner.cleanup()


class Told:
    """A ground of one feed, to follow it."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def feed(self) -> Feed:
        return self._feed


async def test_a_history_that_is_gone_is_listed_again(script: tuple[Script, Feed]) -> None:
    server, feed = script
    server.lists = [listing(hello__1="a:1"), listing("900", hello__2="b:1")]
    server.waits = [(400, {"errorCode": 401, "message": "The event in requested index is outdated and cleared"}, "900"), 60.0]
    async with following(Told(feed)) as seen:
        await seen.becomes({"hello/2": "b:1"})
        await until(lambda: server.asked[-1].get("waitIndex") == "901", "it is so")
        assert seen.resets == 2


async def test_an_index_that_goes_back_is_listed_again(script: tuple[Script, Feed]) -> None:
    server, feed = script
    server.lists = [listing("900", hello__1="a:1"), listing("40", hello__2="b:1")]
    server.waits = [(200, "", "40"), 60.0]
    async with following(Told(feed)) as seen:
        await seen.becomes({"hello/2": "b:1"})
        await until(lambda: server.asked[-1].get("waitIndex") == "41", "it is so")
        assert seen.resets == 2


async def test_a_wait_that_ends_empty_is_asked_anew_from_where_it_stood(script: tuple[Script, Feed]) -> None:
    server, feed = script
    server.waits = [60.0, (200, "", ""), event("set", "hello/1", "a:1", 12), 60.0]
    async with following(Told(feed)) as seen:
        await seen.becomes({"hello/1": "a:1"})
        await until(lambda: len(server.asked) >= 5, "it is so")
        assert [asked.get("waitIndex") for asked in server.asked[:5]] == [None, "8", "8", "8", "13"]
        assert seen.resets == 1


async def test_all_is_listed_again_now_and_then(script: tuple[Script, Feed]) -> None:
    server, feed = script
    assert isinstance(feed, Etcd2Feed)
    feed._times = Times(listing=0.5, head=0.5, wait=0.02, anew=0.1)
    server.lists = [listing(hello__1="a:1"), listing("8", hello__1="a:2")]
    async with following(Told(feed)) as seen:
        await seen.becomes({"hello/1": "a:2"})


NONSENSE: list[tuple[str, tuple[int, object, str]]] = [
    ("an error", (500, {"errorCode": 300, "message": "Raft Internal Error"}, "7")),
    ("another server's page", (200, "<html>", "7")),
    ("another server's 404", (404, "not here", "")),
    ("JSON of another kind", (200, [1, 2], "7")),
    ("no index", (200, {"node": {"key": PREFIX, "dir": True}}, "")),
    ("an index that is none", (200, {"node": {"key": PREFIX, "dir": True}}, "x")),
    ("no node", (200, {"action": "get"}, "7")),
    ("a node that is none", (200, {"node": {"key": PREFIX, "nodes": ["x"]}}, "7")),
    ("endless nesting", (200, '{"node":' + '{"nodes":[' * 50_000, "7")),
    ("half an answer", (200, '{"node": {"key": "/serv', "7")),
]


@pytest.mark.parametrize(("_why", "said"), NONSENSE, ids=[row[0] for row in NONSENSE])
async def test_what_is_no_answer_is_asked_again(
    script: tuple[Script, Feed], caplog: pytest.LogCaptureFixture, _why: str, said: tuple[int, object, str]
) -> None:
    server, feed = script
    server.lists = [said, listing(hello__1="a:1")]
    server.waits = [said, 60.0] if _why not in ("no index", "an index that is none") else [60.0]
    async with following(Told(feed)) as seen:
        await seen.becomes({"hello/1": "a:1"})
        assert "cannot follow /services/web" in caplog.text


async def test_strange_nodes_do_no_harm(script: tuple[Script, Feed]) -> None:
    server, feed = script
    deep: dict[str, object] = {"key": f"{PREFIX}/a/b", "dir": True}
    for number in range(200):
        deep = {"key": f"{PREFIX}/a/{number}", "dir": True, "nodes": [deep]}
    nodes = [{"key": f"{PREFIX}/a/1", "value": 5}, {"key": "/elsewhere/x", "value": "y"}, {"value": "z"}, {"key": 7}, deep]
    server.lists = [(200, {"node": {"key": PREFIX, "dir": True, "nodes": nodes}}, "7")]
    async with following(Told(feed)) as seen:
        await until(lambda: seen.resets > 0, "it is so")
        assert seen.known["a/1"] == Entry("")
        assert "" not in seen.known
        assert len(seen.known) < 20


async def test_another_endpoint_is_asked_when_one_is_silent(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house, aiohttp.ClientSession() as session, relay(house.address("keys")) as way:
        ground = Keys(session, house.address("keys"), way)
        await ground.put("hello/1", "a:1")
        way.freeze()
        endpoints = [f"http://{way.endpoint}", f"http://{house.address('keys')}"]
        feed = Etcd2Feed(endpoints, CLOCK, times=Times(listing=0.5, head=0.3, wait=1.0))
        async with following(Told(feed)) as seen:
            await seen.becomes({"hello/1": "a:1"})


async def test_another_prefix(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house, aiohttp.ClientSession() as session, relay(house.address("keys")) as way:
        ground = Keys(session, house.address("keys"), way, "/apps")
        async with following(ground) as seen:
            await ground.put("hello/1", "a:1")
            await seen.becomes({"hello/1": "a:1"})


@pytest.mark.parametrize(("given", "taken"), [("/services/web", "/services/web"), ("apps/", "/apps"), ("/a/b/c/", "/a/b/c")])
def test_prefixes(given: str, taken: str) -> None:
    assert check_prefix(given) == taken


@pytest.mark.parametrize("given", ["", "/", "/a/../b", "/a//b", "/a b", "/a?b", "/ü", "/a\n"])
def test_what_is_no_prefix(given: str) -> None:
    with pytest.raises(InvalidInput, match="no prefix"):
        check_prefix(given)


def test_the_stores_feed_is_of_the_routers_keys() -> None:
    assert keys.WEB.endswith(PREFIX + "/")
