"""Routers as clients see them: each machine's report from the store, and what it serves, asked of the machine itself.

A report in the store is small however much is served. The whole is in the memory of each router's machine.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection

import msgspec

from argosy.api.inspector import RouterInspector
from argosy.api.peers import Peers
from argosy.api.queries import MACHINE_KINDS, machines_in
from argosy.api.shapes import RouteList, RouterView
from argosy.errors import ArgosyError, InvalidInput, NotFound
from argosy.model import Machine, RouterDetail, RouterReport
from argosy.state import keys
from argosy.state.cache import Cache, Reading
from argosy.state.kinds import ROUTERS, STANDALONE_ROUTERS, WEB
from argosy.state.records import decode

AT_ONCE = 16
"""Machines that are asked at once."""

MOST_STANDALONE = 1_000
LONGEST_REPORT = 4_096
"""Bytes of what a standalone router reports: anybody who may write keys may write this."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}", re.ASCII)


class RouterService:
    """`router` is this machine's own (None: there is none), `peers` asks other machines."""

    def __init__(self, cache: Cache, machine_id: str, router: RouterInspector | None, peers: Peers) -> None:
        self._cache = cache
        self._machine_id = machine_id
        self._router = router
        self._peers = peers

    async def here(self, apps: Collection[str]) -> RouterDetail:
        """What this machine's router serves; with `apps` only what concerns these. Raises NotFound."""
        if self._router is None:
            raise NotFound(f"no router runs on machine {self._machine_id}", remedy='install nginx, or set enabled = "yes" in [router]')
        return await self._router.detail(apps)

    async def brief(self) -> RouteList:
        """Where machines' routers listen, and nothing else."""
        reading = await self._cache.read(ROUTERS)
        views = [
            RouterView(one.machine, listen=one.listen, tls_listen=one.tls_listen, proxy_protocol=one.proxy_protocol)
            for one in _reports(reading)
        ]
        return RouteList(views, reading.index)

    async def views(self, apps: Collection[str]) -> RouteList:
        """All routers with what they serve; with `apps` only what concerns these, and asking only one of several that serve the same."""
        reading = await self._cache.read(ROUTERS, *MACHINE_KINDS, STANDALONE_ROUTERS)
        index, machines, standalone = reading.index, machines_in(reading), _standalone(reading)
        gate = asyncio.Semaphore(AT_ONCE)
        asking: dict[str, asyncio.Task[RouterView]] = {}

        def same(report: RouterReport) -> str:
            return report.digest if apps and report.digest else report.machine

        reports = sorted(_reports(reading), key=lambda report: report.machine != self._machine_id)
        async with asyncio.TaskGroup() as group:
            for report in reports:
                if same(report) not in asking:
                    machine = machines.machines.get(report.machine)
                    asking[same(report)] = group.create_task(self._asked(report, machine, apps, gate))
        views = [_like(report, asking[same(report)].result()) for report in reports]
        alone = [msgspec.structs.replace(_view(one, RouterDetail()), omitted=one.routes) for one in standalone]
        announced = _announced(await self._cache.read(WEB)) if alone and not apps else {}
        return RouteList([*sorted(views, key=lambda view: view.machine), *alone], index, announced)

    async def _asked(self, report: RouterReport, machine: Machine | None, apps: Collection[str], gate: asyncio.Semaphore) -> RouterView:
        try:
            if report.machine == self._machine_id:
                return _view(report, await self.here(apps))
            if machine is None:
                raise NotFound(f"machine {report.machine} is not alive")
            async with gate:
                return _view(report, await self._peers.routes(machine, apps))
        except ArgosyError as error:
            return msgspec.structs.replace(_view(report, RouterDetail()), unreachable=error.message)


def _view(report: RouterReport, served: RouterDetail) -> RouterView:
    return RouterView(**{**msgspec.structs.asdict(report), **msgspec.structs.asdict(served)})


def _like(report: RouterReport, view: RouterView) -> RouterView:
    """The view of a router that serves the same as the one that was asked."""
    return view if view.machine == report.machine else msgspec.structs.replace(view, **msgspec.structs.asdict(report))


def _reports(reading: Reading) -> list[RouterReport]:
    reports = reading[ROUTERS]
    return [reports.values[machine] for machine in reports.sorted_keys()]


def _standalone(reading: Reading) -> list[RouterReport]:
    """What standalone routers report of themselves, as far as it is valid: users' keys hold anything."""
    found = []
    entries = reading[STANDALONE_ROUTERS]
    for name in entries.sorted_keys()[:MOST_STANDALONE]:
        value = entries.values[name].value.encode()
        if len(value) > LONGEST_REPORT or not _NAME.fullmatch(name):
            continue
        try:
            report = decode(RouterReport, value, keys.STANDALONE_ROUTERS + name)
        except InvalidInput:
            continue
        found.append(msgspec.structs.replace(report, machine=name, standalone=True, routes=max(0, report.routes)))
    return found


def _announced(reading: Reading) -> dict[str, str]:
    entries = reading[WEB]
    return {
        key: entry.value
        for key in entries.sorted_keys()
        if (entry := entries.values[key]) and not entry.directory and not entry.binary and not key.startswith("_")
    }
