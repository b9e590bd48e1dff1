"""Argosy's own API under /argosy/v1: richer than fleet's, described by /argosy/v1/openapi.json, made of the table in `routes`."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from argosy import __version__
from argosy.api import openapi, shapes
from argosy.api.machines import MachineService
from argosy.api.metrics import Metrics
from argosy.api.queries import MACHINE_KINDS, UNIT_KINDS, EncodedUnits, Units, machines_in
from argosy.api.remote import Remote
from argosy.api.rollouts import RolloutService
from argosy.api.routers import RouterService
from argosy.api.routes import (
    PREFIX,
    ROUTES,
    JournalQuery,
    LocalJournalQuery,
    LocalRoutesQuery,
    MachinesQuery,
    Route,
    RoutesQuery,
    StatusQuery,
    UnitsQuery,
    Waiting,
)
from argosy.api.units import UnitService
from argosy.api.why import why
from argosy.errors import ArgosyError, Refused, StoreUnavailable
from argosy.model import Leader, LogLine
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.kinds import ROUTERS
from argosy.state.records import decoded
from argosy.unit.names import check_name
from argosy.web import server
from argosy.web.answers import answer, stream_lines
from argosy.web.bodies import body_as, query_as
from argosy.web.errors import Handler
from argosy.web.server import READS

SHAPES = f"see {PREFIX}/openapi.json for its shape"

HEALTH_SECONDS = 2.0


class Asked:
    """A request as a handler sees it: its path's words, its query and its body, all checked."""

    def __init__(self, request: web.Request, query: Any, body: Any) -> None:
        self.request = request
        self.query = query
        self.body = body

    @property
    def name(self) -> str:
        """Raises InvalidUnit: nobody behind the handlers ever sees a name that is none."""
        name = self.request.match_info["name"]
        check_name(name)
        return name

    @property
    def machine(self) -> str:
        return self.request.match_info["machine"]

    @property
    def rollout(self) -> str:
        return self.request.match_info["rollout"]


