"""What runs in the fake's containers: programs that are coroutines, and a shell that knows sequences of them.

A program gets a Process and returns its exit code. As in a container, the first process ignores signals that it does not handle, except
SIGKILL, unless the container has an init.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Literal

from argosy.errors import InvalidInput
from argosy.reconcile import Clock

Write = Callable[[Literal["stdout", "stderr"], bytes], None]


class Process:
    """A running program: its words, environment, input, and where it writes. A program that handles signals sets `on_signal`."""

    def __init__(
        self, argv: Sequence[str], environ: Mapping[str, str], stdin: bytes, clock: Clock, write: Write, *, init: bool, name: str = ""
    ) -> None:
        self.argv = argv
        self.environ = environ
        self.stdin = stdin
        self.clock = clock
        self.name = name
        self.redirected = False
        self.on_signal: Callable[[signal.Signals], None] | None = None
        self._write = write
        self._init = init
        self._task: asyncio.Task[int] | None = None
        self._forced: int | None = None

    def out(self, text: str | bytes) -> None:
        self._write("stderr" if self.redirected else "stdout", text.encode() if isinstance(text, str) else text)

    def err(self, text: str | bytes) -> None:
        self._write("stderr", text.encode() if isinstance(text, str) else text)

    async def run(self, programs: Mapping[str, Program]) -> int:
        """To its end; 128 and the signal's number if one ended it."""
        self._task = asyncio.create_task(_execute(self, self.argv, programs))
        try:
            return await self._task
        except asyncio.CancelledError:
            if self._forced is not None and self._task.cancelled():
                return self._forced
            self._task.cancel()
            raise

    def send(self, number: signal.Signals) -> None:
        if number == signal.SIGKILL or (self.on_signal is None and self._init):
            self.finish(128 + number)
        elif self.on_signal is not None:
            self.on_signal(number)

    def finish(self, code: int) -> None:
        """It ends now, with this code."""
        if self._task is not None and not self._task.done():
            self._forced = code
            self._task.cancel()


Program = Callable[[Process], Awaitable[int]]


async def _sleep(process: Process) -> int:
    await process.clock.sleep(float(process.argv[1]))
    return 0


async def _echo(process: Process) -> int:
    process.out(" ".join(process.argv[1:]) + "\n")
    return 0


async def _true(process: Process) -> int:
    return 0


async def _false(process: Process) -> int:
    return 1


async def _cat(process: Process) -> int:
    process.out(process.stdin)
    return 0


async def _env(process: Process) -> int:
    process.out("".join(f"{name}={value}\n" for name, value in process.environ.items()))
    return 0


async def _id(process: Process) -> int:
    process.out("uid=0(root) gid=0(root) groups=0(root)\n")
    return 0


PROGRAMS: Mapping[str, Program] = {"sleep": _sleep, "echo": _echo, "true": _true, "false": _false, "cat": _cat, "env": _env, "id": _id}


def missing(argv: Sequence[str], programs: Mapping[str, Program]) -> str:
    """What the engine says about a program that is not in the image, or ""."""
    if not argv:
        return "No command specified"
    known = _plain(argv[0]) in programs or _plain(argv[0]) == "sh"
    return "" if known else f'exec: "{argv[0]}": executable file not found in $PATH: unknown'


def _plain(program: str) -> str:
    return program.rpartition("/")[2]


async def _execute(process: Process, argv: Sequence[str], programs: Mapping[str, Program]) -> int:
    name = _plain(argv[0])
    if name == "sh" and "sh" not in programs:
        return await _shell(process, argv, programs)
    if name not in programs:
        process.err(f"sh: {argv[0]}: not found\n")
        return 127
    process.argv = argv
    return await programs[name](process)


async def _shell(process: Process, argv: Sequence[str], programs: Mapping[str, Program]) -> int:
    """`sh -c` of commands with ; between them: programs, `exit N`, `exec PROGRAM`, $NAME, and `>&2` at the end of one."""
    if argv[1:2] != ["-c"] or len(argv) < 3:
        raise InvalidInput(f"the fake's shell knows only sh -c SCRIPT, not {shlex.join(argv)}")
    code = 0
    for command in argv[2].split(";"):
        words = [re.sub(r"\$\{?(\w+)\}?", lambda name: process.environ.get(name[1], ""), word) for word in shlex.split(command)]
        if words[:1] == ["exec"]:
            words = words[1:]
        if words[:1] == ["exit"]:
            return int(words[1]) if words[1:] else code
        with _to_stderr(process) if words[-1:] == [">&2"] else contextlib.nullcontext():
            words = words[:-1] if words[-1:] == [">&2"] else words
            code = await _execute(process, words, programs) if words else code
    return code


@contextlib.contextmanager
def _to_stderr(process: Process) -> Iterator[None]:
    process.redirected = True
    try:
        yield
    finally:
        process.redirected = False
