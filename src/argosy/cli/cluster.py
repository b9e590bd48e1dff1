"""What the cluster says of its units and machines, as JSON: fields that are empty, zero or false are left out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from argosy.cli.client import Client
from argosy.cli.wire import query, quoted

UNITS = "/units"
MACHINES = "/machines"

View = Mapping[str, Any]
"""A unit or a machine as the API shows it."""


class Reported(NamedTuple):
    """A unit's state on one machine: model.UnitState without its weight."""

    machine: str
    hash: str = ""
    launch: int = 0
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    code: int | None = None
    result: str = "success"
    failures: int = 0
    retry_at: float = 0.0
    note: str = ""
    invocation: str = ""


class Placed(NamedTuple):
    """A unit's place: model.Placement without its weight."""

    machine: str
    target: str = "inactive"
    launch: int = 0
    finished: bool = False


NAMES_AT_ONCE = 200
"""Units that one question names: more are asked for as all there are."""


def machines(client: Client, timeout: float | None = None) -> dict[str, View]:
    """Machines that are alive, by id."""
    return {machine["id"]: machine for machine in client.ask("GET", MACHINES, timeout=timeout)["machines"]}


def units(client: Client, names: Sequence[str] = (), index: int = 0, wait: float = 0.0) -> tuple[list[View], int]:
    """The units of these names that there are (all, if none is named), and an index. With `index` and `wait`: as soon as something about
    them has changed since, `wait` seconds later at the latest."""
    asked = [("name", name) for name in names] if len(names) <= NAMES_AT_ONCE else []
    if index and wait > 0:
        asked += [("index", str(index)), ("wait", f"{wait:.3f}")]
    answer = client.ask("GET", UNITS + query(asked), timeout=wait + client.timeout)
    wanted = set(names)
    return [unit for unit in answer["units"] if not wanted or unit["name"] in wanted], answer["index"]


def unit_path(name: str, *rest: str) -> str:
    return "/".join((UNITS, quoted(name), *rest))


def machine_path(called: str, *rest: str) -> str:
    return "/".join((MACHINES, quoted(called), *rest))


def places(unit: View) -> list[View]:
    found: list[View] = unit.get("places", [])
    return found


def placed_on(unit: View, machine_id: str) -> Placed | None:
    """What the unit shall come to on that machine, None if it is not placed there."""
    return next((placed(place) for place in places(unit) if place["machine"] == machine_id), None)


def placed(place: View) -> Placed:
    """A place with what JSON leaves out of it."""
    return Placed(**{name: place[name] for name in Placed._fields if name in place})


def state_on(unit: View, machine_id: str) -> View | None:
    return next((state for state in states(unit) if state["machine"] == machine_id), None)


def reported_on(unit: View, machine_id: str) -> Reported | None:
    """What that machine reports of the unit."""
    found = state_on(unit, machine_id)
    return None if found is None else reported(found)


def reported(state: View) -> Reported:
    """A state with what JSON leaves out of it."""
    return Reported(**{name: state[name] for name in Reported._fields if name in state})


def states(unit: View) -> list[View]:
    found: list[View] = unit.get("states", [])
    return found


def where_seen(unit: View) -> Iterable[str]:
    """The machines where a unit is placed, then those that still show it."""
    return dict.fromkeys([*(place["machine"] for place in places(unit)), *(state["machine"] for state in states(unit))])
