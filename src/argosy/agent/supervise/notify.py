"""The notify socket (sd_notify): datagrams from units, with the number of the process that sent each."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
from collections.abc import Mapping

import msgspec

LONGEST_DATAGRAM = 4096
LONGEST_STATUS = 256
_CREDENTIALS = struct.Struct("=iII")


class Datagram(msgspec.Struct, frozen=True):
    """Who sent it, and the assignments in it."""

    pid: int
    fields: Mapping[str, str]


class NotifySocket:
    """An address in the abstract namespace, so that units of every user can reach it; it is told apart by the sender's number, which the
    kernel vouches for."""

    def __init__(self, identity: str) -> None:
        self.address = f"@argosy/notify/{identity}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            self._socket.bind("\0" + self.address[1:])
        except OSError:  # somebody sits on it, out of mischief: units that are started from now on get another one
            self.address += f"/{os.urandom(4).hex()}"
            self._socket.bind("\0" + self.address[1:])

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> list[Datagram]:
        """All that has come. What is no text, or has no sender, is left out."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, flags, _ = self._socket.recvmsg(LONGEST_DATAGRAM, 4096, socket.MSG_CMSG_CLOEXEC)
                pid = _sender(ancillary)
                if pid and not flags & socket.MSG_TRUNC:
                    found.append(Datagram(pid, _fields(data)))
        return found


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The sender's number. Files that were sent along are closed: nobody here wants them."""
    pid = 0
    for level, kind, data in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS:
            pid = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
        elif kind == socket.SCM_RIGHTS:
            files = array.array("i")
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
            for fd in files:
                with contextlib.suppress(OSError):
                    os.close(fd)
    return pid


def _fields(data: bytes) -> dict[str, str]:
    lines = data.decode(errors="replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
