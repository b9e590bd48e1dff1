"""Asking machines for their health, and ending connections: those to one address and port, and no others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest

from argosy.router.entry.plan import Backend, Silent, Unhealthy
from argosy.router.entry.probe import probe, sever
from argosy.router.render import HEALTH
from argosy.sockdiag import Target
from tests.router.web import backend, free_port


def web(address: str) -> Backend:
    return Backend("http", "m1", address, address)


@asynccontextmanager
async def saying(words: bytes | None) -> AsyncIterator[str]:
    """A server that says this to whoever connects, and then nothing; None: it says nothing and waits."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if words is not None:
            writer.write(words)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for writer in writers:
        writer.transport.abort()
    await server.wait_closed()


async def test_a_router_that_answers_its_health_page_is_well() -> None:
    async with backend("ok") as good:
        await probe(web(good.address))
        assert good.heard[0].startswith(f"GET {HEALTH} HTTP/1.1\r\nHost: _argosy\r\n")
        good.status = 404
        with pytest.raises(Unhealthy, match="answers 404"):
            await probe(web(good.address))


UNWELL = [
    (b"", "hangs up without an answer|reset by peer", "one that hangs up"),
    (b"SSH-2.0-x\r\n", "does not speak HTTP", "one that speaks something else"),
    (b"HTTP/1.1 503 X\r\n\r\n", "answers 503", "one that is not well"),
    (b"x" * 100_000, "does not speak HTTP", "one that goes on and on"),
]


@pytest.mark.parametrize(("words", "said", "why"), UNWELL, ids=[row[2] for row in UNWELL])
async def test_what_answers_otherwise_is_unhealthy(words: bytes, said: str, why: str) -> None:
    async with saying(words) as address:
        with pytest.raises(Unhealthy, match=said):
            await probe(web(address))


async def test_one_that_refuses_is_unhealthy_and_one_that_says_nothing_is_silent() -> None:
    with pytest.raises(Unhealthy, match=r"refused|Connect call failed"):
        await probe(web(f"127.0.0.1:{free_port()}"))
    async with saying(None) as address:
        with pytest.raises(Silent, match=r"no answer within 0.5 s"):
            await probe(web(address))


async def test_where_there_is_no_health_page_a_connection_is_enough_and_a_tls_pool_asks_for_both() -> None:
    async with saying(None) as address, backend("ok") as good:
        await probe(Backend("tcp:5432", "m1", address))
        await probe(Backend("tls", "m1", address, good.address))
        with pytest.raises(Unhealthy):
            await probe(Backend("tls", "m1", f"127.0.0.1:{free_port()}", good.address))
        good.status = 500
        with pytest.raises(Unhealthy):
            await probe(Backend("tls", "m1", address, good.address))


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def unheard(ip: str, port: int) -> bool:
    """A machine from which nothing comes back."""
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="ending other processes' connections takes root")
async def test_a_connection_to_the_address_is_ended_and_one_to_another_port_is_not() -> None:
    async with await asyncio.start_server(hold, "127.0.0.1", 0) as silent, await asyncio.start_server(hold, "127.0.0.1", 0) as other:
        ports = [server.sockets[0].getsockname()[1] for server in (silent, other)]
        (stuck, stuck_writer), (kept, kept_writer) = [await asyncio.open_connection("127.0.0.1", port) for port in ports]
        await sever(f"127.0.0.1:{ports[0]}", ask=unheard)
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(10):
                await stuck.readexactly(1)
        kept_writer.write(b"x")
        await kept_writer.drain()
        assert not kept.at_eof()
        for writer in (stuck_writer, kept_writer):
            writer.close()


async def test_a_silent_router_without_connections_is_no_error() -> None:
    await sever("127.0.0.1:1", ask=unheard)


async def test_a_machine_that_is_merely_slow_keeps_its_connections_for_its_kernel_answers() -> None:
    ended: list[Target] = []

    def end(targets: Collection[Target]) -> int:
        ended.extend(targets)
        return len(targets)

    async with saying(None) as address:
        with pytest.raises(Silent):
            await probe(web(address))
        await sever(address, end=end)
        assert ended == []
        await sever(address, ask=unheard, end=end)
        assert [f"{host}:{port}" for host, port in ended] == [address]
