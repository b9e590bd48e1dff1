"""A machine without power is lost long before its lease ends, whatever it led; one that still answers anybody is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from argosy.errors import RuntimeFailed
from argosy.lab.asker import runs
from argosy.lab.lab import Lab
from argosy.lab.leaders import ROLES, arrange, engine_leader
from tests.lab.cluster import Cluster, placed_on, whole
from tests.lab.conftest import need_full_machines, new_name

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(240)]

LEASE = 14.0
"""So long that nothing here is explained by its end."""

SOON = 10.0

SLEEPER = "[Service]\nExecStart=/bin/sleep 100000\n"
PINNED = SLEEPER + "[X-Fleet]\nConflicts=pinned@*.service\n"
ENDING = SLEEPER + "[X-Argosy]\nOnDisconnect=stop\n"


@pytest.fixture(scope="module")
def slow_lab() -> Iterator[Lab]:
    need_full_machines()
    lab = Lab(new_name())
    try:
        asyncio.run(lab.up(3, ttl=LEASE, entry=""))
        yield lab
    finally:
        asyncio.run(lab.down())


@pytest_asyncio.fixture
async def cluster(slow_lab: Lab) -> AsyncIterator[Cluster]:
    async with whole(slow_lab) as standing:
        yield standing


async def until_observed(cluster: Cluster, machine: str) -> None:
    """Until both other machines hold a connection to it: only then can they tell that it fell silent."""
    address = cluster.record.machine(machine).address
    for other in cluster.askers:
        if other == machine:
            continue
        async with asyncio.timeout(30):
            while True:
                found = await cluster.lab.exec(other, ["ss", "-Htno", "state", "established", "dst", address, "dport", "=", "8700"])
                if "keepalive" in found.stdout:
                    break
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("role", ROLES)
async def test_a_machine_without_power_is_lost_before_its_lease_ends_whatever_it_led(cluster: Cluster, role: str) -> None:
    await cluster["m1"].wish(["a.service"], "launched", SLEEPER)
    await cluster["m1"].until_running(["a.service"])
    victim, _ = await cluster["m1"].home("a.service")
    asked = cluster.other(victim)
    await cluster[asked].wish(["only.service"], "launched", ENDING + "[X-Fleet]\nMachineOf=a.service\n")
    await cluster[asked].until_running(["only.service"])
    await arrange(cluster.lab, cluster[asked], victim, role)
    await until_observed(cluster, victim)
    lost = cluster.record.machine(victim).id
    clock = asyncio.get_running_loop()
    begun = clock.time()
    await cluster.lab.kill(victim)
    await cluster[asked].until(lambda units: runs(units["a.service"]) and lost not in placed_on(units, "a.service"), "moved")
    took = clock.time() - begun
    assert took < SOON, f"{took:.1f} s"
    machines = await cluster[asked].machines()
    assert victim in machines, "its lease stands"
    assert lost in placed_on(await cluster[asked].units(), "only.service"), "what must never run twice waits for it"


async def test_a_leader_that_is_cut_off_makes_nobody_lost(cluster: Cluster) -> None:
    names = [f"pinned@{number}.service" for number in (1, 2, 3)]
    await cluster["m1"].wish(names, "launched", PINNED)
    await cluster["m1"].until_running(names)
    homes = {name: await cluster["m1"].home(name) for name in names}
    cut = await engine_leader(cluster["m1"])
    asked = cluster.other(cut)
    mine = next(name for name, home in homes.items() if home[0] == cut)
    lost = cluster.record.machine(cut).id
    await until_observed(cluster, cut)
    await cluster.lab.partition([[cut]])
    end = asyncio.get_running_loop().time() + SOON
    while await engine_leader(cluster[asked]) in ("", cut):
        assert asyncio.get_running_loop().time() < end, "the others elect no leader"
        await asyncio.sleep(0.1)
    for name in names:
        if name != mine:
            assert await cluster[asked].home(name) == homes[name]
    await cluster.lab.heal()
    await cluster.joins(cut, asked)
    found = await cluster[asked].until(lambda units: all(runs(units[name]) for name in names), "all running")
    assert found
    for name in names:
        assert await cluster[asked].home(name) == homes[name], "nothing healthy moved, and nothing could move from the leader"
    assert lost in placed_on(await cluster[asked].units(), mine)


async def test_an_agent_that_stands_still_on_a_machine_that_is_on_is_not_lost_before_its_lease(cluster: Cluster) -> None:
    await cluster["m1"].wish(["a.service"], "launched", SLEEPER)
    await cluster["m1"].until_running(["a.service"])
    victim, pid = await cluster["m1"].home("a.service")
    asked = cluster.other(victim)
    await until_observed(cluster, victim)
    stop = "for p in $(pgrep -f '[a]rgosy agent'); do kill -{} $p; done"
    assert (await cluster.lab.exec(victim, ["sh", "-c", stop.format("STOP")])).code == 0
    try:
        with pytest.raises(RuntimeFailed):
            await cluster[asked].until(lambda units: False, "8 s pass", patience=8.0)
        assert await cluster[asked].home("a.service") == (victim, pid)
    finally:
        await cluster.lab.exec(victim, ["sh", "-c", stop.format("CONT")])
    await cluster.answers(victim)
    assert await cluster[asked].home("a.service") == (victim, pid)


async def test_when_its_cable_is_back_before_the_lease_ends_a_machine_stops_what_was_moved_and_is_used_again(cluster: Cluster) -> None:
    await cluster["m1"].wish(["a.service"], "launched", SLEEPER)
    await cluster["m1"].until_running(["a.service"])
    cut, pid = await cluster["m1"].home("a.service")
    asked = cluster.other(cut)
    lost = cluster.record.machine(cut).id
    await until_observed(cluster, cut)
    await cluster.lab.partition([[cut]])
    await cluster[asked].until(lambda units: runs(units["a.service"]) and lost not in placed_on(units, "a.service"), "moved")
    assert await cluster.alive(cut, pid)
    await cluster.lab.heal()
    await cluster.gone(cut, pid)
    names = [f"pinned@{number}.service" for number in (1, 2, 3)]
    await cluster[asked].wish(names, "launched", PINNED)
    await cluster[asked].until_running(names)
    assert cut in {(await cluster[asked].home(name))[0] for name in names}
