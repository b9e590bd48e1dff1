"""Routers as clients see them: each machine's report from the store, and what it serves, asked of the machine itself.

A report in the store is small however much is served. The whole is in the memory of each router's machine.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection

import msgspec

from argosy.api.inspector import RouterInspector
from argosy.api.overview import by_name, read_machines
from argosy.api.peers import Peers
from argosy.api.shapes import RouteList, RouterView
from argosy.errors import ArgosyError, InvalidInput, NotFound
from argosy.model import Entry, Machine, RouterDetail, RouterReport
from argosy.state import keys
from argosy.state.records import decode
from argosy.store.base import Listing, Store

AT_ONCE = 16
"""Machines that are asked at once."""

MOST_STANDALONE = 1_000
LONGEST_REPORT = 4_096
"""Bytes of what a standalone router reports: anybody who may write keys may write this."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}", re.ASCII)


class RouterService:
    """`router` is this machine's own (None: there is none), `peers` asks other machines."""

    def __init__(self, store: Store, machine_id: str, router: RouterInspector | None, peers: Peers) -> None:
        self._store = store
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
        listing = await self._store.list(keys.ROUTERS)
        views = [
            RouterView(one.machine, listen=one.listen, tls_listen=one.tls_listen, proxy_protocol=one.proxy_protocol)
            for one in _reports(listing)
        ]
        return RouteList(views, listing.revision)

    async def views(self, apps: Collection[str]) -> RouteList:
        """All routers with what they serve; with `apps` only what concerns these, and asking only one of several that serve the same."""
        listing, standalone, machines = await asyncio.gather(
            self._store.list(keys.ROUTERS), self._store.list(keys.STANDALONE_ROUTERS), read_machines(self._store)
        )
        gate = asyncio.Semaphore(AT_ONCE)
        asking: dict[str, asyncio.Task[RouterView]] = {}

        def same(report: RouterReport) -> str:
            return report.digest if apps and report.digest else report.machine

        reports = sorted(_reports(listing), key=lambda report: report.machine != self._machine_id)
        async with asyncio.TaskGroup() as group:
            for report in reports:
                if same(report) not in asking:
                    machine = machines.machines.get(report.machine)
                    asking[same(report)] = group.create_task(self._asked(report, machine, apps, gate))
        views = [_like(report, asking[same(report)].result()) for report in reports]
        alone = [msgspec.structs.replace(_view(one, RouterDetail()), omitted=one.routes) for one in _standalone(standalone)]
        announced = _announced(await self._store.list(keys.WEB)) if alone and not apps else {}
        return RouteList([*sorted(views, key=lambda view: view.machine), *alone], listing.revision, announced)

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


def _reports(listing: Listing) -> list[RouterReport]:
    return list(by_name(listing, keys.ROUTERS, RouterReport).values())


def _standalone(listing: Listing) -> list[RouterReport]:
    """What standalone routers report of themselves, as far as it is valid: users' keys hold anything."""
    found = []
    for record in listing.records[:MOST_STANDALONE]:
        name = record.key.removeprefix(keys.STANDALONE_ROUTERS)
        if len(record.value) > LONGEST_REPORT or not _NAME.fullmatch(name):
            continue
        try:
            report = decode(RouterReport, decode(Entry, record.value, record.key).value.encode(), record.key)
        except InvalidInput:
            continue
        found.append(msgspec.structs.replace(report, machine=name, standalone=True, routes=max(0, report.routes)))
    return found


def _announced(listing: Listing) -> dict[str, str]:
    entries = by_name(listing, keys.WEB, Entry)
    return {key: entry.value for key, entry in entries.items() if not entry.directory and not entry.binary and not key.startswith("_")}
