"""What the router's tests talk to: a free port, a small client, backends that say who they are, nginx in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from argosy.router.nginx import Nginx
from tests.conftest import settle

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed (scripts/setup installs it)")

DEADLINE = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    """Looks again and again until it holds; fails the test with `what` when it does not within the deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.002)


async def until_async(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = DEADLINE) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await condition():
        assert loop.time() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.005)


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: str


async def ask(port: int, host: str, path: str = "/", *, method: str = "GET", headers: str = "", body: bytes = b"") -> Answer:
    """One request on a connection of its own. Raises OSError when nothing listens, EOFError when the answer is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}{headers}\r\n".encode() + body)
        await writer.drain()
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        if not head:
            raise EOFError("the connection was closed without an answer")
        first, *lines = head.decode().split("\r\n")
        named = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Answer(int(first.split()[1]), named, rest.decode())
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class Backend:
    """An HTTP server that answers with its name; `heard` keeps the heads of requests. `status` is what it answers, `/echo` gives back the
    head, `replies` are whole answers by path after which it hangs up, and an upgrade to websocket is accepted and echoes
    whatever comes. While it is `dead`, it hangs up on everybody."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200
        self.dead = False
        self.replies: dict[str, str] = {}
        self.port = 0
        self.heard: list[str] = []
        self.connections = 0
        self.writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        try:
            while not self.dead:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heard.append(head)
                fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head.split("\r\n")[1:]}
                await reader.readexactly(int(fields.get("content-length", 0)))
                if (reply := self.replies.get(head.split()[1])) is not None:
                    writer.write(reply.encode())
                    return
                if fields.get("upgrade") == "websocket":
                    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                    while chunk := await reader.read(1000):
                        writer.write(chunk)
                    return
                body = head if head.split()[1] == "/echo" else self.name
                writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self.writers.discard(writer)

    async def hang_up(self) -> None:
        while self.writers:
            for writer in self.writers:
                writer.transport.abort()
            await asyncio.sleep(0)


@asynccontextmanager
async def backend(name: str, port: int = 0) -> AsyncIterator[Backend]:
    server = Backend(name)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", port)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        await settle(5)  # a connection that is only just being accepted would be left open by closing now
        listening.close()
        await server.hang_up()
        await listening.wait_closed()


@asynccontextmanager
async def nginx(folder: Path, *, most_lingering: int = 32, most_log: int = 16_000_000) -> AsyncIterator[Nginx]:
    proxy = Nginx(folder, most_lingering=most_lingering, most_log=most_log)
    try:
        yield proxy
    finally:
        await proxy.stop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
