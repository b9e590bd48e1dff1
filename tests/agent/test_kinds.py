"""Workloads of several kinds on one machine, each run by its own runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from argosy.agent.bodies import body
from argosy.model import Target
from tests.agent.stage import APP, FakeRuntime, Stage, on_stage, placed
from tests.conftest import FakeClock, settle

CONTAINER = '{"image": "web:1"}'
C = "container"


class FakeContainers(FakeRuntime):
    """A runtime whose bodies are no unit files."""

    kind = "fake"

    @staticmethod
    def digest(text: str) -> str:
        return body(placed("c1", text, kind=C)).hash

    @staticmethod
    def leaders(name: str, text: str) -> tuple[str, ...]:
        return ()


@pytest_asyncio.fixture
async def stage(clock: FakeClock) -> AsyncIterator[Stage]:
    async with on_stage(clock) as stage:
        stage.others[C] = FakeContainers(clock)
        await stage.begin()
        yield stage


async def test_each_kind_is_run_by_its_own_runtime_and_states_stand_side_by_side(stage: Stage) -> None:
    await stage.place(placed(), placed("c1", CONTAINER, kind=C), placed("c2", CONTAINER, kind=C, target=Target.LOADED))
    assert stage.runtime.calls == ["load app", "start app"]
    assert stage.others[C].calls == ["load c1 c2", "start c1"]
    assert {name: (state.load, state.active) for name, state in (await stage.states()).items()} == {
        "app.service": ("loaded", "active"),
        "c1": ("loaded", "active"),
        "c2": ("loaded", "inactive"),
    }
    assert stage.agent is not None
    assert (await stage.agent.detail("c1")).observed.name == "c1"
    await stage.remove("app.service", "c1", "c2")
    assert (stage.runtime.running(), stage.others[C].running(), await stage.states()) == ([], [], {})
    assert stage.others[C].calls[-2:] == ["stop c1", "unload c1 c2"] or stage.others[C].calls[-1] == "unload c1"


async def test_a_failing_workload_of_another_kind_is_tried_again(stage: Stage, clock: FakeClock) -> None:
    await stage.place(placed("c1", CONTAINER, kind=C))
    stage.others[C].fail("c1")
    await settle()
    state = (await stage.states())["c1"]
    assert (state.active, state.failures) == ("failed", 1)
    await clock.advance(1.5)
    assert stage.others[C].running() == ["c1"]


async def test_a_kind_without_a_runtime_is_refused_with_a_reason_and_harms_nothing(stage: Stage, clock: FakeClock) -> None:
    await stage.place(placed("vm1", "a disk", kind="vm"), placed())
    state = (await stage.states())["vm1"]
    assert (state.result, state.launch, state.load) == ("refused", 1, "error")
    assert state.note == "this machine has no runtime for workloads of kind 'vm'"
    assert stage.runtime.running() == ["app.service"]
    machine = await stage.machine()
    assert machine is not None
    assert machine.problems == ()
    await clock.advance(200)
    assert (await stage.states())["vm1"].failures > 3
    assert stage.runtime.calls == ["load app", "start app"]
    await stage.remove("vm1")
    assert set(await stage.states()) == {"app.service"}


async def test_while_the_runtime_of_one_kind_is_away_the_others_go_on_and_the_machine_says_so(stage: Stage, clock: FakeClock) -> None:
    await stage.place(placed("c1", CONTAINER, kind=C))
    stage.others[C].lose()
    await stage.place(placed(), placed("c2", CONTAINER, kind=C))
    await stage.remove("c1")
    assert stage.runtime.running() == ["app.service"]
    assert (await stage.states())["c1"].active == "active"
    machine = await stage.machine()
    assert machine is not None
    assert [(problem.text, problem.blocking) for problem in machine.problems] == [
        ("its workloads of kind container cannot be managed: the runtime is away", False)
    ]
    stage.others[C].away = False
    await clock.advance(10)
    assert stage.others[C].running() == ["c2"]
    machine = await stage.machine()
    assert machine is not None
    assert machine.problems == ()


async def test_an_agent_joins_while_the_runtime_of_another_kind_is_away(clock: FakeClock) -> None:
    async with on_stage(clock) as stage:
        stage.others[C] = FakeContainers(clock)
        stage.others[C].away = True
        await stage.begin()
        await stage.place(placed())
        assert stage.runtime.running() == ["app.service"]


async def test_a_name_that_becomes_another_kind_leaves_the_one_runtime_before_it_runs_under_the_other(stage: Stage) -> None:
    await stage.place(placed("x.service"))
    await stage.place(placed("x.service", CONTAINER, kind=C, launch=2))
    assert stage.runtime.calls[-2:] == ["stop x", "unload x"]
    assert (stage.runtime.running(), stage.others[C].running()) == ([], ["x.service"])
    assert (await stage.states())["x.service"].hash == body(placed("x.service", CONTAINER, kind=C)).hash
    await stage.place(placed("x.service", APP, launch=3))
    assert (stage.runtime.running(), stage.others[C].running()) == (["x.service"], [])


async def test_a_restarted_agent_finds_workloads_of_every_kind_again(stage: Stage) -> None:
    await stage.place(placed(), placed("c1", CONTAINER, kind=C))
    pids = stage.runtime.pid("app.service"), stage.others[C].pid("c1")
    await stage.stop()
    await stage.begin()
    assert (stage.runtime.pid("app.service"), stage.others[C].pid("c1")) == pids
    assert stage.others[C].calls == ["load c1", "start c1"]


@pytest.mark.parametrize("text", ["", "[Service", CONTAINER])
def test_a_body_of_an_unknown_kind_asks_nothing(text: str) -> None:
    opaque = body(placed("x", text, kind="vm"))
    assert (opaque.oneshot, opaque.retries, tuple(opaque.requirements("x").binds_to)) == (False, True, ())
    assert opaque.hash == body(placed("y", text, kind="vm")).hash
    assert opaque.hash != body(placed("y", text + " ", kind="vm")).hash
