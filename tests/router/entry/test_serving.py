"""A real nginx in front of machines on loopback addresses of their own: requests, TLS and TCP come through while machines die."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from argosy.model import RouterReport
from argosy.reconcile import SystemClock
from argosy.router.entry.loop import Entry
from argosy.router.entry.plan import Member, Wanted
from argosy.router.entry.ports import check_free
from argosy.router.entry.render import OWN_HEALTH
from argosy.router.nginx import Nginx
from argosy.router.tuning import parse_tuning
from argosy.trust.authority import create_authority, issue
from tests.router.entry.test_render import MODULE, needs_stream
from tests.router.test_carrying import old
from tests.router.web import Backend, ask, free_port, needs_nginx, nginx, until

pytestmark = [needs_nginx, pytest.mark.timeout(60)]

CLOCK = SystemClock()


class Machine:
    """A machine of a cluster: an address on loopback where an HTTP server plays its router; its TLS and TCP servers say its name."""

    def __init__(self, number: int) -> None:
        self.name = f"m{number}"
        self.address = f"127.0.77.{number}"
        self.router = Backend(self.name)
        self.servers: list[asyncio.Server] = []
        self.writers: set[asyncio.StreamWriter] = set()
        self.http = self.tls = self.tcp = 0

    @property
    def member(self) -> Member:
        ident = self.name[1:] * 32
        report = RouterReport(ident, listen=(f"0.0.0.0:{self.http}",), tls_listen=(f"0.0.0.0:{self.tls}",))
        return Member(ident, self.name, self.address, router=report)

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        made = await asyncio.start_server(self.router.serve, self.address, self.http)
        self.http = made.sockets[0].getsockname()[1]
        over_tls = await asyncio.start_server(self._say, self.address, self.tls, ssl=context)
        self.tls = over_tls.sockets[0].getsockname()[1]
        plain = await asyncio.start_server(self._say, self.address, self.tcp)
        self.tcp = plain.sockets[0].getsockname()[1]
        self.servers = [made, over_tls, plain]

    async def die(self) -> None:
        for server in self.servers:
            server.close()
        await self.router.hang_up()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.gather(*(server.wait_closed() for server in self.servers))
        self.servers = []

    async def _say(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The name, and then whatever comes back again."""
        self.writers.add(writer)
        try:
            writer.write(f"{self.name}\n".encode())
            while chunk := await reader.read(1000):
                writer.write(chunk)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


@asynccontextmanager
async def machines(*numbers: int, context: ssl.SSLContext | None = None) -> AsyncIterator[list[Machine]]:
    found = [Machine(number) for number in numbers]
    try:
        for one in found:
            await one.start(context)
        yield found
    finally:
        for one in found:
            await one.die()


@asynccontextmanager
async def serving(wanted: Wanted, proxy: Nginx, *members: Member) -> AsyncIterator[Entry]:
    entry = Entry(wanted, proxy, CLOCK, stream_module=MODULE if wanted.tcp or wanted.tls_listen else "", interval=0.1)
    entry.know(members, "test")
    task = asyncio.create_task(entry.run())
    try:
        await until(lambda: f"{len(members)} used" == f"{used(entry)} used" and bool(proxy.active), "all machines are used")
        yield entry
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def used(entry: Entry) -> int:
    return len({router.name for router in entry.status.routers if router.up and not router.spare})


