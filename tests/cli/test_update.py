"""argosy update and argosy restart --rolling, against a real api and a hand that plays engine and agents."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from argosy.daemon import routes_served
from argosy.engine.loop import Engine
from argosy.model import Placement, RouterDetail, Target, Upstream
from argosy.state import desired, keys
from argosy.state.kinds import PLACEMENTS
from argosy.state.lease import Lease
from argosy.state.records import encode
from argosy.store.base import Put
from tests.api.house import M1
from tests.cli.stage import Stage
from tests.stored import follow_units

OLD = "[Service]\nExecStart=/bin/old\n"
NEW = "[Service]\nExecStart=/bin/new\n"
BAD = "[Service]\nExecStart=/bin/false\n"
SIDEKICK = "[Unit]\nBindsTo=web@%i.service\n[Service]\nExecStart=/bin/announce /services/web/web/%i 10.0.0.1:1\n"
AGAIN = (
    "Correct the text and run argosy update web@.service again: it goes on where it stopped. "
    "argosy update --from-template web@.service puts the text before back."
)
QUICK = ("--steady", "0")


@asynccontextmanager
async def obedient(stage: Stage, fails: str = "/bin/false") -> AsyncIterator[list[str]]:
    """An engine, and agents of one machine: each unit comes to what is wanted of it at once, its sidekick is started anew with it; a text
    that has `fails` in it fails. The names of the units as they were started."""
    house = stage.house
    started: list[str] = []
    launches: dict[str, int] = {}

    async def obey(name: str, unit: Placement) -> None:
        if unit.target is not Target.LAUNCHED:
            await house.observe(name, M1, "inactive", "dead")
            return
        if unit.launch == launches.get(name, 0):
            return
        launches[name] = unit.launch
        started.append(name)
        run = f"{len(started):032x}"
        if fails in unit.text:
            await house.observe(name, M1, "failed", "failed", result="exit-code", code=1, invocation=run)
            return
        await house.observe(name, M1, invocation=run)
        kick = f"kick@{name.partition('@')[2]}"
        if await desired.unit(house.store, kick):
            await house.observe(kick, M1, invocation=run)

    async def play() -> None:
        async for changes in house.cache.follow(PLACEMENTS):
            for key, unit in changes.items.items():
                if unit is not None:
                    await obey(key.partition("/")[2], unit)

    await house.machine(M1)
    lease = Lease(house.store, house.clock, 30.0)
    engine = Engine(house.cache, M1, house.clock, lease, partial(routes_served, house.api.routers))
    tasks = [asyncio.create_task(work) for work in (play(), lease.hold(), engine.run())]
    try:
        yield started
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def text(stage: Stage, name: str) -> str:
    stored = await desired.unit(stage.house.store, name)
    assert stored is not None
    return stored.unit.text


async def until_text(stage: Stage, name: str, wanted: str) -> None:
    async for changes in follow_units(stage.house.store, stage.house.clock):
        unit = changes.items.get(name)
        if unit is not None and unit.text == wanted:
            return


async def begin(stage: Stage, started: list[str], count: int = 3) -> list[str]:
    """web@1, web@2, ... run, of a template that the cluster knows."""
    await stage.house.submit("web@.service", OLD)
    names = [f"web@{number}.service" for number in range(1, count + 1)]
    await stage.good("start", *names)
    started.clear()
    return names


async def test_a_template_stands_for_its_instances_and_is_replaced_last(stage: Stage) -> None:
    async with obedient(stage) as started:
        names = await begin(stage, started, 11)
        stage.file("web@.service", NEW)
        lines = (await stage.good("update", "web@.service", *QUICK)).splitlines()
    assert started == names, "one after the other, by number"
    assert lines[0] == "web@1.service: updating, to begin with"
    assert re.fullmatch(r"web@1\.service: healthy again after \d\.\d s \(1 of 11\)", lines[1])
    assert lines[2] == "web@2.service: updating, all before it are healthy"
    assert lines[-2:] == ["web@.service: replaced, for instances to come", "Done: 11 are changed and healthy"]
    assert {await text(stage, name) for name in ("web@.service", *names)} == {NEW}


async def test_one_instance_is_tried_first_and_the_template_is_left_alone(stage: Stage) -> None:
    async with obedient(stage) as started:
        names = await begin(stage, started)
        stage.file("web@.service", NEW)
        await stage.good("update", "web@2", *QUICK)
        assert (started, await text(stage, "web@.service")) == (["web@2.service"], OLD)
        said = await stage.good("update", "web@.service", *QUICK)
        assert started == ["web@2.service", "web@1.service", "web@3.service"]
        assert said.endswith("Done: 2 are changed and healthy; 1 is as wished already\n")
    assert {await text(stage, name) for name in names} == {NEW}


async def test_it_stops_at_the_first_that_fails_and_says_what_is_how(stage: Stage) -> None:
    async with obedient(stage) as started:
        names = await begin(stage, started)
        stage.file("web@.service", BAD)
        said = await stage.run("update", "web@.service", *QUICK)
        assert said.code == 1
        assert started == names[:1]
        assert "web@1.service: failed after" in said.out
        assert said.err.splitlines() == [
            "Error: web@1.service: Unit web@1.service failed on 11111111.../10.0.0.1: exit status 1",
            "  failed: web@1.service",
            "  not touched: web@2.service, web@3.service",
            "  argosy status web@1.service and argosy journal web@1.service tell more",
            f"  {AGAIN}",
        ]
        again = await stage.run("update", "web@.service", *QUICK)
        assert (again.code, started) == (1, names[:1]), "it is on that text already, and fails: nothing is touched"
        await stage.good("update", "--from-template", "web@.service", *QUICK)
        assert started == ["web@1.service", "web@1.service"]
    assert {await text(stage, name) for name in names} == {OLD}


async def test_rollback_puts_the_old_text_back_where_it_was_changed(stage: Stage) -> None:
    async with obedient(stage, fails="/bin/false 2") as started:
        names = await begin(stage, started)
        stage.file("web@1.service", NEW)
        stage.file("web@2.service", "[Service]\nExecStart=/bin/false 2\n")
        said = await stage.run("update", "web@1", "web@2", "--on-failure", "rollback", "--json", *QUICK)
    assert said.code == 1
    assert started == ["web@1.service", "web@2.service", "web@2.service", "web@1.service"], "the failed one first"
    shown = json.loads(said.out)
    assert (shown["result"], [unit["stage"] for unit in shown["units"]]) == ("rolled-back", ["restored", "restored"])
    assert "exit status 1" in shown["reason"]
    assert {await text(stage, name) for name in names} == {OLD}


async def test_json_says_what_was_done_and_progress_goes_to_standard_error(stage: Stage) -> None:
    async with obedient(stage) as started:
        await begin(stage, started, 1)
        stage.file("web@.service", NEW)
        said = await stage.run("update", "web@.service", "--json", *QUICK)
    shown = json.loads(said.out)
    assert (said.code, shown["result"], shown["templates"]) == (0, "done", ["web@.service"])
    assert shown["units"] == [{"name": "web@1.service", "stage": "ready", "reason": "healthy", "changed": True}]
    assert "web@1.service: updating" in said.err


async def test_a_sidekick_and_its_route_are_waited_for(stage: Stage) -> None:
    async def report(*instances: str) -> None:
        upstreams = tuple(Upstream("web", instance, "10.0.0.1:1", 1.0) for instance in instances)
        stage.router.served = RouterDetail(upstreams)
        await stage.house.store.commit([], [Put(keys.router(M1), encode(stage.router.report(M1)))])

    async with obedient(stage) as started:
        await begin(stage, started, 2)
        await stage.house.submit("kick@.service", SIDEKICK)
        await stage.good("start", "kick@1", "kick@2")
        await report("1", "2")
        stage.file("web@.service", NEW)
        process = await stage.start("update", "web@.service", *QUICK)
        assert process.stdout is not None
        assert b"web@1.service: updating" in await process.stdout.readline()
        await report("2")
        healthy = asyncio.create_task(process.stdout.readline())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(healthy), 1.2)
        assert started[2:] == ["web@1.service"], "the router does not serve the first again"
        await report("1", "2")
        assert b"web@1.service: healthy again" in await asyncio.wait_for(healthy, 20)
        out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert b"Done: 2 are changed and healthy" in out


async def test_a_rolling_restart_of_all_that_match_and_run(stage: Stage) -> None:
    async with obedient(stage) as started:
        names = await begin(stage, started)
        await stage.good("stop", "web@3")
        said = await stage.good("restart", "--rolling", "web@*", *QUICK)
        assert started == names[:2]
        assert said.splitlines()[0] == "web@1.service: restarting, to begin with"
        await stage.good("restart", "web@[12]")
        assert sorted(started) == sorted(names[:2] * 2)


async def test_other_comments_restart_nothing(stage: Stage) -> None:
    async with obedient(stage) as started:
        await begin(stage, started, 1)
        stage.file("web@.service", f"# said differently\n{OLD}")
        await stage.good("update", "web@.service", *QUICK)
    assert started == []
    assert "said differently" in await text(stage, "web@1.service")


async def test_somebody_elses_change_meanwhile_ends_it(stage: Stage) -> None:
    async with obedient(stage) as started:
        await begin(stage, started, 2)
        stage.file("web@.service", NEW)
        process = await stage.start("update", "web@.service", "--steady", "1.5")
        assert process.stdout is not None
        await process.stdout.readline()
        await until_text(stage, "web@1.service", NEW)
        reply = await stage.house.own("PUT", "/units/web@1.service", {"text": OLD, "replace": True})
        assert reply.status == 200
        _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert b"was given another text meanwhile" in err


REFUSED = [
    (("update", "nothing.service"), 1, "the cluster does not know nothing.service"),
    (("update", "nothing@.service"), 1, "knows neither nothing@.service nor an instance of it"),
    (("update", "nothing*"), 1, "no unit matches nothing*"),
    (("update", "plain.service"), 2, "there is no file plain.service here"),
    (("restart", "--rolling", "plain"), 1, "unit plain.service is not launched"),
    (("restart", "--json", "plain"), 2, "--json is told of --rolling only"),
]


@pytest.mark.parametrize(("words", "code", "message"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
async def test_what_cannot_be_changed_is_refused(stage: Stage, words: tuple[str, ...], code: int, message: str) -> None:
    await stage.house.submit("plain.service", OLD)
    said = await stage.run(*words)
    assert (said.code, message in said.err) == (code, True), said


async def test_a_file_in_another_folder_is_named_with_it(stage: Stage, tmp_path: Path) -> None:
    async with obedient(stage) as started:
        await begin(stage, started, 1)
        stage.file("deep/web@.service", NEW)
        await stage.good("update", "deep/web@.service", *QUICK)
        assert started == ["web@1.service"]
    assert await text(stage, "web@1.service") == NEW
