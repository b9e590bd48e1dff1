"""The folder in which unit files lie that were loaded into systemd, and beside them what must be remembered of each.

It belongs in a place that a reboot empties, such as /run/argosy/units: what was loaded before a reboot is loaded again by the agent.
Every write replaces a whole file atomically, so that a full disk or a crash leaves the old one. All of it blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from argosy import files
from argosy.agent.systemd_unit import Memory
from argosy.errors import InvalidUnit
from argosy.unit.names import check_name
from argosy.unit.verify import verify

log = logging.getLogger(__name__)

LAUNCHES = ".launches"
"""The folder of what is remembered, a file for each unit: what a change costs does not grow with what exists. No unit name begins with
a dot."""


class UnitFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        (self.path / LAUNCHES).mkdir(parents=True, exist_ok=True)

    def file(self, name: str) -> Path:
        """Raises InvalidUnit: nothing but a unit name ever becomes a path."""
        check_name(name)
        return self.path / name

    def texts(self) -> dict[str, str]:
        """Every unit file here, by name."""
        found = {}
        for entry in sorted(os.listdir(self.path)):
            with contextlib.suppress(InvalidUnit, OSError, UnicodeDecodeError):
                found[entry] = self._read(self.file(entry))
        return found

    def write(self, name: str, text: str) -> bool:
        """Whether the file is another one now. Raises InvalidUnit and OSError."""
        path = self.file(name)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if self._read(path) == text:
                return False
        files.write(path, text.encode())
        return True

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            for path in (self.file(name), self.path / LAUNCHES / name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def memories(self, names: Iterable[str], manager: str) -> dict[str, Memory]:
        """What is remembered of these units under this manager. What cannot be read is named in the log, and that unit is started anew."""
        found = {}
        for name in names:
            path = self.path / LAUNCHES / name
            try:
                memory = msgspec.json.decode(path.read_bytes(), type=Memory)
            except FileNotFoundError:
                continue
            except (OSError, msgspec.DecodeError) as error:
                log.error("%s cannot be read, so nothing is known of earlier launches: %s", path, error)
                continue
            if memory.manager == manager:
                found[name] = memory
        return found

    def remember(self, memories: Mapping[str, Memory]) -> None:
        """Raises OSError."""
        for name, memory in memories.items():
            files.write(self.path / LAUNCHES / name, msgspec.json.encode(memory))

    def problems(self, name: str) -> list[str]:
        """The errors that `verify` finds in a unit file here, in words."""
        with contextlib.suppress(InvalidUnit, OSError, UnicodeDecodeError):
            return [str(found) for found in verify(name, self._read(self.file(name)), ("systemd",)) if found.severity == "error"]
        return []

    def _read(self, path: Path) -> str:
        """Byte for byte, line ends included."""
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
