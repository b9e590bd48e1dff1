"""What routers serve, asked again and again while a rollout needs it. A router that does not answer delays nothing else of the term."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from argosy.engine.rollouts.health import Served
from argosy.engine.rollouts.plan import LOOK
from argosy.errors import ArgosyError
from argosy.reconcile import Clock, Wake

log = logging.getLogger(__name__)

AskRouters = Callable[[frozenset[str]], Awaitable[Sequence[Served]]]
"""Asks every router what it serves of these apps (of all, if none is named). Comes to an end by itself; may raise ArgosyError."""

APPS_AT_ONCE = 200
"""Apps that one question names: if there are more, all are asked for."""


FRESH = 20.0
"""Seconds for which an answer says how it is now: longer than asking a machine that does not answer takes."""


class Answer(msgspec.Struct, frozen=True):
    """What the routers served of `apps`, asked at `begun` (monotonic seconds)."""

    apps: frozenset[str]
    begun: float
    served: tuple[Served, ...] = ()


async def no_routers(apps: frozenset[str]) -> Sequence[Served]:
    """For an engine that cannot ask any."""
    return ()


class RouteWatch:
    """`answer` is the newest; `told` is set when there is another."""

    def __init__(self, ask: AskRouters, clock: Clock, told: Wake) -> None:
        self.answer = Answer(frozenset(), -1.0)
        self._ask = ask
        self._clock = clock
        self._told = told
        self._apps: frozenset[str] = frozenset()
        self._wake = Wake()

    def want(self, apps: frozenset[str]) -> None:
        """Which apps are asked for from now on."""
        if apps != self._apps:
            self._apps = apps
            self._wake.set()

    def covers(self, apps: frozenset[str]) -> bool:
        return self.answer.begun >= 0 and apps <= self.answer.apps

    def tells(self, since: float) -> bool:
        """Whether the newest answer says how it is now: it was asked for after `since`, and not long ago."""
        return self.answer.begun > max(since, self._clock.monotonic() - FRESH)

    async def run(self) -> None:
        """Never returns."""
        while True:
            if not self._apps:
                await self._wake.wait(self._clock, None)
                continue
            apps, begun = self._apps, self._clock.monotonic()
            try:
                served = await self._ask(apps if len(apps) <= APPS_AT_ONCE else frozenset())
            except ArgosyError as error:
                log.warning("rollouts: cannot ask what routers serve: %s", error)
            else:
                self.answer = Answer(apps, begun, tuple(served))
                self._told.set()
            await self._wake.wait(self._clock, LOOK)
