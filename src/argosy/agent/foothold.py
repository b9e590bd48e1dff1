"""An agent's hold on its host: at most one agent for each run folder, and the few notes that its successor needs.

The lock is the kernel's (flock): it ends with the process however that ends, and a restarted agent has it at once.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Protocol

import msgspec

from argosy import files, locks, proc
from argosy.errors import Refused, Unsuitable


class Notes(msgspec.Struct, frozen=True):
    """What an agent leaves for the next one in the same boot. `since` marks its machine record in the store as this host's own; `sent` is
    the monotonic time at which it last sent a keep-alive that succeeded; `exclusive` are units that must not outlive the lease."""

    boot: str = ""
    since: float = 0.0
    sent: float = 0.0
    exclusive: tuple[str, ...] = ()


class Foothold(Protocol):
    """`boot` is the id of the host's present boot."""

    boot: str

    async def take(self) -> Notes:
        """The notes of the agent before, empty ones if there was none since the host was booted. Raises Refused while another agent
        runs."""

    async def note(self, notes: Notes) -> None:
        """Raises OSError."""

    async def let_go(self) -> None: ...


class FolderFoothold:
    """A Foothold in a run folder, which a reboot may empty or not."""

    def __init__(self, folder: Path) -> None:
        self.boot = ""
        self._lock = folder / "agent.lock"
        self._notes = folder / "agent.json"
        self._held: int | None = None

    async def take(self) -> Notes:
        return await asyncio.to_thread(self._take)

    async def note(self, notes: Notes) -> None:
        await asyncio.to_thread(self._write, notes)

    async def let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def _take(self) -> Notes:
        self.boot = proc.boot_id()
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            held = locks.take(self._lock)
        except OSError as error:
            raise Unsuitable(f"cannot open {self._lock}: {error.strerror}", remedy="set [paths] run to a folder of your own") from error
        if held is None:
            raise Refused(
                f"an agent runs here already: {self._lock} is held by process {locks.holder(self._lock) or 'unknown'}",
                remedy="stop that one, or give this one a run folder and a machine id of its own",
            )
        self._held = held
        locks.sign(held)
        return self._read()

    def _read(self) -> Notes:
        try:
            notes = msgspec.json.decode(self._notes.read_bytes(), type=Notes)
        except (OSError, msgspec.DecodeError):
            return Notes(self.boot)
        return notes if notes.boot == self.boot else Notes(self.boot)

    def _write(self, notes: Notes) -> None:
        files.write(self._notes, msgspec.json.encode(notes))
