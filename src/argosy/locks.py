"""Files that say which process is the one: locked by the kernel (flock), so that a lock ends with its process however that ends.

Nothing here waits for a process that holds a lock. Whoever asks who holds one has it for a moment, shared: `take` waits for those.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable

LOOKS = 100
LOOK_SECONDS = 0.001
"""How often, and with which pauses, `take` tries while others only look at the lock."""


def take(path: str | os.PathLike[str], sleep: Callable[[float], None] = time.sleep) -> int | None:
    """Lock the file, which is made if need be (mode 0600). Returns the descriptor that holds the lock until it is closed, None if another
    process holds it. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(LOOKS):
        if _is_free(descriptor, fcntl.LOCK_EX):
            return descriptor
        if not _is_free(descriptor, fcntl.LOCK_SH):
            break
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # others only look
        sleep(LOOK_SECONDS)
    os.close(descriptor)
    return None


def sign(descriptor: int) -> None:
    """Write this process's number into the file of a taken lock. A full disk: the lock holds without it."""
    with contextlib.suppress(OSError):
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)


def is_held(path: str | os.PathLike[str]) -> bool:
    """Return True if a process holds the lock. Raises OSError where that cannot be seen."""
    return _look(path) is not None


def holder(path: str | os.PathLike[str]) -> int | None:
    """Return the number of the process that holds the lock; None if none does as far as is seen, or it has not signed."""
    try:
        return _look(path) or None
    except OSError:
        return None


def _look(path: str | os.PathLike[str]) -> int | None:
    """The number in the file if the lock is held, 0 if there is none; None if it is free."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if _is_free(descriptor, fcntl.LOCK_SH):
            return None
        number = os.pread(descriptor, 32, 0).strip()
        return int(number) if number.isdigit() else 0
    finally:
        os.close(descriptor)


def _is_free(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
