"""The supervisor's socket: requests in, replies and changes out (see `protocol`)."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from argosy.agent.supervise.loop import Loop
from argosy.agent.supervise.protocol import LONGEST_LINE, VERSION, Reply, Request
from argosy.agent.supervise.supervision import Supervision

CHUNK = 256 * 1024
MOST_CONNECTIONS = 256
_CREDENTIALS = struct.Struct("=iII")


class Connection:
    """One client. Changes that it is too slow to read are gathered until it has read the last ones."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.incoming = bytearray()
        self.outgoing = b""
        self.watches = False
        self.unsaid: set[str] = set()


class Server:
    """`renew` is called to execute the program anew."""

    def __init__(self, loop: Loop, path: Path, supervision: Supervision, trouble: Callable[[], str], renew: Callable[[], None]) -> None:
        self._loop = loop
        self._supervision = supervision
        self._trouble = trouble
        self._renew = renew
        self._connections: dict[int, Connection] = {}
        self._decoder = msgspec.json.Decoder(Request)
        self._encoder = msgspec.json.Encoder()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.listen(64)
        loop.on_readable(self._socket.fileno(), self._accept)

    def changed(self, names: Sequence[str]) -> None:
        for connection in list(self._connections.values()):
            if connection.watches:
                connection.unsaid.update(names)
                self._flush(connection)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            peer, _ = self._socket.accept()
            if len(self._connections) >= MOST_CONNECTIONS:
                peer.close()
                return
            uid = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1]
            if uid not in (0, os.geteuid()):
                peer.close()
                return
            peer.setblocking(False)
            connection = self._connections[peer.fileno()] = Connection(peer)
            self._loop.on_readable(peer.fileno(), functools.partial(self._read, connection))
            self._send(connection, Reply(version=VERSION, pid=os.getpid()))

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.peer.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        connection.incoming += data
        if not data or len(connection.incoming) > LONGEST_LINE:
            self._close(connection)
            return
        if b"\n" in data:
            *lines, rest = bytes(connection.incoming).split(b"\n")
            connection.incoming = bytearray(rest)
            for line in lines:
                self._take(connection, line)

    def _take(self, connection: Connection, line: bytes) -> None:
        try:
            request = self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._send(connection, Reply(error=f"no valid request: {error}"))
            return
        try:
            reply = self._answer(connection, request)
        except Exception as error:  # the request is at fault, or we are: the others' units must not suffer
            sys.stderr.write(f"request {request.op} was not handled\n{traceback.format_exc()}")
            reply = Reply(error=f"{request.op} failed: {error!r}")
        self._send(connection, msgspec.structs.replace(reply, id=request.id, trouble=self._trouble()))

    def _answer(self, connection: Connection, request: Request) -> Reply:
        supervision = self._supervision
        match request.op:
            case "units":
                return Reply(units=supervision.observed(request.names or None))
            case "load":
                return Reply(refused=supervision.load(request.texts))
            case "unload":
                supervision.unload(request.names)
            case "start":
                return Reply(refused=supervision.start(request.launches))
            case "stop":
                supervision.stop(request.names)
            case "kill":
                supervision.kill(request.names)
            case "reload":
                return Reply(refused=supervision.reload(request.names))
            case "detail":
                detail = supervision.detail(request.names[0]) if request.names else None
                return Reply(detail=detail, missing=detail is None)
            case "watch":
                connection.watches = True
                return Reply(changed=tuple(unit.name for unit in supervision.observed()))
            case "settings" if request.settings is not None:
                supervision.set(request.settings)
            case "renew":
                self._renew()
            case "shutdown":
                supervision.end()
            case _:
                return Reply(error=f"there is no request {request.op!r}")
        return Reply()

    def _send(self, connection: Connection, reply: Reply) -> None:
        connection.outgoing += self._encoder.encode(reply) + b"\n"
        self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        fd = connection.peer.fileno()
        if fd not in self._connections:
            return
        try:
            while connection.outgoing or connection.unsaid:
                if not connection.outgoing:
                    connection.outgoing = self._encoder.encode(Reply(changed=tuple(sorted(connection.unsaid)))) + b"\n"
                    connection.unsaid.clear()
                connection.outgoing = connection.outgoing[connection.peer.send(connection.outgoing) :]
        except BlockingIOError:
            self._loop.on_writable(fd, functools.partial(self._flush, connection))
            return
        except OSError:
            self._close(connection)
            return
        self._loop.forget_writable(fd)

    def _close(self, connection: Connection) -> None:
        fd = connection.peer.fileno()
        if self._connections.pop(fd, None) is not None:
            self._loop.forget(fd)
            connection.peer.close()
