"""What is wanted, written by compare-and-swap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from argosy.errors import Conflict, NotFound
from argosy.model import Order, Unit
from argosy.state import desired
from argosy.state.desired import UNITS_AT_ONCE, Stored
from argosy.store.base import Store
from argosy.store.sqlite import SqliteStore
from tests import stored
from tests.conftest import FakeClock


@pytest_asyncio.fixture
async def store(clock: FakeClock) -> AsyncIterator[Store]:
    async with SqliteStore(":memory:", clock) as opened:
        yield opened


async def test_a_unit_is_written_where_it_was_read_or_not_at_all(store: Store) -> None:
    first = await desired.write_unit(store, Unit("a.service", "1"), 0)
    with pytest.raises(Conflict):
        await desired.write_unit(store, Unit("a.service", "2"), 0)
    second = await desired.write_unit(store, Unit("a.service", "2"), first)
    assert await desired.unit(store, "a.service") == Stored(Unit("a.service", "2"), second)
    assert await desired.unit(store, "b.service") is None


async def test_several_units_are_written_all_or_none(store: Store) -> None:
    many = [Stored(Unit(f"u{number}.service", "1"), 0) for number in range(UNITS_AT_ONCE)]
    revision = await desired.write_units(store, many)
    assert len(await stored.units(store)) == UNITS_AT_ONCE
    changed = [Stored(Unit("u0.service", "2"), revision), Stored(Unit("u1.service", "2"), revision - 1)]
    with pytest.raises(Conflict):
        await desired.write_units(store, changed)
    assert {unit.text for unit in (await stored.units(store)).values()} == {"1"}


async def test_a_unit_is_deleted_at_the_revision_that_is_meant(store: Store) -> None:
    first = await desired.write_unit(store, Unit("a.service", "1"), 0)
    await desired.write_unit(store, Unit("a.service", "2"), first)
    with pytest.raises(Conflict, match=f"not {first}"):
        await desired.delete_unit(store, "a.service", first)
    await desired.delete_unit(store, "a.service")
    with pytest.raises(NotFound):
        await desired.delete_unit(store, "a.service")


async def test_orders_given_at_the_same_time_are_all_kept(store: Store) -> None:
    await asyncio.gather(
        desired.change_order(store, "m1", cordoned=True),
        desired.change_order(store, "m1", draining=True),
        *(desired.change_order(store, "m1", metadata={f"k{number}": str(number)}) for number in range(8)),
        desired.change_order(store, "m1", metadata={"gone": None}),
    )
    metadata: dict[str, str | None] = {f"k{number}": str(number) for number in range(8)}
    assert (await stored.orders(store))["m1"] == Order(True, True, metadata | {"gone": None})
