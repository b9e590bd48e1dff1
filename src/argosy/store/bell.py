"""How the processes that share a store's file hear of each other: a small file beside it, written without ever being forced to the disk.

Its first line is the heartbeat: when one of them last looked after the leases, and in which boot. The byte after it is the bell: whoever
has committed writes it, and inotify tells the others at once, after the commit can be read (the database's own files change before).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

SUFFIX = "-bell"

_LINE = 64
_IN_MODIFY = 2


class Bell:
    """The file, held open. A full disk or a lost file makes it mute, never an error: listeners also look by themselves."""

    def __init__(self, path: str) -> None:
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return

    def ring(self) -> None:
        self._write(b".", _LINE)

    def beat(self, boot: str, at: float) -> None:
        self._write(f"{boot} {at:.3f}".ljust(_LINE - 1).encode() + b"\n", 0)

    def last_beat(self) -> tuple[str, float]:
        """(boot id, monotonic time); ("", 0) if there was none."""
        try:
            boot, at = os.pread(self._file, _LINE, 0).decode().split()
            return boot, float(at)
        except (OSError, ValueError):
            return "", 0.0

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, text: bytes, offset: int) -> None:
        try:
            os.pwrite(self._file, text, offset)
        except OSError:
            return


def listen(path: str) -> int | None:
    """An inotify descriptor that becomes readable when the bell at `path` is rung; None where that cannot be had."""
    Bell(path).close()  # makes it, if nobody has yet
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        init: Callable[[int], int] = libc.inotify_init1
        add: Callable[[int, bytes, int], int] = libc.inotify_add_watch
    except (OSError, AttributeError):
        return None
    ear = init(os.O_NONBLOCK | os.O_CLOEXEC)
    if ear < 0:
        return None
    if add(ear, os.fsencode(path), _IN_MODIFY) < 0:
        os.close(ear)
        return None
    return ear


def heard(ear: int) -> bool:
    """Takes what the descriptor of `listen` holds; whether there was anything."""
    try:
        return bool(os.read(ear, 4096))
    except BlockingIOError:
        return False
