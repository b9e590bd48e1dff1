"""Engines and machines that nobody reaches: units that move before the lease ends, leaders that are replaced, and what must not be lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from argosy.engine.loss.plan import OBJECTION
from argosy.model import Machine, Probes, Silence
from argosy.state import keys
from argosy.state.records import decode, encode
from argosy.store.base import Delete, Put
from tests.conftest import FakeClock, settle
from tests.engine.harness import PLAIN, TTL, Harness, harness

EXCLUSIVE = PLAIN + "[X-Argosy]\nOnDisconnect=stop\n"
SOON = OBJECTION + 0.1


async def open_doors(cluster: Harness) -> None:
    """Machines that can be probed."""
    for name, lease in cluster.leases.items():
        record = Machine(name, ttl=TTL, door=f"{name}:8700")
        await cluster.store.commit([], [Put(keys.machine(name), encode(record), lease)])
    await settle(100)


async def report(cluster: Harness, machine: str, *observers: str) -> None:
    for observer in observers:
        record = Silence(machine, observer, cluster.clock.now())
        await cluster.store.commit([], [Put(keys.silence(machine, observer), encode(record), cluster.leases[observer])])
    await settle(100)


async def assigned(cluster: Harness) -> dict[str, list[str]]:
    found = {}
    for record in (await cluster.store.list(keys.PROBES)).records:
        probes = decode(Probes, record.value, record.key)
        found[probes.machine] = [target.machine for target in probes.targets]
    return found


async def moved_within(cluster: Harness, seconds: float, unit: str, home: Sequence[str]) -> bool:
    await cluster.pass_time(seconds, step=0.1)
    await settle(200)
    return await cluster.where(unit) == list(home)


async def test_the_leader_tells_each_machine_whom_to_probe_and_again_when_one_comes_or_goes(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster:
        await open_doors(cluster)
        assert await assigned(cluster) == {"m1": ["m2"], "m2": ["m1"]}
        await cluster.machine("m3")
        await open_doors(cluster)
        assert await assigned(cluster) == {"m1": ["m2", "m3"], "m2": ["m3", "m1"], "m3": ["m1", "m2"]}
        await cluster.machine_dies("m1")
        await settle(100)
        assert await assigned(cluster) == {"m2": ["m3"], "m3": ["m2"]}


async def test_at_rest_nothing_is_written(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", "m3", engines=["e1", "e2"]) as cluster:
        await open_doors(cluster)
        before = (await cluster.store.list(keys.PROBES)).revision
        await cluster.pass_time(3 * TTL)
        assert (await cluster.store.list(keys.PROBES)).revision == before


async def test_a_machine_that_nobody_reaches_is_lost_long_before_its_lease_ends(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", "m3") as cluster:
        await open_doors(cluster)
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        await report(cluster, "m1", "m2", "m3")
        assert await cluster.where("a.service") == ["m1"], "it has time to object"
        assert await moved_within(cluster, SOON, "a.service", ["m2"])
        assert await cluster.store.get(keys.machine("m1")), "its lease stands"


async def test_one_observer_alone_makes_no_machine_lost(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", "m3") as cluster:
        await open_doors(cluster)
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        await report(cluster, "m1", "m2")
        assert await moved_within(cluster, 2 * TTL, "a.service", ["m1"])


async def test_a_machine_that_still_reaches_the_store_objects_and_is_not_lost(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", "m3") as cluster:
        await open_doors(cluster)
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        await report(cluster, "m1", "m2", "m3", "m1")
        assert await moved_within(cluster, 2 * TTL, "a.service", ["m1"])


async def test_a_leader_that_is_cut_off_from_the_other_machines_makes_none_of_them_lost(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", "m3", engines=["m1"]) as cluster:
        await open_doors(cluster)
        await cluster.submit("a.service", "b.service", "c.service")
        await cluster.until_placed(3)
        before = await cluster.placements()
        await report(cluster, "m2", "m1")
        await report(cluster, "m3", "m1")
        await cluster.pass_time(2 * TTL, step=0.5)
        await settle(200)
        assert await cluster.placements() == before


async def test_an_exclusive_unit_waits_for_the_end_of_the_lease(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", "m3") as cluster:
        await open_doors(cluster)
        await cluster.submit("a.service", text=EXCLUSIVE)
        await cluster.until_on("a.service", "m1")
        await report(cluster, "m1", "m2", "m3")
        assert await moved_within(cluster, TTL - 1, "a.service", ["m1"])
        await cluster.machine_dies("m1")
        await cluster.until_on("a.service", "m2")


async def test_a_machine_that_answers_again_gets_units_again_and_takes_none_back(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", "m3") as cluster:
        await open_doors(cluster)
        await cluster.submit("a.service", "b.service", "c.service")
        await cluster.until_placed(3)
        await report(cluster, "m1", "m2", "m3")
        assert await moved_within(cluster, SOON, "a.service", ["m2"])
        await cluster.store.commit([], [Delete(keys.silence("m1", "m2"))])
        await cluster.submit("d.service")
        await cluster.until_on("d.service", "m1")
        assert await cluster.where("a.service") == ["m2"]


async def test_another_engine_takes_over_from_a_leader_whose_machine_nobody_reaches(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", "m3", engines=["m1", "m2"]) as cluster:
        await open_doors(cluster)
        assert cluster.leaders() == ["m1"]
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        await cluster.kill("m1")
        await report(cluster, "m1", "m2", "m3")
        await settle(300)
        assert cluster.leaders() == ["m2"], "without any time"
        assert await moved_within(cluster, SOON, "a.service", ["m2"])


@pytest.mark.parametrize("reports", [(), ("m2",), ("m2", "m3", "m1")], ids=["none", "one of two", "it objects"])
async def test_a_leader_is_not_replaced_within_its_lease_without_good_reason(clock: FakeClock, reports: tuple[str, ...]) -> None:
    async with harness(clock, "m1", "m2", "m3", engines=["m1", "m2"]) as cluster:
        await open_doors(cluster)
        await report(cluster, "m1", *reports)
        await cluster.pass_time(2 * TTL, step=0.5)
        assert cluster.leaders() == ["m1"]


async def test_a_leader_that_was_replaced_while_it_lived_stands_back(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", "m3", engines=["m1", "m2"]) as cluster:
        await open_doors(cluster)
        await report(cluster, "m1", "m2", "m3")
        await cluster.pass_time(2 * TTL, step=0.5)
        assert cluster.leaders() == ["m2"]
        await cluster.submit("a.service")
        await cluster.until_placed(1)


async def test_reports_that_the_next_leader_finds_count_as_well(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", "m3", engines=[]) as cluster:
        await open_doors(cluster)
        await report(cluster, "m1", "m2", "m3")
        await cluster.submit("a.service", "b.service")
        await cluster.engine("m2")
        await cluster.pass_time(SOON, step=0.1)
        await cluster.until_placed(2)
        await cluster.pass_time(SOON, step=0.1)
        assert all(machine != "m1" for machine, _ in await cluster.placements())
