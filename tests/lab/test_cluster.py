"""What a cluster does when things break: scenarios on three machines, full ones and process machines.

Each scenario leaves the lab whole and empty. A machine counts as lost after `conftest.TTL` seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from argosy.errors import ArgosyError, StoreUnavailable
from argosy.lab.asker import View, runs
from argosy.lab.lab import Lab
from tests.contracts.lab_contract import DEADLINE
from tests.lab.cluster import Cluster, placed_on, whole
from tests.lab.conftest import TTL

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(240)]

SLEEPER = "[Service]\nExecStart=/bin/sleep 100000\n"
ALONE = SLEEPER + "[X-Fleet]\nConflicts=alone@*.service\n"
PORT = "[Container]\nImage=localhost/web\nPublishPort=8080:80\n"
ENDING = SLEEPER + "[X-Argosy]\nOnDisconnect=stop\n"


@pytest_asyncio.fixture
async def cluster(lab: Lab) -> AsyncIterator[Cluster]:
    async with whole(lab) as standing:
        yield standing


async def test_units_spread_and_a_lost_machines_units_run_elsewhere_and_stay_there_when_it_is_back(cluster: Cluster) -> None:
    names = [f"alone@{number}.service" for number in (1, 2)]
    await cluster["m1"].wish(names, "launched", ALONE)
    await cluster["m1"].until_running(names)
    homes = {name: await cluster["m1"].home(name) for name in names}
    victim, survivor = homes[names[0]][0], homes[names[1]]
    assert victim != survivor[0]
    asked = cluster.other(victim)
    lost = (await cluster[asked].machines())[victim]["id"]
    await cluster.lab.kill(victim)
    await cluster.leaves(victim, asked)
    await cluster[asked].until(lambda units: runs(units[names[0]]) and lost not in placed_on(units, names[0]), "moved")
    moved = await cluster[asked].home(names[0])
    assert moved[0] not in (victim, survivor[0])
    await cluster.lab.start(victim)
    await cluster.joins(victim, asked)
    await cluster.lab.wait_ready()
    assert await cluster[asked].home(names[0]) == moved
    assert await cluster[asked].home(names[1]) == survivor


async def test_a_third_instance_that_conflicts_everywhere_waits_and_why_names_each_machine(cluster: Cluster) -> None:
    names = [f"alone@{number}.service" for number in (1, 2, 3)]
    await cluster["m1"].wish(names, "launched", ALONE)
    await cluster["m1"].until_running(names)
    await cluster["m1"].wish(["alone@4.service"], "launched", ALONE)
    why = await cluster["m2"].ask("GET", "/units/alone@4.service/why")
    assert len(why["machines"]) == 3
    assert all("alone@" in row["reason"] and not row.get("placed") for row in why["machines"])
    await cluster["m1"].ask("DELETE", f"/units/{names[1]}")
    await cluster["m1"].until_running(["alone@4.service"])


async def test_containers_that_publish_one_port_are_kept_apart_and_the_one_too_many_waits_for_it(cluster: Cluster) -> None:
    names = [f"port{number}.service" for number in (1, 2, 3)]
    await cluster["m1"].wish(names, "launched", PORT)
    await cluster["m1"].until(lambda units: all(len(placed_on(units, name)) == 1 for name in names), "placed")
    view = await cluster["m1"].units()
    assert len({home for name in names for home in placed_on(view, name)}) == 3
    await cluster["m1"].wish(["port4.service"], "launched", PORT)
    why = await cluster["m2"].ask("GET", "/units/port4.service/why")
    assert [row["filter"] for row in why["machines"]] == ["Ports"] * 3
    assert all("port 8080/tcp is published here by Unit(port" in row["reason"] for row in why["machines"])
    (freed,) = placed_on(view, names[1])
    await cluster["m1"].ask("DELETE", f"/units/{names[1]}")
    await cluster["m1"].until(lambda units: placed_on(units, "port4.service") == {freed}, "placed where the port is free")


async def test_an_agent_killed_with_9_changes_no_units_process_and_is_back(cluster: Cluster) -> None:
    await cluster["m1"].wish(["steady.service"], "launched", SLEEPER)
    await cluster["m1"].until_running(["steady.service"])
    machine, pid = await cluster["m1"].home("steady.service")
    asked = cluster.other(machine)
    await cluster.kill_program(machine, "argosy", "agent")
    await cluster.answers(machine)
    assert await cluster[asked].home("steady.service") == (machine, pid)
    assert await cluster.alive(machine, pid)


async def test_a_machine_that_pauses_longer_than_its_lease_stops_its_old_copies_when_it_is_back(cluster: Cluster) -> None:
    await cluster["m1"].wish(["steady.service"], "launched", SLEEPER)
    await cluster["m1"].until_running(["steady.service"])
    machine, pid = await cluster["m1"].home("steady.service")
    asked = cluster.other(machine)
    lost = (await cluster[asked].machines())[machine]["id"]
    await cluster.lab.pause(machine)
    await cluster.leaves(machine, asked)
    await cluster[asked].until(lambda units: runs(units["steady.service"]) and lost not in placed_on(units, "steady.service"), "moved")
    moved = await cluster[asked].home("steady.service")
    assert moved[0] != machine
    await cluster.lab.resume(machine)
    await cluster.gone(machine, pid)
    await cluster.joins(machine, asked)
    assert await cluster[asked].home("steady.service") == moved
    assert await cluster.alive(*moved)


async def test_a_minority_keeps_its_work_running_and_changes_nothing_and_ends_old_copies_when_healed(cluster: Cluster) -> None:
    names = [f"alone@{number}.service" for number in (1, 2)]
    await cluster["m1"].wish(names, "launched", ALONE)
    await cluster["m1"].until_running(names)
    cut, pid = await cluster["m1"].home(names[0])
    asked = cluster.other(cut)
    await cluster.lab.partition([[cut]])
    lost = (await cluster[asked].machines())[cut]["id"]
    await cluster.leaves(cut, asked)
    await cluster[asked].until(lambda units: runs(units[names[0]]) and lost not in placed_on(units, names[0]), "the replacement running")
    assert await cluster.alive(cut, pid), "the minority's copy goes on running"
    with pytest.raises((StoreUnavailable, TimeoutError, aiohttp.ClientError)):
        async with asyncio.timeout(15):
            await cluster[cut].ask("PUT", "/units/never.service", {"text": SLEEPER, "target": "launched"})
    await cluster.lab.heal()
    await cluster.joins(cut, asked)
    await cluster.gone(cut, pid)
    assert "never.service" not in await cluster[asked].units()


async def test_a_unit_that_must_not_overlap_is_stopped_by_its_own_machine_before_another_may_start_it(cluster: Cluster) -> None:
    await cluster["m1"].wish(["single.service"], "launched", ENDING)
    await cluster["m1"].until_running(["single.service"])
    cut, pid = await cluster["m1"].home("single.service")
    asked = cluster.other(cut)
    await cluster.lab.partition([[cut]])
    await cluster.gone(cut, pid, patience=TTL + 5)
    assert cut in await cluster[asked].machines(), "it was dead while the machine's lease still stood"
    known = {name: machine["id"] for name, machine in (await cluster[asked].machines()).items()}
    await cluster[asked].until(
        lambda units: runs(units["single.service"]) and known[cut] not in placed_on(units, "single.service"), "the replacement running"
    )


async def test_a_drained_machine_is_emptied_and_a_cordoned_one_gets_nothing_new(cluster: Cluster) -> None:
    await cluster["m1"].wish(["steady.service"], "launched", SLEEPER)
    await cluster["m1"].until_running(["steady.service"])
    machine, _ = await cluster["m1"].home("steady.service")
    asked = cluster.other(machine)
    before = (await cluster[asked].machines())[machine]["id"]
    await cluster[asked].ask("POST", f"/machines/{machine}/drain", {})
    try:
        await cluster[asked].until(
            lambda units: before not in placed_on(units, "steady.service") and runs(units["steady.service"]), "moved away"
        )
        await cluster[asked].wish([f"more@{number}.service" for number in range(6)], "launched", SLEEPER)
        await cluster[asked].until_running([f"more@{number}.service" for number in range(6)])
        units = await cluster[asked].units()
        assert all(before not in placed_on(units, name) for name in units)
    finally:
        await cluster[asked].ask("POST", f"/machines/{machine}/uncordon", {})


async def test_a_finished_job_is_not_run_again_when_its_machine_is_lost(cluster: Cluster) -> None:
    await cluster["m1"].wish(["job.service"], "launched", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
    await cluster["m1"].until(
        lambda units: any(place.get("finished") for place in units["job.service"].get("places", [])), "the job has finished"
    )
    units = await cluster["m1"].units()
    home = placed_on(units, "job.service")
    machine = next(name for name, known in (await cluster["m1"].machines()).items() if known["id"] in home)
    asked = cluster.other(machine)
    await cluster.lab.kill(machine)
    await cluster.leaves(machine, asked)
    await cluster[asked].wish(["marker.service"], "launched", SLEEPER)
    await cluster[asked].until_running(["marker.service"])
    assert placed_on(await cluster[asked].units(), "job.service") == home


async def test_a_unit_that_fails_is_tried_again_after_growing_delays_and_shown_as_failing(cluster: Cluster) -> None:
    await cluster["m1"].wish(["bad.service"], "launched", "[Service]\nExecStart=/bin/false\n")

    def failing(units: dict[str, View]) -> bool:
        return any(state.get("failures", 0) >= 2 for state in units["bad.service"].get("states", []))

    await cluster["m1"].until(failing, "two failures counted")
    status = await cluster["m3"].ask("GET", "/units/bad.service/status")
    assert status["machines"][0]["detail"]["observed"]["result"] == "exit-code"


async def test_status_and_log_come_from_whichever_machine_a_unit_is_on(cluster: Cluster) -> None:
    text = "[Service]\nExecStart=/bin/sh -c 'echo I am here; exec sleep 100000'\n"
    await cluster["m1"].wish(["speaker.service"], "launched", text)
    await cluster["m1"].until_running(["speaker.service"])
    for asker in cluster.askers.values():
        end = time.monotonic() + DEADLINE
        while True:  # a unit runs before its log has arrived
            status = await asker.ask("GET", "/units/speaker.service/status", lines=5)
            if any("I am here" in line["text"] for line in status["machines"][0]["lines"]):
                break
            assert time.monotonic() < end, status
            await asyncio.sleep(0.05)
        assert status["machines"][0]["detail"]["observed"]["active"] == "active"


async def test_two_clients_that_replace_one_unit_at_once_do_not_mix(cluster: Cluster) -> None:
    await cluster["m1"].wish(["shared.service"], "launched", SLEEPER)
    found = await cluster["m1"].ask("GET", "/units/shared.service")
    revision = found["unit"]["revision"]

    async def replace(machine: str) -> bool:
        try:
            text = SLEEPER.replace("100000", f"10000{machine[1]}")
            await cluster[machine].ask("PUT", "/units/shared.service", {"text": text, "replace": True, "revision": revision})
        except ArgosyError:
            return False
        return True

    won = await asyncio.gather(*(replace(machine) for machine in ("m1", "m2", "m3")))
    assert sum(won) == 1
    winner = ("m1", "m2", "m3")[won.index(True)]
    assert f"10000{winner[1]}" in (await cluster["m1"].ask("GET", "/units/shared.service"))["unit"]["text"]
