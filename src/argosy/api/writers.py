"""Who may write keys besides the agent's user, root and the group: units that ask for it in their file, and networks that the operator
names.

- A unit of this machine with `[X-Argosy] Keys=write`: the user that it runs as (`User=`).
- A container with the label argosy.keys=write, which a Quadlet file with `Keys=write` gives it, and `docker run --label` otherwise. Whoever
  may start containers is root, so a label is as good as a file. An address is not: a container can take another's. So the connection
  itself must be in the network namespace of such a container, as the kernel lists it there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Generic, TypeVar

from aiohttp import web

from argosy.docker.client import DockerClient
from argosy.errors import ArgosyError
from argosy.sockdiag import ESTABLISHED, FIN_WAIT1, FIN_WAIT2
from argosy.state.cache import Cache
from argosy.state.kinds import placements_on
from argosy.unit.quadlet.names import KEYS_LABEL
from argosy.unit.text import unit_text
from argosy.web.admission import contains, networks
from argosy.web.peers import Peer, plain

log = logging.getLogger(__name__)

T = TypeVar("T")
End = tuple[str, int]
"""(IPv4 address, port)."""

ENGINES = ("/run/docker.sock", "/run/podman/podman.sock")
ENGINE_SECONDS = 5.0
OPEN = frozenset(f"{state:02X}" for state in (ESTABLISHED, FIN_WAIT1, FIN_WAIT2))


class Latest(Generic[T]):
    """An answer that was asked for after `get` was called; all who wait meanwhile share it, so that many cost no more than two."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._lock = asyncio.Lock()
        self._begun = 0
        self._answer: tuple[int, T] | None = None

    async def get(self) -> T:
        arrived = self._begun
        async with self._lock:
            if self._answer is not None and self._answer[0] > arrived:
                return self._answer[1]
            self._begun += 1
            begun = self._begun
            found = await self._ask()
            self._answer = (begun, found)
            return found


async def labelled_containers(engines: Sequence[str] = ENGINES) -> frozenset[int]:
    """Return the process ids of the running containers with the label, of each engine that listens on this machine."""
    found: set[int] = set()
    for path in engines:
        if not await asyncio.to_thread(os.path.exists, path):
            continue
        try:
            async with DockerClient(f"unix://{path}", timeout=ENGINE_SECONDS) as engine:
                running = await engine.containers(filters={"label": [KEYS_LABEL], "status": ["running"]})
                details = await asyncio.gather(*(engine.container(str(each["Id"])) for each in running))
        except ArgosyError as error:
            log.warning("cannot tell which containers may write keys: %s", error)
            continue
        found.update(pid for each in details if (pid := int((each.get("State") or {}).get("Pid") or 0)) > 0)
    return frozenset(found)


class KeyWriters:
    """`writers`: networks whose hosts may write. `containers`: the process ids of containers that may. Raises InvalidInput for a network
    that is none."""

    def __init__(
        self,
        cache: Cache,
        machine_id: str,
        writers: Sequence[str] = (),
        containers: Callable[[], Awaitable[Collection[int]]] = labelled_containers,
    ) -> None:
        self._cache = cache
        self._placements = placements_on(machine_id)
        self._networks = networks(writers, "[keys] writers")
        self._users = Latest(self._unit_users)
        self._containers = Latest(containers)

    async def may(self, request: web.Request, peer: Peer) -> bool:
        """True if whoever sent this request may write keys. Raises StoreUnavailable."""
        if contains(self._networks, peer.address):
            return True
        if peer.uid is not None:
            return peer.uid in await self._users.get()
        assert request.transport is not None
        far, near = request.transport.get_extra_info("peername"), request.transport.get_extra_info("sockname")
        if not far or not near or ":" in plain(far[0]):
            return False
        pids = await self._containers.get()
        return bool(pids) and await asyncio.to_thread(is_in_one_of, pids, (plain(far[0]), far[1]), (plain(near[0]), near[1]))

    async def _unit_users(self) -> frozenset[int]:
        placed = (await self._cache.read(self._placements))[self._placements].values.values()
        names = {user for each in placed if (user := user_of(each.unit, each.text))}
        return await asyncio.to_thread(_uids, names)


def user_of(name: str, text: str) -> str:
    """Return the user that a unit with `Keys=write` runs as; "" for any other unit, for root, and for one whose name has a specifier."""
    known = unit_text(text)
    if not known.requirements(name).writes_keys:
        return ""
    user = (known.file.assignments("Service", "User") or ("",))[-1]
    return "" if "%" in user else user


def _uids(names: Iterable[str]) -> frozenset[int]:
    found = set()
    for name in names:
        try:
            found.add(int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    return frozenset(found)


def is_in_one_of(pids: Iterable[int], near: End, far: End) -> bool:
    """True if the connection with these ends, as its client sees them, is in the network namespace of one of the processes and not in
    ours. Blocks."""
    ours = os.stat("/proc/self/ns/net").st_ino
    wanted = {(_written(near), _written(far)), (_written(near, mapped=True), _written(far, mapped=True))}
    return any(_lists(pid, ours, wanted) for pid in pids)


def _lists(pid: int, ours: int, wanted: Collection[tuple[str, str]]) -> bool:
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino == ours:  # --net=host: its connections are this machine's, and have a user
            return False
        for table in ("tcp", "tcp6"):
            with open(f"/proc/{pid}/net/{table}", encoding="ascii") as lines:
                for line in lines:
                    words = line.split(maxsplit=4)
                    if (words[1], words[2]) in wanted and words[3] in OPEN:
                        return True
    except (OSError, IndexError):  # it has ended
        return False
    return False


def _written(end: End, *, mapped: bool = False) -> str:
    """An end as /proc/net/tcp writes it: the address in words of the machine's own byte order."""
    address = socket.inet_aton(end[0])
    words = [bytes(4), bytes(4), b"\0\0\xff\xff", address] if mapped else [address]
    return "".join(f"{int.from_bytes(word, 'little'):08X}" for word in words) + f":{end[1]:04X}"
