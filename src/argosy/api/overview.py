"""Everything that the store knows of units and machines, read together and joined into what clients see."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TypeVar

import msgspec

from argosy.api.shapes import MachineView, Place, UnitView
from argosy.model import Leader, Machine, Order, Placement, Target, Unit, UnitState
from argosy.state import keys
from argosy.state.observed import with_orders
from argosy.state.view import decoded
from argosy.store.base import Listing, Store
from argosy.unit.names import is_template
from argosy.unit.text import unit_text
from argosy.verdict import has_stopped

T = TypeVar("T")

UNIT_PREFIXES = (keys.UNITS, keys.PLACEMENTS, keys.STATES)
BRIEF_PREFIXES = (keys.MACHINES, keys.ORDERS, keys.ENGINE_LEADER)
MACHINE_PREFIXES = (*BRIEF_PREFIXES, keys.PLACEMENTS, keys.STATES)


class Units(msgspec.Struct, frozen=True):
    """Units with where they are and what they do there. `index` is a revision that all of it includes."""

    units: Mapping[str, Unit]
    revisions: Mapping[str, int]
    placements: Mapping[str, list[Placement]]
    states: Mapping[str, list[UnitState]]
    index: int

    def current(self, name: str) -> Target:
        """What the unit came to: the least of what it came to on each machine where it is placed, inactive if on none."""
        reached = [self._reached(placement) for placement in self.placements.get(name, ())]
        return min(reached, key=_ORDER.index, default=Target.INACTIVE)

    def _reached(self, placement: Placement) -> Target:
        state = next((state for state in self.states.get(placement.unit, ()) if state.machine == placement.machine), None)
        return Target.INACTIVE if state is None else reached(placement, state)

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
            revision=self.revisions[name],
            text=unit.text if text else "",
            error=refusal.message if refusal is not None else "",
            places=[_place(placement) for placement in self.placements.get(name, ())],
            states=self.states.get(name, []),
        )


_ORDER = (Target.INACTIVE, Target.LOADED, Target.LAUNCHED)


def reached(placement: Placement, state: UnitState) -> Target:
    """What a placed unit came to: launched once its machine has started this launch of it (as fleet says it, even if it then failed), and
    for as long as this launch still runs after it was told to stop. What systemd itself starts after that is only loaded, as in fleet."""
    if placement.target is Target.LAUNCHED:
        return Target.LAUNCHED if state.launch == placement.launch else Target.LOADED
    return Target.LOADED if has_stopped(state) else Target.LAUNCHED


class Machines(msgspec.Struct, frozen=True):
    """Machines that are alive, in the order of their ids, with the operator's orders (also for machines that are not alive)."""

    machines: Mapping[str, Machine]
    orders: Mapping[str, Order]
    leader: str
    index: int


async def read_units(store: Store) -> Units:
    listings = await asyncio.gather(*(store.list(prefix) for prefix in UNIT_PREFIXES))
    units = by_name(listings[0], keys.UNITS, Unit)
    placements: dict[str, list[Placement]] = {}
    for placement in by_name(listings[1], keys.PLACEMENTS, Placement).values():
        placements.setdefault(placement.unit, []).append(placement)
    states: dict[str, list[UnitState]] = {}
    for state in by_name(listings[2], keys.STATES, UnitState).values():
        states.setdefault(state.unit, []).append(state)
    revisions = {record.key[len(keys.UNITS) :]: record.modified for record in listings[0].records}
    return Units(units, revisions, placements, states, min(listing.revision for listing in listings))


async def read_machines(store: Store) -> Machines:
    listings = await asyncio.gather(*(store.list(prefix) for prefix in (keys.MACHINES, keys.ORDERS, keys.ENGINE_LEADER)))
    machines = by_name(listings[0], keys.MACHINES, Machine)
    orders = by_name(listings[1], keys.ORDERS, Order)
    leaders = by_name(listings[2], keys.ENGINE_LEADER, Leader)
    merged = {name: with_orders(machine, orders.get(name)) for name, machine in machines.items()}
    leader = leaders[""].machine if "" in leaders else ""
    return Machines(merged, orders, leader, min(listing.revision for listing in listings))


async def machine_views(store: Store, *, counted: bool = True) -> tuple[list[MachineView], int]:
    """Machines alive, with counts of their units if they are `counted`, and a revision that all of it includes."""
    if not counted:
        alone = await read_machines(store)
        return [machine_view(alone, name, {}, {}) for name in alone.machines], alone.index
    found, units = await asyncio.gather(read_machines(store), read_units(store))
    placed = Counter(placement.machine for placements in units.placements.values() for placement in placements)
    active: dict[str, Counter[str]] = {}
    for states in units.states.values():
        for state in states:
            active.setdefault(state.machine, Counter())[state.active] += 1
    return [machine_view(found, name, placed, active) for name in found.machines], min(found.index, units.index)


def machine_view(found: Machines, name: str, placed: Mapping[str, int], active: Mapping[str, Mapping[str, int]]) -> MachineView:
    machine = found.machines[name]
    order = found.orders.get(name, Order())
    return MachineView(
        id=machine.id,
        name=machine.name,
        address=machine.address,
        metadata=machine.metadata,
        facts=machine.facts,
        version=machine.version,
        door=machine.door,
        runtime=machine.runtime,
        ttl=machine.ttl,
        since=machine.since,
        cordoned=order.cordoned,
        draining=order.draining,
        leader=found.leader == machine.id,
        units=placed.get(name, 0),
        active=dict(active.get(name, {})),
        problems=machine.problems,
    )


def by_name(listing: Listing, prefix: str, kind: type[T]) -> dict[str, T]:
    """Records by their key without the prefix, in key order; broken ones are logged and left out."""
    found = ((record.key[len(prefix) :], decoded(kind, record)) for record in listing.records)
    return {name: value for name, value in found if value is not None}


def chosen(names: Collection[str], wanted: Collection[str]) -> list[str]:
    """The names in order; with `wanted` only those."""
    return sorted(names) if not wanted else sorted(set(wanted) & set(names))


def _place(placement: Placement) -> Place:
    return Place(
        machine=placement.machine,
        target=placement.target,
        launch=placement.launch,
        reason=placement.reason,
        placed=placement.placed,
        finished=placement.finished,
    )
