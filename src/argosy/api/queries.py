"""What clients see of units and machines, joined from the process's view of the store."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeVar
from weakref import WeakKeyDictionary

import msgspec

from argosy.api.shapes import MachineView, Place, UnitView
from argosy.model import Leader, Machine, Order, Placement, Target, Unit, UnitState, with_orders
from argosy.state.cache import Cache, Reading
from argosy.state.kinds import LEADER, MACHINE, MACHINES, ORDERS, PLACEMENTS, STATES, UNIT, UNITS, Topic
from argosy.state.table import Table
from argosy.unit.names import is_template
from argosy.unit.text import unit_text
from argosy.verdict import was_launched

T = TypeVar("T")

_encoder = msgspec.json.Encoder()

SLICE = 100
"""Units that are encoded before other tasks have their turn, where many have to be."""

SPARE = 1_000
"""Answers about units that are gone which may be kept."""

UNIT_KINDS = (UNITS, PLACEMENTS, STATES)
MACHINE_KINDS = (MACHINES, ORDERS, LEADER)


class Units:
    """Units with where they are and what they do there, all from revision `index`. It is valid until the event loop turns."""

    def __init__(self, reading: Reading) -> None:
        self.index = reading.index
        self.units: Mapping[str, Unit] = reading[UNITS].values
        self.all_placements: Collection[Placement] = reading[PLACEMENTS].values.values()
        self.all_states: Collection[UnitState] = reading[STATES].values.values()
        self.table = reading[UNITS]
        self._reading = reading

    def names(self) -> Sequence[str]:
        """Return the names of all units in order."""
        return self.table.sorted_keys()

    def placements(self, name: str) -> Sequence[Placement]:
        """Return a unit's placements in the order of their machines."""
        return _ordered(self._reading[PLACEMENTS].where(UNIT, name))

    def states(self, name: str) -> Sequence[UnitState]:
        """Return a unit's states in the order of their machines."""
        return _ordered(self._reading[STATES].where(UNIT, name))

    def states_in_order(self) -> Iterator[UnitState]:
        """Yield all states, by unit and machine."""
        for name in sorted(self._reading[STATES].groups(UNIT)):
            yield from self.states(name)

    def machines_of(self, name: str) -> Sequence[str]:
        """Return the machines where a unit is placed or still has a state, in order."""
        return sorted({*(each.machine for each in self.placements(name)), *(each.machine for each in self.states(name))})

    def current(self, name: str) -> Target:
        """What the unit came to: the least of what it came to on each machine where it is placed, inactive if on none."""
        states = {state.machine: state for state in self._reading[STATES].where(UNIT, name).values()}
        reached_there = (
            reached(placement, states[placement.machine]) if placement.machine in states else Target.INACTIVE
            for placement in self._reading[PLACEMENTS].where(UNIT, name).values()
        )
        return min(reached_there, key=_ORDER.index, default=Target.INACTIVE)

    def view(self, name: str, *, text: bool = False) -> UnitView:
        unit = self.units[name]
        known = unit_text(unit.text)
        refusal = known.refusal(name)
        return UnitView(
            name=name,
            target=unit.target,
            current=self.current(name),
            launch=unit.launch,
            hash=known.hash,
            description=known.description,
            everywhere=known.requirements(name).everywhere,
            template=is_template(name),
            submitted=unit.submitted,
            revision=self.table.modified[name],
            text=unit.text if text else "",
            error=refusal.message if refusal is not None else "",
            places=[_place(placement) for placement in self.placements(name)],
            states=list(self.states(name)),
        )


_ORDER = (Target.INACTIVE, Target.LOADED, Target.LAUNCHED)


