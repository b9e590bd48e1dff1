"""Services that fail at once, often, rarely, while they are stopped, and what of it operators see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from argosy.errors import InvalidInput, Refused, StoreUnavailable, Unsuitable
from argosy.services import LEAST, LONGEST, MOST, OFTEN, WELL, Service, Services, words
from tests.conftest import FakeClock, settle


class Play:
    """A service that raises the next of its errors after so many seconds, and then runs on. `starts` are the times of its starts."""

    def __init__(self, clock: FakeClock, *errors: BaseException, after: float = 0.0) -> None:
        self.clock = clock
        self.errors = list(errors)
        self.after = after
        self.starts: list[float] = []

    async def run(self) -> None:
        self.starts.append(self.clock.monotonic())
        await self.clock.sleep(self.after)
        if self.errors:
            raise self.errors.pop(0)
        await asyncio.Event().wait()


class Stage:
    def __init__(self, table: Mapping[str, Service], clock: FakeClock) -> None:
        self.told: list[tuple[str, str]] = []
        self.services = Services(table, clock, lambda name, text: self.told.append((name, text)))
        self.task = asyncio.create_task(self.services.run())

    def figure(self, name: str) -> str:
        """A line of /metrics."""
        registry = CollectorRegistry()
        registry.register(self.services)
        lines = generate_latest(registry).decode().splitlines()
        return next(line for line in lines if line.startswith(name))


@asynccontextmanager
async def running(clock: FakeClock, **plays: Play) -> AsyncIterator[Stage]:
    stage = Stage({name: Service(play.run) for name, play in plays.items()}, clock)
    await settle()
    try:
        yield stage
    finally:
        stage.task.cancel()
        await asyncio.gather(stage.task, return_exceptions=True)
        assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set(), "no task is left behind"


async def test_an_unexpected_error_ends_its_service_only_which_is_started_again(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Play(clock), Play(clock, KeyError("x"))
    async with running(clock, good=good, bad=bad) as stage:
        assert stage.figure('argosy_service_running{service="bad"}').endswith(" 0.0")
        assert stage.figure('argosy_service_running{service="good"}').endswith(" 1.0")
        await clock.advance(LEAST)
        assert len(bad.starts) == 2
        assert len(good.starts) == 1
        assert stage.figure('argosy_service_restarts_total{service="bad"}').endswith(" 1.0")
        assert stage.figure('argosy_service_running{service="bad"}').endswith(" 1.0")
        assert stage.told == [], "once is no problem"
    assert "service bad failed: KeyError: 'x'; starting it again in 0.5 s" in caplog.messages
    assert "Traceback" in caplog.text


async def test_a_service_that_keeps_failing_is_started_ever_more_slowly_and_told_of(clock: FakeClock) -> None:
    bad = Play(clock, *(ValueError("no") for _ in range(12)))
    async with running(clock, bad=bad) as stage:
        await clock.advance(3 * MOST)
        pauses = [after - before for before, after in zip(bad.starts, bad.starts[1:], strict=False)]
        assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60]
        assert stage.told == [("bad", "service bad keeps failing: ValueError: no")] * (len(bad.starts) - OFTEN + 1)
        await clock.advance(10 * MOST)
        assert stage.told[-1] == ("bad", ""), "it has run well for a while"
        bad_again = len(stage.told)
        await clock.advance(10 * WELL)
        assert len(stage.told) == bad_again


async def test_a_service_that_fails_often_without_ever_running_well_is_told_of(clock: FakeClock) -> None:
    bad = Play(clock, *(ValueError("no") for _ in range(6)), after=WELL - 1)
    async with running(clock, bad=bad) as stage:
        await clock.advance(4 * WELL)
        assert ("bad", "service bad keeps failing: ValueError: no") in stage.told


async def test_a_service_that_fails_rarely_is_only_started_again_at_once(clock: FakeClock) -> None:
    bad = Play(clock, *(ValueError("no") for _ in range(6)), after=WELL + 1)
    async with running(clock, bad=bad) as stage:
        await clock.advance(7 * (WELL + 1 + LEAST))
        assert len(bad.starts) == 7
        assert {text for _, text in stage.told} <= {""}
        assert [after - before for before, after in zip(bad.starts, bad.starts[1:], strict=False)] == [WELL + 1 + LEAST] * 6


@pytest.mark.parametrize("error", [InvalidInput("bad"), Unsuitable("taken"), Refused("kept alive")], ids=lambda error: str(error))
@pytest.mark.parametrize(
    "wrap", [lambda error: error, lambda error: ExceptionGroup("", [ExceptionGroup("", [error])])], ids=["bare", "group"]
)
async def test_what_an_operator_must_mend_ends_the_process_at_the_first_start(
    clock: FakeClock, error: Exception, wrap: Callable[[Exception], Exception]
) -> None:
    async with running(clock, good=Play(clock), bad=Play(clock, wrap(error), after=3)) as stage:
        await clock.advance(3)
        with pytest.raises(ExceptionGroup) as ended:
            await stage.task
        assert ended.value.exceptions == (error,)


async def test_what_an_operator_must_mend_is_a_problem_later(clock: FakeClock) -> None:
    table = {
        "restarted": Service(Play(clock, ValueError("no"), *(InvalidInput("bad") for _ in range(5))).run),
        "old": Service(Play(clock, Unsuitable("taken"), after=WELL).run),
        "started": Service(Play(clock, Refused("kept alive")).run, has_started=lambda: True),
        "lenient": Service(Play(clock, Refused("no credentials")).run, fatal=(InvalidInput,)),
        "away": Service(Play(clock, StoreUnavailable("away")).run),
    }
    stage = Stage(table, clock)
    await clock.advance(2 * WELL)
    assert not stage.task.done()
    assert stage.told[:1] == [("restarted", "service restarted keeps failing: bad")]
    assert all(standing.running and standing.restarts for standing in stage.services.standing.values())
    stage.task.cancel()
    await asyncio.gather(stage.task, return_exceptions=True)


async def test_a_service_that_has_not_started_may_take_long_to_find_what_an_operator_must_mend(clock: FakeClock) -> None:
    stage = Stage({"agent": Service(Play(clock, Refused("kept alive"), after=2 * WELL).run, has_started=lambda: False)}, clock)
    await clock.advance(2 * WELL)
    with pytest.raises(ExceptionGroup):
        await stage.task


async def test_a_service_that_returns_or_cancels_itself_has_failed(clock: FakeClock) -> None:
    starts = []

    async def ends() -> None:
        starts.append(clock.monotonic())

    cancelled = Play(clock, asyncio.CancelledError())
    async with running(clock, cancelled=cancelled) as stage:
        await clock.advance(LEAST)
        assert len(cancelled.starts) == 2
        assert not stage.task.done()
    stage = Stage({"ends": Service(ends)}, clock)
    await clock.advance(10)
    assert len(starts) > 2
    assert stage.told[0] == ("ends", "service ends keeps failing: RuntimeError: it has returned")
    stage.task.cancel()
    await asyncio.gather(stage.task, return_exceptions=True)


async def test_services_that_fail_while_they_are_stopped_are_not_started_again(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    starts = []

    async def fails_on_the_way_out() -> None:
        starts.append(1)
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("on the way out")

    async def group_fails_on_the_way_out() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails_on_the_way_out())

    stage = Stage({"one": Service(fails_on_the_way_out), "two": Service(group_fails_on_the_way_out)}, clock)
    await settle()
    stage.task.cancel()
    await settle()
    assert stage.task.cancelled()
    assert len(starts) == 2
    assert "service one failed while it was stopped: ValueError: on the way out" in caplog.messages
    assert "service two failed while it was stopped: ValueError: on the way out" in caplog.messages


async def test_a_service_is_stopped_while_it_waits_to_be_started_again(clock: FakeClock) -> None:
    async with running(clock, bad=Play(clock, ValueError("no"))) as stage:
        stage.task.cancel()
        await settle()
        assert stage.task.cancelled()


async def test_the_log_says_which_services_cannot_do_without_one(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Play(clock, StoreUnavailable("the disk is gone")), Play(clock)
    stage = Stage({"lease": Service(bad.run), "agent": Service(good.run, needs=("lease",))}, clock)
    await settle()
    assert caplog.messages == ["service lease failed: the disk is gone; starting it again in 0.5 s; agent cannot do without it"]
    assert "Traceback" not in caplog.text, "an expected error needs none"
    assert len(good.starts) == 1
    stage.task.cancel()
    await asyncio.gather(stage.task, return_exceptions=True)


async def test_a_table_that_lacks_what_a_service_needs_is_refused(clock: FakeClock) -> None:
    with pytest.raises(KeyError, match="service agent needs lease"):
        Services({"agent": Service(Play(clock).run, needs=("lease",))}, clock, lambda name, text: None)


def test_errors_are_told_on_one_short_line() -> None:
    assert words(ExceptionGroup("two", [KeyError("a"), ValueError("b")])) == "KeyError: 'a'"
    assert words(ValueError("a\nb\n")) == "ValueError: a b"
    assert words(ValueError()) == "ValueError"
    assert LONGEST < 1000
