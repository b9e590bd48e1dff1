"""A connection to one systemd manager over its private socket: calls, many at once, and signals.

The private socket speaks D-Bus without a bus between: there is no daemon whose limits (match rules, replies, bytes that wait) a manager
of many units runs into, and it answers where no dbus-daemon runs. systemctl uses it for the same reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import struct
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any

from dbus_fast import Message, MessageType
from dbus_fast._private.unmarshaller import Unmarshaller

from argosy.agent.systemd_scope import Scope
from argosy.errors import RuntimeFailed

log = logging.getLogger(__name__)

SYSTEMD = "org.freedesktop.systemd1"
OBJECT = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
UNIT = "org.freedesktop.systemd1.Unit"
PROPERTIES = "org.freedesktop.DBus.Properties"
PEER = "org.freedesktop.DBus.Peer"

WINDOW = 64
"""Calls that wait for their reply at a time."""
CHUNK = 500
"""Names in one call: a manager does nothing else while it answers one."""
CONNECT_TIMEOUT = 5.0
CLOSE_TIMEOUT = 1.0
CALL_TIMEOUT = 90.0
"""A manager that reloads answers late, and a reload runs every generator."""
PING_EVERY = 30.0
"""Seconds after which a manager that tells nothing is asked whether it still answers."""
BUFFER = 2**20
LONGEST_MESSAGE = 2**27
"""Bytes (the specification's limit)."""

_FIXED = struct.Struct("<BBBBIII")
_STRINGS = b"os"
_PATH, _MEMBER, _REPLY_SERIAL = 1, 3, 5
_SIGNAL = MessageType.SIGNAL.value


class CallFailed(RuntimeFailed):
    """The manager answered with an error; `name` is its D-Bus name, such as org.freedesktop.systemd1.NoSuchUnit."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class ManagerBus:
    """Made by `connect`. `signal` is called with what the manager tells of its jobs, of reloads and of the units at `paths`; `lost` once,
    when the connection is gone."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        paths: Container[str],
        signal: Callable[[Message], None],
        lost: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._paths = paths
        self._signal = signal
        self._lost = lost
        self._window = asyncio.Semaphore(WINDOW)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._serial = 0
        self._heard = False
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.gone = False

    @classmethod
    async def connect(
        cls, scope: Scope, socket: Path, paths: Container[str], signal: Callable[[Message], None], lost: Callable[[], None]
    ) -> ManagerBus:
        """Raises RuntimeFailed where no manager answers at `socket`."""
        which = "the system's systemd" if scope == "system" else "this user's systemd"
        self: ManagerBus | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await asyncio.open_unix_connection(socket, limit=BUFFER)
                self = cls(reader, writer, paths, signal, lost)
                await self._authenticate()
                self._tasks = (asyncio.create_task(self._read()), asyncio.create_task(self._ping()))
                await self.call("Subscribe")
        except (OSError, EOFError, TimeoutError, RuntimeFailed) as error:
            if self is not None:
                await self.close()
            reason = getattr(error, "strerror", "") or str(error) or "it is silent"
            raise RuntimeFailed(f"{which} does not answer at {socket}: {reason}") from error
        return self

    async def _authenticate(self) -> None:
        """The uid is checked by the kernel's word; no file descriptors are passed. All in one piece, as systemd's own clients do it: what a
        busy manager reads together with a BEGIN that came later, it leaves lying until it hears more."""
        self._writer.write(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\nBEGIN\r\n")
        answer = await self._reader.readline()
        if not answer.startswith(b"OK "):
            raise RuntimeFailed(f"it refuses this process: {answer.decode(errors='replace').strip() or 'it hung up'}")

    async def _read(self) -> None:
        """Until the connection is gone. What nobody asked about is not decoded: a manager tells anew of all dependencies of its targets,
        which are the names of all units, whenever one unit is loaded."""
        try:
            while True:
                fixed = await self._reader.readexactly(_FIXED.size)
                order, kind, _, _, body, _, fields = _FIXED.unpack(fixed)
                rest = -fields % 8 + fields + body
                if order != ord("l") or rest > LONGEST_MESSAGE:
                    break
                frame = fixed + await self._reader.readexactly(rest)
                self._heard = True
                self._take(kind, frame, memoryview(frame)[_FIXED.size : _FIXED.size + fields])
        except (OSError, EOFError) as error:
            log.debug("the connection to systemd is gone: %s", error)
        except Exception:
            log.exception("what systemd says cannot be read")
        finally:
            self._end()

    def _take(self, kind: int, frame: bytes, fields: memoryview) -> None:
        path, member, reply = _addressed(fields)
        if kind != _SIGNAL:
            waiter = self._waiting.pop(reply, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(_decode(frame))
        elif member in ("JobRemoved", "Reloading") or (member == "PropertiesChanged" and path in self._paths):
            self._signal(_decode(frame))

    async def _ping(self) -> None:
        """A manager that has stopped (systemd "freezes" after a crash) keeps its sockets open and says nothing."""
        while True:
            self._heard = False
            await asyncio.sleep(PING_EVERY)
            if not self._heard:
                try:
                    await self.call("Ping", interface=PEER)
                except RuntimeFailed:
                    self._end()
                    return

    def _end(self) -> None:
        if not self.gone:
            self.gone = True
            for waiter in self._waiting.values():
                if not waiter.done():
                    waiter.set_exception(RuntimeFailed("the connection to systemd is gone"))
            self._waiting.clear()
            self._lost()

    async def call(self, member: str, signature: str = "", *body: Any, path: str = OBJECT, interface: str = MANAGER) -> Any:
        """The first value of the reply, None for an empty one. Raises CallFailed for an error, RuntimeFailed without a connection."""
        async with self._window:
            if self.gone:
                raise RuntimeFailed("the connection to systemd is gone")
            self._serial += 1
            serial = self._serial
            message = Message(
                destination=SYSTEMD,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=list(body),
                serial=serial,
            )
            waiter = self._waiting[serial] = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(CALL_TIMEOUT):
                    self._writer.write(message._marshall(False))
                    await self._writer.drain()
                    reply = await waiter
            except TimeoutError as error:
                raise RuntimeFailed(f"systemd did not answer {member} within {CALL_TIMEOUT:.0f} s") from error
            except OSError as error:
                raise RuntimeFailed(f"the connection to systemd broke: {error}") from error
            finally:
                self._waiting.pop(serial, None)
                if waiter.done() and not waiter.cancelled():
                    waiter.exception()  # seen, even if nobody waits for it any more
        if reply.message_type is MessageType.ERROR:
            raise CallFailed(str(reply.error_name), str(reply.body[0]) if reply.body else str(reply.error_name))
        return reply.body[0] if reply.body else None

    async def get(self, path: str, interface: str, name: str) -> Any:
        """A property's value. Raises CallFailed if the unit has none of that name."""
        return (await self.call("Get", "ss", interface, name, path=path, interface=PROPERTIES)).value

    async def each(self, member: str, signature: str, *bodies: tuple[Any, ...]) -> list[Any]:
        """One call for each body, all under way together; a call that fails gives its CallFailed. Raises RuntimeFailed if the connection
        broke meanwhile."""
        results = await asyncio.gather(*(self.call(member, signature, *body) for body in bodies), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, CallFailed):
                raise result
        return results

    async def chunked(self, member: str, signature: str, names: Sequence[str], *more: Any) -> list[Any]:
        """Calls that take a list of names; the lists that they answer joined, if they do."""
        joined: list[Any] = []
        for at in range(0, len(names), CHUNK):
            answer = await self.call(member, signature, list(names[at : at + CHUNK]), *more)
            joined += answer if isinstance(answer, list) else []
        return joined

    async def close(self) -> None:
        """Idempotent, and needed after a loss as well. `lost` is not called."""
        self._lost = _nothing
        self._end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._writer.wait_closed()


def _nothing() -> None:
    """Instead of `lost`, once the connection is closed on purpose."""


def _addressed(fields: memoryview) -> tuple[str, str, int]:
    """(path, member, reply serial) of a message's header fields: an array of (code, variant of one basic type)."""
    path, member, reply, at = "", "", 0, 0
    while at < len(fields):
        at += -at % 8
        code, kind = fields[at], fields[at + 2]
        at += 4
        if kind in _STRINGS:
            at += -at % 4
            length = int.from_bytes(fields[at : at + 4], "little")
            if code in (_PATH, _MEMBER):
                text = str(fields[at + 4 : at + 4 + length], "utf-8")
                path, member = (text, member) if code == _PATH else (path, text)
            at += 4 + length + 1
        elif kind == ord("u"):
            at += -at % 4
            if code == _REPLY_SERIAL:
                reply = int.from_bytes(fields[at : at + 4], "little")
            at += 4
        else:  # a signature: one byte of length
            at += 1 + fields[at] + 1
    return path, member, reply


def _decode(frame: bytes) -> Message:
    message = Unmarshaller(io.BytesIO(frame)).unmarshall()  # type: ignore[arg-type]  # any stream will do
    assert message is not None
    return message


def object_path(name: str) -> str:
    """The object of a unit: every character but ASCII letters and digits (and a digit at the start) as _ and its hexadecimal code."""
    escaped = "".join(
        character if character.isascii() and character.isalnum() and not (at == 0 and character.isdigit()) else f"_{ord(character):02x}"
        for at, character in enumerate(name)
    )
    return f"{OBJECT}/unit/{escaped}"
