"""The engine of one machine: it stands for election, leads while it may, and steps down without harm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from argosy.engine.election import Election, Term
from argosy.engine.reign import Reign
from argosy.engine.rollouts.routers import AskRouters, no_routers
from argosy.errors import Conflict, LeaseLost, StoreUnavailable, first_error
from argosy.placement.strategies import STRATEGIES
from argosy.reconcile import Backoff, Clock
from argosy.state.cache import Cache
from argosy.state.lease import Lease

log = logging.getLogger(__name__)


class Engine:
    """Any number of engines may run on one store; one of them leads, under its machine's lease. One that is gone
    is replaced when that lease ends. `ask_routers`: what the machines' routers serve, for the health of rollouts.

    Invariant: every commit of placements is conditioned on this engine's own leader key, so that one that was replaced without noticing
    (paused, cut off) changes nothing.
    """

    def __init__(
        self,
        cache: Cache,
        machine_id: str,
        clock: Clock,
        lease: Lease,
        ask_routers: AskRouters = no_routers,
        strategy: str = "spread",
    ) -> None:
        self.leading = False
        self._cache = cache
        self._machine = machine_id
        self._clock = clock
        self._lease = lease
        self._ask_routers = ask_routers
        self._election = Election(cache, machine_id, clock, lease, strategy)
        self._strategy = STRATEGIES[strategy]
        self._backoff = Backoff()

    async def run(self) -> None:
        """For ever. When cancelled it resigns, so that another engine takes over at once."""
        while True:
            term = await self._election.win()
            try:
                await self._lead(term)
            finally:
                await self._election.resign(term)
            await self._clock.sleep(self._backoff.next())

    async def _lead(self, term: Term) -> None:
        """Returns when the term is over."""
        log.info("engine: leading")
        self.leading = True
        lease = self._lease
        reign = Reign(
            self._cache,
            term.revision,
            self._machine,
            self._clock,
            lease.contact,
            lease.ttl,
            ask_routers=self._ask_routers,
            strategy=self._strategy,
        )
        over: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_serve(work, over)) for work in (self._election.keep(term), reign.run())]
                error = await over
                for task in tasks:
                    task.cancel()
        finally:
            self.leading = False
            if reign.committed:
                self._backoff.reset()
        if isinstance(error, StoreUnavailable):
            self._lease.contact.missed()
        log.warning("engine: no longer leading: %s", error)


async def _serve(work: Awaitable[None], over: asyncio.Future[BaseException]) -> None:
    """Does the work; an error that ends the term is handed over rather than raised. (A TaskGroup in which a task fails while it is being
    cancelled raises the failure and forgets the cancellation.)"""
    try:
        await work
    except* (Conflict, LeaseLost, StoreUnavailable) as group:
        if not over.done():
            over.set_result(first_error(group))
