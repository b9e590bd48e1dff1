"""The log pump: from the pipes of all units to their log files, each line with its time. A process of its own: `python -I -S pump.py LOGS`.

It imports the standard library only and knows nothing of units. In LOGS every folder is a unit's: `output` is the named pipe that its
processes have as standard output and error, `00000001.log` and so on are the newest lines. The processes hold their pipe open for reading
as well, so writing never fails while the pump is away; what it finds later is not lost. It ends when it is told to, or when another runs.

A line of a log file is `<Unix time> <pid> <program>\\t<text>\\n`, the text in the bytes in which it was written.

The supervisor says in the same pipe, so that the order is right, who writes from here on: a line that begins with the MARK (a secret kept
in LOGS/mark) and a letter: `w` (a process is about to start: hold its lines until its number is known), `p PID PROGRAM`, `s PID TEXT` (the
supervisor's own words). Through the named pipe LOGS/control come `open FOLDER`, `close FOLDER` and `quit`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import sys
import time

SEGMENT = 2 * 1024 * 1024
"""Bytes of a log file before the next is begun."""
SEGMENTS = 5
"""Log files kept for a unit: 10 MiB at most, and one chunk."""
LONGEST_LINE = 48 * 1024
"""A line much longer than this is cut into several, as journald does."""
CHUNK = 64 * 1024
HOLD_SECONDS = 1.0
HOLD_BYTES = 256 * 1024
SPEAKER = b"argosy"


class Output:
    """One unit's pipe and its newest log file."""

    def __init__(self, folder: str, mark: bytes) -> None:
        self.folder = folder
        self.fd = os.open(f"{folder}/output", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.held_until = 0.0
        self._mark = mark
        self._tail = b""
        self._writer = b"0 -"
        self._held: list[tuple[float, bytes]] = []
        self._held_bytes = 0
        self._lost = 0
        self._why = b""
        self._number = max(segments(folder), default=1)
        self._log: int | None = None
        self._size = 0

    def read(self) -> bool:
        """Reads once and writes what is whole; False when there was nothing to read."""
        try:
            chunk = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return False
        *lines, self._tail = (self._tail + chunk).split(b"\n")
        if self._mark in chunk or any(self._mark in line for line in lines[:1]):
            for line in lines:
                self._marked(line)
        elif lines:
            self._put(lines)
        while len(self._tail) > LONGEST_LINE and self._mark not in self._tail:
            self._put([self._tail[:LONGEST_LINE]])
            self._tail = self._tail[LONGEST_LINE:]
        return True

    def release(self) -> None:
        """Writes the lines that waited for their process's number."""
        self.held_until = 0.0
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            self._write(b"".join(b"%.6f %b\t%b\n" % (at, self._writer, line) for at, line in held), len(held))

    def close(self) -> None:
        while self.read():
            pass
        self._end_line()
        self.release()
        os.close(self.fd)
        if self._log is not None:
            os.close(self._log)

    def _marked(self, line: bytes) -> None:
        before, mark, order = line.partition(self._mark)
        if not mark:
            self._put([line])
            return
        if before:
            self._put([before])
        kind, _, rest = order.partition(b" ")
        if kind == b"w":
            self.release()
            self._writer = b"0 -"
            self.held_until = time.monotonic() + HOLD_SECONDS
        elif kind == b"p":
            self._writer = rest
            self.release()
        elif kind == b"s":
            pid, _, text = rest.partition(b" ")
            self.release()
            self._write(b"%.6f %b %b\t%b\n" % (time.time(), pid, SPEAKER, text), 1)

    def _put(self, lines: list[bytes]) -> None:
        now = time.time()
        if self.held_until:
            self._held.extend((now, line) for line in lines)
            self._held_bytes += sum(map(len, lines)) + 32 * len(lines)
            if self._held_bytes > HOLD_BYTES:
                self.release()
            return
        before = b"%.6f %b\t" % (now, self._writer)
        self._write(before + (b"\n" + before).join(lines) + b"\n", len(lines))

    def _end_line(self) -> None:
        if self._tail:
            tail, self._tail = self._tail, b""
            self._marked(tail)

    def _write(self, data: bytes, lines: int) -> None:
        """Appends whole lines, or none: what cannot be written is counted, and said as soon as there is room again."""
        if self._lost:
            data = b"%.6f %d %b\t%d lines lost: %b\n" % (time.time(), os.getpid(), SPEAKER, self._lost, self._why) + data
        try:
            if self._log is None or (self._size and self._size + len(data) > SEGMENT):
                self._next()
            assert self._log is not None
            written = 0
            while written < len(data):
                written += os.write(self._log, data[written:])
        except OSError as error:
            self._lost += lines
            self._why = (error.strerror or "").encode()
            if self._log is not None:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._log, self._size)
            return
        self._lost = 0
        self._size += len(data)

    def _next(self) -> None:
        """Opens the newest log file, or the one after it where there is one open."""
        if self._log is not None:
            os.close(self._log)
            self._log = None
            self._number += 1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._log = os.open(segment(self.folder, self._number), flags, 0o600)
        self._size = os.fstat(self._log).st_size
        for number in segments(self.folder):
            if number <= self._number - SEGMENTS:
                os.unlink(segment(self.folder, number))


class Pump:
    """All units' pipes, and the control pipe."""

    def __init__(self, logs: str) -> None:
        with open(f"{logs}/mark", "rb") as file:
            self._mark = file.read()
        self._logs = logs
        self._control = os.open(f"{logs}/control", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._orders = b""
        self._poll = select.epoll()
        self._poll.register(self._control, select.EPOLLIN)
        self._outputs: dict[int, Output] = {}
        self._folders: dict[str, int] = {}
        for name in os.listdir(logs):
            self._open(name)

    def run(self) -> None:
        while True:
            held = [output for output in self._outputs.values() if output.held_until]
            pause = max(0.0, min(output.held_until for output in held) - time.monotonic()) if held else -1
            for fd, _ in self._poll.poll(pause):
                if fd == self._control:
                    if self._obey():
                        return
                elif fd in self._outputs:
                    self._outputs[fd].read()
            for output in held:
                if output.held_until and output.held_until <= time.monotonic():
                    output.release()

    def _obey(self) -> bool:
        """Carries out what is in the control pipe; True when that was to quit."""
        *orders, self._orders = (self._orders + os.read(self._control, CHUNK)).split(b"\n")
        for line in orders:
            order, _, name = line.decode(errors="replace").partition(" ")
            if order == "open":
                self._open(name)
            elif order == "close":
                self._close(name)
            elif order == "quit":
                for name in list(self._folders):
                    self._close(name)
                return True
        return False

    def _open(self, name: str) -> None:
        folder = f"{self._logs}/{name}"
        if name in self._folders or "/" in name or not os.path.exists(f"{folder}/output"):
            return
        output = Output(folder, self._mark)
        self._poll.register(output.fd, select.EPOLLIN)
        self._outputs[output.fd] = output
        self._folders[name] = output.fd

    def _close(self, name: str) -> None:
        fd = self._folders.pop(name, None)
        if fd is not None:
            self._poll.unregister(fd)
            self._outputs.pop(fd).close()


def segment(folder: str, number: int) -> str:
    return f"{folder}/{number:08d}.log"


def segments(folder: str) -> list[int]:
    """The numbers of the log files that there are."""
    return [int(name[:-4]) for name in os.listdir(folder) if name.endswith(".log") and name[:-4].isdigit()]


def main(logs: str) -> None:
    lock = os.open(f"{logs}/pump.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Pump(logs).run()


if __name__ == "__main__":
    main(sys.argv[1])
