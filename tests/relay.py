"""A TCP relay for tests: between a client and a server, and cut, frozen or healed at will."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Relay:
    """`endpoint` leads to the target, until it is cut (connections are reset and refused) or frozen (nothing comes through)."""

    def __init__(self, target: str) -> None:
        self.endpoint = ""
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.endpoint = f"{host}:{port}"

    def cut(self) -> None:
        self._refusing = True
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        self._refusing = False
        self._open.set()

    async def stop(self) -> None:
        self.heal()
        self.cut()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._refusing:
                return
            host, _, port = self._target.partition(":")
            target_reader, target_writer = await asyncio.open_connection(host, int(port))
            self._writers.add(target_writer)
            try:
                await asyncio.gather(self._carry(reader, target_writer), self._carry(target_reader, writer))
            finally:
                self._writers.discard(target_writer)
                target_writer.transport.abort()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def relay(target: str) -> AsyncIterator[Relay]:
    found = Relay(target)
    await found.start()
    try:
        yield found
    finally:
        await found.stop()
