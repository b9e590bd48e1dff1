"""How a real nginx carries requests: over which connections, streaming, within which limits, with which headers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from argosy.model import Entry
from argosy.reconcile import SystemClock
from argosy.router.feed import StoreFeed
from argosy.router.loop import Router
from argosy.router.render import HEALTH, SETTINGS, Settings, upstream_name
from argosy.router.tuning import parse_tuning
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.records import encode
from argosy.store.base import Delete, Put
from argosy.store.sqlite import SqliteStore
from tests.router.test_serving import House, house
from tests.router.web import backend, needs_nginx, nginx, until, until_async

pytestmark = needs_nginx

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WITHIN = 10.0
CHUNK = 1 << 20


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[str]:
    """A server of that protocol; its address."""
    tasks: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


async def setting(here: House, app: str, value: str | None) -> None:
    """Sets or removes an app's settings, and returns when they are served."""
    key = f"{keys.WEB}{SETTINGS}/{app}"
    before = here.proxy.active
    await here.store.commit([], [Put(key, encode(Entry(value))) if value is not None else Delete(key)])
    await until(lambda: here.proxy.active != before, "the settings are served")


def complaints(here: House) -> tuple[str, ...]:
    return here.router.served.complaints


# --- connections


async def test_what_may_not_be_repeated_never_goes_over_a_connection_that_the_app_may_be_closing(here: House) -> None:
    """The app hangs up on whatever comes as the second request of a connection, as one that closes idle ones just then seems to do."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"content-length: 3" in head.lower():
            await reader.readexactly(3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.readuntil(b"\r\n\r\n")

    async with listening(once) as address:
        await here.set(hello__1=address)
        for method, body in [("GET", b""), ("POST", b"pay"), ("PUT", b"pay"), ("PATCH", b"pay"), ("DELETE", b""), ("GET", b"pay")] * 4:
            answer = await here.ask("hello.example", method=method, body=body)
            assert (method, answer.status) == (method, 200)


async def test_a_post_says_that_its_connection_is_closed_and_gets_reuse_theirs(here: House) -> None:
    async with backend("one") as one:
        await here.set(hello__1=one.address)
        for _ in range(10):
            await here.ask("hello.example")
        assert one.connections <= 2
        before = one.connections
        for _ in range(3):
            await here.ask("hello.example", method="POST", body=b"x")
            assert "connection: close\r\n" in one.heard[-1].lower()
        assert one.connections == before + 3


async def test_an_app_whose_requests_are_not_repeated_gets_no_kept_connections(here: House) -> None:
    async with backend("one") as one:
        await here.set(hello__1=one.address)
        await setting(here, "hello", "retry=off")
        for _ in range(3):
            await here.ask("hello.example")
        assert one.connections == 3


# --- streams

STREAMS = [
    (b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", "ends with its connection"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n", "of a known length"),
]


@pytest.mark.parametrize(("head", "why"), STREAMS, ids=[row[1] for row in STREAMS])
async def test_a_response_arrives_as_the_app_sends_it(here: House, head: bytes, why: str) -> None:
    heard = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + b"data: 1\n\n")
        await heard.wait()
        writer.write(b"data: 2\n\n")

    async with listening(stream) as address:
        await here.set(hello__1=address)
        async with connected(here.port) as (reader, writer), asyncio.timeout(WITHIN):
            writer.write(b"GET /events HTTP/1.1\r\nHost: hello.example\r\n\r\n")
            assert (await reader.readuntil(b"\n\n")).endswith(b"data: 1\n\n")
            heard.set()
            assert (await reader.readuntil(b"\n\n")).endswith(b"data: 2\n\n")


@pytest.mark.parametrize("chunked", [False, True], ids=["of a known length", "chunked"])
async def test_a_request_s_body_reaches_the_app_as_it_is_sent_and_is_kept_nowhere(here: House, chunked: bool) -> None:
    pieces, received = 64, 0

    async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        end = b""
        while received < pieces * CHUNK or (chunked and not end.endswith(b"\r\n0\r\n\r\n")):
            piece = await reader.read(CHUNK)
            received += len(piece)
            end = (end + piece)[-7:]
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    def framed(data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data) if chunked else data

    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (pieces * CHUNK)
    async with listening(app) as address:
        await here.set(hello__1=address)
        async with connected(here.port) as (reader, writer), asyncio.timeout(60):
            writer.write(b"PUT /upload HTTP/1.1\r\nHost: hello.example\r\n%s\r\n\r\n" % length)
            for count in range(1, pieces + 1):
                writer.write(framed(bytes(CHUNK)))
                await writer.drain()
                await until(lambda count=count: received >= (count - 1) * CHUNK, "the app has the piece before")  # type: ignore[misc]
            assert not list((here.proxy.folder / "body").iterdir())
            writer.write(b"0\r\n\r\n" if chunked else b"")
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 201 ")


async def test_an_app_may_have_its_requests_whole(here: House) -> None:
    """For apps that serve one client at a time, or understand no chunked requests."""
    async with backend("one") as one:
        await here.set(hello__1=one.address)
        await setting(here, "hello", "buffer_requests=on buffer_responses=on")
        async with connected(here.port) as (reader, writer), asyncio.timeout(WITHIN):
            writer.write(b"POST /echo HTTP/1.1\r\nHost: hello.example\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(2):
                writer.write(b"3\r\npay\r\n")
                await writer.drain()
            assert not one.heard
            writer.write(b"0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        assert "content-length: 6\r\n" in one.heard[0].lower()


# --- limits


async def test_a_request_of_any_size_is_begun_and_an_app_s_key_sets_its_own_limit(here: House) -> None:
    async with backend("one") as one:
        await here.set(hello__1=one.address, shop__1=one.address)
        head = b"POST / HTTP/1.1\r\nHost: %s.example\r\nContent-Length: %d\r\n\r\n"

        async def answers(app: bytes, length: int) -> bytes:
            async with connected(here.port) as (reader, writer), asyncio.timeout(WITHIN):
                writer.write(head % (app, length) + b"begin")
                first = asyncio.ensure_future(reader.readline())
                begun = len(one.heard)
                await until(lambda: first.done() or len(one.heard) > begun, "it is refused or passed on")
                if first.done():
                    return first.result()
                first.cancel()
                return b"passed on"

        assert await answers(b"hello", 1_100_000_000) == b"passed on"
        await setting(here, "hello", "max_body=1m")
        assert b" 413 " in await answers(b"hello", 1_100_000)
        assert await answers(b"shop", 1_100_000) == b"passed on"
        await setting(here, "hello", None)
        assert await answers(b"hello", 1_100_000) == b"passed on"


async def test_an_app_decides_after_what_another_instance_is_asked(here: House) -> None:
    """As in the configuration of the fleet starter, which asks another after 500 and 404 too."""
    async with backend("good") as good, backend("bad") as bad:
        await here.set(hello__1=good.address, hello__2=bad.address)
        await setting(here, "hello", "retry=error,timeout,http_500,502,503,504,404")
        for status in (500, 404):
            bad.status = status
            assert [(await here.ask("hello.example")).body for _ in range(4)] == ["good"] * 4
        assert bad.heard


async def test_an_app_s_read_timeout_is_its_own(here: House) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as address:
        await here.set(hello__1=address)
        await setting(here, "hello", "read_timeout=50ms")
        assert (await here.ask("hello.example")).status == 504


async def test_settings_that_break_a_rule_are_refused_by_name_and_the_app_goes_on(here: House) -> None:
    async with backend("one") as one:
        await here.set(hello__1=one.address)
        await here.store.commit([], [Put(f"{keys.WEB}{SETTINGS}/hello", encode(Entry("max_body=1g; } server {")))])
        await until(lambda: len(here.router.served.refused) == 1, "they are refused")
        (refused,) = here.router.served.refused
        assert refused.key == "/services/web/_settings/hello"
        assert "max_body=1g;: it is a size such as 100m or 10g (write max_body=10g)" in refused.reason
        assert (await here.ask("hello.example")).body == "one"


async def test_the_operator_sets_limits_for_all_apps(tmp_path: Path) -> None:
    settings = Settings(domain="example", tuning=parse_tuning("max_body=2k max_header=4k odd_headers=drop"))
    async with backend("one") as one, house(tmp_path, settings) as here:
        await here.set(hello__1=one.address)
        assert (await here.ask("hello.example", method="POST", body=bytes(3000))).status == 413
        assert (await here.ask("hello.example", headers=f"X-Long: {'x' * 5000}\r\n")).status == 400
        heard = (await here.ask("hello.example", "/echo", headers="X_API_KEY: a\r\nX.Dot: b\r\n")).body
        assert "X_API_KEY" not in heard
        assert "X.Dot" not in heard
    async with backend("one") as one, house(tmp_path / "2", Settings(domain="example", tuning=parse_tuning("max_header=64k"))) as here:
        await here.set(hello__1=one.address)
        assert (await here.ask("hello.example", headers=f"X-Long: {'x' * 50_000}\r\n")).status == 200


async def test_an_app_that_sends_early_hints_is_served_over_http_1_0(here: House) -> None:
    """nginx before 1.29.0 takes 103 for the whole response."""

    async def hinting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b" HTTP/1.1\r\n" in head:
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    async with listening(hinting) as address:
        await here.set(hello__1=address)
        await setting(here, "hello", "http=1.0")
        answer = await here.ask("hello.example")
        assert (answer.status, answer.body) == (200, "done")


# --- the operator's own files


async def test_an_include_that_collides_is_left_out_alone_and_taken_up_when_it_is_corrected(tmp_path: Path) -> None:
    good, bad, broken = tmp_path / "a-good.conf", tmp_path / "b-bad.conf", tmp_path / "c-broken.conf"
    good.write_text("add_header X-Good yes always;\n")
    bad.write_text("client_max_body_size 5m;\n")
    broken.write_text(f"upstream {upstream_name('hello')} {{ server 127.0.0.1:1; }}\n")
    settings = Settings(domain="example", include=(str(tmp_path / "*.conf"), str(tmp_path / "none")))
    async with backend("one") as one, house(tmp_path, settings) as here:
        await here.set(hello__1=one.address)
        answer = await here.ask("hello.example")
        assert (answer.body, answer.headers["x-good"]) == ("one", "yes")
        await until(lambda: len(complaints(here)) == 3, "all three are told of")
        first, second, third = complaints(here)
        assert first.startswith(f"include {bad} is left out: nginx refuses the configuration: ")
        assert '"client_max_body_size" directive is duplicate' in first
        assert first.endswith('(set it by [router] settings = "max_body=...")')
        assert second.startswith(f"include {broken} is left out: ")
        assert f'duplicate upstream "{upstream_name("hello")}"' in second
        assert third.startswith(f"include {tmp_path / 'none'} is left out: ")
        bad.write_text("add_header X-Bad corrected always;\n")
        good.write_text("add_header X-Good changed always;\n")

        async def taken_up() -> bool:
            headers = (await here.ask("hello.example")).headers
            return (headers.get("x-bad"), headers.get("x-good")) == ("corrected", "changed")

        await until_async(taken_up, "the files as they are now")
        await until(lambda: len(complaints(here)) == 2, "one complaint less")


async def test_a_mistake_of_an_app_s_or_of_the_router_s_own_is_not_laid_upon_an_include(tmp_path: Path) -> None:
    good = tmp_path / "good.conf"
    good.write_text("add_header X-Good yes always;\n")
    occupied = socket.create_server(("127.0.0.1", 0))
    with occupied:
        listen = f"127.0.0.1:{occupied.getsockname()[1]}"
        settings = Settings(domain="example", include=(str(good),), listen=(listen,), nofile=1024)
        clock = SystemClock()
        async with SqliteStore(":memory:", clock) as store, nginx(tmp_path / "nginx") as proxy:
            router = Router(StoreFeed(Cache(store, clock)), "a" * 32, proxy, settings, clock)
            task = asyncio.create_task(router.run())
            await until(lambda: "Address already in use" in router.report.error, "the reason is told")
            assert router.served.complaints == ()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


# --- headers


async def test_an_operator_passes_underscores_only_for_php_takes_dots_for_them(tmp_path: Path) -> None:
    settings = Settings(domain="example", tuning=parse_tuning("odd_headers=underscores"))
    async with backend("one") as one, house(tmp_path, settings) as here:
        await here.set(hello__1=one.address)
        heard = (await here.ask("hello.example", "/echo", headers="X_API_KEY: k\r\nX.Dot: d\r\nX_Real_IP: 6.6.6.6\r\n")).body
        assert "X_API_KEY: k\r\n" in heard
        assert "X.Dot" not in heard
        assert "6.6.6.6" not in heard


async def test_headers_of_unusual_names_reach_the_app(here: House) -> None:
    async with backend("one") as one:
        await here.set(hello__1=one.address)
        for method in ("GET", "POST"):
            heard = (await here.ask("hello.example", "/echo", method=method, headers="X_API_KEY: k\r\nX.Dot: d\r\nX!~: e\r\n")).body
            for line in ("X_API_KEY: k\r\n", "X.Dot: d\r\n", "X!~: e\r\n"):
                assert line in heard


SPOOFED = ["X_Forwarded_For", "x-forwarded_for", "X_Real_IP", "X_Forwarded_Proto", "X_Forwarded_Host", "Content_Length"]


@pytest.mark.parametrize("name", [*SPOOFED, "Transfer_Encoding"])
async def test_a_client_cannot_speak_for_the_router_by_another_spelling(here: House, name: str) -> None:
    """WSGI and CGI tell no hyphen from an underscore."""
    async with backend("one") as one:
        await here.set(hello__1=one.address)
        for method in ("GET", "POST"):
            heard = (await here.ask("hello.example", "/echo", method=method, headers=f"{name}: 6.6.6.6\r\n")).body
            assert "6.6.6.6" not in heard
            assert "x-forwarded-for: 127.0.0.1\r\n" in heard.lower()


async def test_a_header_s_name_with_a_space_or_a_control_character_is_refused(here: House) -> None:
    async with backend("one") as one:
        await here.set(hello__1=one.address)
        for name in ("Content-Length ", "X\x01Y", "Transfer-Encoding\t"):
            assert (await here.ask("hello.example", headers=f"{name}: 1\r\n")).status == 400


# --- HTTP/1.0


async def old(port: int, request: bytes) -> bytes:
    async with connected(port) as (reader, writer), asyncio.timeout(WITHIN):
        writer.write(request)
        return await reader.read()


async def test_a_health_check_in_http_1_0_without_a_host_is_answered(here: House) -> None:
    for path in ("/", HEALTH):
        answer = await old(here.port, f"GET {path} HTTP/1.0\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nok\n")
    assert b" 200 OK" in await old(here.port, b"OPTIONS / HTTP/1.0\r\n\r\n")
    assert b" 404 " in await old(here.port, b"GET /other HTTP/1.0\r\n\r\n")
    assert (await here.ask("unknown.example")).status == 404


async def test_a_request_in_http_1_0_that_names_the_app_in_its_first_line_is_served(here: House) -> None:
    async with backend("one") as one:
        await here.set(hello__1=one.address)
        assert b" 200 X" in await old(here.port, b"GET http://hello.example/ HTTP/1.0\r\n\r\n")
        assert "host: hello.example\r\n" in one.heard[-1].lower()


async def test_settings_before_their_app_wait_for_it(here: House) -> None:
    await here.store.commit([], [Put(f"{keys.WEB}{SETTINGS}/hello", encode(Entry("max_body=1k")))])
    async with backend("one") as one:
        await here.set(hello__1=one.address)

        async def refused() -> bool:
            return (await here.ask("hello.example", method="POST", body=bytes(2000))).status == 413

        await until_async(refused, "the limit holds")
