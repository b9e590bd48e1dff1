"""The one loop: on an event or a tick, do a round; after a failure, wait a growing while and do it again.

A round observes, plans and applies; it keeps no decision state between rounds, so doing one too many harms nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from argosy.errors import ArgosyError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Clock(Protocol):
    """Time as an argument. `now` is Unix time in seconds (for people and records), `monotonic` only ever grows, and
    keeps counting while the machine is suspended."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The host's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def within(clock: Clock, seconds: float, work: Awaitable[T]) -> T:
    """Return the work's result. Raises TimeoutError if it takes longer than `seconds`; the work is cancelled then."""
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        timer.cancel()
        task.cancel()
        await asyncio.gather(task, timer, return_exceptions=True)


class Backoff:
    """Growing delays: 0.1 s, doubled after each failure up to `most` seconds; `reset` after a success."""

    def __init__(self, least: float = 0.1, most: float = 5.0) -> None:
        self.least = least
        self.most = most
        self.failures = 0

    def next(self) -> float:
        delay = min(self.most, self.least * 2.0 ** min(self.failures, 20))
        self.failures += 1
        return delay

    def reset(self) -> None:
        self.failures = 0


class Wake:
    """An event that says "something changed": setting it twice before a round is one round."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._sleepers: set[asyncio.Future[None]] = set()

    def set(self) -> None:
        self._event.set()
        for sleeper in self._sleepers:
            sleeper.cancel()

    async def wait(self, clock: Clock, timeout: float | None) -> bool:
        """True when it was set, False when `timeout` seconds passed first. Clears it."""
        if timeout is None or self._event.is_set():
            await self._event.wait()
            self._event.clear()
            return True
        sleeper = asyncio.ensure_future(clock.sleep(timeout))  # the only task: every idle loop of a machine waits here about once a second
        self._sleepers.add(sleeper)
        try:
            await asyncio.wait((sleeper,))
            return self._event.is_set()
        finally:
            self._event.clear()
            self._sleepers.discard(sleeper)
            sleeper.cancel()


async def reconcile(
    name: str,
    round: Callable[[], Awaitable[float | None]],
    wake: Wake,
    clock: Clock,
    *,
    backoff: Backoff | None = None,
) -> None:
    """Runs `round` for ever: at once, then whenever `wake` is set, and after as many seconds as the round returned
    (None: only when woken). An ArgosyError is logged and the round repeated with growing delays; anything else is a
    defect and ends the loop.
    """
    backoff = backoff or Backoff()
    while True:
        try:
            pause = await round()
        except ArgosyError as error:
            pause = backoff.next()
            log.warning("%s: %s; trying again in %.1f s", name, error, pause)
            await clock.sleep(pause)
            continue
        backoff.reset()
        await wake.wait(clock, pause)
