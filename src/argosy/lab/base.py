"""What the lab needs of whatever is a machine on this host: the contract of `nspawn` and `process`.

`tests/contracts/lab_contract.py` is this page as a test suite. A driver keeps nothing in memory between calls: what there is, it sees on
the host, so that every command of `argosy lab`, and the next one after a crash, finds the same lab.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from enum import StrEnum
from typing import ParamSpec, Protocol, TypeVar

import msgspec

from argosy import programs
from argosy.errors import RuntimeFailed
from argosy.lab.state import LabRecord
from argosy.programs import Finished

P = ParamSpec("P")
T = TypeVar("T")


class Power(StrEnum):
    """What a machine is doing."""

    ON = "on"
    PAUSED = "paused"
    OFF = "off"


class Process(msgspec.Struct, frozen=True):
    """A process of a machine, seen from the host: its pid there, its command line, its proportional memory in bytes (0: unknown)."""

    pid: int
    command: str
    memory: int = 0


class Command(msgspec.Struct, frozen=True):
    """A command line of the host. `environ` is the whole environment, nothing is inherited."""

    argv: tuple[str, ...]
    environ: dict[str, str]
    folder: str = "/"


class Driver(Protocol):
    """Methods raise RuntimeFailed, naming the machine, when the host refuses. `lab` is always the whole record; what it says about
    addresses, groups and metadata is what the driver brings about."""

    kind: str

    def addresses(self, number: int, machine: int) -> tuple[str, str]:
        """(address, HOST:PORT of its router) of the lab with that number's machine of that number."""

    async def numbers_taken(self) -> frozenset[int]:
        """Lab numbers whose addresses are in use on this host, by whomever."""

    async def prepare(self, lab: LabRecord) -> None:
        """What the machines share. Called once, on an empty folder."""

    async def create(self, lab: LabRecord, name: str) -> None:
        """A machine with a disk of its own, the agent installed on it, not started. Machines may be created side by side."""

    async def start(self, lab: LabRecord, name: str) -> None:
        """Power on. Its disk is as it was left, all that a reboot forgets is gone. Returns when it boots, not when it is ready; a machine
        that runs is left alone."""

    async def kill(self, lab: LabRecord, name: str) -> None:
        """A power cut: when this returns no process of it is left, and none had the time to say goodbye. A machine that is off stays so."""

    async def pause(self, lab: LabRecord, name: str) -> None:
        """All its processes stand still, as on a host that is suspended; connections to it stay open and get no answers."""

    async def resume(self, lab: LabRecord, name: str) -> None:
        """They go on."""

    async def power(self, lab: LabRecord, name: str) -> Power:
        """What it is doing now, seen on the host."""

    async def command(self, lab: LabRecord, name: str, argv: Sequence[str]) -> Command:
        """The host's command line that runs `argv` inside the machine, with its standard streams. Its environment names the machine's own
        ARGOSY_PATHS_STATE and ARGOSY_PATHS_RUN. Raises RuntimeFailed if the machine is off."""

    async def processes(self, lab: LabRecord, name: str) -> tuple[Process, ...]:
        """All of its processes; none for a machine that is off."""

    async def log(self, lab: LabRecord, name: str, last: int) -> str:
        """The last lines that its agent wrote; "" where there are none, or the machine is off."""

    async def connect(self, lab: LabRecord) -> None:
        """Makes the network what `lab.groups` says: machines of different groups cannot reach each other nor share a store, and are not
        told so (packets vanish); the host's entry reaches all. No groups: everybody reaches everybody."""

    async def remove(self, lab: LabRecord, name: str) -> None:
        """The machine and its disk are gone."""

    async def clear(self, folder: str) -> None:
        """Every trace of a lab in this folder is gone, of a crashed or half-made one too, known by its folder alone: processes,
        namespaces, mounts, links, groups, files. No error where there is nothing."""


async def run(command: Command, stdin: bytes = b"", timeout: float | None = None) -> Finished:
    """Runs a command to its end. After `timeout` seconds, or when cancelled, it is killed with all it started (RuntimeFailed)."""
    try:
        return await programs.run(command.argv, limit=timeout, environ=command.environ, folder=command.folder, stdin=stdin)
    except TimeoutError as error:
        raise RuntimeFailed(f"{' '.join(command.argv)} did not end within {timeout} s") from error
    except OSError as error:
        raise RuntimeFailed(f"cannot run {command.argv[0]}: {error.strerror}") from error


async def lines(command: Command) -> AsyncGenerator[str, None]:
    """The lines that a command writes (both streams), as they come; closing the iterator ends the command."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            running = programs.running(command.argv, environ=command.environ, folder=command.folder, together=True)
            process = await stack.enter_async_context(running)
        except OSError as error:
            raise RuntimeFailed(f"cannot run {command.argv[0]}: {error.strerror}") from error
        assert process.stdout is not None
        async for line in process.stdout:
            yield line.decode(errors="replace").rstrip("\n")


async def host(*argv: str, stdin: str = "", environ: Mapping[str, str] | None = None) -> str:
    """Runs a program on the host and returns its output; RuntimeFailed with what it said if not. `environ` replaces the environment."""
    done = await run(Command(argv, dict(os.environ if environ is None else environ)), stdin.encode(), timeout=60)
    if done.code != 0:
        raise RuntimeFailed(f"{' '.join(argv[:6])} failed: {(done.stderr or done.stdout).strip() or f'status {done.code}'}")
    return done.stdout


async def to_the_end(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Like asyncio.to_thread, for what writes: when cancelled, it first waits for the thread, so that nothing is written afterwards."""
    thread = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise
