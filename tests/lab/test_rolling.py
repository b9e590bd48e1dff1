"""Rolling updates under load: four instances of examples/hello on four machines, 200 requests a second through the entry."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from argosy.install import program
from argosy.lab.lab import Lab
from argosy.lab.leaders import engine_leader
from argosy.lab.load import Load
from argosy.reconcile import SystemClock
from tests.lab.cluster import Cluster, placed_on, whole
from tests.lab.conftest import raised

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(300)]

HELLO = Path(__file__).parent.parent.parent / "examples" / "hello"
HOST = "hello.example"
RATE = 200.0
INSTANCES = (1, 2, 3, 4)
APPS = [f"hello@{number}.service" for number in INSTANCES]
SIDEKICKS = [f"hello-announce@{number}.service" for number in INSTANCES]


on_both = pytest.mark.parametrize("four", ["process", "nspawn"], indirect=True)
on_light = pytest.mark.parametrize("four", ["process"], indirect=True)
BRISK = ("--steady", "0.5")


@pytest.fixture(scope="module")
def four(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Four machines of a kind."""
    yield from raised(request.param, machines=4)


@pytest_asyncio.fixture
async def cluster(four: Lab) -> AsyncIterator[Cluster]:
    async with whole(four) as standing:
        yield standing


class Web:
    """hello in four instances, in a folder of unit files that a person would edit."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder

    def write(self, *, says: str = "%i", command: str = "") -> None:
        """The app's file; with another word for its instance it says so, with another command it is no web application any more."""
        app = HELLO / "hello.py" if self.cluster.record.kind == "process" else Path("/srv/hello/hello.py")
        text = (HELLO / "hello@.service").read_text().replace("/srv/hello/hello.py %i", f"{app} {says}")
        if command:
            text = "\n".join(f"ExecStart={command}" if line.startswith("ExecStart=") else line for line in text.splitlines()) + "\n"
        (self.folder / "hello@.service").write_text(text)

    async def begin(self) -> None:
        if self.cluster.record.kind != "process":
            for machine in self.cluster.askers:
                await self.cluster.lab.exec(machine, ["install", "-D", str(HELLO / "hello.py"), "/srv/hello/hello.py"])
        self.write()
        (self.folder / "hello-announce@.service").write_text((HELLO / "hello-announce@.service").read_text())
        code, said = await self.argosy("submit", "hello@.service", "hello-announce@.service")
        assert code == 0, said
        code, said = await self.argosy("start", *APPS, *SIDEKICKS)
        assert code == 0, said
        await self.served()

    async def served(self) -> None:
        """Waits until every router serves all instances."""
        end = asyncio.get_running_loop().time() + 30
        while True:
            routers = (await self.cluster["m1"].ask("GET", "/routes"))["routers"]
            counts = [sum(up["app"] == "hello" for up in router.get("upstreams", [])) for router in routers]
            if counts == [len(INSTANCES)] * len(self.cluster.askers):
                return
            assert asyncio.get_running_loop().time() < end, f"the routers serve {counts} instances"
            await asyncio.sleep(0.1)

    async def argosy(self, *words: str) -> tuple[int, str]:
        """The program, as a person runs it in that folder."""
        process = await asyncio.create_subprocess_exec(
            program(), *words, stdout=PIPE, stderr=STDOUT, cwd=self.folder, env={**os.environ, "ARGOSY_LAB": self.cluster.lab.name}
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    async def launches(self) -> dict[str, int]:
        units = await self.cluster["m1"].units()
        return {name: units[name]["launch"] for name in (*APPS, *SIDEKICKS)}

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[Load]:
        """A request every 5 ms meanwhile, none of which may fail."""
        load = Load(f"http://{self.cluster.record.entry}/", HOST, RATE, SystemClock())
        running = asyncio.create_task(load.run())
        try:
            await asyncio.sleep(1.0)
            yield load
            await asyncio.sleep(1.0)
        finally:
            load.stop()
            await running
        assert [(answer.status, answer.text) for answer in load.failed()][:5] == [], f"of {len(load.answers)}"


@pytest_asyncio.fixture
async def web(cluster: Cluster, tmp_path: Path) -> Web:
    made = Web(cluster, tmp_path)
    await made.begin()
    return made


@on_both
async def test_a_new_text_and_then_a_restart_roll_over_four_instances_without_a_failed_request(web: Web) -> None:
    web.write(says="new-%i")
    async with web.under_load() as load:
        code, said = await web.argosy("update", "hello@.service")
        assert code == 0, said
        updated = load.clock.monotonic()
    for number in INSTANCES:
        assert any(f"instance new-{number} " in text for text in load.by_text(updated)), said
    assert not any("instance new-" not in text for text in load.by_text(updated + 0.5))
    assert said.splitlines()[-1] == "Done: 4 are changed and healthy"
    before = await web.launches()
    async with web.under_load():
        code, said = await web.argosy("restart", "--rolling", "hello@*")
        assert code == 0, said
    after = await web.launches()
    assert {name: after[name] - before[name] for name in APPS} == dict.fromkeys(APPS, 1)
    code, said = await web.argosy("update", "hello@.service")
    assert (code, said) == (0, "Done: 0 are changed and healthy; 4 are as wished already\n")


@on_light
async def test_a_text_that_fails_stops_at_the_first_and_going_back_and_rollback_lose_nothing_either(web: Web) -> None:
    before = await web.launches()
    web.write(command="/bin/false")
    async with web.under_load():
        code, said = await web.argosy("update", "hello@.service")
        assert code == 1, said
        assert "not touched: hello@2.service, hello@3.service, hello@4.service" in said, said
        after = await web.launches()
        assert [after[name] - before[name] for name in APPS] == [1, 0, 0, 0]
        code, said = await web.argosy("update", "--from-template", "hello@.service", *BRISK)
        assert code == 0, said
        assert "Done: 1 is changed and healthy; 3 are as wished already" in said
        code, said = await web.argosy("update", "hello@.service", "--on-failure", "rollback", *BRISK)
        assert code == 1, said
        assert "put back: hello@1.service" in said, said
        await web.served()
    texts = {unit["name"]: unit["hash"] for unit in (await web.cluster["m1"].units()).values()}
    assert len({texts[name] for name in (*APPS, "hello@.service")}) == 1


@on_light
async def test_an_app_that_runs_but_does_not_answer_stops_it_too(web: Web) -> None:
    web.write(command="/bin/sleep 1000")
    async with web.under_load():
        code, said = await web.argosy("update", "hello@.service", "--timeout", "6", "--on-failure", "rollback", *BRISK)
        assert code == 1, said
    assert "hello@1.service: failed after" in said
    assert "hello-announce@1.service is activating" in said, said
    assert "put back: hello@1.service" in said, said


async def updating(web: Web, until: bytes, *words: str) -> tuple[asyncio.subprocess.Process, bytes]:
    """The program at an update of hello, once it has printed that; and all it has printed."""
    environ = {**os.environ, "ARGOSY_LAB": web.cluster.lab.name}
    command = (program(), "update", "hello@.service", *words)
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, cwd=web.folder, env=environ)
    assert process.stdout is not None
    said = b""
    while until not in said:
        line = await process.stdout.readline()
        assert line, said
        said += line
    return process, said


