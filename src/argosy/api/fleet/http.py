"""fleet's API v1, exact enough that fleetctl and other clients of fleetd work unchanged.

Paths, statuses, texts of errors and omitted fields are fleet 1.0.0's. Where it would answer 500 for what is the client's mistake (an
unknown desiredState) or crash (the state of a unit that has none), this answers 400 and 404. The store away is 503, as it is there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from aiohttp import web

from argosy.api.fleet import shapes
from argosy.api.fleet.discovery import discovery
from argosy.api.fleet.shapes import quoted
from argosy.api.machines import MachineService
from argosy.api.queries import Units
from argosy.api.units import UnitService
from argosy.errors import Conflict, InvalidUnit, NotFound
from argosy.launches import count_launch
from argosy.model import Target, Unit, UnitState
from argosy.state import desired
from argosy.state.desired import ATTEMPTS, Stored
from argosy.unit.names import check_name, is_template
from argosy.unit.parse import LARGEST_FILE, Option, serialize
from argosy.unit.text import unit_text
from argosy.unit.validate import validate
from argosy.web.answers import answer
from argosy.web.bodies import whole
from argosy.web.errors import Handler, HttpError
from argosy.web.server import Route

PREFIXES = ("/fleet/v1", "/v1-alpha")
LARGEST_BODY = 8 * LARGEST_FILE

_METADATA_PATH = re.compile(r"/([^/]+)/metadata/([A-Za-z0-9_.-]+)")
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")


STALE_SECONDS = 2.0
"""How long, at the most, a unit that was told to stop is answered as launched once more. fleetctl 1.0.0's restart tells a unit to stop and
then waits to see it launched: it relies on fleetd, which hears of a stop only after a while."""


class Fault(HttpError):
    """A failure with fleet's text (it has none for many)."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message, status=status)


class Fleet:
    """The handlers of fleet's API."""

    def __init__(self, units: UnitService, machines: MachineService) -> None:
        self.units = units
        self.machines = machines
        self._stale: dict[str, float] = {}

    def routes(self) -> list[Route]:
        return [Route("*", prefix + rest, self._serving(prefix)) for prefix in PREFIXES for rest in ("", "/{tail:(?s:.*)}")]

    def _serving(self, prefix: str) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._dispatch(request, request.path.removeprefix(prefix))

        return serve

    async def _dispatch(self, request: web.Request, path: str) -> web.StreamResponse:
        if path == "":
            raise Fault(405)
        resource, slash, item = path[1:].partition("/")
        table = _ITEMS if slash else _COLLECTIONS
        if resource not in table or (slash and (not item or "/" in item)):
            raise Fault(404)
        methods, refusal, status = table[resource]
        handler = methods.get(request.method)
        if handler is None:
            raise Fault(status, refusal)
        return await handler(self, request, item)

    async def discovery(self, request: web.Request, item: str) -> web.StreamResponse:
        return answer(discovery())

    async def list_machines(self, request: web.Request, item: str) -> web.StreamResponse:
        found = (await self.machines.all()).machines.values()
        machines, token = _page([*found], request)
        shown = [shapes.Machine(machine.id, machine.address, machine.metadata) for machine in machines]
        return answer(shapes.MachinePage(shown, token))

    async def patch_machines(self, request: web.Request, item: str) -> web.StreamResponse:
        try:
            operations = msgspec.json.decode(await whole(request, LARGEST_BODY), type=list[shapes.MetadataOperation])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Fault(400, str(error)) from error
        known = (await self.machines.all()).machines
        steps: list[tuple[str, str, str | None]] = []
        for operation in operations:
            if operation.op not in ("add", "remove", "replace"):
                raise Fault(400, "invalid op: expect add, remove, or replace")
            path = _METADATA_PATH.fullmatch(operation.path)
            if path is None or not (path[1] in known or _MACHINE_ID.fullmatch(path[1])):
                raise Fault(400, "machine metadata path invalid")
            if operation.op != "remove" and not operation.value.value:
                raise Fault(400, "invalid value: add and replace require a value")
            steps.append((path[1], path[2], None if operation.op == "remove" else operation.value.value))
        for machine_id, key, value in steps:
            await self.machines.set_metadata(machine_id, key, value)
        return web.Response(status=204)

    async def list_states(self, request: web.Request, item: str) -> web.StreamResponse:
        machine, name = request.query.get("machineID", ""), request.query.get("unitName", "")
        found = await self.units.read()
        wanted = [
            state
            for state in (found.states(name) if name else found.states_in_order())
            if (not machine or machine == state.machine) and state.hash
        ]
        states, token = _page(wanted, request)
        return answer(shapes.UnitStatePage([_state(state) for state in states], token))

    async def get_state(self, request: web.Request, item: str) -> web.StreamResponse:
        found = await self.units.read()
        placed = {placement.machine for placement in found.placements(item)}
        states = [state for state in found.states(item) if state.hash]
        if not states:
            raise Fault(404, "unit state does not exist")
        return answer(_state(min(states, key=lambda state: (state.machine not in placed, state.machine))))

    async def list_units(self, request: web.Request, item: str) -> web.StreamResponse:
        found = await self.units.read()
        names, token = _page(found.names(), request)
        return answer(shapes.UnitPage([_unit(found, name, single=False) for name in names], token))

    async def get_unit(self, request: web.Request, item: str) -> web.StreamResponse:
        found = await self.units.read()
        if item not in found.units:
            raise Fault(404, "unit does not exist")
        unit = _unit(found, item, single=True)
        if self._stale.pop(item, 0.0) > self.units.clock.monotonic() and unit.current_state == Target.LOADED.value:
            unit = msgspec.structs.replace(unit, current_state=Target.LAUNCHED.value)
        return answer(unit)

    async def delete_unit(self, request: web.Request, item: str) -> web.StreamResponse:
        try:
            await self.units.delete(item)
        except NotFound:
            raise Fault(404, "unit does not exist") from None
        return web.Response(status=204)

    async def put_unit(self, request: web.Request, item: str) -> web.StreamResponse:
        wanted = await _decoded(request)
        name = wanted.name or item
        if name != item:
            raise Fault(400, f"name in URL {quoted(item)} differs from unit name in request body {quoted(name)}")
        if fault := shapes.name_fault(name):
            raise Fault(400, fault)
        check_name(name)
        for _ in range(ATTEMPTS):
            current = await desired.unit(self.units.store, name)
            unit, status = _put(name, wanted, current, self.units.clock.now())
            if current is not None and unit == current.unit:
                return web.Response(status=status)
            try:
                await self.units.write(unit, current.revision if current else 0)
            except Conflict:
                continue
            if current is not None and current.unit.target is Target.LAUNCHED and unit.target is Target.LOADED:
                now = self.units.clock.monotonic()
                self._stale = {other: until for other, until in self._stale.items() if until > now} | {name: now + STALE_SECONDS}
            return web.Response(status=status)
        raise Conflict(f"unit {name} is being changed by others all the time", remedy="try again")


