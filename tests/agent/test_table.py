"""The agent looks only at what has changed, and misses nothing by that."""

from __future__ import annotations

import asyncio
import random
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.agent.plan import Wait, plan, report
from argosy.model import Target
from tests.agent.stage import APP, EXCLUSIVE, SIDEKICK, M, Stage, on_stage, placed
from tests.conftest import FakeClock, settle

FEW, MANY = 60, 5_000
ONESHOT = "[Service]\nType=oneshot\nExecStart=/bin/job\n"


class Steps:
    """Counts the lines of Argosy's own code that are executed."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Steps:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if "/argosy/" not in frame.f_code.co_filename or "/tests/" in frame.f_code.co_filename:
            return None
        self.count += 1
        return self._trace


async def work(clock: FakeClock, count: int) -> dict[str, tuple[int, int]]:
    """For each of several events on a machine with so many units: how many of them are looked at, and lines of code."""
    async with on_stage(clock) as stage:
        await stage.begin()
        texts = (APP, EXCLUSIVE, ONESHOT, f"{APP}Restart=no\n")
        for at in range(0, count, 100):
            await stage.place(*(placed(f"u{number}.service", texts[number % 4]) for number in range(at, at + 100)))
        await stage.place(placed(), placed("kick.service", SIDEKICK))
        await clock.advance(1)
        found = {}

        async def measure(what: str, happen: Any) -> None:
            looked = stage.runtime.looked
            with Steps() as steps:
                result = happen()
                if result is not None:
                    await result
                await settle(100)
            found[what] = stage.runtime.looked - looked, steps.count

        await measure("a unit fails", lambda: stage.runtime.fail("app.service"))
        await measure("its retry", lambda: clock.advance(1.2))
        await measure("a unit is placed", lambda: stage.place(placed("new.service")))
        await measure("a unit is launched anew", lambda: stage.place(placed("new.service", launch=2)))
        await measure("a unit is removed", lambda: stage.remove("new.service"))
        assert stage.runtime.pid("u7.service")
        return found


async def test_the_work_for_one_event_does_not_grow_with_the_units_of_the_machine(clock: FakeClock) -> None:
    few, many = await work(clock, FEW), await work(FakeClock(), MANY)
    assert few.keys() == many.keys()
    for what, (looked, lines) in many.items():
        assert looked <= 20, what
        assert lines <= 1.3 * few[what][1], what


async def test_a_reconnected_runtime_is_looked_at_in_full_and_so_is_everything_now_and_then(stage: Stage, clock: FakeClock) -> None:
    await stage.begin()
    await stage.place(*(placed(f"u{number}.service") for number in range(50)))
    await clock.advance(1)
    before = stage.runtime.looked
    stage.runtime.lose()
    stage.runtime.away = False
    await clock.advance(2)
    assert stage.runtime.looked - before >= 50
    before = stage.runtime.looked
    await clock.advance(700)
    await stage.place(placed("u50.service"))
    assert stage.runtime.looked - before >= 50


@pytest.fixture
async def stage(clock: FakeClock) -> Any:
    async with on_stage(clock) as stage:
        yield stage


UNITS = ("app.service", "kick.service", "b.service", "job.service", "x.service")
TEXTS = {"app.service": APP, "kick.service": SIDEKICK, "b.service": EXCLUSIVE, "job.service": ONESHOT, "x.service": APP + "Restart=no\n"}


@given(st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_whatever_happens_a_full_look_finds_nothing_that_was_missed(seed: int) -> None:
    asyncio.run(_anything(random.Random(seed)))


async def _anything(dice: random.Random) -> None:
    clock = FakeClock()
    async with on_stage(clock) as stage:
        await stage.begin()
        launches = dict.fromkeys(UNITS, 1)
        for _ in range(20):
            name = dice.choice(UNITS)
            seen = await stage.runtime.units()
            match dice.randrange(9):
                case 0 | 1:
                    await stage.place(placed(name, TEXTS[name], launch=launches[name]))
                case 2:
                    launches[name] += 1
                    await stage.place(placed(name, TEXTS[name], launch=launches[name]))
                case 3:
                    await stage.place(placed(name, TEXTS[name], launch=launches[name], target=dice.choice(tuple(Target))))
                case 4:
                    await stage.remove(name)
                case 5 if name in seen and seen[name].active == "active":
                    stage.runtime.fail(name)
                case 6 if name in seen and seen[name].active == "active":
                    stage.runtime.down(name)
                case 7:
                    stage.runtime.refuses = {name: "it is said so"} if dice.random() < 0.5 else {}
                case _:
                    await clock.advance(dice.choice((0.3, 2.0, 8.0)))
            if dice.random() < 0.1:
                stage.store.away = not stage.store.away
        stage.store.away = False
        stage.runtime.refuses = {}
        for _ in range(100):
            await clock.advance(0.5)
            await settle(200)
            missed = await _missed(stage, clock)
            if not missed:
                break
        assert missed == []


async def _missed(stage: Stage, clock: FakeClock) -> list[object]:
    """What a look at everything finds that the agent does not know, or has not done."""
    assert stage.agent is not None
    table = stage.agent._units
    observed = await stage.runtime.units()
    if table.placements is None or table.observed != observed:
        return [table.observed, observed]
    told = report(M, table.placements, observed, table.states, clock.now())
    if told != table.states or told != await stage.states():
        return [told, table.states, await stage.states()]
    return [action for action in plan(table.placements, observed, told, clock.now()) if not isinstance(action, Wait)]
