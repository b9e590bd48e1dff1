"""What the kernel tells of this boot and of processes, in /proc. Everything here blocks for a moment.

A process may end at any moment, and may be another user's: what cannot be seen is None, "" or 0, never an error.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
LONGEST_ENVIRONMENT = 256 * 1024
LONGEST_COMMAND = 16 * 1024


class Process(NamedTuple):
    """A line of /proc/PID/stat. `state` is its letter. `start` are clock ticks since boot: with the pid it names a process until the next
    boot. `cpu` in seconds, `memory` resident bytes, `name` its first 15 bytes, `status` of a zombie as wait(2) gives it."""

    pid: int
    state: str
    parent: int
    session: int
    start: int
    cpu: float = 0.0
    memory: int = 0
    threads: int = 1
    name: str = ""
    status: int = 0

    @property
    def dead(self) -> bool:
        """A zombie; but not one whose first thread alone has ended."""
        return self.state == "X" or (self.state == "Z" and self.threads <= 1)


def boot_id() -> str:
    """Return what changes with every start of the host."""
    return _read("/proc/sys/kernel/random/boot_id", 64).decode().strip()


def pids() -> list[int]:
    """Return the numbers of all processes."""
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def processes() -> list[Process]:
    """Return every process but the kernel's own."""
    return [process for pid in pids() if (process := look(pid)) is not None]


def look(pid: int) -> Process | None:
    """Return the process as it is now; None if there is none, or it is one of the kernel's own."""
    head, _, tail = _read(f"/proc/{pid}/stat", 4096).rpartition(b") ")
    fields = tail.split()
    if len(fields) < 22:
        return None
    if fields[20] == b"0" and fields[0] not in b"ZX":
        return None  # one of the kernel's own
    return Process(
        pid,
        fields[0].decode(),
        int(fields[1]),
        int(fields[3]),
        int(fields[19]),
        (int(fields[11]) + int(fields[12])) / TICKS,
        int(fields[21]) * PAGE,
        int(fields[17]),
        os.fsdecode(head.partition(b"(")[2]),
        int(fields[-1]),
    )


def children(pid: int) -> list[int]:
    """Return the processes that this one is the parent of."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb", buffering=0) as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN, or no such process
        return [process.pid for process in processes() if process.parent == pid]
    except OSError:
        return []


def command_line(pid: int) -> str:
    """Return the command as ps shows it; "" for a zombie, too."""
    words = _read(f"/proc/{pid}/cmdline", LONGEST_COMMAND).rstrip(b"\0").split(b"\0")
    return " ".join(word.decode(errors="replace") for word in words)


def variable(pid: int, name: str) -> str:
    """Return a variable of the environment that the process was started with."""
    variables = b"\0" + _read(f"/proc/{pid}/environ", LONGEST_ENVIRONMENT)
    mark = f"\0{name}=".encode()
    at = variables.rfind(mark)
    return os.fsdecode(variables[at + len(mark) :].partition(b"\0")[0]) if at >= 0 else ""


def folder(pid: int) -> str:
    """Return the path of its working folder."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def works_in(pid: int, folder: str | os.PathLike[str]) -> bool:
    """Return True if its working folder is this one, under whatever path."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/cwd"), os.stat(folder))
    except OSError:
        return False


def proportional_memory(pid: int) -> int:
    """Return its bytes in memory; what it shares with others counts in part (PSS)."""
    for line in _read(f"/proc/{pid}/smaps_rollup", 4096).splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send each a signal; those that are gone are passed over. Raises PermissionError."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _read(path: str, most: int) -> bytes:
    """The file's first bytes, b"" if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, most, 0)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
