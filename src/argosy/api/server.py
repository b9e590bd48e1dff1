"""The listeners of one machine: where they are, who may ask, how they open and close. What they serve is in the other files.

listener  where                                        serves                                who may do everything; others
socket    <run>/argosy.sock, mode 0660                 fleet's API, our own                  owner, root, group; nothing
fleet     [api] fleet_socket, mode 0660                fleet's API, our own                  owner, root, group; nothing
tcp       [api] listen, plain HTTP on loopback only    fleet's API, our own (no commands)    owner, root, group; health, version, metrics
tls       [api] door, certificates required            fleet's API, our own                  holders of a certificate; nothing
keys      [keys] listen, plain HTTP                    etcd v2 keys                          owner, root, group, writers; reading
bridges   for containers on [keys] bridges only        etcd v2 keys                          as keys
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from argosy.api.fleet.http import Fleet
from argosy.api.inspector import Inspector, RouterInspector
from argosy.api.keys.http import Keys
from argosy.api.keys.space import Keyspace
from argosy.api.machines import MachineService
from argosy.api.metrics import Metrics
from argosy.api.own import Own
from argosy.api.peers import Peers
from argosy.api.remote import Remote
from argosy.api.rollouts import RolloutService
from argosy.api.routers import RouterService
from argosy.api.routes import PREFIX
from argosy.api.units import UnitService
from argosy.api.writers import KeyWriters, labelled_containers
from argosy.config import Config
from argosy.errors import InvalidInput
from argosy.reconcile import Clock
from argosy.state.cache import Cache
from argosy.trust import contexts
from argosy.web.addresses import split_address
from argosy.web.admission import READING, Admission, reading
from argosy.web.bridges import check_device
from argosy.web.limits import PATIENT, Limits
from argosy.web.listeners import OnBridges, Tcp, Unix, loopback, named
from argosy.web.server import HttpApi, Listener, Server
from argosy.web.users import group_id, users_of

log = logging.getLogger(__name__)

DOOR_PORT = 8700

STORE_AWAY = (503, 507)
"""That the store is away, or full, is logged where it is found out, and asked about all the time."""

TCP_REMEDY = "set up [tls]: other machines ask the door of [api] door"
NAMED_REMEDY = "name loopback; for containers set bridges, such as docker0"
KEYS_REMEDY = (
    "ask as root, as the user of the agent or as a member of its group; a unit that shall write says Keys=write in [X-Argosy], "
    "a container of docker run has --label argosy.keys=write"
)

OPEN_PATHS = frozenset({f"{PREFIX}/health", f"{PREFIX}/version", f"{PREFIX}/metrics", "/metrics"})
"""What every user of this machine may ask: it tells nothing of what runs, and monitoring has a user of its own."""


class Api:
    """The APIs of a machine. `keys` are users' keys; `keys.run`, which keeps them current, is a service of its own. `inspector` is the
    machine's agent (None: there is none), `peers` asks other machines. `tls` and `door` (HOST:PORT) are those of the door for other
    machines, `address` is the machine's own; without them the configuration says. `containers`: the process ids of containers that may
    write keys."""

    def __init__(
        self,
        cache: Cache,
        config: Config,
        machine_id: str,
        inspector: Inspector | None,
        clock: Clock,
        peers: Peers,
        tls: ssl.SSLContext | None = None,
        door: str = "",
        limits: Limits = PATIENT,
        address: str = "",
        router: RouterInspector | None = None,
        containers: Callable[[], Awaitable[Collection[int]]] = labelled_containers,
    ) -> None:
        self.config = config
        self._clock = clock
        self._address = address or config.machine.address
        self.metrics = Metrics()
        self._tls = tls
        self._door = door
        self._limits = limits
        self._cache = cache
        self._containers = containers
        self._machine_id = machine_id
        self._units = UnitService(cache, clock)
        self._machines = MachineService(cache)
        self.keys = Keyspace(cache.store, clock, config.keys)
        self.routers = RouterService(cache, machine_id, router, peers)
        self._rollouts = RolloutService(cache, clock)
        self._remote = Remote(cache, machine_id, inspector, peers, config.api.exec)
        self._server: Server | None = None
        self.opened = asyncio.Event()

    @property
    def addresses(self) -> Mapping[str, Sequence[str]]:
        """What is listened on, by listener."""
        return self._server.addresses if self._server is not None else {}

    async def run(self) -> None:
        """Opens the listeners and serves until cancelled; `opened` is set meanwhile. Raises InvalidInput for an address that may not be
        listened on, and Unsuitable for one that is taken."""
        async with self.serving():
            await asyncio.Event().wait()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The same, for as long as the block lasts."""
        listeners = await asyncio.to_thread(self._listeners)
        self._server = Server(listeners, self._clock, counted=self.metrics.counted, refused=self.metrics.refused)
        async with self._server.serving():
            self.opened.set()
            try:
                yield
            finally:
                self.opened.clear()

    def _listeners(self) -> list[Listener]:
        """Reads certificates and the database of groups."""
        api, keys, tls = self.config.api, self.config.keys, self.config.tls
        group = group_id(api.group, "api")
        units, etcd = self._units_api(), self._keys_api()
        by_mode = Admission("api", trusted=api.trusted, hosts=None)
        by_user = Admission("api", users=users_of(api.group, "api", self._clock), harmless=_is_open, trusted=api.trusted, hosts=api.hosts)
        writers = Admission(
            "keys",
            users=users_of(keys.group, "keys", self._clock),
            harmless=reading,
            others=KeyWriters(self._cache, self._machine_id, keys.writers, self._containers).may,
            trusted=keys.trusted,
            hosts=keys.hosts,
            remedy=KEYS_REMEDY,
        )
        found = [Listener("socket", Unix(api.socket, group), by_mode, units)]
        if api.fleet_socket:
            found.append(Listener("fleet", Unix(api.fleet_socket, group), by_mode, units))
        found += [Listener("tcp", loopback(address, "[api] listen", TCP_REMEDY), by_user, units) for address in api.listen]
        found += [Listener("keys", named(address, "[keys] listen", NAMED_REMEDY), writers, etcd) for address in keys.listen]
        if keys.bridges:
            devices = [check_device(name, "[keys] bridges") for name in keys.bridges]
            found.append(Listener("keys", OnBridges(devices, self._address), writers, etcd))
        door = split_address(self._door) if self._door else door_address(self.config)
        if door is not None:
            found.append(Listener("tls", Tcp(*door, tls=self._tls or contexts.server(tls.ca, tls.cert, tls.key)), by_mode, units))
        return found

    def _units_api(self) -> HttpApi:
        fleet = Fleet(self._units, self._machines)
        own = Own(self._cache, self._units, self._machines, self.routers, self._rollouts, self._remote, self.metrics, self._machine_id)
        return HttpApi([*fleet.routes(), *own.routes()], limits=self._limits, quiet=STORE_AWAY)

    def _keys_api(self) -> HttpApi:
        keys = Keys(self.keys, self._machine_id, self.config.machine.name)
        return HttpApi(keys.routes(), keys.failed, self._limits, quiet=STORE_AWAY)


def _is_open(request: web.Request) -> bool:
    return request.method in READING and request.path in OPEN_PATHS


def door_address(config: Config) -> tuple[str, int] | None:
    """Host and port of the listener for other machines: what the operator says, or the machine's address where there are certificates.
    None: there is none."""
    if config.api.door == "none" or not config.tls.ca:
        if config.api.door not in ("", "none"):
            raise InvalidInput(f"[api] door {config.api.door} needs certificates", remedy="make them with argosy ca and name them in [tls]")
        return None
    if config.api.door:
        return split_address(config.api.door)
    if not config.machine.address:
        log.warning("there is no door for other machines: neither [api] door nor [machine] address says where it should be")
        return None
    return config.machine.address, DOOR_PORT
