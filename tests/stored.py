"""What stands in a store, for tests: read anew at each call, past any view of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

from argosy.model import Machine, Order, Placement, RouterReport, Unit, UnitState
from argosy.reconcile import Clock
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.kinds import MACHINES, ORDERS, PLACEMENTS, ROUTERS, STATES, UNITS, RecordKind
from argosy.state.records import decoded
from argosy.state.table import Changes
from argosy.store.base import Store

T = TypeVar("T")


async def listed(store: Store, kind: RecordKind[T]) -> dict[str, T]:
    """By key without the prefix."""
    records = (await store.list(kind.prefix)).records
    found = ((record.key.removeprefix(kind.prefix), decoded(kind.type, record)) for record in records)
    return {key: value for key, value in found if value is not None}


async def units(store: Store) -> dict[str, Unit]:
    return await listed(store, UNITS)


async def orders(store: Store) -> dict[str, Order]:
    return await listed(store, ORDERS)


async def machines(store: Store) -> dict[str, Machine]:
    return await listed(store, MACHINES)


async def routers(store: Store) -> dict[str, RouterReport]:
    return await listed(store, ROUTERS)


async def placements(store: Store) -> dict[tuple[str, str], Placement]:
    """By (machine, unit)."""
    return {(each.machine, each.unit): each for each in (await listed(store, PLACEMENTS)).values()}


async def states(store: Store) -> dict[tuple[str, str], UnitState]:
    """By (machine, unit)."""
    return {(each.machine, each.unit): each for each in (await listed(store, STATES)).values()}


async def follow_units(store: Store, clock: Clock) -> AsyncIterator[Changes[Unit]]:
    """What happens to units, with a view of its own."""
    async with Cache(store, clock) as cache:
        async for changes in cache.follow(RecordKind(keys.UNITS, Unit, keys.UNITS)):
            yield changes