class Own:
    """The handlers, named by the table of routes."""

    def __init__(
        self,
        cache: Cache,
        units: UnitService,
        machines: MachineService,
        routers: RouterService,
        rollouts: RolloutService,
        remote: Remote,
        metrics: Metrics,
        machine_id: str,
    ) -> None:
        self.cache = cache
        self.units = units
        self.encoded = EncodedUnits()
        self.machines = machines
        self.routers = routers
        self.rollouts = rollouts
        self.remote = remote
        self.metrics = metrics
        self.machine_id = machine_id

    def routes(self) -> list[server.Route]:
        return [
            *(server.Route(row.method, PREFIX + row.path, _serving(row, getattr(self, row.name))) for row in ROUTES),
            server.Route(READS, f"{PREFIX}/openapi.json", self._openapi),
            server.Route(READS, f"{PREFIX}/metrics", self._metrics),
            server.Route(READS, "/metrics", self._metrics),
        ]

    async def list_units(self, asked: Asked) -> web.StreamResponse:
        query: UnitsQuery = asked.query
        found = await self.units.read(query.name, query.index, query.wait)
        if await self.encoded.prepare(found, query.name or found.names(), text=query.text):
            found = await self.units.read()
        names = [name for name in sorted(set(query.name)) if name in found.units] if query.name else found.names()
        return answer(shapes.EncodedList([self.encoded.encoded(found, name, text=query.text) for name in names], found.index))

    async def post_units(self, asked: Asked) -> web.StreamResponse:
        return answer(await self.units.wish_many(asked.body.units))

    async def get_unit(self, asked: Asked) -> web.StreamResponse:
        query: Waiting = asked.query
        found = await self.units.known(asked.name, query.index, query.wait)
        return answer(shapes.EncodedAnswer(self.encoded.encoded(found, asked.name, text=True), found.index))

    async def put_unit(self, asked: Asked) -> web.StreamResponse:
        written = await self.units.wish(asked.name, asked.body)
        return answer(written, 201 if written.created else 200)

    async def delete_unit(self, asked: Asked) -> web.StreamResponse:
        return answer(shapes.Deleted(asked.name, await self.units.delete(asked.name, asked.query.revision)))

    async def why_unit(self, asked: Asked) -> web.StreamResponse:
        return answer(await why(self.cache, asked.name))

    async def unit_status(self, asked: Asked) -> web.StreamResponse:
        query: StatusQuery = asked.query
        found = await self.units.known(asked.name)
        view, index = found.view(asked.name, text=True), found.index
        machines = await self.remote.status(asked.name, found.machines_of(asked.name), query.lines)
        return answer(shapes.StatusAnswer(view, machines, index))

    async def unit_journal(self, asked: Asked) -> web.StreamResponse:
        query: JournalQuery = asked.query
        where = (await self.units.known(asked.name)).machines_of(asked.name)
        machine = (await self.machines.find(query.machine)).id if query.machine else ""
        return await stream_lines(asked.request, self.remote.journal(asked.name, where, machine, query.lines, query.follow), _broken_log)

    async def list_rollouts(self, asked: Asked) -> web.StreamResponse:
        return answer(await self.rollouts.all(asked.query.index, asked.query.wait))

    async def post_rollout(self, asked: Asked) -> web.StreamResponse:
        return answer(await self.rollouts.create(asked.body), 201)

    async def get_rollout(self, asked: Asked) -> web.StreamResponse:
        return answer(await self.rollouts.one(asked.rollout, asked.query.index, asked.query.wait))

    async def put_rollout(self, asked: Asked) -> web.StreamResponse:
        return answer(await self.rollouts.wish(asked.rollout, asked.body.wish))

    async def list_machines(self, asked: Asked) -> web.StreamResponse:
        query: MachinesQuery = asked.query
        return answer(shapes.MachineList(*await self.machines.views(query.index, query.wait, brief=query.brief)))

    async def cordon(self, asked: Asked) -> web.StreamResponse:
        return answer(await self.machines.order(asked.machine, cordoned=True, draining=False))

    async def uncordon(self, asked: Asked) -> web.StreamResponse:
        return answer(await self.machines.order(asked.machine, cordoned=False, draining=False))

    async def drain(self, asked: Asked) -> web.StreamResponse:
        return answer(await self.machines.order(asked.machine, cordoned=True, draining=True))

    async def exec_on(self, asked: Asked) -> web.StreamResponse:
        _check_exec(asked.request)
        machine = await self.machines.find(asked.machine)
        return await stream_lines(asked.request, self.remote.run(machine, asked.body), _broken_run)

    async def list_routes(self, asked: Asked) -> web.StreamResponse:
        query: RoutesQuery = asked.query
        if query.index > 0 and query.wait > 0:
            await self.cache.wait(query.index, [ROUTERS.all()], query.wait)
        return answer(await (self.routers.brief() if query.brief else self.routers.views(query.app)))

    async def local_routes(self, asked: Asked) -> web.StreamResponse:
        query: LocalRoutesQuery = asked.query
        return answer(await self.routers.here(query.app))

    async def version(self, asked: Asked) -> web.StreamResponse:
        return answer(shapes.Version(__version__, self.machine_id, platform.python_version()))

    async def health(self, asked: Asked) -> web.StreamResponse:
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                record = await self.cache.store.get(keys.ENGINE_LEADER)
        except (ArgosyError, TimeoutError) as error:
            said = str(error) or f"the store did not answer within {HEALTH_SECONDS:.0f} s"
            return answer(shapes.Health(False, self.machine_id, error=said), 503)
        leader = decoded(Leader, record) if record is not None else None
        return answer(shapes.Health(True, self.machine_id, leader.machine if leader is not None else ""))

    async def local_status(self, asked: Asked) -> web.StreamResponse:
        query: StatusQuery = asked.query
        return answer(await self.remote.status_here(asked.name, query.lines))

    async def local_journal(self, asked: Asked) -> web.StreamResponse:
        query: LocalJournalQuery = asked.query
        return await stream_lines(asked.request, self.remote.logs_here(asked.name, query.lines, query.follow), _broken_log)

    async def local_exec(self, asked: Asked) -> web.StreamResponse:
        _check_exec(asked.request)
        return await stream_lines(asked.request, self.remote.run_here(asked.body), _broken_run)

    async def _openapi(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=openapi.document(), content_type="application/json")

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        try:
            reading = await self.cache.read(*UNIT_KINDS, *MACHINE_KINDS, ROUTERS)
            self.metrics.seen(self.machine_id, Units(reading), machines_in(reading), reading[ROUTERS].values.values())
        except StoreUnavailable:
            self.metrics.store_away()
        return web.Response(body=self.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _check_exec(request: web.Request) -> None:
    if server.listener_of(request) not in ("socket", "tls"):
        raise Refused("commands are not run for clients of plain TCP", remedy="ask through the socket")


def _serving(route: Route, handler: Callable[[Asked], Awaitable[web.StreamResponse]]) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        query = query_as(request, route.query)
        body = await body_as(request, route.body, route.limit, remedy=SHAPES) if route.body else None
        return await handler(Asked(request, query, body))

    return serve


def _broken_log(error: ArgosyError) -> object:
    return LogLine(error=str(error))


def _broken_run(error: ArgosyError) -> object:
    return shapes.Output(error=str(error))
