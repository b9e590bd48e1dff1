"""The whole room on real engines: keys in a store, the router's loop, nginx, backends, and a client that asks."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from argosy import proc
from argosy.model import Entry
from argosy.reconcile import SystemClock
from argosy.router import process
from argosy.router.feed import StoreFeed
from argosy.router.loop import Router
from argosy.router.nginx import Nginx
from argosy.router.render import HEALTH, HEALTH_HOST, Settings
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.records import encode
from argosy.store.base import Delete, Put
from argosy.store.sqlite import SqliteStore
from tests.router.web import Answer, Backend, ask, backend, free_port, needs_nginx, nginx, until, until_async

pytestmark = needs_nginx


class House:
    """A router on a free port, with what its tests do to it."""

    def __init__(self, store: SqliteStore, router: Router, proxy: Nginx, port: int) -> None:
        self.store = store
        self.router = router
        self.proxy = proxy
        self.port = port

    async def ask(self, host: str, path: str = "/", **options: str | bytes) -> Answer:
        return await ask(self.port, host, path, **options)  # type: ignore[arg-type]

    async def set(self, **values: str) -> None:
        """app__instance=value: sets the keys and waits until the router serves them."""
        entries = {name.replace("__", "/"): value for name, value in values.items()}
        await self.store.commit([], [Put(keys.WEB + name, encode(Entry(value, ttl=60))) for name, value in entries.items()])
        await self.serves(lambda served: all(served.get(name) == value for name, value in entries.items()))

    async def delete(self, *names: str) -> None:
        await self.store.commit([], [Delete(keys.WEB + name) for name in names])
        await self.serves(lambda served: not served.keys() & set(names))

    async def serves(self, condition: Callable[[dict[str, str]], bool]) -> None:
        await until(lambda: condition({f"{up.app}/{up.instance}": up.address for up in self.router.served.upstreams}), "it is served")

    async def answers(self, host: str, text: str) -> None:
        async def answered() -> bool:
            try:
                return (await self.ask(host)).body == text
            except (OSError, EOFError):
                return False

        await until_async(answered, f"{host} answers {text}")


@asynccontextmanager
async def house(folder: Path, settings: Settings | None = None) -> AsyncIterator[House]:
    port = free_port()
    clock = SystemClock()
    chosen = settings or Settings(domain="example")
    chosen = msgspec.structs.replace(chosen, listen=(f"127.0.0.1:{port}",), nofile=1024, workers="2")
    async with SqliteStore(":memory:", clock) as store, nginx(folder / "nginx") as proxy:
        router = Router(StoreFeed(Cache(store, clock)), "a" * 32, proxy, chosen, clock)
        task = asyncio.create_task(router.run())
        await until(lambda: bool(proxy.active), "nginx runs")
        try:
            yield House(store, router, proxy, port)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


@pytest.fixture
async def backends() -> AsyncIterator[Callable[[str], Awaitable[Backend]]]:
    async with AsyncExitStack() as stack:
        yield lambda name: stack.enter_async_context(backend(name))


Backends = Callable[[str], Awaitable[Backend]]


async def test_requests_are_spread_over_the_instances_of_the_app_that_the_host_names(here: House, backends: Backends) -> None:
    one, two, other = await backends("one"), await backends("two"), await backends("other")
    await here.set(hello__1=one.address, hello__2=two.address, shop__1=other.address)
    assert {(await here.ask("hello.example")).body for _ in range(10)} == {"one", "two"}
    assert (await here.ask("SHOP.example:8080")).body == "other"
    await here.delete("hello/2")
    assert {(await here.ask("hello.example")).body for _ in range(10)} == {"one"}


async def test_an_unknown_host_gets_a_page_that_says_so_and_how_to_announce_and_nothing_of_the_inside(
    here: House, backends: Backends
) -> None:
    one = await backends("one")
    await here.set(secret__1=one.address)
    answer = await here.ask("unknown.example", "/any/path")
    assert answer.status == 404
    assert answer.headers["content-type"] == "text/html"
    assert "No app of that host is known" in answer.body
    assert "argosy announce /services/web/APP/INSTANCE ADDRESS:PORT" in answer.body
    assert not {"secret", "127.0.0.1", "nginx"} & set(answer.body.replace("/", " ").split())
    assert answer.headers["server"] == "nginx"


async def test_the_health_page_answers_whatever_apps_there_are(here: House, backends: Backends) -> None:
    assert (await here.ask(HEALTH_HOST, HEALTH)).body == "ok\n"
    one = await backends("one")
    await here.set(argosy__1=one.address, health__1=one.address)
    assert (await here.ask(HEALTH_HOST, HEALTH)).body == "ok\n"


async def test_a_known_app_without_an_instance_is_unavailable_and_comes_back(here: House, backends: Backends) -> None:
    await here.store.commit([], [Put(f"{keys.WEB}hello", encode(Entry(directory=True)))])
    await until(lambda: "hello" in here.router.served.hosts, "the app is known")
    answer = await here.ask("hello.example")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "No instance of this app is announced now" in answer.body
    one = await backends("one")
    await here.set(hello__1=one.address)
    assert (await here.ask("hello.example")).body == "one"


async def test_backends_learn_whom_they_serve_and_clients_cannot_tell_them_otherwise(here: House, backends: Backends) -> None:
    one = await backends("one")
    await here.set(hello__1=one.address)
    told = "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
    heard = (await here.ask("hello.example:8080", "/echo", headers=told)).body.lower()
    assert "host: hello.example:8080\r\n" in heard
    assert "x-real-ip: 127.0.0.1\r\n" in heard
    assert "x-forwarded-for: 6.6.6.6, 127.0.0.1\r\n" in heard
    assert "x-forwarded-proto: http\r\n" in heard
    assert "x-forwarded-host: hello.example:8080\r\n" in heard


async def test_a_trusted_proxy_in_front_is_believed(tmp_path: Path, backends: Backends) -> None:
    one = await backends("one")
    async with house(tmp_path, Settings(domain="example", trusted=("127.0.0.0/8",))) as here:
        await here.set(hello__1=one.address)
        told = "X-Forwarded-For: 198.18.9.9\r\nX-Forwarded-Proto: https\r\n"
        heard = (await here.ask("hello.example", "/echo", headers=told)).body.lower()
        assert "x-real-ip: 198.18.9.9\r\n" in heard
        assert "x-forwarded-for: 198.18.9.9, 127.0.0.1\r\n" in heard
        assert "x-forwarded-proto: https\r\n" in heard


async def test_without_a_domain_an_app_answers_to_any(tmp_path: Path, backends: Backends) -> None:
    one = await backends("one")
    async with house(tmp_path, Settings()) as here:
        await here.set(hello__1=one.address)
        for host in ("hello", "hello.example", "hello.a.b.c"):
            assert (await here.ask(host)).body == "one"
        assert (await here.ask("say.hello.example")).status == 404


async def test_apps_that_share_a_server_are_told_apart_by_name(tmp_path: Path, backends: Backends) -> None:
    names = ("default", "include", "hello", "hello.world", "say.hello")
    apps = [await backends(name) for name in names]
    async with house(tmp_path, Settings()) as here:
        for name, app in zip(names, apps, strict=True):
            await here.set(**{f"{name}__1": app.address})
        for name in names:
            for host in (name, f"{name}.example", f"{name.upper()}.Example:8080"):
                assert (await here.ask(host)).body == name
        assert (await here.ask("defaults.example")).status == 404


async def test_plain_requests_reuse_connections_to_the_backend(here: House, backends: Backends) -> None:
    one = await backends("one")
    await here.set(hello__1=one.address)
    for _ in range(20):
        assert (await here.ask("hello.example")).body == "one"
    assert one.connections <= 2
    assert "connection:" not in one.heard[0].lower()


async def test_a_websocket_is_upgraded_and_outlives_changes_of_routes(here: House, backends: Backends) -> None:
    one = await backends("one")
    await here.set(hello__1=one.address)
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    writer.write(b"GET /chat HTTP/1.1\r\nHost: hello.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 101 ")
    assert one.heard[-1].startswith("GET /chat HTTP/1.1\r\n")
    assert "connection: upgrade\r\n" in one.heard[-1].lower()
    for number in range(2):
        await here.set(**{f"other__{number}": one.address})
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
    writer.close()
    await writer.wait_closed()


async def test_an_upgrade_to_http_2_is_answered_in_http_1(here: House, backends: Backends) -> None:
    one = await backends("one")
    await here.set(hello__1=one.address)
    answer = await here.ask("hello.example", "/echo", headers="Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n")
    assert answer.status == 200
    assert "upgrade:" not in answer.body.lower()


async def test_an_instance_that_is_gone_costs_no_request_not_even_a_post(here: House, backends: Backends) -> None:
    one = await backends("one")
    await here.set(hello__1=one.address, hello__2=f"127.0.0.1:{free_port()}")
    for method in ("GET", "POST") * 5:
        answer = await here.ask("hello.example", method=method, body=b"x" if method == "POST" else b"")
        assert (answer.status, answer.body) == (200, "one")


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_an_instance_that_says_it_cannot_is_passed_over(here: House, backends: Backends, status: int) -> None:
    good, bad = await backends("good"), await backends("bad")
    bad.status = status
    await here.set(hello__1=good.address, hello__2=bad.address)
    assert [(await here.ask("hello.example")).body for _ in range(6)] == ["good"] * 6
    assert bad.heard


async def test_one_bad_endpoint_takes_no_instance_out_of_service(here: House, backends: Backends) -> None:
    one, two = await backends("one"), await backends("two")
    one.replies = two.replies = {
        "/503": "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        "/504": "HTTP/1.1 504 No\r\nContent-Length: 0\r\n\r\n",
        "/header": "HTTP/1.1 200 OK\r\nbad header without colon\x00\r\n\r\n",
        "/nothing": "",
    }
    await here.set(hello__1=one.address, hello__2=two.address)
    for path in ("/503", "/504", "/header", "/nothing"):
        for _ in range(12):
            assert (await here.ask("hello.example", path)).status >= 500
        answers = [await here.ask("hello.example") for _ in range(10)]
        assert {answer.status for answer in answers} == {200}
        assert {answer.body for answer in answers} == {"one", "two"}
    assert here.router.served.excluded == ()


async def test_an_instance_that_refuses_connections_is_left_out_and_comes_back(here: House, backends: Backends) -> None:
    one = await backends("one")
    port = free_port()
    await here.set(hello__1=one.address, hello__2=f"127.0.0.1:{port}")

    async def excluded() -> bool:
        assert (await here.ask("hello.example")).body == "one"
        return [up.instance for up in here.router.served.excluded] == ["2"]

    await until_async(excluded, "the second is left out")
    assert here.router.served.excluded[0].reason == "connection refused"
    async with backend("two", port):
        await until(lambda: not here.router.served.excluded, "it is back")
        assert {(await here.ask("hello.example")).body for _ in range(10)} == {"one", "two"}


async def test_a_post_that_an_instance_has_received_is_not_sent_to_another(here: House, backends: Backends) -> None:
    one, two = await backends("one"), await backends("two")
    one.status = two.status = 503
    await here.set(hello__1=one.address, hello__2=two.address)
    answer = await here.ask("hello.example", method="POST", body=b"pay")
    assert answer.status == 503
    assert len(one.heard) + len(two.heard) == 1


async def test_an_error_of_the_app_itself_is_passed_on(here: House, backends: Backends) -> None:
    one = await backends("one")
    await here.set(hello__1=one.address)
    for status in (404, 418, 500):
        one.status = status
        answer = await here.ask("hello.example")
        assert (answer.status, answer.body) == (status, "one")


async def test_a_key_that_leads_back_to_the_router_does_not_go_round_for_ever(here: House, backends: Backends) -> None:
    one = await backends("one")
    await here.set(circle__1=f"127.0.0.1:{here.port}", hello__1=one.address)
    answer = await here.ask("circle.example")
    assert answer.status == 508
    assert "circle of routers" in answer.body
    assert (await here.ask("hello.example")).body == "one"


async def test_a_hostile_key_is_refused_and_the_others_go_on(here: House, backends: Backends) -> None:
    one, two = await backends("one"), await backends("two")
    await here.set(hello__1=one.address)
    hostile = {"hello/2": "127.0.0.1:80; } server { listen 81; return 200 owned; }", "x;}/1": one.address, "hello/\n": two.address}
    await here.store.commit([], [Put(keys.WEB + name, encode(Entry(value))) for name, value in hostile.items()])
    await until(lambda: len(here.router.served.refused) == 3, "all three are refused")
    await here.set(shop__1=two.address)
    assert (await here.ask("hello.example")).body == "one"
    assert (await here.ask("shop.example")).body == "two"


async def test_nginx_killed_is_back_at_once_with_the_routes_it_had(here: House, backends: Backends) -> None:
    one = await backends("one")
    await here.set(hello__1=one.address)
    for _ in range(2):
        old = here.proxy.pid
        os.kill(old, signal.SIGKILL)
        await until(lambda old=old: here.proxy.pid not in (0, old), "another nginx runs")  # type: ignore[misc]
        await here.answers("hello.example", "one")


async def test_nginx_killed_with_all_its_workers_is_back_too(here: House, backends: Backends) -> None:
    one = await backends("one")
    await here.set(hello__1=one.address)
    old = here.proxy.pid
    proc.send([old, *await asyncio.to_thread(process.workers, old)], signal.SIGKILL)
    await here.answers("hello.example", "one")


async def test_a_refresh_with_the_same_value_leaves_nginx_s_workers_alone(here: House, backends: Backends) -> None:
    one = await backends("one")
    await here.set(hello__1=one.address)
    before = await asyncio.to_thread(process.workers, here.proxy.pid)
    await here.store.commit([], [Put(f"{keys.WEB}hello/1", encode(Entry(one.address, ttl=60, expires=99.0)))])
    await here.store.commit([], [Put(f"{keys.WEB}BAD/1", encode(Entry("refused: shows that what came before it was seen")))])
    await until(lambda: len(here.router.served.refused) == 1, "the later change is seen")
    assert await asyncio.to_thread(process.workers, here.proxy.pid) == before


async def test_no_request_fails_while_instances_come_and_go_under_load(here: House, backends: Backends) -> None:
    one, two = await backends("one"), await backends("two")
    await here.set(hello__1=one.address)
    done = False
    answers: list[int] = []

    async def load() -> None:
        while not done:
            answers.append((await here.ask("hello.example")).status)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(load())
        for _ in range(3):
            await here.set(hello__2=two.address)
            await here.delete("hello/2")
        done = True
    assert len(answers) > 50
    assert set(answers) == {200}
