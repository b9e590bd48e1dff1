"""The announcer: keeps a key in the keys door while its check passes, and takes it away when told to stop."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from argosy.errors import ArgosyError, InvalidInput, StoreUnavailable
from argosy.notify import Notify, notifier, silent
from argosy.reconcile import Backoff, Clock, SystemClock, Wake
from argosy.router.announce.connections import Count, counting
from argosy.router.announce.door import Door, KeysDoor, check
from argosy.router.announce.plan import Action, Intent, Known, checked, intent_of, leave_by, looked, pause_between, plan
from argosy.router.announce.unit import stop_time

log = logging.getLogger(__name__)

Check = Callable[[str, float], Awaitable[str]]
StopTime = Callable[[], Awaitable[float]]

FAREWELL = 5.0
"""Seconds to go on trying to remove the key once told to stop; after that its ttl removes it."""

CHECK_TIMEOUT = 2.0


class Announcer:
    """`run` announces until `stop` is called. It returns when the key is removed, routers have let go of it and the requests in flight have
    ended; at the latest when the unit's time to stop is over, or when the key cannot be removed within FAREWELL seconds.

    `tell` hears READY=1 once the key stands for the first time, and STATUS=. `count` returns how many connections have a request in flight,
    `stop_time` the seconds that the unit may take to stop."""

    def __init__(
        self,
        intent: Intent,
        door: Door,
        clock: Clock,
        *,
        check: Check = check,
        tell: Notify = silent,
        count: Count | None = None,
        stop_time: StopTime = stop_time,
    ) -> None:
        self._intent = intent
        self._door = door
        self._clock = clock
        self._check = check
        self._tell = tell
        self._count = count or counting(intent.address)
        self._stop_time = stop_time
        self._wake = Wake()
        self._backoff = Backoff(0.2, min(5.0, intent.ttl / 6))
        self._began = self._until = 0.0
        self._announced = False
        self._sees = True
        self._known = Known(healthy=None if intent.check else True)

    def stop(self) -> None:
        if not self._known.stopping:
            self._began = self._clock.monotonic()
            self._until = self._began + FAREWELL
            self._known = msgspec.structs.replace(self._known, stopping=True)
            self._tell("STOPPING=1")
            self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch()) if self._intent.check else None
            while await self._step():
                pass
            if watching is not None:
                watching.cancel()

    async def _step(self) -> bool:
        """One decision and its deed; False when there is nothing more to do."""
        if self._known.stopping and self._known.ready and not self._known.standing:
            await self._look()
        step = plan(self._known, self._clock.monotonic())
        if step.action is Action.LEAVE:
            if self._known.at_work:
                log.warning("leaving %d connections at work: %s", self._known.at_work, step.reason)
            return False
        if step.action is Action.WAIT:
            await self._wake.wait(self._clock, step.pause)
            return True
        try:
            await (self._put(step.reason) if step.action is Action.PUT else self._remove(step.reason))
            self._backoff.reset()
        except (StoreUnavailable, InvalidInput) as error:
            return await self._retry(error)
        return True

    async def _put(self, reason: str) -> None:
        intent = self._intent
        fresh = not self._known.standing
        renew = self._clock.monotonic() + intent.ttl / 3
        self._known = msgspec.structs.replace(self._known, standing=True)
        try:
            if not self._announced:
                await self._door.put(intent.key, intent.address, intent.ttl)
                self._announced = True
            elif not await self._door.renew(intent.key, intent.address, intent.ttl):
                log.debug("%s was announced by somebody else since: left alone", intent.key)
                self._tell(f"STATUS={intent.key} was announced by somebody else since")
        except (StoreUnavailable, InvalidInput):
            renew = 0.0  # it may stand or not: put it again
            raise
        finally:
            self._known = msgspec.structs.replace(self._known, renew=renew)
        log.log(logging.INFO if fresh else logging.DEBUG, "announced %s = %s for %d s: %s", intent.key, intent.address, intent.ttl, reason)
        if fresh:
            ready = "" if self._known.ready else "READY=1\n"
            self._tell(f"{ready}STATUS=announced {intent.key} = {intent.address}")
            self._known = msgspec.structs.replace(self._known, ready=True)

    async def _remove(self, reason: str) -> None:
        await self._door.remove(self._intent.key, self._intent.address)
        self._announced = False
        self._known = msgspec.structs.replace(self._known, standing=False, lingers=self._clock.monotonic() + self._intent.linger)
        self._tell(f"STATUS=removed {self._intent.key}: {reason}")
        log.info("removed %s: %s", self._intent.key, reason)

    async def _look(self) -> None:
        """Sees which requests are in flight."""
        if math.isinf(self._known.leave_by):
            seconds = self._intent.stop_timeout or await self._stop_time()
            self._known = msgspec.structs.replace(self._known, leave_by=leave_by(self._began, seconds))
        before = self._known.at_work
        try:
            at_work = await self._count() if self._sees else 0
        except OSError as error:
            log.warning("requests in flight cannot be seen here (%s): staying for %g s", error, self._intent.linger)
            self._sees, at_work = False, 0
        now = self._clock.monotonic()
        self._known = looked(self._intent, self._known, at_work, now)
        if at_work and not before:
            log.info("%d connections are at work: waiting for them, at most %.0f s", at_work, max(0.0, self._known.leave_by - now))
        if at_work != before:
            self._tell(f"STATUS=removed {self._intent.key}: {at_work} connections are at work")

    async def _retry(self, error: ArgosyError) -> bool:
        left = self._until - self._clock.monotonic() if self._known.stopping else None
        if left is not None and left <= 0:
            log.warning("%s; %s is left to its ttl of %d s", error, self._intent.key, self._intent.ttl)
            return False
        pause = self._backoff.next()
        self._tell(f"STATUS={_line(error.message)}")
        log.warning("%s; trying again in %.1f s", error, pause)
        await self._wake.wait(self._clock, pause if left is None else min(pause, left))
        return True

    async def _watch(self) -> None:
        intent = self._intent
        while not self._known.stopping:
            reason = await self._check(intent.check, min(CHECK_TIMEOUT, max(0.5, intent.interval)))
            before = self._known
            self._known = checked(self._known, not reason)
            if self._known.healthy != before.healthy:
                log.log(
                    logging.WARNING if reason else logging.INFO, "check %s %s", intent.check, f"fails: {reason}" if reason else "passes"
                )
                self._wake.set()
            if reason and not self._known.standing:
                self._tell(f"STATUS=not announced: check {intent.check} fails: {_line(reason)}")
            await self._clock.sleep(pause_between(intent, self._known))


def _line(text: str) -> str:
    """As one line: what follows a line break would be another assignment."""
    return " ".join(text.split())


def run_announcer(intent: Intent, endpoints: Sequence[str]) -> int:
    """The verb: announces until SIGTERM or SIGINT. Returns the exit status, 0. Raises InvalidInput for an intent that breaks a rule."""
    intent = intent_of(intent.key, intent.address, intent.ttl, intent.check, intent.interval, intent.linger, intent.stop_timeout)

    async def announce() -> None:
        announcer = Announcer(intent, KeysDoor(endpoints), SystemClock(), tell=notifier())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, announcer.stop)
        await announcer.run()

    asyncio.run(announce())
    return 0