class Load:
    """One GET after another, each on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[tuple[int, str]] = []

    async def __aenter__(self) -> Load:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            answer = await ask(self.port, "hello.example")
            self.answers.append((answer.status, answer.body))
            await asyncio.sleep(0.002)

    async def come_from(self, *names: str) -> None:
        """The newest answers come from all of these and nobody else."""
        begin = len(self.answers)
        wanted = set(names)

        def there() -> bool:
            newest = [body for _, body in self.answers[begin:]][-10 * len(names) :]
            return len(newest) >= 10 * len(names) and set(newest) == wanted

        await until(there, f"answers from {sorted(wanted)}")


async def test_no_request_fails_while_a_machine_dies_comes_back_is_cordoned_and_leaves(tmp_path: Path) -> None:
    port = free_port()
    wanted = Wanted((f"127.0.0.1:{port}",))
    async with (
        nginx(tmp_path / "nginx") as proxy,
        machines(1, 2, 3) as (one, two, three),
        serving(wanted, proxy, one.member, two.member) as entry,
        Load(port) as load,
    ):
        await load.come_from("m1", "m2")
        await two.die()
        await load.come_from("m1")
        await until(lambda: used(entry) == 1, "the dead one is out")
        await two.start()
        await load.come_from("m1", "m2")
        entry.know([one.member, two.member, three.member], "test")
        await load.come_from("m1", "m2", "m3")
        cordoned = Member(one.member.id, "m1", one.address, cordoned=True, router=one.member.router)
        entry.know([cordoned, two.member, three.member], "test")
        await load.come_from("m2", "m3")
        entry.know([two.member], "test")
        await load.come_from("m2")
        assert {status for status, _ in load.answers} == {200}


async def test_what_a_machine_is_doing_when_it_is_cordoned_it_may_finish(tmp_path: Path) -> None:
    port = free_port()
    wanted = Wanted((f"127.0.0.1:{port}",))
    async with nginx(tmp_path / "nginx") as proxy, machines(1, 2) as (one, two), serving(wanted, proxy, one.member) as entry:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        entry.know([two.member], "test")
        await until(lambda: (two.address in proxy.active) and (one.address not in proxy.active), "the other is used")
        assert (await ask(port, "x")).body == "m2"
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()
        await writer.wait_closed()


async def test_routers_hear_who_asked_and_proxies_in_front_are_believed_only_if_trusted(tmp_path: Path) -> None:
    heard = {}
    said = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n"
    async with machines(1) as (one,):
        for trusted in ((), ("127.0.0.0/8",)):
            port = free_port()
            wanted = Wanted((f"127.0.0.1:{port}",), trusted=trusted)
            async with nginx(tmp_path / f"nginx{len(trusted)}") as proxy, serving(wanted, proxy, one.member):
                heard[trusted] = (await ask(port, "hello.example", "/echo", headers=said)).body.lower()
    for line in (
        "x-forwarded-for: 192.0.2.1, 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: hello.example",
        "host: hello.example",
    ):
        assert f"\r\n{line}\r\n" in heard[()]
    for line in (
        "x-forwarded-for: 192.0.2.1, 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: shop.example",
        "x-real-ip: 192.0.2.1",
    ):
        assert f"\r\n{line}\r\n" in heard[("127.0.0.0/8",)]


async def test_its_own_health_says_whether_there_is_a_machine_to_send_to(tmp_path: Path) -> None:
    port = free_port()
    async with nginx(tmp_path / "nginx") as proxy, machines(1) as (one,), serving(Wanted((f"127.0.0.1:{port}",)), proxy) as entry:
        assert (await ask(port, "anything", OWN_HEALTH)).status == 503
        entry.know([one.member], "test")
        await until(lambda: one.address in proxy.active, "the machine is used")
        assert (await ask(port, "anything", OWN_HEALTH)).body == "ok\n"


async def test_a_health_check_in_http_1_0_without_a_host_is_answered_by_the_entry(tmp_path: Path) -> None:
    port = free_port()
    async with nginx(tmp_path / "nginx") as proxy, machines(1) as (one,), serving(Wanted((f"127.0.0.1:{port}",)), proxy) as entry:
        assert b" 503 " in await old(port, b"GET / HTTP/1.0\r\n\r\n")
        entry.know([one.member], "test")
        await until(lambda: one.address in proxy.active, "the machine is used")
        assert (await old(port, b"GET / HTTP/1.0\r\n\r\n")).endswith(b"ok\n")
        assert b" 200 " in await old(port, b"GET http://hello.example/ HTTP/1.0\r\n\r\n")
        assert "host: hello.example\r\n" in one.router.heard[-1].lower()


async def test_bodies_stream_through_and_unusual_headers_pass_and_limits_can_be_set(tmp_path: Path) -> None:
    port, limited = free_port(), free_port()
    async with machines(1) as (one,):
        async with nginx(tmp_path / "1") as proxy, serving(Wanted((f"127.0.0.1:{port}",)), proxy, one.member):
            heard = (await ask(port, "x", "/echo", headers="X_API_KEY: k\r\nX.Dot: d\r\nX_Real_IP: 6.6.6.6\r\n")).body
            assert "X_API_KEY: k\r\n" in heard
            assert "X.Dot: d\r\n" in heard
            assert "6.6.6.6" not in heard
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            begun = len(one.router.heard)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000000\r\n\r\nbegin")
            await until(lambda: len(one.router.heard) > begun, "the router has the request before its body has come")
            writer.close()
            await writer.wait_closed()
        wanted = Wanted((f"127.0.0.1:{limited}",), tuning=parse_tuning("max_body=1k odd_headers=drop"))
        async with nginx(tmp_path / "2") as proxy, serving(wanted, proxy, one.member):
            assert (await ask(limited, "x", method="POST", body=bytes(2000))).status == 413
            assert "X_API_KEY" not in (await ask(limited, "x", "/echo", headers="X_API_KEY: k\r\n")).body


async def line_of(port: int, context: ssl.SSLContext | None = None) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="app.example" if context else None)
    return (await reader.readline()).decode().strip(), reader, writer


async def names_of(port: int, times: int, context: ssl.SSLContext | None = None) -> set[str]:
    found = set()
    for _ in range(times):
        name, _, writer = await line_of(port, context)
        found.add(name)
        writer.close()
        await writer.wait_closed()
    return found


def contexts_of(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's certificate for app.example, and a client that believes it and nothing else."""
    authority = create_authority("test", CLOCK.now())
    pair = issue(authority, "app", CLOCK.now(), names=["app.example"], days=1)
    (folder / "pair.pem").write_bytes(pair.cert + pair.key)
    (folder / "ca.pem").write_bytes(authority.cert)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "pair.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(folder / "ca.pem")
    return server, client


