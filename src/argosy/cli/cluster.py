"""What the cluster says of its units and machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from argosy.api.shapes import MachineList, MachineView, Place, UnitList, UnitView
from argosy.cli.client import Client
from argosy.cli.wire import query, quoted
from argosy.model import UnitState

UNITS = "/units"
MACHINES = "/machines"

NAMES_AT_ONCE = 200
"""Units that one question names: more are asked for as all there are."""


def machines(client: Client, timeout: float | None = None) -> dict[str, MachineView]:
    """Machines that are alive, by id."""
    return {machine.id: machine for machine in client.get(MachineList, MACHINES, timeout).machines}


def units(client: Client, names: Sequence[str] = (), index: int = 0, wait: float = 0.0) -> tuple[list[UnitView], int]:
    """The units of these names that there are (all, if none is named), and an index. With `index` and `wait`: as soon as something about
    them has changed since, `wait` seconds later at the latest."""
    asked = [("name", name) for name in names] if len(names) <= NAMES_AT_ONCE else []
    if index and wait > 0:
        asked += [("index", str(index)), ("wait", f"{wait:.3f}")]
    answer = client.get(UnitList, UNITS + query(asked), wait + client.timeout)
    wanted = set(names)
    return [unit for unit in answer.units if not wanted or unit.name in wanted], answer.index


def unit_path(name: str, *rest: str) -> str:
    return "/".join((UNITS, quoted(name), *rest))


def machine_path(called: str, *rest: str) -> str:
    return "/".join((MACHINES, quoted(called), *rest))


def placed_on(unit: UnitView, machine_id: str) -> Place | None:
    """What the unit shall come to on that machine, None if it is not placed there."""
    return next((place for place in unit.places if place.machine == machine_id), None)


def reported_on(unit: UnitView, machine_id: str) -> UnitState | None:
    """What that machine reports of the unit."""
    return next((state for state in unit.states if state.machine == machine_id), None)


def where_seen(unit: UnitView) -> Iterable[str]:
    """The machines where a unit is placed, then those that still show it."""
    return dict.fromkeys([*(place.machine for place in unit.places), *(state.machine for state in unit.states)])
