"""Listeners for containers: open to those on a named bridge, and to nobody else.

A container reaches its machine at the bridge's address or at the machine's own, which other machines reach too. Each listener here is
therefore bound to its bridge (SO_BINDTODEVICE): the kernel hands it only what has come in there, whatever address was asked for. (What
the machine sends to its own address counts as come in by the device that has the address: its own processes reach the bridge's address
here, and otherwise use loopback.)

A bridge may not be there yet, may go, and may come back as another device: that is looked for once a second and harms nobody else.
"""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import socket
import struct
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
from aiohttp import web

from argosy.errors import InvalidInput, Unsuitable
from argosy.reconcile import Backoff, Clock
from argosy.web.addresses import join_address
from argosy.web.connections import BACKLOG

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LONGEST_NAME = 15
"""Linux's limit for a device's name."""

SIOCGIFADDR = 0x8915
IP_FREEBIND = 15


class Device(msgspec.Struct, frozen=True):
    """A network device as it is now. `index` changes when it is made anew."""

    name: str
    index: int
    address: str


class Place(msgspec.Struct, frozen=True, order=True):
    """One listener: at this address, for what comes in by this device."""

    device: str
    index: int
    address: str


def check_device(name: str, setting: str) -> str:
    """The name. Raises InvalidInput, which names the setting, for one that no network device can have."""
    if not 0 < len(name) <= LONGEST_NAME or name in (".", "..") or any(char in "/:" or char.isspace() for char in name):
        raise InvalidInput(f"{setting} has {name!r}", remedy="name a network device, such as docker0")
    return name


def places(devices: Sequence[Device], address: str, listened: Collection[str] = ()) -> frozenset[Place]:
    """Where to listen, given the bridges that are there and the machine's own address ("" or IPv6: only the bridges' own). Addresses that
    are `listened` on anyway are left out."""
    wanted = set()
    for device in devices:
        for at in (device.address, address):
            if at not in listened and _reached_from_a_bridge(at):
                wanted.add(Place(device.name, device.index, at))
    return frozenset(wanted)


def _reached_from_a_bridge(address: str) -> bool:
    try:
        return not ipaddress.IPv4Address(address).is_loopback
    except ValueError:
        return False


def look(name: str) -> Device | None:
    """The device, None while it is not there or has no IPv4 address."""
    try:
        index = socket.if_nametoindex(name)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            answer = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack("256s", name.encode()))
    except OSError:
        return None
    return Device(name, index, socket.inet_ntoa(answer[20:24]))


def listen(place: Place, port: int) -> socket.socket:
    """A listener for what comes in by the device. Raises Unsuitable."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, place.device.encode())
        listener.bind((place.address, port))
    except OSError as error:
        listener.close()
        raise Unsuitable(f"cannot listen on {place.address}:{port} for {place.device}: {error.strerror}") from error
    return listener


class BridgeListeners:
    """Keeps a listener open for each place while `run` runs, and serves there what `runner` serves. `api` names it in the log. `names` are
    the bridges', `address` is the machine's own, and on `listened` addresses the API is served anyway. `tell` is told all that is open, as
    HOST:PORT."""

    def __init__(
        self,
        api: str,
        names: Sequence[str],
        address: str,
        port: int,
        runner: web.AppRunner,
        clock: Clock,
        tell: Callable[[list[str]], None],
        *,
        listened: Collection[str] = (),
        look: Callable[[str], Device | None] = look,
    ) -> None:
        self._api = api
        self._names = names
        self._address = address
        self._port = port
        self._runner = runner
        self._clock = clock
        self._tell = tell
        self._listened = listened
        self._look = look
        self._open: dict[Place, web.SockSite] = {}
        self._refused: Mapping[Place, str] = {}
        self._again = 0.0
        self._backoff = Backoff(LOOK_SECONDS, 30.0)

    async def run(self) -> None:
        """For ever. What cannot be listened on is said once and tried again."""
        while True:
            await self.round()
            await self._clock.sleep(LOOK_SECONDS)

    async def round(self) -> None:
        """Opens and closes what the devices that are there now ask for."""
        devices = [device for device in map(self._look, self._names) if device is not None]
        wanted = places(devices, self._address, self._listened)
        before = frozenset(self._open)
        for place in sorted(before - wanted):
            await self._open.pop(place).stop()
            log.info("%s API closed on %s at %s: the bridge is gone or another", self._api, place.device, place.address)
        missing = sorted(wanted - self._open.keys())
        if missing and (not self._refused.keys() >= set(missing) or self._clock.monotonic() >= self._again):
            await self._open_all(missing)
        if before != frozenset(self._open):
            self._tell(sorted({join_address(place.address, self._port) for place in self._open}))

    async def _open_all(self, missing: Sequence[Place]) -> None:
        refused: dict[Place, str] = {}
        for place in missing:
            try:
                self._open[place] = await self._serve(place)
            except Unsuitable as error:
                refused[place] = str(error)
                if self._refused.get(place) != str(error):
                    log.warning("containers do not reach the %s API: %s; trying again", self._api, error)
        self._refused = refused
        if refused:
            self._again = self._clock.monotonic() + self._backoff.next()
        else:
            self._backoff.reset()

    async def _serve(self, place: Place) -> web.SockSite:
        listener = listen(place, self._port)
        site = web.SockSite(self._runner, listener, backlog=BACKLOG)
        try:
            await site.start()
        except OSError as error:
            await site.stop()
            listener.close()
            raise Unsuitable(f"cannot listen on {place.address}:{self._port} for {place.device}: {error.strerror}") from error
        log.info("%s API listening on %s at %s", self._api, place.device, join_address(place.address, self._port))
        return site