Method = Callable[[Fleet, web.Request, str], Awaitable[web.StreamResponse]]

_ONLY_GET = "only GET supported against this resource"
_COLLECTIONS: dict[str, tuple[dict[str, Method], str, int]] = {
    "discovery": ({"GET": Fleet.discovery}, "only HTTP GET supported against this resource", 400),
    "machines": ({"GET": Fleet.list_machines, "PATCH": Fleet.patch_machines}, "only GET and PATCH supported against this resource", 405),
    "state": ({"GET": Fleet.list_states}, _ONLY_GET, 405),
    "units": ({"GET": Fleet.list_units}, _ONLY_GET, 405),
}
_ITEMS: dict[str, tuple[dict[str, Method], str, int]] = {
    "state": ({"GET": Fleet.get_state}, _ONLY_GET, 405),
    "units": (
        {"GET": Fleet.get_unit, "DELETE": Fleet.delete_unit, "PUT": Fleet.put_unit},
        "only GET, PUT and DELETE supported against this resource",
        405,
    ),
}


def _page(entities: Sequence[shapes.T], request: web.Request) -> tuple[list[shapes.T], str]:
    try:
        return shapes.page(entities, request.query.getall("nextPageToken", []))
    except ValueError as error:
        raise Fault(400, str(error)) from error


async def _decoded(request: web.Request) -> shapes.Unit:
    kinds = request.headers.getall("Content-Type", [])
    if len(kinds) != 1:
        raise Fault(415, f"expected 1 Content-Type, got {len(kinds)}")
    if kinds[0].partition(";")[0].strip() != "application/json":
        raise Fault(415, "only acceptable Content-Type is application/json")
    try:
        return msgspec.json.decode(await whole(request, LARGEST_BODY), type=shapes.Unit)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Fault(400, f"unable to decode body: {error}") from error


def _put(name: str, wanted: shapes.Unit, current: Stored | None, now: float) -> tuple[Unit, int]:
    """The unit to write and the status to answer: 201 for a new text, 204 for a new state of the text that stands."""
    options = [Option(option.section, option.name, option.value) for option in wanted.options]
    if current is None and not options:
        raise Fault(409, "unit does not exist and options field empty")
    text = serialize(options)
    if options and (current is None or unit_text(current.unit.text).hash != _hash(text)):
        try:
            validate(name, text)
        except InvalidUnit as error:
            raise Fault(error.status, error.message.removeprefix(f"unit {name}: ")) from error
        before = current.unit if current else Unit(name, text, submitted=now)
        replaced = msgspec.structs.replace(before, text=text)
        return _aimed(replaced, wanted.desired_state or Target.INACTIVE.value), 201
    assert current is not None
    if not wanted.desired_state:
        raise Fault(409, "must provide DesiredState to update existing unit")
    return _aimed(current.unit, wanted.desired_state), 204


def _aimed(unit: Unit, state: str) -> Unit:
    try:
        target = Target(state)
    except ValueError:
        raise Fault(400, f"invalid value {quoted(state)} for JobState") from None
    if is_template(unit.name) and target is not Target.INACTIVE:
        raise Fault(400, f"cannot activate template {quoted(unit.name)}")
    return msgspec.structs.replace(unit, target=target, launch=count_launch(unit.launch, unit.target, target))


def _hash(text: str) -> str:
    return hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _unit(found: Units, name: str, *, single: bool) -> shapes.Unit:
    """A unit as fleet tells it. A global one has no machine; its current state is left out when it is asked for alone and inactive in
    lists."""
    unit = found.units[name]
    known = unit_text(unit.text)
    everywhere = known.requirements(name).everywhere
    placements = found.placements(name)
    current = "" if single and everywhere else Target.INACTIVE.value if everywhere else found.current(name).value
    return shapes.Unit(
        name=name,
        options=[shapes.UnitOption(option.section, option.name, option.value) for option in known.file.options],
        desired_state=unit.target.value,
        current_state=current,
        machine_id=placements[0].machine if placements and not everywhere else "",
    )


def _state(state: UnitState) -> shapes.UnitState:
    return shapes.UnitState(state.unit, state.hash, state.machine, state.load, state.active, state.sub)
