"""Requests in flight as the kernel sees them: real connections, and an announcer that waits for them behind a real router."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from argosy.model import Entry
from argosy.reconcile import SystemClock
from argosy.router.announce.connections import IDLE, counting, is_at_work, is_forwarded
from argosy.router.announce.loop import Announcer
from argosy.router.announce.plan import Intent
from argosy.router.announce.unit import USUAL, limit, stop_time, unit_of
from argosy.sockdiag import Connection, connections
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import Delete, Put
from tests.router.test_serving import House, house
from tests.router.web import needs_nginx, until, until_async

ENDS = [
    (Connection(True, 0, 9.0, 3.0), True, "the app was asked and has not answered, for however long"),
    (Connection(True, 0, 3.0, 900.0), True, "an answer goes on"),
    (Connection(True, 0, IDLE + 1, 900.0), False, "answered a while ago: it is only kept"),
    (Connection(True, 0, 900.0, 900.0), False, "nothing ever went over it since it was opened"),
    (Connection(True, 1, 900.0, 901.0), True, "the client has not taken the answer yet"),
    (Connection(False, 0, 800.0, 900.0), True, "the client's end: it has asked last"),
    (Connection(False, 0, 900.0, 800.0), False, "the client's end: it was answered last"),
    (Connection(False, 0, 0.0, 0.0), True, "asked and answered just now: more may come"),
]


@pytest.mark.parametrize(("connection", "works", "why"), ENDS, ids=[row[2] for row in ENDS])
def test_a_connection_is_at_work(connection: Connection, works: bool, why: str) -> None:
    assert is_at_work(connection) is works


HEAD = "ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.9 dst=10.0.0.1 sport=40000 dport=3000"
LINES = [
    (f"{HEAD} src=172.17.0.2 dst=10.0.0.9 sport=8080 dport=40000 [ASSURED] mark=0 use=1", True, "to a published port"),
    (f"{HEAD} src=10.0.0.1 dst=10.0.0.9 sport=3000 dport=40000 [ASSURED]", False, "to this machine itself, where its socket is seen"),
    (f"{HEAD} src=172.17.0.2 dst=10.0.0.9 sport=8080 dport=40000".replace("ESTABLISHED", "TIME_WAIT"), False, "one that has ended"),
    (f"{HEAD} src=172.17.0.2 dst=10.0.0.9 sport=8080 dport=40000".replace("dport=3000", "dport=3001"), False, "another port"),
    (f"{HEAD} src=172.17.0.2 dst=10.0.0.9 sport=8080 dport=40000".replace("tcp", "udp"), False, "another protocol"),
    ("nonsense", False, "another line"),
    (
        "ipv6 10 tcp 6 9 ESTABLISHED src=fd00::9 dst=fd00:0000::0001 sport=4 dport=3000 src=fd01::2 dst=fd00::9 sport=80 dport=4",
        True,
        "over IPv6",
    ),
]


@pytest.mark.parametrize(("line", "forwarded", "why"), LINES, ids=[row[2] for row in LINES])
def test_a_connection_is_forwarded_to_a_container(line: str, forwarded: bool, why: str) -> None:
    assert is_forwarded(line, {("10.0.0.1", 3000), ("fd00::1", 3000)}) is forwarded


class App:
    """Answers when it may; `asked` counts its requests."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.asked = 0
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.asked += 1
                await self.may.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def an_app(*, both: bool = False) -> AsyncIterator[App]:
    app = App()
    listening = socket.create_server(
        ("::" if both else "127.0.0.1", 0), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both
    )
    server = await asyncio.start_server(app.serve, sock=listening)
    port = server.sockets[0].getsockname()[1]
    app.address = f"127.0.0.1:{port}"
    try:
        yield app
    finally:
        app.may.set()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("both", [False, True], ids=["IPv4", "a socket for IPv4 and IPv6"])
