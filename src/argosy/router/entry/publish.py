"""Keeping a balancer's configuration file up to date with the machines of the cluster; who answers, that balancer finds out itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from argosy.errors import ArgosyError
from argosy.reconcile import Backoff, Clock, Wake
from argosy.router.entry.plan import Member, Plan, Pool, Wanted, believed, plan, pools

log = logging.getLogger(__name__)

GATHER = 0.5
"""Least seconds between one reload and the next."""


class File(Protocol):
    async def apply(self, config: str) -> bool:
        """True when the configuration was changed. Raises RuntimeFailed."""


class Publisher:
    """`run` for ever writes what `render` makes of the machines that `know` was told of. That a pool has lost
    all of its machines at once is not believed, as in Entry."""

    def __init__(self, wanted: Wanted, render: Callable[[Sequence[Pool]], str], file: File, clock: Clock) -> None:
        self._wanted = wanted
        self._render = render
        self._file = file
        self._clock = clock
        self._plan: Plan | None = None
        self._wake = Wake()

    def know(self, members: Sequence[Member], source: str = "") -> None:
        known = self._plan
        self._plan, kept = believed(known or Plan(), plan(members, self._wanted))
        if kept:
            log.warning("%s tells of no machine for %s: going on with those that are known", source, ", ".join(kept))
            if known and known.backends == self._plan.backends:
                return
        self._wake.set()

    async def run(self) -> None:
        backoff = Backoff(0.5, 10.0)
        pause: float | None = None
        while True:
            await self._wake.wait(self._clock, pause)
            if self._plan is None:
                continue
            try:
                chosen = pools(self._wanted, self._plan.backends)
                if await self._file.apply(self._render(chosen)):
                    counts = ", ".join(f"{pool.name}: {len(pool.servers)}" for pool in chosen)
                    log.info("wrote a new configuration (machines by pool: %s)", counts)
                pause = None
                backoff.reset()
            except ArgosyError as error:
                pause = backoff.next()
                log.error("%s; trying again in %.1f s", error, pause)
            await self._clock.sleep(GATHER)
