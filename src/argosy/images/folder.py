"""A store of objects in a folder, which may be shared by many machines (NFS and the like). Objects are plain files named by their keys.

What is being written lies in `.incoming/` and takes its place by one rename, after its bytes have been brought to the disk: neither a
process that dies nor a power cut leaves half an object. An object without content is only a name and is not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import stat
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

from argosy.errors import ArgosyError, StoreUnavailable
from argosy.files import write_all
from argosy.images.faults import StorageFull
from argosy.images.storage import Children, Entry, Hash

P = ParamSpec("P")
T = TypeVar("T")

INCOMING = ".incoming"
THREADS = 8
BATCH = 1000
PIECE = 1024 * 1024
FLUSHED_AT_ONCE = 16 * 1024 * 1024
"""Bytes after which a disk is set to work while more are coming, so that the end of a large object need not wait for all of it."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
FILE_MODE = 0o640


class Folder:
    """A Storage. `root` is made if it is not there."""

    part_limit = 0

    def __init__(self, root: Path) -> None:
        self.url = f"file://{root}"
        self._root = os.fspath(root)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="images")

    async def open(self) -> None:
        """Raises StoreUnavailable where nothing can be written."""
        await self._in_thread(self._open)

    def _open(self) -> None:
        os.makedirs(os.path.join(self._root, INCOMING), exist_ok=True)
        os.unlink(self._written(b""))

    async def _in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **kwargs))
        except OSError as error:
            raise explained(error, self._root) from error

    def _file(self, key: str) -> str:
        if "/." in key or key.startswith((".", "/")):
            raise ValueError(f"{key!r} is no key of the layout")
        return f"{self._root}/{key}"

    def path(self, key: str) -> Path | None:
        return Path(self._file(key))

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return await self._in_thread(lambda files: [_content(file) for file in files], [self._file(key) for key in keys])

    async def put(self, key: str, content: bytes) -> None:
        await self._in_thread(self._put, self._file(key), content)

    def _put(self, file: str, content: bytes) -> None:
        made = self._written(content)
        try:
            self._placed(os.replace, made, file)
        except BaseException:
            os.unlink(made)
            raise

    async def create(self, key: str, content: bytes) -> bool:
        return await self._in_thread(self._create, self._file(key), content)

    def _create(self, file: str, content: bytes) -> bool:
        made = self._written(content)
        try:
            self._placed(os.link, made, file)
        except FileExistsError:
            return False
        finally:
            os.unlink(made)
        return True

    def _written(self, content: bytes) -> str:
        """A new file with that content, on the disk, where nobody looks."""
        made = self._incoming()
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            if content:
                write_all(descriptor, content)
                os.fdatasync(descriptor)
        except BaseException:
            os.unlink(made)
            raise
        finally:
            os.close(descriptor)
        return made

    def _incoming(self) -> str:
        return f"{self._root}/{INCOMING}/{uuid.uuid4().hex}"

    def _placed(self, move: Callable[[str, str], None], made: str, file: str) -> None:
        """Folders come with the first object in them and go with the last, so one may go between its making and its use."""
        for _ in range(100):
            with contextlib.suppress(FileNotFoundError):
                return move(made, file)
            with contextlib.suppress(FileNotFoundError):
                os.makedirs(os.path.dirname(file), exist_ok=True)
        raise FileNotFoundError(errno.ENOENT, "its folder is removed again and again", file)

    async def delete(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        await self._in_thread(self._delete, [self._file(key) for key in keys])

    def _delete(self, files: list[str]) -> None:
        for file in files:
            with contextlib.suppress(*ABSENT):
                os.unlink(file)
        for folder in {os.path.dirname(file) for file in files}:
            self._prune(folder)

    def _prune(self, folder: str) -> None:
        """Removes `folder` and those above it that are empty."""
        while len(folder) > len(self._root):
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = os.path.dirname(folder)

    async def stat(self, key: str) -> Entry | None:
        return await self._in_thread(self._stat, key)

    def _stat(self, key: str) -> Entry | None:
        try:
            found = os.stat(self._file(key))
        except ABSENT:
            return None
        return _entry(key, found) if stat.S_ISREG(found.st_mode) else None

    async def children(self, prefix: str) -> Children:
        return await self._in_thread(self._children, prefix)

    def _children(self, prefix: str) -> Children:
        objects, prefixes = [], []
        for entry in _scan(self._file(prefix)):
            if not entry.is_dir(follow_symlinks=False):
                objects.append(entry.name)
            elif next(self._beneath(f"{prefix}{entry.name}/"), None) is not None:
                prefixes.append(entry.name)
        return Children(tuple(sorted(objects)), tuple(sorted(prefixes)))

    async def entries(self, prefix: str, after: str = "", limit: int = 0) -> list[Entry]:
        return await self._in_thread(self._entries, prefix, after, limit)

    def _entries(self, prefix: str, after: str, limit: int) -> list[Entry]:
        keys = sorted(key for key in self._beneath(prefix) if key > after)
        found = (self._stat(key) for key in keys)
        return list(itertools.islice((entry for entry in found if entry is not None), limit or None))

    async def walk(self, prefix: str) -> AsyncIterator[list[Entry]]:
        keys = self._beneath(prefix)
        while batch := await self._in_thread(lambda: list(itertools.islice(keys, BATCH))):
            found = await self._in_thread(lambda batch: [self._stat(key) for key in batch], batch)
            yield [entry for entry in found if entry is not None]

    def _beneath(self, prefix: str) -> Iterator[str]:
        for entry in _scan(self._file(prefix)):
            if entry.is_dir(follow_symlinks=False):
                yield from self._beneath(f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}"

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        descriptor = await loop.run_in_executor(self._pool, os.open, self._file(key), os.O_RDONLY | os.O_CLOEXEC)
        reading: asyncio.Future[bytes] | None = None
        try:
            while start < end:
                reading = loop.run_in_executor(self._pool, os.pread, descriptor, min(PIECE, end - start), start)
                piece = await asyncio.shield(reading)
                if not piece:
                    raise StoreUnavailable(
                        f"{key} in the image store is shorter than its record says", remedy="restore it, or push it again"
                    )
                start += len(piece)
                yield piece
        except OSError as error:
            raise explained(error, self._root) from error
        finally:
            if reading is not None and not reading.done():  # the thread still has the descriptor
                reading.add_done_callback(lambda _: os.close(descriptor))
            else:
                os.close(descriptor)

    def writer(self, key: str) -> FolderWriter:
        return FolderWriter(self, key)

    async def tidy(self, before: datetime) -> int:
        return await self._in_thread(self._tidy, before.timestamp())

    def _tidy(self, before: float) -> int:
        removed = 0
        for entry in _scan(os.path.join(self._root, INCOMING)):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)
                    removed += 1
        return removed

    async def close(self) -> None:
        self._pool.shutdown(wait=False)


