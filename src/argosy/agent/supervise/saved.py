"""What the supervisor keeps on disk, so that another one can go on: written whole and swapped in, read with suspicion.

    FOLDER/id                     16 hexadecimal digits, made once: names the notify socket, marks processes and log lines
    FOLDER/settings               what the agent said about the machine
    FOLDER/units/UNIT/unit        the unit's text, and the older text that it still runs by
    FOLDER/units/UNIT/run         where it stands, with the boot that this is true for

Nothing is forced to the disk: after a power cut no process is left that the files could tell of.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from typing import TypeVar

import msgspec

from argosy import files
from argosy.agent.supervise.states import Run
from argosy.unit.names import is_name

T = TypeVar("T")

LONGEST_FOLDER = 200


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What units of this machine see: variables below their own, and what %m and %H stand for (empty: the host's)."""

    environment: dict[str, str] = {}
    machine_id: str = ""
    host: str = ""


class SavedUnit(msgspec.Struct, frozen=True, omit_defaults=True):
    """`running` is the text that it was started with, where that is another one; `leaving`: it is forgotten as soon as it has stopped."""

    name: str
    text: str
    running: str | None = None
    leaving: bool = False


class SavedRun(msgspec.Struct, frozen=True):
    name: str
    boot: str
    run: Run


class Found(msgspec.Struct, frozen=True):
    """A unit as it was found on disk. A part that could not be read is None; `broken`: there was a run, and it is lost."""

    name: str
    unit: SavedUnit | None
    run: Run | None
    broken: bool = False


class Files:
    """The folder's files. Writing never raises: `trouble` says what is wrong ("": nothing)."""

    def __init__(self, folder: Path, boot: str) -> None:
        self.folder = folder
        self.boot = boot
        self.trouble = ""
        self._unwritten: dict[Path, bytes] = {}
        (folder / "units").mkdir(mode=0o700, exist_ok=True)
        self.id = self._id()

    def settings(self) -> Settings:
        return _decode(Settings, self.folder / "settings") or Settings()

    def keep_settings(self, settings: Settings) -> None:
        self._write(self.folder / "settings", msgspec.json.encode(settings))

    def keep_unit(self, unit: SavedUnit) -> None:
        folder = self._unit_folder(unit.name)
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._write(folder / "unit", msgspec.json.encode(unit))

    def keep_run(self, name: str, run: Run) -> None:
        self._write(self._unit_folder(name) / "run", msgspec.json.encode(SavedRun(name, self.boot, run)))

    def forget(self, name: str) -> None:
        folder = self._unit_folder(name)
        for path in (folder / "unit", folder / "run"):
            self._unwritten.pop(path, None)
            for file in (path, files.staged(path)):
                with contextlib.suppress(OSError):
                    os.unlink(file)
        with contextlib.suppress(OSError):
            folder.rmdir()

    def units(self) -> Iterator[Found]:
        """Everything that an earlier supervisor kept. Runs of another boot are forgotten."""
        for folder in sorted((self.folder / "units").iterdir()):
            unit = _decode(SavedUnit, folder / "unit")
            saved = _decode(SavedRun, folder / "run")
            broken = saved is None and (folder / "run").exists()
            run = saved.run if saved is not None and saved.boot == self.boot else None
            name = unit.name if unit else saved.name if saved else folder.name
            if folder_name(name) == folder.name and is_name(name) and (unit or saved or broken):
                yield Found(name, unit, run, broken)

    def retry(self) -> bool:
        """Writes what could not be written before; True when nothing is left."""
        for path, data in list(self._unwritten.items()):
            self._write(path, data)
        return not self._unwritten

    def _write(self, path: Path, data: bytes) -> None:
        try:
            files.write(path, data, mode=0o600)
        except OSError as error:
            self.trouble = f"cannot write {path}: {error.strerror}"
            self._unwritten[path] = data
            return
        self._unwritten.pop(path, None)
        if not self._unwritten:
            self.trouble = ""

    def _unit_folder(self, name: str) -> Path:
        return self.folder / "units" / folder_name(name)

    def _id(self) -> str:
        path = self.folder / "id"
        with contextlib.suppress(OSError):
            found = path.read_text(errors="replace").strip()
            if len(found) == 16 and found.isalnum():
                return found
        made = os.urandom(8).hex()
        files.write(path, made.encode(), mode=0o600)
        return made


def folder_name(unit: str) -> str:
    """A unit's name as the name of a folder: itself, shortened where a file system would not take it."""
    if len(unit) <= LONGEST_FOLDER:
        return unit
    return f"{unit[: LONGEST_FOLDER - 41]}-{sha1(unit.encode(), usedforsecurity=False).hexdigest()}"


def _decode(kind: type[T], path: Path) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