@on_light
async def test_interrupted_the_rollout_goes_on_by_itself_and_is_looked_at_again(web: Web) -> None:
    before = await web.launches()
    web.write(says="next-%i")
    async with web.under_load():
        process, _ = await updating(web, b"hello@2.service: updating", *BRISK)
        process.send_signal(2)
        out, _ = await process.communicate()
        assert process.returncode == 130
        name = out.decode().partition("rollout ")[2].partition(" ")[0]
        code, said = await web.argosy("rollout", name, "--follow")
        assert (code, said.splitlines()[-1]) == (0, "Done: 4 are changed and healthy"), said
    after = await web.launches()
    assert [after[name] - before[name] for name in APPS] == [1, 1, 1, 1]


@on_light
async def test_a_rollout_whose_leader_is_killed_in_the_middle_finishes_by_itself_without_a_failed_request(web: Web) -> None:
    before = await web.launches()
    web.write(says="handed-on-%i")
    async with web.under_load():
        process, said = await updating(web, b"hello@2.service: updating", *BRISK)
        leader = await engine_leader(web.cluster["m1"])
        await web.cluster.kill_program(leader, "argosy", "agent")
        rest, _ = await process.communicate()
        assert process.returncode == 0, (said + rest).decode()
    assert b"Done: 4 are changed and healthy" in rest
    after = await web.launches()
    assert [after[name] - before[name] for name in APPS] == [1, 1, 1, 1], "no instance is changed twice"


@on_light
async def test_a_single_instance_is_changed_without_a_failed_request_when_its_new_copy_comes_first(web: Web) -> None:
    code, said = await web.argosy("unload", *[name for name in (*APPS, *SIDEKICKS) if "@1." not in name])
    assert code == 0, said
    before = placed_on(await web.cluster["m1"].units(), APPS[0])
    async with web.under_load():
        code, said = await web.argosy("restart", "--rolling", "--start-first", "hello@1", *BRISK)
        assert code == 0, said
    assert "its new copy is healthy" in said
    assert placed_on(await web.cluster["m1"].units(), APPS[0]) != before


ROLLING = """[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'sleep 0.7; systemd-notify --ready; exec sleep {}'
[X-Fleet]
Global=true
[X-Argosy]
Update=rolling
"""


@on_light
async def test_a_global_unit_is_changed_on_one_machine_after_the_other(cluster: Cluster, tmp_path: Path) -> None:
    web = Web(cluster, tmp_path)
    (tmp_path / "every.service").write_text(ROLLING.format(1000))
    code, said = await web.argosy("start", "every.service")
    assert code == 0, said
    (tmp_path / "every.service").write_text(ROLLING.format(2000))
    fewest = len(cluster.askers)

    async def watch() -> None:
        nonlocal fewest
        index = 0
        while True:
            found = await cluster["m1"].ask("GET", "/units", **({"index": index, "wait": 2} if index else {}))
            index = found["index"]
            states = [state for unit in found["units"] if unit["name"] == "every.service" for state in unit.get("states", [])]
            fewest = min(fewest, sum(state.get("active") == "active" for state in states))

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        code, said = await web.argosy("update", "every.service")
        watching.cancel()
    assert code == 0, said
    assert fewest == len(cluster.askers) - 1, said
    unit = (await cluster["m1"].units())["every.service"]
    assert {state["hash"] for state in unit["states"]} == {unit["hash"]}