class FolderWriter:
    """Hashes and writes in one thread; the loop reads on from the network meanwhile."""

    def __init__(self, folder: Folder, key: str) -> None:
        self._folder = folder
        self._final = folder._file(key)
        self._made = folder._incoming()
        self._descriptor = -1
        self._written = self._flushed = 0
        self._working: asyncio.Future[None] | None = None

    async def write(self, pieces: Sequence[bytes], *hashes: Hash) -> None:
        await self._work(self._write, pieces, hashes)

    async def close(self) -> None:
        await self._work(self._close)

    async def abort(self) -> None:
        if self._working is not None and not self._working.done():  # cancelled while a thread was at it
            await asyncio.wait([self._working])
        if self._descriptor >= 0:
            await self._work(self._abort)

    async def _work(self, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        self._working = asyncio.get_running_loop().run_in_executor(self._folder._pool, lambda: call(*args, **kwargs))
        try:
            await asyncio.shield(self._working)
        except OSError as error:
            raise explained(error, self._folder._root) from error

    def _write(self, pieces: Sequence[bytes], hashes: tuple[Hash, ...]) -> None:
        if self._descriptor < 0:
            self._open()
        for piece in pieces:
            for hash_ in hashes:
                hash_.update(piece)
            write_all(self._descriptor, piece)
            self._written += len(piece)
        if self._written - self._flushed >= FLUSHED_AT_ONCE:  # starts writing what is dirty, without waiting for it
            os.posix_fadvise(self._descriptor, self._flushed, self._written - self._flushed, os.POSIX_FADV_DONTNEED)
            self._flushed = self._written

    def _open(self) -> None:
        self._descriptor = os.open(self._made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)

    def _close(self) -> None:
        if self._descriptor < 0:
            self._open()
        try:
            os.fdatasync(self._descriptor)
            self._folder._placed(os.replace, self._made, self._final)
        except BaseException:
            self._abort()  # nobody holds this writer any more: Intake has turned to the next part
            raise
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def _abort(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._made)


def explained(error: OSError, root: str) -> ArgosyError:
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return StorageFull(f"the image store is full: {reason}", remedy=f"make room in {root}, or remove images and run argosy images gc")
    return StoreUnavailable(f"the image store in {root} cannot be used: {reason}")


def _content(file: str) -> bytes | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except ABSENT:
        return None
    try:
        size = os.fstat(descriptor).st_size
        content = os.read(descriptor, size) if size else b""
        while len(content) < size and (more := os.read(descriptor, size - len(content))):
            content += more
        return content
    except IsADirectoryError:
        return None
    finally:
        os.close(descriptor)


def _scan(folder: str) -> Iterator[os.DirEntry[str]]:
    """What is in it; nothing if it is not there (any more)."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]  # .nfs…, .fuse_hidden…, .DS_Store: no keys
    except ABSENT:
        return
    yield from found


def _entry(key: str, found: os.stat_result) -> Entry:
    version = f"{found.st_ino}-{found.st_mtime_ns}"  # every write makes another file
    return Entry(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC), version)
