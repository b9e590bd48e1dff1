"""The one loop: woken, ticking, backing off."""

from __future__ import annotations

import asyncio

from argosy.errors import StoreUnavailable
from argosy.reconcile import Backoff, Wake, reconcile
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
