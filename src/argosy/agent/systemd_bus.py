"""A connection to one systemd manager over D-Bus: calls, many at once, and signals."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from dbus_fast import BusType, DBusError, Message, MessageType
from dbus_fast.aio import MessageBus

from argosy.errors import RuntimeFailed

Scope = Literal["system", "user"]

SYSTEMD = "org.freedesktop.systemd1"
OBJECT = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
UNIT = "org.freedesktop.systemd1.Unit"
PROPERTIES = "org.freedesktop.DBus.Properties"
DBUS = "org.freedesktop.DBus"

WINDOW = 32
"""Calls that wait for their reply at a time. dbus-fast gives up a connection whose socket takes no more, so it must never be filled."""
CHUNK = 64
"""Names in one call, for the same reason."""
CONNECT_TIMEOUT = 5.0
CLOSE_TIMEOUT = 1.0
CALL_TIMEOUT = 90.0
"""A manager that reloads answers late, and a reload runs every generator."""

_RULES = (
    f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'",
    f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='Reloading'",
    f"type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',member='PropertiesChanged',path_namespace='{OBJECT}/unit'",
    f"type='signal',sender='{DBUS}',interface='{DBUS}',member='NameOwnerChanged',arg0='{SYSTEMD}'",
)


class CallFailed(RuntimeFailed):
    """The manager answered with an error; `name` is its D-Bus name, such as org.freedesktop.systemd1.NoSuchUnit."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class ManagerBus:
    """Made by `connect`. `signal` is called with every message that tells of a change; `lost` once, when the connection is gone."""

    def __init__(self, bus: MessageBus, signal: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._bus = bus
        self._signal = signal
        self._lost = lost
        self._window = asyncio.Semaphore(WINDOW)
        self._watch: asyncio.Task[None] | None = None
        self.gone = False

    @classmethod
    async def connect(cls, scope: Scope, address: str, signal: Callable[[Message], None], lost: Callable[[], None]) -> ManagerBus:
        """`address`: a D-Bus address, "" for the scope's usual one. Raises RuntimeFailed where no manager answers."""
        which = "the system's systemd" if scope == "system" else "this user's systemd"
        bus: MessageBus | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                bus = MessageBus(bus_address=address or None, bus_type=BusType.SYSTEM if scope == "system" else BusType.SESSION)
                await bus.connect()
                self = cls(bus, signal, lost)
                bus.add_message_handler(self._handle)
                await self.call("Subscribe")
                for rule in _RULES:
                    await self.call("AddMatch", "s", rule, path="/org/freedesktop/DBus", interface=DBUS, destination=DBUS)
        except (OSError, EOFError, KeyError, TimeoutError, DBusError, RuntimeFailed, ValueError) as error:
            if bus is not None and bus.connected:
                await cls(bus, signal, lost).close()
            raise RuntimeFailed(f"{which} does not answer over D-Bus: {error or type(error).__name__}") from error
        self._watch = asyncio.create_task(self._until_lost())
        return self

    async def _until_lost(self) -> None:
        with contextlib.suppress(Exception):
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        self._end()

    def _end(self) -> None:
        if not self.gone:
            self.gone = True
            self._lost()

    def _handle(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "NameOwnerChanged":
            if message.body[0] == SYSTEMD:  # another manager, or one that executed itself anew: what was known may be wrong
                self._end()
        else:
            self._signal(message)

    async def call(
        self,
        member: str,
        signature: str = "",
        *body: Any,
        path: str = OBJECT,
        interface: str = MANAGER,
        destination: str = SYSTEMD,
    ) -> Any:
        """The first value of the reply, None for an empty one. Raises CallFailed for an error, RuntimeFailed without a connection."""
        async with self._window:
            if self.gone or not self._bus.connected:
                raise RuntimeFailed("the connection to systemd is gone")
            message = Message(destination=destination, path=path, interface=interface, member=member, signature=signature, body=list(body))
            try:
                async with asyncio.timeout(CALL_TIMEOUT):
                    reply = await self._bus.call(message)
            except TimeoutError as error:
                raise RuntimeFailed(f"systemd did not answer {member} within {CALL_TIMEOUT:.0f} s") from error
            except (OSError, EOFError, DBusError) as error:
                raise RuntimeFailed(f"the connection to systemd broke: {error}") from error
        if reply is None:
            raise RuntimeFailed("the connection to systemd is gone")
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

    async def chunked(self, member: str, signature: str, names: Sequence[str], *more: Any, before: tuple[Any, ...] = ()) -> list[Any]:
        """Calls that take a list of names; the lists that they answer joined, if they do."""
        joined: list[Any] = []
        for at in range(0, len(names), CHUNK):
            answer = await self.call(member, signature, *before, list(names[at : at + CHUNK]), *more)
            joined += answer if isinstance(answer, list) else []
        return joined

    async def close(self) -> None:
        """Idempotent, and needed after a loss as well."""
        self.gone = True
        watch = self._watch or asyncio.create_task(self._until_lost())
        if self._bus.connected:
            self._bus.disconnect()
        await asyncio.wait((watch,), timeout=CLOSE_TIMEOUT)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


def object_path(name: str) -> str:
    """The object of a unit: every character but ASCII letters and digits (and a digit at the start) as _ and its hexadecimal code."""
    escaped = "".join(
        character if character.isascii() and character.isalnum() and not (at == 0 and character.isdigit()) else f"_{ord(character):02x}"
        for at, character in enumerate(name)
    )
    return f"{OBJECT}/unit/{escaped}"
