"""Reads from the view: what a client may count on when it writes, blocks, or asks several machines."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from argosy.api.queries import SLICE, EncodedUnits, read_units
from argosy.model import Placement, Target, Unit, UnitState
from argosy.reconcile import SystemClock
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.records import encode
from argosy.store.base import Delete, Put, Store, Write
from argosy.store.sqlite import SqliteStore
from tests.api.house import HELLO, M1, M2, OTHER, a_house
from tests.contracts.store_contract import eventually

HOUR = 3600.0


async def test_a_write_can_be_read_where_it_was_made_and_with_its_index_elsewhere(tmp_path: Path) -> None:
    async with (
        SqliteStore(":memory:", SystemClock()) as store,
        a_house(tmp_path / "1", store=store, fresh=HOUR) as one,
        a_house(tmp_path / "2", store=store, machine_id=M2, fresh=HOUR) as two,
    ):
        for house in (one, two):
            await house.own("GET", "/units")
        for number in range(20):
            name = f"u{number}.service"
            written = await one.own("PUT", f"/units/{name}", {"text": HELLO})
            assert (await one.own("GET", f"/units/{name}")).status == 200
            index = written.json["index"]
            waiting = asyncio.create_task(two.own("GET", f"/units/{name}?index={index}&wait=0.2"))
            assert (await waiting).json["unit"]["name"] == name
            deleted = await one.own("DELETE", f"/units/{name}")
            assert (await one.own("GET", f"/units/{name}")).status == 404
            assert deleted.json["index"] > index


async def test_many_blocked_clients_are_all_answered_by_one_change_and_no_other(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        for name in ("a.service", "b.service"):
            await house.submit(name)
        index = (await house.own("GET", "/units")).json["index"]
        waiting = [asyncio.create_task(house.own("GET", f"/units/a.service?index={index}&wait=60")) for _ in range(90)]
        await eventually(lambda: house.cache.blocked == 90)
        await house.place("b.service")
        await house.observe("b.service")
        await house.own("GET", "/units")
        assert house.cache.blocked == 90
        await house.place("a.service")
        for reply in await asyncio.gather(*waiting):
            assert reply.json["unit"]["places"][0]["machine"] == M1
        assert house.cache.blocked == 0


async def shown(store: Store, encoded: EncodedUnits, cache: Cache, name: str) -> object:
    units = await read_units(cache)
    told = encoded.encoded(units, name, text=True)
    assert bytes(told) == msgspec.json.encode(units.view(name, text=True))
    return told


async def test_a_unit_kept_as_json_is_told_anew_when_any_of_its_records_changes() -> None:
    unit = Unit("a.service", HELLO, Target.LAUNCHED, 1)
    steps: list[Write] = [
        Put(keys.unit("a.service"), encode(unit)),
        Put(keys.unit("a.service"), encode(unit)),  # the same at another revision
        Put(keys.unit("a.service"), encode(msgspec.structs.replace(unit, text=OTHER))),
        Put(keys.placement(M1, "a.service"), encode(Placement("a.service", M1, OTHER, Target.LAUNCHED, 1))),
        Put(keys.state(M1, "a.service"), encode(UnitState("a.service", M1, active="active"))),
        Put(keys.state(M1, "a.service"), encode(UnitState("a.service", M1, active="failed"))),
        Put(keys.placement(M2, "a.service"), encode(Placement("a.service", M2, OTHER, Target.LAUNCHED, 1))),
        Delete(keys.state(M1, "a.service")),
        Delete(keys.placement(M1, "a.service")),
    ]
    async with SqliteStore(":memory:", SystemClock()) as store, Cache(store, SystemClock(), fresh=0.0) as cache:
        encoded = EncodedUnits()
        before: object = None
        for step in steps:
            await store.commit([], [step])
            now = await shown(store, encoded, cache, "a.service")
            assert now is not before
            assert await shown(store, encoded, cache, "a.service") is now, "nothing has changed"
            before = now


@pytest.mark.parametrize("count", [SLICE, 3 * SLICE + 1])
async def test_a_first_answer_about_many_units_lets_others_have_their_turn(count: int) -> None:
    async with SqliteStore(":memory:", SystemClock()) as store, Cache(store, SystemClock(), fresh=0.0) as cache:
        for number in range(count):
            await store.commit([], [Put(keys.unit(f"u{number}.service"), encode(Unit(f"u{number}.service", HELLO)))])
        encoded = EncodedUnits()
        units = await read_units(cache)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        assert await encoded.prepare(units, units.names()) == (count > SLICE)
        assert turns == count // SLICE if count > SLICE else turns == 0
        assert not await encoded.prepare(await read_units(cache), units.names()) or count <= SLICE
        task.cancel()
