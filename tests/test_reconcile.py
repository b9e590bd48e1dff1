"""The one loop: woken, ticking, backing off."""

from __future__ import annotations

import asyncio

import pytest

from argosy.errors import StoreUnavailable
from argosy.reconcile import Backoff, Wake, reconcile, within
from tests.conftest import FakeClock, settle


async def test_rounds_happen_at_once_then_when_woken_and_many_wakes_before_a_round_are_one(clock: FakeClock) -> None:
    rounds: list[float] = []
    wake = Wake()

    async def step() -> float | None:
        rounds.append(clock.monotonic())
        return None

    task = asyncio.create_task(reconcile("test", step, wake, clock))
    await settle()
    assert len(rounds) == 1
    wake.set()
    wake.set()
    await settle()
    assert len(rounds) == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_round_that_returns_seconds_is_repeated_after_them(clock: FakeClock) -> None:
    rounds: list[float] = []

    async def step() -> float | None:
        rounds.append(clock.monotonic())
        return 10.0

    task = asyncio.create_task(reconcile("test", step, Wake(), clock))
    await clock.advance(25)
    assert rounds == [1000.0, 1010.0, 1020.0]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_failures_are_retried_with_growing_delays_until_a_success(clock: FakeClock) -> None:
    rounds: list[float] = []

    async def step() -> float | None:
        rounds.append(round(clock.monotonic() - 1000, 3))
        if len(rounds) <= 3:
            raise StoreUnavailable("away")
        return None

    task = asyncio.create_task(reconcile("test", step, Wake(), clock, backoff=Backoff(least=1, most=3)))
    await clock.advance(30)
    assert rounds == [0, 1, 3, 6]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_wait_with_a_timeout_is_woken_at_once_or_ends_with_it_and_needs_one_task(clock: FakeClock) -> None:
    wake = Wake()
    before = len(asyncio.all_tasks())
    waiting = asyncio.create_task(wake.wait(clock, 10))
    await settle()
    assert len(asyncio.all_tasks()) - before == 2, "the waiting one, and one for the time"
    wake.set()
    assert await waiting is True
    waiting = asyncio.create_task(wake.wait(clock, 10))
    await clock.advance(9.9)
    assert not waiting.done(), "what woke the wait before is forgotten"
    await clock.advance(0.1)
    assert await waiting is False
    waiting = asyncio.create_task(wake.wait(clock, 10))
    await settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    wake.set()
    assert await wake.wait(clock, 10) is True, "what comes while nobody waits is kept"
    await settle()
    assert len(asyncio.all_tasks()) == before


async def test_work_that_ends_in_time_has_a_result_and_work_that_does_not_is_cancelled(clock: FakeClock) -> None:
    cancelled: list[str] = []

    async def work(seconds: float) -> str:
        try:
            await clock.sleep(seconds)
        except asyncio.CancelledError:
            cancelled.append(f"{seconds:g}")
            raise
        return f"after {seconds:g} s"

    inside, outside = (asyncio.create_task(within(clock, 5, work(seconds))) for seconds in (4, 6))
    await clock.advance(10)
    assert inside.result() == "after 4 s"
    assert isinstance(outside.exception(), TimeoutError)
    assert cancelled == ["6"]


async def test_work_that_fails_raises_its_error_and_ends_with_whoever_waits_for_it(clock: FakeClock) -> None:
    async def work(error: Exception) -> None:
        raise error

    with pytest.raises(StoreUnavailable, match="away"):
        await within(clock, 5, work(StoreUnavailable("away")))
    hanging = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(within(clock, 5, hanging))
    await settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert hanging.cancelled()
