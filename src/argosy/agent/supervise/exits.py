"""How processes ended: children through wait, others through their pidfd."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from collections.abc import Iterator

from argosy import proc
from argosy.agent.supervise.states import UNKNOWN, Exit, Pid

_GET_INFO = 0xC040FF0B
"""ioctl PIDFD_GET_INFO with a struct pidfd_info of 64 bytes (linux/pidfd.h)."""
_INFO_EXIT = 8


def reaped() -> Iterator[tuple[int, Exit]]:
    """(pid, how it ended) of every child that has died, which are then gone for good. Orphans of units come to us too."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return
        if found is None:
            return
        kinds = {os.CLD_EXITED: "exited", os.CLD_KILLED: "killed", os.CLD_DUMPED: "dumped"}
        kind = kinds.get(found.si_code, "unknown")
        yield found.si_pid, Exit(kind, found.si_status, "" if kind == "exited" else signal_name(found.si_status))


def signal_name(number: int) -> str:
    """TERM, KILL, ...; a number for a signal without a name."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def of_another(fd: int, process: Pid) -> Exit:
    """How a process that is no child of ours ended; `fd` is its pidfd, which has become readable."""
    return of_zombie(process) or _of_reaped(fd) or UNKNOWN


def of_zombie(process: Pid) -> Exit | None:
    """As long as its parent has not waited for it: the last field of /proc/PID/stat."""
    found = proc.look(process.pid)
    return _decoded(found.status) if found is not None and found.state == "Z" and found.start == process.start else None


def _of_reaped(fd: int) -> Exit | None:
    """The kernel still knows it (from 6.15)."""
    info = bytearray(64)
    struct.pack_into("=Q", info, 0, _INFO_EXIT)
    try:
        fcntl.ioctl(fd, _GET_INFO, info)
    except OSError:
        return None
    known: int = struct.unpack_from("=Q", info)[0] & _INFO_EXIT
    return _decoded(struct.unpack_from("=i", info, 60)[0]) if known else None


def _decoded(status: int) -> Exit:
    """A status as wait(2) gives it."""
    if os.WIFEXITED(status):
        return Exit("exited", os.WEXITSTATUS(status))
    return Exit("dumped" if os.WCOREDUMP(status) else "killed", os.WTERMSIG(status), signal_name(os.WTERMSIG(status)))