@needs_stream
async def test_tls_and_tcp_are_passed_through_as_they_are_and_no_new_connection_fails_while_a_machine_dies(tmp_path: Path) -> None:
    over_tls, plain, database = free_port(), free_port(), free_port()
    server, client = await asyncio.to_thread(contexts_of, tmp_path)
    async with nginx(tmp_path / "nginx") as proxy, machines(1, 2, context=server) as (one, two):
        two.tcp, (first, second) = one.tcp, (one, two)
        await two.die()
        await two.start(server)
        wanted = Wanted((f"127.0.0.1:{plain}",), (f"127.0.0.1:{over_tls}",), ((f"127.0.0.1:{database}", one.tcp),))
        async with serving(wanted, proxy, first.member, second.member) as entry:
            assert await names_of(over_tls, 6, client) == {"m1", "m2"}
            assert await names_of(database, 6) == {"m1", "m2"}
            (name, reader, writer), (_, lost, lost_writer) = [await line_of(database) for _ in range(2)]
            if name == "m2":
                (reader, writer), (lost, lost_writer) = (lost, lost_writer), (reader, writer)
            await two.die()
            assert await names_of(over_tls, 10, client) == {"m1"}
            assert await names_of(database, 10) == {"m1"}
            await until(lambda: used(entry) == 1 and two.address not in proxy.active, "the dead one is out")
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here", "connections to the other live through the change"
            assert await lost.read() == b"", "those to the dead one are ended"
            for each in (writer, lost_writer):
                each.close()


async def test_an_address_that_is_taken_is_said_before_nginx_is_asked() -> None:
    async with machines(1) as (one,):
        with pytest.raises(Exception, match=f"cannot listen on {one.address}:{one.http}: Address already in use"):
            await asyncio.to_thread(check_free, (f"127.0.0.1:{free_port()}", f"{one.address}:{one.http}"))
    with pytest.raises(Exception, match=r"cannot listen on 192.0.2.1:80: Cannot assign requested address \(name an address of this host"):
        await asyncio.to_thread(check_free, ("192.0.2.1:80",))
