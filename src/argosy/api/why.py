"""Why a unit is where it is, or nowhere: placement's own explanation, with the machines' names."""

from __future__ import annotations

import asyncio

from argosy.api.overview import Machines, Units, read_machines, read_units
from argosy.api.shapes import WhyAnswer, WhyOn
from argosy.placement import explain
from argosy.placement.workloads import unit_workload
from argosy.store.base import Store


async def why(store: Store, name: str) -> WhyAnswer:
    """Raises NotFound."""
    return answer(name, *await asyncio.gather(read_units(store), read_machines(store)))


def answer(name: str, units: Units, machines: Machines) -> WhyAnswer:
    placements = {(placement.machine, placement.unit): placement for found in units.placements.values() for placement in found}
    states = {(state.machine, state.unit): state for found in units.states.values() for state in found}
    workloads = {name: unit_workload(unit) for name, unit in units.units.items()}
    explained = explain.why(workloads, machines.machines, machines.orders, placements, states, name)
    rows = [
        WhyOn(
            machine=row.machine,
            name=machines.machines[row.machine].name if row.machine in machines.machines else "",
            placed=row.machine in explained.placed_on,
            filter="" if row.ok else row.filter,
            reason=row.reason,
        )
        for row in explained.rows
    ]
    return WhyAnswer(name, explained.reason, rows, min(units.index, machines.index))
