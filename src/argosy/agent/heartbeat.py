"""A machine's life in the store: its record under a lease that is kept alive, and taken anew when it was lost."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from argosy.agent.foothold import Notes
from argosy.errors import Conflict, InvalidInput, LeaseLost, Refused, StoreUnavailable
from argosy.model import Machine
from argosy.reconcile import Backoff, Clock, Wake
from argosy.state import keys
from argosy.state.records import decode, encode
from argosy.store.base import Condition, Put, Record, Store

log = logging.getLogger(__name__)

T = TypeVar("T")

BEATS = 5
"""Keep-alives in the lease's time ..."""
EAGER_BEATS = 20
"""... and attempts in it after one that failed."""
OVERDUE = 3.0
"""Seconds that a store may take beyond a lease's time to end it."""
LOOK_AGAIN = 0.25


class Heartbeat:
    """`settle` is awaited before a lease is taken, `joining` right before, `joined` is called after it, `beaten` awaited after each
    keep-alive, `lost` called when the lease has ended. `clear` says whether nothing runs that must not outlive a lease. `lease` is 0 while
    there is none."""

    def __init__(
        self,
        store: Store,
        machine: Machine,
        clock: Clock,
        notes: Notes,
        *,
        settle: Callable[[], Awaitable[None]],
        clear: Callable[[], bool],
        joining: Callable[[], Awaitable[None]],
        joined: Callable[[], None],
        beaten: Callable[[], Awaitable[None]],
        lost: Callable[[], None],
    ) -> None:
        self.machine = machine
        self.lease = 0
        self.sent = notes.sent if notes.exclusive else clock.monotonic()
        self._store = store
        self._clock = clock
        self._ttl = machine.ttl
        self._ours = {machine.since, notes.since or machine.since}
        self._settle, self._clear, self._joining = settle, clear, joining
        self._joined, self._beaten, self._lost = joined, beaten, lost
        self._hurry = Wake()

    @property
    def lost(self) -> bool:
        """The latest lease is known to have ended, so that others may have been given what ran under it."""
        return self.sent == -math.inf

    def silent(self) -> float:
        """Seconds since the last good keep-alive was sent: the lease stands for at least its time minus these."""
        return self._clock.monotonic() - self.sent

    def hurry(self) -> None:
        """Somebody was told that the lease has ended: find out now."""
        self._hurry.set()

    async def run(self) -> None:
        backoff = Backoff(most=1.0)
        while True:
            try:
                await self._settle()
                await self._join()
                backoff.reset()
                await self._beat()
            except LeaseLost:
                log.warning("the lease of machine %s has ended: joining anew", self.machine.id)
                self.lease, self.sent = 0, -math.inf
                self._lost()
            except (StoreUnavailable, Conflict) as error:
                pause = backoff.next()
                log.warning("machine %s cannot join: %s; trying again in %.1f s", self.machine.id, error, pause)
                await self._clock.sleep(pause)

    async def tell(self, machine: Machine) -> None:
        """Rewrites the record, if it stands. Raises StoreUnavailable and LeaseLost."""
        self.machine = machine
        if self.lease:
            await self._store.commit([], [Put(keys.machine(machine.id), encode(machine), self.lease)])

    async def _join(self) -> None:
        key = keys.machine(self.machine.id)
        revision = await self._free(key)
        if revision == 0 and not self._clear():
            raise LeaseLost(f"the record of machine {self.machine.id} is gone")
        await self._joining()
        sent = self._clock.monotonic()
        lease = await within(self._clock, self._ttl, self._store.grant(self._ttl))
        try:
            machine = self.machine
            await within(self._clock, self._ttl, self._store.commit([Condition(key, revision)], [Put(key, encode(machine), lease)]))
        except Conflict:
            await self._store.revoke(lease)
            raise
        self.lease, self.sent = lease, sent
        log.info("machine %s has joined, with a lease of %.0f s", self.machine.id, self._ttl)
        self._joined()
        if self.machine is not machine:  # told while the join was under way
            await self.tell(self.machine)

    async def _free(self, key: str) -> int:
        """The revision of the record to replace, 0 for none. Another agent's record is waited out; raises Refused if it is kept alive."""
        patience = 0.0
        began = self._clock.monotonic()
        while True:
            record = await within(self._clock, self._ttl, self._store.get(key))
            if record is None:
                return 0
            other = _machine(record)
            if record.lease == 0 or (other is not None and other.since in self._ours):
                return record.modified
            patience = max(patience, (other.ttl if other else 0.0) or self._ttl)
            if self._clock.monotonic() - began > patience + OVERDUE:
                where = f"the agent of {other.name or 'a machine'} at {other.address or 'an unknown address'}" if other else "another agent"
                raise Refused(
                    f"machine id {self.machine.id} is kept alive by {where}",
                    remedy="give this machine an id of its own: [machine] id, or a new /etc/machine-id if it was copied with the disk",
                )
            await self._clock.sleep(LOOK_AGAIN)

    async def _beat(self) -> None:
        """Until the lease is lost."""
        told = False
        while True:
            await self._hurry.wait(self._clock, self._ttl / (EAGER_BEATS if told else BEATS))
            sent = self._clock.monotonic()
            try:
                await within(self._clock, self._ttl, self._store.keep_alive(self.lease))
            except StoreUnavailable as error:
                if not told:
                    log.warning("machine %s cannot keep its lease alive: %s; what runs goes on running", self.machine.id, error)
                told = True
                continue
            if told:
                log.info("machine %s keeps its lease alive again", self.machine.id)
            told = False
            self.sent = sent
            await self._beaten()


def _machine(record: Record) -> Machine | None:
    try:
        return decode(Machine, record.value, record.key)
    except InvalidInput:
        return None


async def within(clock: Clock, seconds: float, work: Awaitable[T]) -> T:
    """The work's result; raises StoreUnavailable if it takes longer."""
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise StoreUnavailable(f"the store did not answer within {seconds:g} s")
        return task.result()
    finally:
        timer.cancel()
        task.cancel()
        await asyncio.gather(task, timer, return_exceptions=True)
