"""Running a command on this machine for somebody who may: its output as it comes, its exit code at the end, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator

from argosy.api.shapes import Command, Output
from argosy.errors import InvalidInput
from argosy.programs import running

PIECE = 64 * 1024


async def run(command: Command) -> AsyncGenerator[Output, None]:
    """The last item holds the exit code, or the error if it took too long. Raises InvalidInput for a program that cannot be started."""
    if any("\0" in word for word in command.argv):
        raise InvalidInput("a word of the command holds a NUL")
    async with contextlib.AsyncExitStack() as stack:
        try:
            process = await stack.enter_async_context(running(command.argv))
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{command.argv[0]!r} cannot be run: {getattr(error, 'strerror', None) or error}") from error
        pieces: asyncio.Queue[Output | None] = asyncio.Queue(maxsize=16)

        async def pump(name: str, stream: asyncio.StreamReader) -> None:
            while piece := await stream.read(PIECE):
                await pieces.put(Output(name, piece.decode("utf-8", "replace")))

        async def work() -> None:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                async with asyncio.timeout(command.timeout):
                    await asyncio.gather(pump("stdout", process.stdout), pump("stderr", process.stderr))
                    code = await process.wait()
                await pieces.put(Output(code=code if code >= 0 else 128 - code))
            except TimeoutError:
                await pieces.put(Output(error=f"the command was stopped after {command.timeout:g} s"))
            await pieces.put(None)

        worker = asyncio.create_task(work())
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