class EncodedUnits:
    """What clients were told of units, as JSON: kept while the view holds the units, and told again while a unit's records stand. To make
    and encode what is shown is most of the cost of an answer about many units, or of many answers about one."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Table[Unit], dict[tuple[str, bool], tuple[tuple[object, ...], msgspec.Raw]]] = WeakKeyDictionary()

    async def prepare(self, units: Units, names: Sequence[str], *, text: bool = False) -> bool:
        """Encode many units that have not been asked for yet, and give other tasks their turn meanwhile. Return False if there was nothing
        to do; otherwise the units must be read anew."""
        known = self._known.setdefault(units.table, {})
        missing = [name for name in names if (name, text) not in known]
        if len(missing) <= SLICE:
            return False
        for number, name in enumerate(missing, 1):
            if name in units.units:
                self.encoded(units, name, text=text)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        return True

    def encoded(self, units: Units, name: str, *, text: bool = False) -> msgspec.Raw:
        """Return `units.view(name, text=text)` as JSON."""
        known = self._known.setdefault(units.table, {})
        records = (units.table.modified[name], units.units[name], *units.placements(name), None, *units.states(name))
        found = known.get((name, text))
        if found is not None and found[0] == records:
            return found[1]
        if len(known) > 2 * len(units.units) + SPARE:  # of units that are gone
            known.clear()
        encoded = msgspec.Raw(_encoder.encode(units.view(name, text=text)))
        known[name, text] = (records, encoded)
        return encoded


def reached(placement: Placement, state: UnitState) -> Target:
    """What a placed unit came to, as fleet says it."""
    return Target.LAUNCHED if was_launched(placement, state) else Target.LOADED


class Machines(msgspec.Struct, frozen=True):
    """Machines that are alive, in the order of their ids, with the operator's orders (also for machines that are not alive)."""

    machines: Mapping[str, Machine]
    orders: Mapping[str, Order]
    leader: Leader | None
    index: int


async def read_units(cache: Cache) -> Units:
    """Raises StoreUnavailable."""
    return Units(await cache.read(*UNIT_KINDS))


async def read_machines(cache: Cache) -> Machines:
    """Raises StoreUnavailable."""
    return machines_in(await cache.read(*MACHINE_KINDS))


def unit_topics(names: Sequence[str]) -> list[Topic]:
    """Return what must change for an answer about these units (all, if none is named) to change."""
    if not names:
        return [kind.all() for kind in UNIT_KINDS]
    return [topic for name in names for topic in (UNITS.key(name), PLACEMENTS.where(UNIT, name), STATES.where(UNIT, name))]


async def machine_views(cache: Cache, *, counted: bool = True) -> tuple[list[MachineView], int]:
    """Machines alive, with counts of their units if they are `counted`, and the revision that this is from."""
    reading = await cache.read(*MACHINE_KINDS, *((PLACEMENTS, STATES) if counted else ()))
    found = machines_in(reading)
    if not counted:
        return [_machine_view(found, name, 0, {}) for name in found.machines], found.index
    views = []
    for name in found.machines:
        active = Counter(state.active for state in reading[STATES].where(MACHINE, name).values())
        views.append(_machine_view(found, name, len(reading[PLACEMENTS].where(MACHINE, name)), active))
    return views, found.index


def machines_in(reading: Reading) -> Machines:
    """Return the machines alive as the operator sees them."""
    machines, orders, leader = reading[MACHINES], reading[ORDERS].values, reading[LEADER].get("")
    merged = {name: with_orders(machines.values[name], orders.get(name)) for name in machines.sorted_keys()}
    return Machines(merged, orders, leader, reading.index)


def _ordered(group: Mapping[str, T]) -> Sequence[T]:
    return [group[key] for key in sorted(group)] if len(group) > 1 else [*group.values()]


def _machine_view(found: Machines, name: str, placed: int, active: Mapping[str, int]) -> MachineView:
    machine = found.machines[name]
    order = found.orders.get(name, Order())
    return MachineView(
        **msgspec.structs.asdict(machine),
        cordoned=order.cordoned,
        draining=order.draining,
        leader=found.leader is not None and found.leader.machine == machine.id,
        units=placed,
        active=dict(active),
    )


def _place(placement: Placement) -> Place:
    return Place(
        machine=placement.machine,
        target=placement.target,
        launch=placement.launch,
        reason=placement.reason,
        placed=placement.placed,
        finished=placement.finished,
    )
