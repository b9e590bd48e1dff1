"""Requests in flight as the kernel sees them: real connections, and an announcer that waits for them behind a real router."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
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

ROOT = Path(__file__).parents[3]

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

    async def renew(self, key: str, value: str, ttl: int) -> bool:
        await self.put(key, value, ttl)
        return True

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


SERVER = """
import socket
server = socket.create_server(("0.0.0.0", 8080))
print("ready", flush=True)
connection = server.accept()[0]
connection.recv(9)
print("asked", flush=True)
input()
"""
CLIENT = "import socket; c = socket.create_connection(('198.18.77.1', 3000), 10); c.send(b'ask'); input(); c.close()"
COUNT = "import asyncio; from argosy.router.announce.connections import counting; print(asyncio.run(counting('198.18.77.1:3000')()))"


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("iptables"), reason="namespaces and iptables need root")
async def test_a_request_that_is_forwarded_to_a_container_is_seen_on_its_host() -> None:
    """A host between a client and a container whose port it publishes, each in a network namespace of its own."""
    host, client, container = (f"argosy-{os.getpid()}-{name}" for name in ("host", "client", "box"))
    spaces = (host, client, container)

    async def run(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=STDOUT)
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0, f"{words}: {said}"
        return said

    async def inside(space: str, script: str) -> Process:
        words = ("nsenter", f"--net=/run/netns/{space}", sys.executable, "-c", script)
        return await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE, cwd=ROOT)

    async def count() -> int:
        return int(await run("nsenter", f"--net=/run/netns/{host}", sys.executable, "-c", COUNT))

    children: list[Process] = []
    try:
        for space in spaces:
            await run("ip", "netns", "add", space)
        for number, space in enumerate((client, container)):
            near, far = f"198.18.{77 + number}.1", f"198.18.{77 + number}.2"
            await run("ip", "-n", host, "link", "add", f"v{number}", "type", "veth", "peer", "name", "v", "netns", space)
            for where, link, ip in ((host, f"v{number}", near), (space, "v", far)):
                await run("ip", "-n", where, "addr", "add", f"{ip}/24", "dev", link)
                await run("ip", "-n", where, "link", "set", link, "up")
            await run("ip", "-n", space, "route", "add", "default", "via", near)
        on_host = ("nsenter", f"--net=/run/netns/{host}")
        await run(*on_host, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        nat = ("-p", "tcp", "-d", "198.18.77.1", "--dport", "3000", "-j", "DNAT", "--to-destination", "198.18.78.2:8080")
        await run(*on_host, "iptables", "-t", "nat", "-A", "PREROUTING", *nat)
        children.append(served := await inside(container, SERVER))
        assert served.stdout is not None
        assert await asyncio.wait_for(served.stdout.readline(), 20) == b"ready\n"
        assert await count() == 0
        children.append(await inside(client, CLIENT))
        assert await asyncio.wait_for(served.stdout.readline(), 20) == b"asked\n"
        assert await count() == 1
        for child in children:
            await asyncio.wait_for(child.communicate(b"\n"), 20)

        async def none() -> bool:
            return await count() == 0

        await until_async(none, "nothing is at work")
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                await child.communicate()
        for space in spaces:
            with suppress(AssertionError):
                await run("ip", "netns", "del", space)
