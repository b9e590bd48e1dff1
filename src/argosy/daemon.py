"""The composition root: configuration → drivers → a table of services. It decides nothing but which driver answers to `auto`."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from argosy import __version__
from argosy.agent import facts
from argosy.agent.containers import Containers
from argosy.agent.fence import Fence
from argosy.agent.foothold import FolderFoothold
from argosy.agent.loop import Agent
from argosy.agent.probes.dial import TlsDial
from argosy.agent.probes.loop import Prober
from argosy.agent.runtime import Runtime
from argosy.agent.runtimes import Runtimes
from argosy.agent.systemd_scope import Scope, is_there
from argosy.api.peers import Peers
from argosy.api.routers import RouterService
from argosy.api.server import Api
from argosy.config import Config
from argosy.engine.loop import Engine
from argosy.engine.rollouts.health import Served
from argosy.engine.upkeep import Upkeep
from argosy.errors import InvalidInput
from argosy.folders import make_own
from argosy.model import UNIT, Machine, Problem
from argosy.notify import notifier
from argosy.reconcile import Clock, SystemClock
from argosy.router.feed import StoreFeed
from argosy.router.loop import Router
from argosy.router.nginx import Nginx
from argosy.router.opening import open_router
from argosy.router.process import enabled
from argosy.router.report import Reporter
from argosy.services import Service, Services
from argosy.signals import first_signal
from argosy.state.cache import Cache
from argosy.state.lease import Lease
from argosy.store.base import Store
from argosy.trust import contexts

log = logging.getLogger(__name__)

DOOR_PORT = 8700

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter from the event loop: rendering thousands of routes must not hold up every answer."""


def open_store(config: Config, clock: Clock) -> Store:
    """Opens lazily: an etcd that is away is no error here. Raises InvalidInput for a url that cannot be used."""
    kind, _, rest = config.store.url.partition(":")
    if kind == "sqlite":
        sqlite: Store = _load("argosy.store.sqlite").SqliteStore(rest, clock, quota=config.store.quota)
        return sqlite
    driver = _load("argosy.store.etcd")
    tls = None
    if not config.store.plain:
        if not config.tls.ca:
            raise InvalidInput(f"[store] url is {config.store.url} and [tls] is empty", remedy="see argosy ca; on loopback: plain = true")
        tls = driver.EtcdTls(*(_read(path) for path in (config.tls.ca, config.tls.cert, config.tls.key)))
    else:
        log.warning(
            "[store] plain: every user of this machine can write to etcd at %s and start units by that; give etcd certificates", rest
        )
    members = [part.strip() for part in rest.split(",") if part.strip()]
    etcd: Store = driver.EtcdStore(members, clock, tls, quota=config.store.quota)
    return etcd


def _load(module: str) -> Any:
    """Import a driver. The libraries of those that a machine does not use would take megabytes of its agent's memory."""
    return importlib.import_module(module)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"[tls] {path}: {error.strerror}", remedy="see argosy ca") from error


def check_key(path: str) -> None:
    """Raises InvalidInput for a private key that every user of the machine may read: whoever has it may do everything in the cluster."""
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError as error:
        raise InvalidInput(f"[tls] {path}: {error.strerror}", remedy="see argosy ca") from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise InvalidInput(f"[tls] key {path} has mode {mode:04o}: every user of this machine may use it", remedy=f"chmod 0600 {path}")


async def open_runtime(config: Config, machine: Machine, clock: Clock) -> Runtime:
    """The runtime that is asked for. `auto`: systemd, the system's for root and else the user's own, or the supervisor."""
    kind = config.runtime.kind
    scope: Scope = "system" if kind == "systemd" or (kind == "auto" and os.getuid() == 0) else "user"
    runtime: Runtime
    if kind in ("systemd", "systemd-user", "auto"):
        if await asyncio.to_thread(is_there, scope):  # if it does not answer now, the agent says so to the cluster, and tries again
            runtime = _load("argosy.agent.systemd").SystemdRuntime(scope, config.run_dir / "units")
            return runtime
        if kind != "auto":
            runtime = await _load("argosy.agent.systemd").SystemdRuntime.connect(scope, config.run_dir / "units")
            return runtime
        log.info("no systemd of the %s here", scope)
    folder = config.run_dir / "supervisor"
    runtime = await _load("argosy.agent.supervisor").SupervisorRuntime.connect(
        folder, clock, environment=config.runtime.environment, machine_id=machine.id, host=machine.name
    )
    return runtime


def describe(config: Config) -> Machine:
    """This machine as it will register."""
    section = config.machine
    address = section.address or facts.default_address()
    return Machine(
        id=facts.machine_id(section.id, config.state_dir),
        address=address,
        name=section.name or socket.gethostname(),
        metadata=section.metadata,
        version=__version__,
        door=door(config, address),
        ttl=section.ttl,
    )


def door(config: Config, address: str) -> str:
    """Where other machines ask this one, "" where they cannot."""
    if not config.tls.ca or config.api.door == "none":
        return ""
    host = f"[{address.strip('[]')}]" if ":" in address else address
    return config.api.door or f"{host}:{DOOR_PORT}"


