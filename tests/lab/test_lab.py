"""A lab as its user sees it: up, broken, mended, gone. Once with full machines, once with process machines."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from argosy.errors import Conflict, InvalidInput, NotFound
from argosy.lab import processes
from argosy.lab.base import Power
from argosy.lab.lab import Lab
from argosy.lab.ready import MACHINES
from argosy.router.render import HEALTH, HEALTH_HOST
from tests.contracts.lab_contract import traces
from tests.lab.conftest import TTL, need_full_machines, new_name

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(120)]

DEADLINE = 30.0


async def seen_by(lab: Lab, name: str) -> set[str]:
    """The names of the machines that a machine's agent lists; {"?"} when it cannot tell."""
    record = await lab.record()
    names = {machine.id: machine.name for machine in record.machines}
    connector = aiohttp.UnixConnector(str(record.socket(name)))
    try:
        async with aiohttp.ClientSession(connector=connector) as session, session.get(MACHINES) as response:
            return (
                {names.get(machine["id"], "another") for machine in (await response.json())["machines"]}
                if response.status == 200
                else {"?"}
            )
    except (aiohttp.ClientError, OSError):
        return {"?"}


async def until(look: Callable[[], Awaitable[object]], wanted: object) -> float:
    """Looks until it is as wanted; returns how long that took."""
    begun = time.monotonic()
    while (found := await look()) != wanted:
        assert time.monotonic() < begun + DEADLINE, f"it is {found}, not {wanted}, after {DEADLINE:.0f} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - begun


async def test_a_lab_is_up_when_every_machine_sees_all(lab: Lab) -> None:
    record = await lab.record()
    assert record.complete
    for name in ("m1", "m2", "m3"):
        assert await seen_by(lab, name) == {"m1", "m2", "m3"}
    status = await lab.ps()
    assert [(one.machine.name, one.power, one.side) for one in status] == [("m1", Power.ON, 0), ("m2", Power.ON, 0), ("m3", Power.ON, 0)]
    assert all(one.processes > 0 and one.memory > 0 for one in status)


async def test_the_entry_reaches_the_routers(lab: Lab) -> None:
    record = await lab.record()
    async with aiohttp.ClientSession() as session:

        async def status(url: str, host: str) -> int:
            try:
                async with session.get(url, headers={"Host": host}) as response:
                    await response.read()
                    return response.status
            except aiohttp.ClientError:
                return 0

        for machine in record.machines:
            await until(partial(status, f"http://{machine.router}{HEALTH}", HEALTH_HOST), 200)
        await until(partial(status, f"http://{record.entry}/", "nobody.example"), 404)


async def test_a_lab_that_stands_is_not_replaced(lab: Lab) -> None:
    before = await lab.record()
    with pytest.raises(Conflict, match=f"lab {lab.name} is up already"):
        await Lab(lab.name).up(1, light=True)
    assert await lab.record() == before
    assert await seen_by(lab, "m1") == {"m1", "m2", "m3"}


async def test_a_machine_without_power_is_lost_and_comes_back_as_the_same(lab: Lab) -> None:
    identity = (await lab.exec("m2", ["true"])).code, (await lab.record()).machine("m2").id
    await lab.kill("m2")
    assert (await lab.record()).machine("m2").off
    await until(lambda: seen_by(lab, "m1"), {"m1", "m3"})
    await lab.start("m2")
    await lab.wait_ready()
    assert await seen_by(lab, "m2") == {"m1", "m2", "m3"}
    assert identity == (0, (await lab.record()).machine("m2").id)


async def test_a_paused_machine_is_lost_and_comes_back_by_itself(lab: Lab) -> None:
    await lab.pause("m3")
    assert [one.power for one in await lab.ps()] == [Power.ON, Power.ON, Power.PAUSED]
    took = await until(lambda: seen_by(lab, "m1"), {"m1", "m2"})
    assert took > TTL / 2
    await lab.resume("m3")
    await until(lambda: seen_by(lab, "m1"), {"m1", "m2", "m3"})
    await lab.wait_ready()


async def test_a_partition_hides_the_minority_and_heals(lab: Lab) -> None:
    assert await lab.partition([["m1"]]) == (("m1",), ("m2", "m3"))
    await until(lambda: seen_by(lab, "m2"), {"m2", "m3"})
    assert [one.side for one in await lab.ps()] == [1, 2, 2]
    assert await lab.exec("m1", ["echo", "alive"])
    await lab.heal()
    for name in ("m1", "m2", "m3"):
        await until(partial(seen_by, lab, name), {"m1", "m2", "m3"})


