"""The supervisor as a Runtime: the embedded default where no systemd answers.

The supervisor is a process of its own (`agent/supervise`), found by its socket in a folder. Whoever finds none there starts one; it goes
on when we end. Each call is a connection of its own, so there is nothing to lose but the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from argosy import programs
from argosy.agent.supervise import journal
from argosy.agent.supervise.protocol import LONGEST_LINE, SOCKET, VERSION, Reply, Request
from argosy.agent.supervise.saved import Settings, folder_name
from argosy.errors import NotFound, RuntimeFailed
from argosy.model import Detail, LogLine, Observed
from argosy.reconcile import Clock
from argosy.unit.names import check_name

log = logging.getLogger(__name__)

START_SECONDS = 20.0
ANSWER_SECONDS = 60.0
OPEN_PAUSE = 0.02
FOLLOW_PAUSE = 0.1
"""Seconds between two looks at a log that is being followed."""
KEPT_VARIABLES = (
    *("PATH", "LANG", "TZ", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH"),
    *("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
)
"""What a supervisor inherits from whoever starts it; units inherit LANG and TZ only."""
BATCH = 8 * 1024 * 1024
"""Bytes of unit texts in one request, about."""

_decoder = msgspec.json.Decoder(Reply)
_encoder = msgspec.json.Encoder()


class SupervisorRuntime:
    """A Runtime; make it with `connect`."""

    kind = "supervisor"

    def __init__(self, folder: Path, clock: Clock, settings: Settings) -> None:
        self.folder = folder
        self._clock = clock
        self._settings = settings
        self._reviving = asyncio.Lock()
        self._trouble = ""

    @classmethod
    async def connect(
        cls, folder: Path, clock: Clock, *, environment: Mapping[str, str] | None = None, machine_id: str = "", host: str = ""
    ) -> SupervisorRuntime:
        """The supervisor of this folder (made if need be, mode 0700), started if it does not run.

        `environment` is what all units see below their own variables; `machine_id` and `host` are what %m and %H stand for ("": the
        host's). The supervisor remembers them. Raises RuntimeFailed.
        """
        runtime = cls(folder.absolute(), clock, Settings(dict(environment or {}), machine_id, host))
        await runtime._ask(Request(1, "settings", settings=runtime._settings))
        return runtime

    async def units(self, names: Iterable[str] | None = None) -> dict[str, Observed]:
        wanted = None if names is None else set(names)
        if wanted is not None and not wanted:
            return {}
        reply = await self._ask(Request(1, "units", names=tuple(wanted or ())))
        return {unit.name: unit for unit in reply.units if wanted is None or unit.name in wanted}

    async def load(self, units: Sequence[tuple[str, str]]) -> None:
        refused: dict[str, str] = {}
        batch: list[tuple[str, str]] = []
        size = 0
        for name, text in units:
            try:
                size += len(name.encode()) + len(text.encode())
            except UnicodeEncodeError:
                refused[name] = f"{name!r}: a lone surrogate is no character"
                continue
            batch.append((name, text))
            if size > BATCH:
                refused |= (await self._ask(Request(1, "load", texts=tuple(batch)))).refused
                batch, size = [], 0
        if batch:
            refused |= (await self._ask(Request(1, "load", texts=tuple(batch)))).refused
        _raise(refused)

    async def unload(self, names: Sequence[str]) -> None:
        await self._ask(Request(1, "unload", names=tuple(names)))

    async def start(self, launches: Sequence[tuple[str, int]]) -> None:
        _raise((await self._ask(Request(1, "start", launches=tuple(launches)))).refused)

    async def stop(self, names: Sequence[str]) -> None:
        await self._ask(Request(1, "stop", names=tuple(names)))

    async def kill(self, names: Sequence[str]) -> None:
        await self._ask(Request(1, "kill", names=tuple(names)))

    async def reload(self, names: Sequence[str]) -> None:
        """Runs ExecReload= of running units."""
        _raise((await self._ask(Request(1, "reload", names=tuple(names)))).refused)

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        async with self._connection() as (reader, writer):
            writer.write(_encoder.encode(Request(1, "watch")) + b"\n")
            while True:
                reply = await self._read(reader)
                if reply.changed is not None:
                    yield frozenset(reply.changed)

    async def detail(self, name: str) -> Detail:
        reply = await self._ask(Request(1, "detail", names=(name,)))
        if reply.detail is None:
            raise NotFound(f"unit {name} is not loaded on this machine")
        return reply.detail

    async def logs(self, name: str, lines: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        check_name(name)
        folder = self.folder / "logs" / folder_name(name)
        found, position = await asyncio.to_thread(journal.last, folder, lines)
        for line in found:
            yield line
        while follow:
            found, position = await asyncio.to_thread(journal.following, folder, position)
            for line in found:
                yield line
            if not found:
                await self._clock.sleep(FOLLOW_PAUSE)

    async def close(self) -> None:
        """There is nothing to let go of: the supervisor and its units go on."""

    async def shutdown(self) -> None:
        """Stops all units as their files say, then the supervisor; returns when it has ended. For taking a machine down for good."""
        async with self._connection() as (reader, writer):
            writer.write(_encoder.encode(Request(1, "shutdown")) + b"\n")
            with contextlib.suppress(RuntimeFailed):
                while True:
                    await self._read(reader)

    async def _ask(self, request: Request) -> Reply:
        async with self._connection() as (reader, writer):
            writer.write(_encoder.encode(request) + b"\n")
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await writer.drain()
                    reply = await self._read(reader)
            except TimeoutError as error:
                raise RuntimeFailed(f"the supervisor did not answer {request.op} within {ANSWER_SECONDS:.0f} s") from error
            except OSError as error:
                raise RuntimeFailed(f"the supervisor went away: {error.strerror}") from error
        self._note(reply.trouble)
        return reply

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await self._greeted()
        try:
            yield reader, writer
        finally:
            await _close(writer)

    async def _greeted(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a supervisor of our version: an older one is told to renew itself."""
        version = 0
        for _ in range(2):
            reader, writer = await self._open()
            try:
                async with asyncio.timeout(START_SECONDS):
                    version = (await self._read(reader)).version
                    if version == VERSION:
                        return reader, writer
                    log.info("the supervisor speaks version %d, we speak %d: renewing it", version, VERSION)
                    writer.write(_encoder.encode(Request(1, "renew")) + b"\n")
                    while await reader.readline():
                        pass
            except TimeoutError as error:
                await _close(writer)
                raise RuntimeFailed(f"the supervisor of {self.folder} does not answer") from error
            except BaseException:
                await _close(writer)
                raise
            await _close(writer)
        raise RuntimeFailed(
            f"the supervisor of {self.folder} speaks version {version}, and {VERSION} is needed",
            remedy="install one version of argosy only",
        )

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Starts a supervisor if none answers."""
        path = str(self.folder / SOCKET)
        end = self._clock.monotonic() + START_SECONDS
        while True:
            try:
                return await asyncio.open_unix_connection(path, limit=LONGEST_LINE)
            except (FileNotFoundError, ConnectionRefusedError) as error:
                if self._clock.monotonic() > end:
                    raise RuntimeFailed(f"the supervisor of {self.folder} does not listen: {error.strerror}") from error
            except OSError as error:
                raise RuntimeFailed(f"cannot reach the supervisor at {path}: {error.strerror or error}") from error
            await self._revive()

    async def _revive(self) -> None:
        """Starts a supervisor; one that is just beginning or ending is waited for."""
        async with self._reviving:
            kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
            try:
                command = (sys.executable, "-P", "-m", "argosy.agent.supervise", str(self.folder))
                done = await programs.run(command, limit=START_SECONDS, environ=kept)
            except OSError as error:
                why = str(error) or "it does not get ready"
                raise RuntimeFailed(f"the supervisor of {self.folder} cannot be started: {why}") from error
            if done.code:
                why = done.stderr.strip().rpartition("\n")[2]
                raise RuntimeFailed(f"the supervisor of {self.folder} cannot be started: {why}")
        await self._clock.sleep(OPEN_PAUSE)

    async def _read(self, reader: asyncio.StreamReader) -> Reply:
        try:
            line = await reader.readline()
        except (OSError, ValueError) as error:
            raise RuntimeFailed(f"the supervisor of {self.folder} went away: {error}") from error
        if not line.endswith(b"\n"):
            raise RuntimeFailed(f"the supervisor of {self.folder} went away")
        try:
            reply = _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise RuntimeFailed(f"the supervisor of {self.folder} said what is no reply: {error}") from error
        if reply.error:
            raise RuntimeFailed(f"the supervisor of {self.folder}: {reply.error}")
        return reply

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.error("the supervisor of %s: %s; what runs goes on", self.folder, trouble)
        self._trouble = trouble


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _raise(refused: Mapping[str, str]) -> None:
    if refused:
        raise RuntimeFailed("; ".join(refused.values()), refused=refused)
