"""Where the output of units goes: a named pipe for each, and the pump that empties them into log files (see `pump`)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path

from argosy import files
from argosy.agent.supervise import pump
from argosy.agent.supervise.loop import Loop
from argosy.agent.supervise.saved import folder_name
from argosy.locks import holder
from argosy.reconcile import Clock

PIPE_BYTES = 256 * 1024
KEPT_FOLDERS = 64
"""Log folders of units that are no longer loaded here: the newest so many are kept."""
LONGEST_WORD = 1024
PUMP_PAUSE = 0.1
LONG_LIFE = 1.0
"""Seconds before a pump that has ended is started again: PUMP_PAUSE if it lived long, LONG_LIFE if not."""


class Outputs:
    """The pipes. We hold each open too, so that a line written before the pump comes is not lost."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pipes: dict[str, int] = {}
        folder.mkdir(mode=0o700, exist_ok=True)
        if not (folder / "mark").exists():
            files.write(folder / "mark", b"\x1e" + os.urandom(8).hex().encode(), mode=0o600)
        self._mark = (folder / "mark").read_bytes()
        _make_pipe(folder / "control")
        self._control = os.open(folder / "control", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def open(self, unit: str) -> int:
        """The pipe to be a command's output: a fresh descriptor, to be closed by the caller."""
        self.prepare(unit)
        return os.open(self._folder / folder_name(unit) / "output", os.O_RDWR | os.O_CLOEXEC)

    def prepare(self, unit: str) -> None:
        if unit in self._pipes:
            return
        name = folder_name(unit)
        (self._folder / name).mkdir(mode=0o700, exist_ok=True)
        _make_pipe(self._folder / name / "output")
        fd = os.open(self._folder / name / "output", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._pipes[unit] = fd
        self._order(f"open {name}")

    def say(self, unit: str, text: str) -> None:
        """A line of our own among the unit's."""
        line = text.replace("\n", " ").encode(errors="replace")[:LONGEST_WORD]
        self._tell(unit, b"s %d %b" % (os.getpid(), line))

    def begins(self, unit: str) -> None:
        """What is written from here on is by a process whose number is told in a moment."""
        self._tell(unit, b"w")

    def is_by(self, unit: str, pid: int, program: str) -> None:
        name = program.rpartition("/")[2].encode(errors="replace")[:LONGEST_WORD]
        self._tell(unit, b"p %d %b" % (pid, bytes(byte for byte in name if byte > 32) or b"-"))

    def close(self, unit: str) -> None:
        """The unit is gone; its log files stay for a while."""
        fd = self._pipes.pop(unit, None)
        if fd is not None:
            os.close(fd)
            self._order(f"close {folder_name(unit)}")
        self._tidy()

    def quit(self) -> None:
        """Tells the pump to write what is there, and to end."""
        self._order("quit")

    def start_pump(self) -> int | None:
        """The number of a pump that was started; None if one is running (see `running_pump`)."""
        if self.running_pump() is not None:
            return None
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        command = [sys.executable, "-I", "-S", pump.__file__, str(self._folder)]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True, env=environment)
        child.returncode = 0  # the supervisor waits for all children itself
        return child.pid

    def running_pump(self) -> int | None:
        """The number of the pump that holds the lock."""
        return holder(self._folder / "pump.lock")

    def _tell(self, unit: str, words: bytes) -> None:
        fd = self._pipes.get(unit)
        if fd is not None:
            with contextlib.suppress(BlockingIOError):  # a pipe that is full to the brim: the line is not worth waiting for
                os.write(fd, self._mark + words + b"\n")

    def _order(self, words: str) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._control, f"{words}\n".encode())

    def _tidy(self) -> None:
        used = {folder_name(unit) for unit in self._pipes}
        unused = [entry for entry in os.scandir(self._folder) if entry.is_dir(follow_symlinks=False) and entry.name not in used]
        unused.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in unused[KEPT_FOLDERS:]:
            with contextlib.suppress(OSError):
                for file in os.scandir(entry.path):
                    os.unlink(file.path)
                os.rmdir(entry.path)


class PumpKeeper:
    """Sees to it that a pump runs."""

    def __init__(self, loop: Loop, outputs: Outputs, clock: Clock) -> None:
        self._loop = loop
        self._outputs = outputs
        self._clock = clock
        self._pid = 0
        self._due: float | None = 0.0
        self._started = -LONG_LIFE

    def round(self) -> float | None:
        """Starts one where none is; seconds until it wants to be asked again."""
        if self._due is None:
            return None
        now = self._clock.monotonic()
        if now < self._due:
            return self._due - now
        self._due = now + PUMP_PAUSE
        started = self._outputs.start_pump()
        if started is not None:
            self._pid = started
            self._started = now
            self._due = None
            return None
        running = self._outputs.running_pump()
        if running is None:
            return PUMP_PAUSE
        try:
            fd = os.pidfd_open(running)
        except OSError:
            return PUMP_PAUSE
        self._due = None
        self._loop.on_readable(fd, lambda: self._other_ended(fd))
        return None

    def ended(self, pid: int) -> None:
        """A child has died that belongs to no unit."""
        if pid == self._pid:
            now = self._clock.monotonic()
            self._due = now + (PUMP_PAUSE if now - self._started > LONG_LIFE else LONG_LIFE)

    def _other_ended(self, fd: int) -> None:
        self._loop.forget(fd)
        os.close(fd)
        self._due = 0.0


def _make_pipe(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
