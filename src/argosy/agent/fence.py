"""Units that must not outlive the machine's lease (OnDisconnect=stop), and their end before it.

The fence is a service of its own and depends on nothing but the runtime and the clock: neither on placements nor on the agent, which may
fail and be started again meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Set
from itertools import groupby

import msgspec

from argosy.agent.bodies import body
from argosy.agent.foothold import Foothold, Notes
from argosy.agent.plan import STOP_AT, Command, fence
from argosy.agent.runtimes import Runtimes
from argosy.errors import RuntimeFailed
from argosy.model import Observed, Placement
from argosy.reconcile import Clock, Wake
from argosy.state.lease import Lease
from argosy.verdict import at_rest

log = logging.getLogger(__name__)

LOOKS = 10
GUARDS = 20
"""Looks of the guard in the lease's time: while all is well (a host that was suspended has lost time unnoticed), and once the store is
silent."""


class Fence:
    """`exclusive` are the names of the units that must not outlive the lease. The fence holds the host: one at a time runs there."""

    def __init__(self, runtimes: Runtimes, lease: Lease, clock: Clock, foothold: Foothold) -> None:
        self.exclusive: frozenset[str] = frozenset()
        self._runtimes = runtimes
        self._lease = lease
        self._clock = clock
        self._foothold = foothold
        self._notes = Notes()
        self._sent = 0.0
        self._holding = asyncio.Event()
        self._wake = Wake()

    async def begin(self, since: float) -> float:
        """Wait until the fence runs. `since` marks the machine's record; returns that of the agent before."""
        await self._holding.wait()
        earlier = self._notes.since
        self._notes = msgspec.structs.replace(self._notes, since=since)
        return earlier

    @property
    def sent(self) -> float:
        """When the latest keep-alive was sent, perhaps by the agent before; -inf if its lease has ended."""
        return self._lease.sent if self._lease.id else self._sent

    def is_due(self) -> bool:
        """Whether units that must not outlive the lease may not run now."""
        return not self._lease.id or not self._holding.is_set() or self._silent() >= self._lease.ttl * STOP_AT

    def is_clear(self, observed: Mapping[str, Observed] | None) -> bool:
        """Whether nothing is left that must not outlive the lease. `observed` None: nothing is known of what runs."""
        if observed is None:
            return not self.exclusive
        return not fence(observed, self.exclusive, math.inf, self._lease.ttl)

    def lose(self) -> None:
        """The lease has ended, so that others may have been given what ran under it."""
        self._sent = -math.inf
        self._wake.set()

    async def know(self, names: Set[str], placements: Mapping[str, Placement], observed: Mapping[str, Observed]) -> None:
        """Which of these units must not outlive the lease; the next agent is told before any of them is started."""
        exclusive = {name for name in names if name in placements and body(placements[name]).requirements(name).stop_on_disconnect}
        leaving = {name for name in names & self.exclusive if name not in placements and name in observed and not at_rest(observed[name])}
        if exclusive | leaving != names & self.exclusive:
            self.exclusive = self.exclusive - names | exclusive | leaving
            self._wake.set()
            await self.note()

    async def note(self) -> None:
        """Leave notes for the next agent."""
        sent = self._lease.sent if self._lease.id else self._notes.sent
        self._notes = msgspec.structs.replace(self._notes, sent=sent, exclusive=tuple(sorted(self.exclusive)))
        try:
            await self._foothold.note(self._notes)
        except OSError as error:
            log.error("cannot leave notes for the next agent: %s", error.strerror or error)

    async def run(self) -> None:
        """Hold the host, and stop what must not outlive the lease when the store has been silent for too long. Never returns. Raises
        Refused while another agent holds the host, and Unsuitable."""
        notes = await self._foothold.take()
        try:
            self.exclusive = frozenset(notes.exclusive)
            self._notes = notes
            self._sent = notes.sent if notes.exclusive else self._clock.monotonic()
            self._holding.set()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._guard())
                    group.create_task(self._note_keep_alives())
            finally:
                self._holding.clear()
                await self._leave()
        finally:
            await self._foothold.let_go()

    async def _guard(self) -> None:
        ttl = self._lease.ttl
        await self._clock.sleep(ttl / GUARDS)  # an agent that was restarted is given time to join
        while True:
            if not self.exclusive:
                await self._wake.wait(self._clock, None)
                continue
            left = ttl * STOP_AT - self._silent()
            if left <= 0:
                try:
                    await self._stop(self._silent())
                except RuntimeFailed as error:
                    log.error("units that must not outlive the lease cannot be stopped: %s", error)
            await self._wake.wait(self._clock, max(ttl / GUARDS, min(left, ttl / LOOKS)))

    async def _note_keep_alives(self) -> None:
        while True:
            await self._lease.kept()
            if self.exclusive:
                await self.note()

    async def _leave(self) -> None:
        """When this ends, nobody is left to fence: units that must not outlive the lease are stopped now, all others run on."""
        if not self.exclusive:
            return
        end = self._clock.monotonic() + 2 * self._lease.ttl
        try:
            while await self._stop(max(self._silent(), self._lease.ttl * STOP_AT)) and self._clock.monotonic() < end:
                await self._clock.sleep(self._lease.ttl / GUARDS)
        except RuntimeFailed as error:
            log.error("units that must not outlive the lease cannot be stopped: %s", error)

    def _silent(self) -> float:
        """Seconds since the latest good keep-alive was sent: the lease stands for at least its time minus these."""
        return self._clock.monotonic() - self.sent

    async def _stop(self, silent: float) -> bool:
        """Return True if anything still runs that must not. Raises RuntimeFailed if a runtime cannot be used, once the others have been."""
        running = False
        failed: RuntimeFailed | None = None
        for kind in self._runtimes:
            try:
                observed = await self._runtimes.observe(kind, self.exclusive)
                for _, group in groupby(fence(observed, self.exclusive, silent, self._lease.ttl), type):
                    chosen: list[Command] = list(group)
                    for action in chosen:
                        log.warning("%s %s: %s", type(action).__name__.lower(), action.unit, action.reason)
                    refused = await self._runtimes.apply(chosen, {})
                    if refused:
                        raise RuntimeFailed("; ".join(refused.values()), refused=refused)
                running = running or not all(map(at_rest, observed.values()))
            except RuntimeFailed as error:
                failed = error
        if failed is not None:
            raise failed
        return running
