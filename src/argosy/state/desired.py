"""What users and the operator want: /units and /orders. The api writes here, and the engine
leader the units that a rollout changes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from argosy.errors import Conflict, NotFound
from argosy.model import Order, Unit
from argosy.state import keys
from argosy.state.records import decode, encode
from argosy.store.base import MAX_OPERATIONS, Condition, Delete, Put, Store

ATTEMPTS = 16
"""How often a read-modify-write is tried again when somebody else was faster."""

UNITS_AT_ONCE = MAX_OPERATIONS // 2
"""Units that `write_units` takes: each is one condition and one write."""


class Stored(msgspec.Struct, frozen=True):
    """A unit and the revision it was last written at."""

    unit: Unit
    revision: int


async def unit(store: Store, name: str) -> Stored | None:
    record = await store.get(keys.unit(name))
    if record is None:
        return None
    return Stored(decode(Unit, record.value, record.key), record.modified)


async def write_unit(store: Store, unit: Unit, revision: int) -> int:
    """Creates (revision 0) or replaces the unit last written at `revision`. Raises Conflict if somebody was faster."""
    key = keys.unit(unit.name)
    return await store.commit([Condition(key, revision)], [Put(key, encode(unit))])


async def write_units(store: Store, units: Sequence[Stored]) -> int:
    """Creates or replaces several units, all of them or, when somebody was faster with one, none (Conflict names its key). At most
    UNITS_AT_ONCE; each `revision` as in `write_unit`."""
    conditions = [Condition(keys.unit(stored.unit.name), stored.revision) for stored in units]
    return await store.commit(conditions, [Put(keys.unit(stored.unit.name), encode(stored.unit)) for stored in units])


async def delete_unit(store: Store, name: str, revision: int | None = None) -> int:
    """Deletes the unit; with `revision` only if it was last written at that one. Raises NotFound, and Conflict if it was not."""
    for _ in range(ATTEMPTS):
        record = await store.get(keys.unit(name))
        if record is None:
            raise NotFound(f"unit {name} does not exist", remedy="argosy list-unit-files shows those that do")
        if revision is not None and record.modified != revision:
            raise Conflict(f"unit {name} stands at revision {record.modified}, not {revision}", key=record.key, remedy="read it again")
        try:
            return await store.commit([Condition(record.key, record.modified)], [Delete(record.key)])
        except Conflict:
            continue
    raise Conflict(f"unit {name} is being changed by others all the time", key=keys.unit(name), remedy="try again")


async def change_order(
    store: Store,
    machine_id: str,
    *,
    cordoned: bool | None = None,
    draining: bool | None = None,
    metadata: dict[str, str | None] | None = None,
) -> tuple[Order, int]:
    """Changes what is given and leaves the rest; `metadata` is merged in key by key (None hides the agent's own key). Returns the order as
    it stands then, and the revision of the write."""
    key = keys.order(machine_id)
    for _ in range(ATTEMPTS):
        record = await store.get(key)
        order = decode(Order, record.value, key) if record else Order()
        changed = Order(
            cordoned=order.cordoned if cordoned is None else cordoned,
            draining=order.draining if draining is None else draining,
            metadata={**order.metadata, **(metadata or {})},
        )
        try:
            revision = await store.commit([Condition(key, record.modified if record else 0)], [Put(key, encode(changed))])
        except Conflict:
            continue
        return changed, revision
    raise Conflict(f"orders for machine {machine_id} are being changed by others all the time", key=key, remedy="try again")
