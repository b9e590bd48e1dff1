"""What every kind of listener does, whatever API it serves: asks its admission, words errors, keeps limits, streams, and opens and closes
as one with others. Subclasses give `ground`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from argosy.errors import ArgosyError, NotFound, StoreUnavailable, Unsuitable
from argosy.reconcile import SystemClock
from argosy.web.admission import Admission
from argosy.web.answers import answer, stream, stream_lines
from argosy.web.bodies import body_as, pieces, query_as, whole
from argosy.web.limits import Limits
from argosy.web.listeners import Tcp, Unix
from argosy.web.server import HttpApi, Listener, Route, Server, listener_of
from argosy.web.users import Users

SECONDS = 10.0
LARGEST = 1000


class Ground:
    """`at`: where the listener is; `connect`: a client's connection to its address."""

    def __init__(self, at: Tcp | Unix, connector: Callable[[str], aiohttp.BaseConnector], scheme: str = "http", name: str = "") -> None:
        self.at = at
        self.connector = connector
        self.scheme = scheme
        self.name = name


class Query(msgspec.Struct, frozen=True):
    lines: int = 1
    unit: list[str] = []


class Shape(msgspec.Struct, frozen=True):
    size: int


class Catalog:
    """A small API, which shows each thing that a handler may do. `ended` is set when a stream's generator has ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.begun = asyncio.Event()

    def api(self, limits: Limits = Limits()) -> HttpApi:  # noqa: B008
        routes = [
            Route("GET", "/name", self.name),
            Route("GET", "/query", self.query),
            Route("PUT", "/body", self.body),
            Route("PUT", "/shape", self.shape),
            Route("PUT", "/stream", self.intake),
            Route("GET", "/error/{kind}", self.error),
            Route("GET", "/lines/{kind}", self.lines),
            Route("GET", "/bytes/{kind}", self.bytes_),
        ]
        return HttpApi(routes, self.failed, limits, headers={"X-Api": "catalog"}, quiet=(503,))

    def failed(self, error: ArgosyError) -> web.Response:
        return web.Response(status=error.status, text=f"catalog: {error.message}")

    async def name(self, request: web.Request) -> web.StreamResponse:
        return answer({"listener": listener_of(request), "peer": request.scheme}, headers={"X-Index": "7"})

    async def query(self, request: web.Request) -> web.StreamResponse:
        return answer(query_as(request, Query))

    async def body(self, request: web.Request) -> web.StreamResponse:
        return answer(len(await whole(request, LARGEST)))

    async def shape(self, request: web.Request) -> web.StreamResponse:
        return answer(await body_as(request, Shape, LARGEST, remedy="see the docs"))

    async def intake(self, request: web.Request) -> web.StreamResponse:
        return answer(sum([len(piece) async for piece in pieces(request)]))

    async def error(self, request: web.Request) -> web.StreamResponse:
        kinds: dict[str, Exception] = {
            "none": NotFound("no such service"),
            "away": StoreUnavailable("the store is away"),
            "defect": ZeroDivisionError("secret"),
        }
        raise kinds[request.match_info["kind"]]

    async def lines(self, request: web.Request) -> web.StreamResponse:
        return await stream_lines(request, self._items(request.match_info["kind"]), lambda error: {"error": str(error)})

    async def _items(self, kind: str) -> AsyncGenerator[object, None]:
        try:
            if kind == "none":
                raise NotFound("no such log")
            yield {"line": 1}
            if kind == "breaks":
                raise StoreUnavailable("the log is gone")
            if kind == "waits":
                self.begun.set()
                await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def bytes_(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        size = {"whole": 6, "breaks": 6}.get(kind)
        return await stream(request, self._pieces(kind), headers={"Content-Type": "x/y"}, size=size, hold=None)

    async def _pieces(self, kind: str) -> AsyncGenerator[bytes, None]:
        try:
            yield b"abc"
            if kind == "breaks":
                raise StoreUnavailable("gone")
            if kind == "defect":
                raise ZeroDivisionError("secret")
            while kind == "endless":
                yield b"x" * 1_000_000
            yield b"def"
        finally:
            self.ended.set()


class Client:
    def __init__(self, ground: Ground, session: aiohttp.ClientSession, base: str, server: Server) -> None:
        self.ground = ground
        self.session = session
        self.base = base
        self.server = server
        self.counted: list[tuple[str, int]] = []

    def request(self, method: str, path: str, **options: Any) -> Any:
        return self.session.request(method, self.base + path, server_hostname=self.ground.name or None, **options)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        async with asyncio.timeout(SECONDS), self.request(method, path, **options) as response:
            return response.status, await response.text()


@asynccontextmanager
async def serving(ground: Ground, api: HttpApi, admission: Admission | None = None) -> AsyncIterator[Client]:
    counted: list[tuple[str, int]] = []
    listener = Listener("here", ground.at, admission or Admission("catalog"), api)
    server = Server([listener], SystemClock(), counted=lambda name, status: counted.append((name, status)))
    async with server.serving() as addresses:
        (address,) = addresses["here"]
        host = "localhost" if isinstance(ground.at, Unix) else address
        async with aiohttp.ClientSession(connector=ground.connector(address)) as session:
            client = Client(ground, session, f"{ground.scheme}://{host}", server)
            client.counted = counted
            yield client


class ListenerContract:
    """Every test is run for each kind."""

    @pytest.fixture
    async def ground(self) -> Ground:
        raise NotImplementedError

    @pytest.fixture
    def catalog(self) -> Catalog:
        return Catalog()

    async def test_serves_what_the_table_says_and_counts_it(self, ground: Ground, catalog: Catalog) -> None:
        async with serving(ground, catalog.api()) as client:
            async with client.request("GET", "/name") as response:
                assert await response.json() == {"listener": "here", "peer": ground.scheme}
                assert (response.headers["X-Index"], response.headers["X-Api"]) == ("7", "catalog")
                assert response.headers["Server"].startswith("argosy/")
            assert client.counted == [("here", 200)]

    async def test_every_failure_is_in_the_apis_words(self, ground: Ground, catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
        async with serving(ground, catalog.api()) as client:
            assert await client.ask("GET", "/nothing") == (404, "catalog: there is nothing at this path")
            assert await client.ask("GET", "/error/none") == (404, "catalog: no such service")
            async with client.request("GET", "/error/away") as away:
                assert (away.status, away.headers["Retry-After"], away.headers["X-Api"]) == (503, "1", "catalog")
            async with client.request("DELETE", "/name") as refused:
                assert (refused.status, refused.headers["Allow"]) == (405, "GET")
                assert await refused.text() == "catalog: DELETE is not possible here"
            assert caplog.records == []
            assert await client.ask("GET", "/error/defect") == (500, "catalog: this is a defect in argosy; its log says more")
            assert "ZeroDivisionError" in caplog.text
            assert [status for _, status in client.counted] == [404, 404, 503, 405, 500]

    async def test_the_admission_is_asked_before_anything_else(self, ground: Ground, catalog: Catalog) -> None:
        async with serving(ground, catalog.api()) as client:
            for path in ("/name", "/nothing"):
                status, said = await client.ask("GET", path, headers={"X-Forwarded-For": "10.0.0.9"})
                assert (status, said) == (403, "catalog: this came through a proxy that is not named here")

    async def test_the_peer_is_known(self, ground: Ground, catalog: Catalog) -> None:
        for owner, group, status in ((os.geteuid(), None, 200), (os.geteuid() + 1, None, 403 if os.geteuid() else 200)):
            admission = Admission("catalog", users=Users(owner, group, SystemClock()))
            async with serving(ground, catalog.api(), admission) as client:
                assert (await client.ask("GET", "/name"))[0] == status

    async def test_queries_and_bodies_are_checked(self, ground: Ground, catalog: Catalog) -> None:
        async with serving(ground, catalog.api(Limits(body=0.2))) as client:
            assert await client.ask("GET", "/query?unit=a&unit=b&lines=2") == (200, '{"lines":2,"unit":["a","b"]}')
            assert (await client.ask("GET", "/query?line=2"))[0] == 400
            assert (await client.ask("GET", "/query?lines=2&lines=3"))[0] == 400
            assert await client.ask("PUT", "/body", data=b"x" * LARGEST) == (200, "1000")
            assert (await client.ask("PUT", "/body", data=b"x" * (LARGEST + 1)))[0] == 413
            assert await client.ask("PUT", "/shape", json={"size": 3}) == (200, '{"size":3}')
            assert (await client.ask("PUT", "/shape", json={"size": "3"}))[0] == 400
            assert await client.ask("PUT", "/shape", data=b"{}") == (415, "catalog: the body must be JSON")
            assert await client.ask("PUT", "/body", data=_trickle()) == (408, "catalog: the body did not arrive within 0.2 s")

    async def test_a_body_is_taken_in_as_it_comes_but_not_from_the_silent(self, ground: Ground, catalog: Catalog) -> None:
        async with serving(ground, catalog.api(Limits(silence=0.2))) as client:
            assert await client.ask("PUT", "/stream", data=_many(20)) == (200, "20000")
            assert await client.ask("PUT", "/stream", data=_trickle()) == (408, "catalog: nothing came for 0.2 s")

    async def test_a_stream_gives_signs_of_life_and_ends_with_its_client(self, ground: Ground, catalog: Catalog) -> None:
        async with serving(ground, catalog.api(Limits(beat=0.02))) as client, asyncio.timeout(SECONDS):
            async with client.request("GET", "/lines/waits") as response:
                assert [await response.content.readline() for _ in range(3)] == [b'{"line":1}\n', b"\n", b"\n"]
            await catalog.ended.wait()

    async def test_a_stream_that_fails_at_once_is_an_ordinary_failure_and_later_a_line(self, ground: Ground, catalog: Catalog) -> None:
        async with serving(ground, catalog.api()) as client:
            assert await client.ask("GET", "/lines/none") == (404, "catalog: no such log")
            assert await client.ask("GET", "/lines/breaks") == (200, '{"line":1}\n{"error":"the log is gone"}\n')

    async def test_nobody_takes_a_part_for_the_whole(self, ground: Ground, catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
        async with serving(ground, catalog.api()) as client:
            assert await client.ask("GET", "/bytes/whole") == (200, "abcdef")
            with pytest.raises(aiohttp.ClientError):
                await client.ask("GET", "/bytes/breaks")
            assert caplog.records == []
            with pytest.raises(aiohttp.ClientError):
                await client.ask("GET", "/bytes/defect")
            assert "ZeroDivisionError" in caplog.text

    async def test_a_client_that_takes_nothing_is_cut_off(self, ground: Ground, catalog: Catalog) -> None:
        async with (
            serving(ground, catalog.api(Limits(silence=0.1))) as client,
            asyncio.timeout(SECONDS),
            client.request("GET", "/bytes/endless") as response,
        ):
            assert await response.content.readexactly(3) == b"abc"
            await catalog.ended.wait()

    async def test_closing_ends_those_who_wait_and_the_address_is_free_again(self, ground: Ground, catalog: Catalog) -> None:
        async with asyncio.timeout(SECONDS):
            async with serving(ground, catalog.api()) as client:
                waiting = asyncio.create_task(client.ask("GET", "/lines/waits"))
                await catalog.begun.wait()
                at = _same(ground.at, client.server.addresses["here"][0])
            await asyncio.gather(waiting, return_exceptions=True)
            assert catalog.ended.is_set()
            assert not [task for task in asyncio.all_tasks() if task.get_name() in ("listener", "tls-handshake")]
            async with serving(Ground(at, ground.connector, ground.scheme, ground.name), catalog.api()) as client:
                assert (await client.ask("GET", "/name"))[0] == 200

    async def test_an_address_that_is_taken_is_told_and_nothing_else_stays_open(self, ground: Ground, catalog: Catalog) -> None:
        async with serving(ground, catalog.api()) as client:
            taken = _same(ground.at, client.server.addresses["here"][0])
            with socket.create_server(("127.0.0.1", 0)) as free:
                other = Tcp("127.0.0.1", free.getsockname()[1])
            both = [Listener(name, at, Admission("x"), catalog.api()) for name, at in (("other", other), ("taken", taken))]
            with pytest.raises(Unsuitable, match="cannot listen on"):
                async with Server(both, SystemClock()).serving():
                    raise AssertionError("it served")
            socket.create_server(("127.0.0.1", other.port)).close()
            assert (await client.ask("GET", "/name"))[0] == 200

    async def test_what_is_no_http_is_a_line_at_debug(self, ground: Ground, catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
        async with serving(ground, catalog.api()) as client:
            with caplog.at_level(logging.DEBUG, "argosy"):
                status, _ = await client.ask("GET", "/name", headers={"X": "x" * 20_000})
            assert status == 400
            assert [record.levelname for record in caplog.records if record.name.startswith("argosy")] == ["DEBUG"]


def _same(at: Tcp | Unix, address: str) -> Tcp | Unix:
    return at if isinstance(at, Unix) else at._replace(port=int(address.rpartition(":")[2]))


async def _trickle() -> AsyncIterator[bytes]:
    yield b"a"
    await asyncio.Event().wait()


async def _many(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 1000
