"""What is: machines alive, states of units, what routers serve. Each machine's agent and router write their own."""

from __future__ import annotations

from argosy.model import Machine, RouterReport, UnitState
from argosy.model import with_orders as with_orders
from argosy.state import keys
from argosy.state.view import decoded
from argosy.store.base import Store


async def machines(store: Store) -> dict[str, Machine]:
    """By id: those whose lease stands, with the metadata that their agents gave (see `with_orders`)."""
    listing = await store.list(keys.MACHINES)
    found = (decoded(Machine, record) for record in listing.records)
    return {machine.id: machine for machine in found if machine is not None}


async def states(store: Store, machine_id: str = "") -> dict[tuple[str, str], UnitState]:
    """By (machine, unit); with `machine_id` only that machine's."""
    listing = await store.list(keys.states_on(machine_id) if machine_id else keys.STATES)
    found = (decoded(UnitState, record) for record in listing.records)
    return {(state.machine, state.unit): state for state in found if state is not None}


async def routers(store: Store) -> dict[str, RouterReport]:
    """By machine id."""
    listing = await store.list(keys.ROUTERS)
    found = (decoded(RouterReport, record) for record in listing.records)
    return {report.machine: report for report in found if report is not None}