async def test_a_request_in_flight_is_seen_and_an_idle_connection_is_told_from_it(both: bool) -> None:
    async with an_app(both=both) as app:
        count = counting(app.address)
        assert await count() == 0
        reader, writer = await asyncio.open_connection("127.0.0.1", int(app.address.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: app.asked == 1, "the app is asked")
        assert await count() == 2, "both ends are on this machine"
        app.may.set()
        await reader.readuntil(b"done")
        target = ("127.0.0.1", int(app.address.rpartition(":")[2]))
        ends = await asyncio.to_thread(connections, [target])
        assert sorted(end.serves for end in ends) == [False, True]
        assert all(end.queued == 0 and end.sent < IDLE and end.received < IDLE for end in ends)
        writer.close()
        await writer.wait_closed()

        async def none() -> bool:
            return await count() == 0

        await until_async(none, "nothing is at work")


async def test_what_is_no_address_has_no_requests() -> None:
    assert await counting("a word")() == 0
    assert await counting("localhost:1")() == 0


class StoreDoor:
    """The keys of a router's house."""

    def __init__(self, here: House) -> None:
        self.here = here

    async def put(self, key: str, value: str, ttl: int) -> None:
        await self.here.store.commit([], [Put(keys.WEB + key.removeprefix("/services/web/"), encode(Entry(value, ttl=ttl)))])

    async def remove(self, key: str, value: str) -> None:
        await self.here.store.commit([], [Delete(keys.WEB + key.removeprefix("/services/web/"))])


@needs_nginx
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_leaving_waits_for_the_requests_that_routers_have_sent(method: str, tmp_path: Path) -> None:
    """With a linger that is far shorter than the requests are."""

    async def stop_time() -> float:
        return USUAL

    async with an_app() as app, house(tmp_path) as here:
        intent = Intent("/services/web/hello/1", app.address, linger=0.05)
        announcer = Announcer(intent, StoreDoor(here), SystemClock(), stop_time=stop_time)
        announcing = asyncio.create_task(announcer.run())
        await here.serves(lambda served: served.get("hello/1") == app.address)
        asking = [asyncio.create_task(here.ask("hello.example", method=method)) for _ in range(5)]
        await until(lambda: app.asked == 5, "all are in flight")
        announcer.stop()
        await here.serves(lambda served: "hello/1" not in served)
        count = counting(app.address)
        for _ in range(5):
            assert await count() >= 5
            assert not announcing.done()
        app.may.set()
        assert [(await one).body for one in asking] == ["done"] * 5
        await asyncio.wait_for(announcing, IDLE - 1)


SYSTEMD = "0::/system.slice/hello-announce@1.service\n"
CGROUPS = [
    (SYSTEMD, ("hello-announce@1.service", False), "a system's service"),
    ("0::/user.slice/user-1.slice/user@1.service/app.slice/x.service\n", ("x.service", True), "a user's"),
    ("2:cpu:/\n1:name=systemd:/system.slice/x.service\n", ("x.service", False), "cgroup v1"),
    ("0::/docker/0123\n", ("", False), "a container"),
]


@pytest.mark.parametrize(("cgroups", "unit", "why"), CGROUPS, ids=[row[2] for row in CGROUPS])
def test_the_unit_is_found(cgroups: str, unit: tuple[str, bool], why: str) -> None:
    assert unit_of(cgroups) == unit


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("TimeoutStopUSec=1min 30s\n", 90.0),
        ("TimeoutStopUSec=500ms", 0.5),
        ("TimeoutStopUSec=infinity", 86400.0),
        ("", USUAL),
        ("TimeoutStopUSec=nonsense", USUAL),
    ],
)
def test_systemd_s_word_on_the_time_to_stop(said: str, seconds: float) -> None:
    assert limit(said) == seconds


async def test_without_systemd_the_time_to_stop_is_the_usual(tmp_path: Path) -> None:
    cgroup = tmp_path / "cgroup"
    cgroup.write_text(SYSTEMD)
    assert await stop_time({}, cgroup) == USUAL
    cgroup.write_text("0::/\n")
    assert await stop_time({"SYSTEMD_EXEC_PID": str(os.getpid())}, cgroup) == USUAL