async def run(config: Config, clock: Clock | None = None) -> None:
    """Run this machine's services until SIGTERM or SIGINT; units and nginx go on running after that. Raises the error of a service that
    only an operator can mend, in a group."""
    clock = clock or SystemClock()
    for folder in (config.state_dir, config.run_dir):
        await asyncio.to_thread(make_own, folder, 0o755)
    if config.tls.key:
        await asyncio.to_thread(check_key, config.tls.key)
    sys.setswitchinterval(SWITCH_SECONDS)
    stopping = first_signal()
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(machine_services(config, clock))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(services.run())
            await stopping
            log.info("stopping; units go on running")
            running.cancel()


@asynccontextmanager
async def machine_services(config: Config, clock: Clock) -> AsyncIterator[Services]:
    """The services of a machine, over one store and one runtime, which are closed at the end."""
    async with AsyncExitStack() as stack:
        machine = await asyncio.to_thread(describe, config)
        runtime = await open_runtime(config, machine, clock)
        stack.push_async_callback(runtime.close)
        store = await stack.enter_async_context(open_store(config, clock))
        cache = await stack.enter_async_context(Cache(store, clock))
        log.info("machine %s (%s) at %s, units under %s", machine.id, machine.name, machine.address, runtime.kind)
        tls = config.tls
        client = contexts.client(tls.ca, tls.cert, tls.key) if tls.ca else None
        peers = await stack.enter_async_context(Peers(client))
        gather = partial(asyncio.to_thread, facts.gather, config.state_dir)
        containers = Containers(config.runtime.containers, runtime.kind)
        lease = Lease(store, clock, config.machine.ttl)
        runtimes = Runtimes({UNIT: runtime}, containers)
        fence = Fence(runtimes, lease, clock, FolderFoothold(config.run_dir))
        agent = Agent(cache, lease, runtimes, machine, clock, fence, gather)
        context = contexts.server(tls.ca, tls.cert, tls.key) if tls.ca else None
        router = _router(config, cache, machine, clock, lease) if enabled(config.router) else None
        api = Api(cache, config, machine.id, agent, clock, peers, context, machine.door, address=machine.address, router=router)
        table = {
            "lease": Service(lease.run),
            "fence": Service(fence.run, needs=("lease",)),
            "agent": Service(agent.run, needs=("lease", "fence"), has_started=lambda: agent.has_joined),
            "keys": Service(api.keys.run),
            "api": Service(api.run, needs=("keys",), has_started=api.opened.is_set),
            "ready": Service(lambda: _say_ready(api), needs=("api",)),
        }
        if client is not None and machine.door:
            table["probes"] = Service(Prober(cache, machine.id, clock, lease, TlsDial(client)).run, needs=("lease", "agent"))
        engine = Engine(cache, machine.id, clock, lease, partial(routes_served, api.routers), config.engine.strategy)
        if config.engine.enabled:
            table["engine"] = Service(engine.run, needs=("lease", "agent"))
        table["upkeep"] = Service(Upkeep(store, clock, lambda: engine.leading, partial(_tell_of_store, agent)).run)
        if router is not None:
            table["router"] = Service(router.run, needs=("lease",))
        if config.images.enabled:
            images = _load("argosy.images.service")
            table["images"] = Service(partial(images.run, config.images, config.tls, clock), fatal=(InvalidInput,))
        services = Services(table, clock, partial(_tell_of_service, agent))
        api.metrics.registry.register(services)
        yield services


async def routes_served(routers: RouterService, apps: frozenset[str]) -> list[Served]:
    """What each machine's router serves of these apps, for the engine's rollouts."""
    return [
        Served(view.machine, frozenset((up.app, up.instance) for up in view.upstreams), view.unreachable or view.error, view.omitted > 0)
        for view in (await routers.views(apps)).routers
    ]


def _router(config: Config, cache: Cache, machine: Machine, clock: Clock, lease: Lease) -> Router:
    place = config.run_dir / "router"
    reports = Reporter(machine.id, lease)
    proxy = Nginx(place, (config.router.nginx,))
    return open_router(config.router, place, proxy, StoreFeed(cache), machine.id, clock, reports)


def _tell_of_store(agent: Agent, words: str) -> None:
    agent.report_problem("store", Problem(words) if words else None)


UNMANAGED = ("lease", "fence", "agent")
"""Services without which a machine does not do what is placed on it."""


def _tell_of_service(agent: Agent, name: str, words: str) -> None:
    agent.report_problem(f"service {name}", Problem(words, blocking=name in UNMANAGED) if words else None)


async def _say_ready(api: Api) -> None:
    """Tell systemd that this process is ready, where systemd waits for it, once the API listens."""
    await api.opened.wait()
    notifier()("READY=1")
    await asyncio.Event().wait()


async def clear(config: Config) -> tuple[str, ...]:
    """What `argosy down` does once the agent has ended: stops and forgets every unit, the supervisor, nginx. Returns the units' names."""
    if not await asyncio.to_thread(config.run_dir.exists):
        return ()
    await Nginx(config.run_dir / "router", (config.router.nginx,)).stop()
    runtime = await open_runtime(config, await asyncio.to_thread(describe, config), SystemClock())
    try:
        units = tuple(await runtime.units())
        await runtime.unload(units)
        if runtime.kind == "supervisor":
            supervisor: Any = runtime
            await supervisor.shutdown()
        return units
    finally:
        await runtime.close()
