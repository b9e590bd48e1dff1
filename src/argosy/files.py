"""Files that are written whole: a reader, and whoever starts after a crash, finds the old content or the new one, never a part.

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import os
from hashlib import sha1

LONGEST_NAME = 255


def write(path: str | os.PathLike[str], content: bytes, *, mode: int = 0o666, durable: bool = False) -> None:
    """Replace the file by one with this content; its permissions are `mode` without the umask, from the first moment on. One writer at a
    time for a path. `durable` also survives a power cut once this has returned. Raises OSError naming `path`; the old file stays then."""
    path = os.fspath(path)
    new = staged(path)
    try:
        try:
            _fill(new, content, mode, durable)
            os.replace(new, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        if durable:
            _sync_folder(os.path.dirname(path) or ".")
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error  # a failed write names no file


def staged(path: str | os.PathLike[str]) -> str:
    """Return where `write` puts the new content first: the same hidden name each time, so that a crash leaves one file at most."""
    folder, name = os.path.split(os.fspath(path))
    new = f".{name}.new"
    if len(os.fsencode(new)) > LONGEST_NAME:
        new = f".{sha1(os.fsencode(name), usedforsecurity=False).hexdigest()}.new"
    return os.path.join(folder, new)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it to a blocking descriptor, however little the kernel takes at once. Raises OSError."""
    written = os.write(descriptor, content)
    if written < len(content):
        rest = memoryview(content)[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _fill(new: str, content: bytes, mode: int, durable: bool) -> None:
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, content)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: str) -> None:
    """The new name is on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