async def test_what_does_not_exist_is_named(lab: Lab) -> None:
    for refused in (lab.kill, lab.start, lab.pause, lab.resume):
        with pytest.raises(NotFound, match=r"no machine 'm9'.*m1, m2, m3"):
            await refused("m9")
    with pytest.raises(InvalidInput, match="no machine 'm9' to cut off"):
        await lab.partition([["m9"]])


async def test_an_agent_that_is_killed_is_started_again(lab: Lab) -> None:
    async def agent() -> int:
        found = [process.pid for process in (await driver.processes(record, "m1")) if "argosy agent" in process.command]
        return max((pid for pid in found if pid != init), default=0)

    record, driver = await lab._open()
    seen = await asyncio.to_thread(processes.scan)
    init = min(processes.below(record.mark("m1"), seen))
    before = await agent()
    await asyncio.to_thread(os.kill, before, signal.SIGKILL)

    async def another() -> bool:
        return await agent() not in (0, before)

    await until(another, True)
    await until(lambda: seen_by(lab, "m1"), {"m1", "m2", "m3"})


async def test_a_machine_joins(lab: Lab) -> None:
    machine = await lab.add({"role": "spare"})
    assert (machine.name, machine.metadata) == ("m4", {"role": "spare"})
    for name in ("m1", "m4"):
        assert await seen_by(lab, name) == {"m1", "m2", "m3", "m4"}
    await lab.remove("m4")
    await until(lambda: seen_by(lab, "m1"), {"m1", "m2", "m3"})


async def test_a_second_lab_of_its_own_kind_lives_beside_the_first_and_leaves_no_trace(lab: Lab, tmp_path: Path) -> None:
    first = await lab.record()
    second = Lab(new_name())
    try:
        light = first.kind == "process"
        settings, binds = {"router.domain": "other.example"}, [f"{tmp_path}:/srv/shared"]
        record = await second.up(1, {"m1": {"role": "web"}}, light=light, ttl=TTL, settings=settings, binds=binds)
        assert record.kind == first.kind
        config = second.folder / "m1" / ("argosy.toml" if light else "upper/etc/argosy/argosy.toml")
        assert 'domain = "other.example"' in await asyncio.to_thread(config.read_text)
        if not light:
            assert (await second.exec("m1", ["touch", "/srv/shared/seen"])).code == 0
            assert (tmp_path / "seen").exists()
        assert record.entry != first.entry
        assert {machine.address for machine in record.machines}.isdisjoint(machine.address for machine in first.machines)
        assert await seen_by(second, "m1") == {"m1"}
        assert await asyncio.to_thread(traces, record.folder) != []
    finally:
        assert await second.down()
    assert await asyncio.to_thread(traces, str(second.folder)) == []
    assert not await second.down()
    assert await seen_by(lab, "m1") == {"m1", "m2", "m3"}


async def test_settings_and_folders_that_are_none_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    lab = Lab(new_name())
    for settings, binds in (
        ({"router.colour": "red"}, []), ({"router.enabled": "never"}, []), ({}, ["/srv"]), ({}, ["srv:/srv"]), ({}, [f"{tmp_path}:srv"]),
        ({}, [f"{tmp_path}/none:/srv"]), ({}, [f"{tmp_path}:/srv:ro"]),
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            await lab.up(1, settings=settings, binds=binds)
    assert not lab.folder.exists()


@pytest.mark.parametrize("kind", ["nspawn", "process"])
async def test_a_crashed_lab_is_removed_and_made_anew(kind: str) -> None:
    if kind == "nspawn":
        await asyncio.to_thread(need_full_machines)
    lab = Lab(new_name())
    try:
        first = await lab.up(1, light=kind == "process", entry="", ttl=TTL)
        driver = (await lab._open())[1]
        await driver.kill(first, "m1")  # behind the lab's back: as after a crash of the host
        again = await lab.up(1, light=kind == "process", entry="", ttl=TTL)
        assert again.machines[0].id != first.machines[0].id
        assert await seen_by(lab, "m1") == {"m1"}
    finally:
        await lab.down()
    assert await asyncio.to_thread(traces, str(lab.folder)) == []


@pytest.mark.parametrize("kind", ["nspawn", "process"])
@pytest.mark.parametrize("words", ["starting m1", "is ready at"])
async def test_a_bring_up_that_is_interrupted_leaves_no_trace(kind: str, words: str) -> None:
    if kind == "nspawn":
        await asyncio.to_thread(need_full_machines)
    reached = asyncio.Event()
    lab = Lab(new_name(), say=lambda text: reached.set() if words in text else None)
    rising = asyncio.create_task(lab.up(2, light=kind == "process", ttl=TTL))
    await reached.wait()
    rising.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rising
    assert await asyncio.to_thread(traces, str(lab.folder)) == []
