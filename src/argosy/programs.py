"""Running programs of this host: with a limit, nothing left behind, and found where root's are even if $PATH does not name it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are on a usual machine."""
LONGEST_LINE = 64 * 1024
"""Bytes of a line that is read as a line, and half of what is read ahead."""


class Finished(NamedTuple):
    """How a program has ended: its exit status (-N: by signal N), and what it wrote."""

    code: int
    stdout: str
    stderr: str


def search_path(environ: Mapping[str, str] = os.environ) -> str:
    """Return $PATH and the folders of root's programs."""
    return f"{environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


@contextlib.asynccontextmanager
async def running(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    stdin: bool = False,
    together: bool = False,
    longest_line: int = LONGEST_LINE,
) -> AsyncIterator[Process]:
    """A program in a session of its own, with pipes for its output (`together`: one for both); if it still runs at the end, it is killed
    with all that it started. Raises OSError if it cannot be started."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=PIPE if stdin else DEVNULL,
        stdout=PIPE,
        stderr=STDOUT if together else PIPE,
        env=environ,
        cwd=folder,
        start_new_session=True,
        limit=longest_line,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())


async def run(
    argv: Sequence[str],
    *,
    limit: float | None,
    environ: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    stdin: bytes = b"",
    together: bool = False,
) -> Finished:
    """Run a program to its end. Raises OSError if it cannot be started, and TimeoutError after `limit` seconds, when it is killed."""
    async with running(argv, environ=environ, folder=folder, stdin=bool(stdin), together=together) as process, asyncio.timeout(limit):
        out, err = await process.communicate(stdin or None)
    return Finished(process.returncode or 0, out.decode(errors="replace"), (err or b"").decode(errors="replace"))
