"""Ending connections: those to one address and port, and no others."""

from __future__ import annotations

import asyncio
import os

import pytest

from argosy.router.entry import sever


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="ending other processes' connections takes root")
async def test_a_connection_to_the_address_is_ended_and_one_to_another_port_is_not() -> None:
    async with await asyncio.start_server(hold, "127.0.0.1", 0) as silent, await asyncio.start_server(hold, "127.0.0.1", 0) as other:
        ports = [server.sockets[0].getsockname()[1] for server in (silent, other)]
        (stuck, stuck_writer), (kept, kept_writer) = [await asyncio.open_connection("127.0.0.1", port) for port in ports]
        await sever(f"127.0.0.1:{ports[0]}")
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(10):
                await stuck.readexactly(1)
        kept_writer.write(b"x")
        await kept_writer.drain()
        assert not kept.at_eof()
        for writer in (stuck_writer, kept_writer):
            writer.close()


async def test_a_silent_router_without_connections_is_no_error() -> None:
    await sever("127.0.0.1:1")
