"""What the engine decided: /placements, and who leads it. Only the engine leader writes placements."""

from __future__ import annotations

from argosy.model import Leader, Placement
from argosy.state import keys
from argosy.state.records import decode
from argosy.state.view import decoded
from argosy.store.base import Store


async def placements(store: Store) -> dict[tuple[str, str], Placement]:
    """By (machine, unit)."""
    listing = await store.list(keys.PLACEMENTS)
    found = (decoded(Placement, record) for record in listing.records)
    return {(placement.machine, placement.unit): placement for placement in found if placement is not None}


async def leader(store: Store) -> Leader | None:
    record = await store.get(keys.ENGINE_LEADER)
    return decode(Leader, record.value, record.key) if record else None
