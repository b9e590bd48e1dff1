"""Why a unit is where it is, or nowhere: placement's own explanation, with the machines' names."""

from __future__ import annotations

from argosy.api.queries import MACHINE_KINDS, UNIT_KINDS, Machines, Units, machines_in
from argosy.api.shapes import WhyAnswer, WhyOn
from argosy.placement import explain
from argosy.placement.workloads import unit_workload
from argosy.state.cache import Cache


async def why(cache: Cache, name: str) -> WhyAnswer:
    """Raises NotFound and StoreUnavailable."""
    reading = await cache.read(*UNIT_KINDS, *MACHINE_KINDS)
    return answer(name, Units(reading), machines_in(reading))


def answer(name: str, units: Units, machines: Machines) -> WhyAnswer:
    placements = {(placement.machine, placement.unit): placement for placement in units.all_placements}
    states = {(state.machine, state.unit): state for state in units.all_states}
    workloads = {name: unit_workload(unit) for name, unit in units.units.items()}
    strategy = machines.leader.strategy if machines.leader is not None else "spread"
    explained = explain.why(workloads, machines.machines, machines.orders, placements, states, name, strategy)
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
    return WhyAnswer(name, explained.reason, rows, units.index)
