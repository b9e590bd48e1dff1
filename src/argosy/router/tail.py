"""Following a log file that grows, and that is put aside and begun anew now and then. Blocks."""

from __future__ import annotations

import os
from pathlib import Path

MOST_AT_ONCE = 4_000_000


class Tail:
    """`more` gives what was written since the last time, in whole lines. What is in the file at the first look is old and left out; a file
    that comes later is read from its beginning."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._left = False
        self._rest = b""
        self._open()
        if self._file >= 0:
            os.lseek(self._file, 0, os.SEEK_END)

    def more(self) -> bytes:
        if self._file < 0:
            self._open()
        said = self._rest + self._read()
        if self._left:  # it was put aside before the last look: nobody writes to it any more
            self.close()
            self._open()
            said += self._read()
        self._left = self._file >= 0 and self._is_another()
        whole = said.rfind(b"\n") + 1
        self._rest = said[whole:]
        return said[:whole]

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _open(self) -> None:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def _read(self) -> bytes:
        pieces = []
        size = 0
        while self._file >= 0 and size < MOST_AT_ONCE:
            piece = os.read(self._file, 1 << 20)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    def _is_another(self) -> bool:
        try:
            return not os.path.samestat(os.fstat(self._file), os.stat(self._path))
        except OSError:
            return True
