"""Requests that hang on a machine that is gone: who is suspected, who is asked, and what is ended."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection
from pathlib import Path

import pytest

from argosy.router.hanging import SILENT, Hanging, answers, suspects
from argosy.router.nginx import Nginx
from argosy.sockdiag import Target, end_connections
from tests.router.test_nginx import config
from tests.router.web import ask, backend, free_port, needs_nginx, until

GONE = ("10.0.0.2", 3000)
LINE = (
    "2026/01/01 00:00:00 [error] 7#7: *1 {why}, client: 127.0.0.1, server: hello.example, "
    'request: "GET / HTTP/1.1", upstream: "http://{where}/", host: "hello.example"\n'
)
TIMED_OUT = "upstream timed out (110: Connection timed out) while connecting to upstream"


def line(why: str = TIMED_OUT, where: str = "10.0.0.2:3000") -> str:
    return LINE.format(why=why, where=where)


LINES = [
    (line(), {GONE}, "nothing came back in time"),
    (line("connect() failed (113: No route to host) while connecting to upstream"), {GONE}, "the network knows it is gone"),
    (line("connect() failed (101: Network is unreachable) while connecting to upstream"), {GONE}, "the network is gone"),
    (line(where="[fd00::2]:80"), {("fd00::2", 80)}, "IPv6"),
    (line() + line(where="10.0.0.3:80") + line(), {GONE, ("10.0.0.3", 80)}, "several lines"),
    (line("connect() failed (111: Connection refused) while connecting to upstream"), set(), "a refusal is an answer"),
    (
        line("upstream timed out (110: Connection timed out) while reading response header from upstream"),
        set(),
        "a slow answer is not silence",
    ),
    (line(where="127.0.0.1:3000"), set(), "this machine is not gone"),
    (line(where="argosy_hello"), set(), "no address"),
    ('2026/01/01 00:00:00 [error] 7#7: *1 open() "/x" failed', set(), "something else"),
    ("", set(), "silence"),
]


@pytest.mark.parametrize(("said", "found", "why"), LINES, ids=[row[2] for row in LINES])
def test_nginx_s_log_names_who_cannot_be_connected_to(said: str, found: set[Target], why: str) -> None:
    assert suspects(said) == found


class Stage:
    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.asked: list[Target] = []
        self.ended: list[Target] = []
        self.wrong: OSError | None = None
        self.hanging = Hanging(ask=self.ask, end=self.end)

    async def ask(self, ip: str, port: int) -> bool:
        self.asked.append((ip, port))
        return ip in self.alive

    def end(self, targets: Collection[Target]) -> int:
        if self.wrong is not None:
            raise self.wrong
        self.ended.extend(targets)
        return len(targets)


async def test_connections_to_a_host_that_stays_silent_are_ended_once() -> None:
    stage = Stage()
    assert await stage.hanging.look(line(), 10.0) == 0
    assert await stage.hanging.look("", 10.0 + SILENT - 0.1) == 0
    assert await stage.hanging.look(line(), 10.0 + SILENT) == 1
    assert stage.ended == [GONE]
    await stage.hanging.look("", 20.0)
    assert stage.ended == [GONE]
    await stage.hanging.look(line(), 30.0)
    assert await stage.hanging.look("", 30.0 + SILENT) == 1


async def test_a_host_that_answers_in_any_way_is_left_alone_and_no_longer_asked() -> None:
    stage = Stage()
    await stage.hanging.look(line(), 10.0)
    stage.alive.add("10.0.0.2")
    await stage.hanging.look("", 10.5)
    stage.alive.clear()
    assert await stage.hanging.look("", 100.0) == 0
    assert len(stage.asked) == 2
    assert stage.ended == []


async def test_nobody_is_asked_while_nginx_complains_of_nobody() -> None:
    stage = Stage()
    for now in range(100):
        await stage.hanging.look("", float(now))
    assert stage.asked == []


async def test_without_the_right_to_end_connections_it_is_said_once_and_nobody_is_asked_any_more(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.wrong = PermissionError(1, "Operation not permitted")
    for now in range(0, 100, 2):
        await stage.hanging.look(line(), float(now))
    assert len(stage.asked) == 2
    (said,) = caplog.messages
    assert said.endswith("connections cannot be ended here (Operation not permitted)")


async def test_a_refusal_is_an_answer_of_the_host() -> None:
    assert await answers("127.0.0.1", free_port())


def may_end_connections() -> bool:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        try:
            return end_connections([server.getsockname()]) == 1
        except OSError:
            return False
        finally:
            client.close()


needs_right = pytest.mark.skipif(not may_end_connections(), reason="ending connections needs CAP_NET_ADMIN and CONFIG_INET_DIAG_DESTROY")


@needs_right
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_exactly_the_connections_to_the_target_are_ended(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as gone, socket.create_server((host, 0), family=family) as other:
        to_gone = [socket.create_connection(gone.getsockname()[:2]) for _ in range(3)]
        to_other = socket.create_connection(other.getsockname()[:2])
        assert end_connections([(host, gone.getsockname()[1])]) == 3
        assert end_connections([(host, gone.getsockname()[1])]) == 0
        for connection in to_gone:
            with pytest.raises(ConnectionAbortedError):
                connection.recv(1)
            connection.close()
        to_other.sendall(b"still here")
        to_other.close()


def test_ending_connections_to_nobody_asks_nothing_of_the_kernel() -> None:
    assert end_connections([]) == 0


@needs_right
@needs_nginx
async def test_a_request_whose_connection_is_ended_goes_to_the_next_instance_and_is_answered(tmp_path: Path) -> None:
    reached = asyncio.Event()
    held: list[asyncio.StreamWriter] = []

    def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        reached.set()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    silent = server.sockets[0].getsockname()[1]
    port = free_port()
    proxy = Nginx(tmp_path)
    async with backend("good") as good:
        servers = f"upstream two {{ server 127.0.0.1:{silent}; server {good.address} backup; }}"
        await proxy.apply(config(port, "x", "proxy_pass http://two;").replace("  server {", f"  {servers}\n  server {{"))
        waiting = asyncio.create_task(ask(port, "any", "/body"))
        await reached.wait()
        assert await asyncio.to_thread(end_connections, [("127.0.0.1", silent)]) >= 1
        assert (await waiting).body == "good"
        await proxy.stop()
    for writer in held:
        writer.close()
    server.close()
    await server.wait_closed()


@needs_nginx
async def test_nginx_s_driver_hands_over_what_is_new_in_the_log_and_puts_a_log_that_has_grown_aside(tmp_path: Path) -> None:
    said: list[str] = []

    class Ear(Hanging):
        async def look(self, said_now: str, now: float) -> int:
            said.append(said_now)
            return 0

    proxy = Nginx(tmp_path, most_log=1000, hanging=Ear())
    await proxy.tend()
    assert said == []
    await proxy.apply(config(free_port(), "x"))
    log = tmp_path / "error.log"
    await asyncio.to_thread(log.write_text, "old\n")
    await proxy.tend()
    await asyncio.to_thread(log.write_text, "old\nnew\n")
    await proxy.tend()
    await proxy.tend()
    assert said == ["", "new\n", ""]
    await asyncio.to_thread(log.write_text, "x" * 2000)
    await proxy.tend()
    await until(lambda: (tmp_path / "error.log.1").exists() and log.exists(), "the log is begun anew")
    await asyncio.to_thread(log.write_text, "after\n")
    await proxy.tend()
    assert said[-1] == "after\n"
    await proxy.stop()
