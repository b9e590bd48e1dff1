"""The lease of one machine: taken, kept alive, and the records that stand under it.

A process has one `Lease`. Packages publish records under it (the machine's record, states of units, the router's report, silent machines,
the engine leader's key); the lease keeps them written, also under the next lease when one has ended. Who may take a lease, and when, is
not decided here: an agent does once its machine may join (see agent/registration).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from argosy import reconcile
from argosy.errors import Conflict, InvalidInput, LeaseLost, StoreUnavailable
from argosy.reconcile import Backoff, Clock, Wake
from argosy.state.contact import Contact
from argosy.store.base import MAX_COMMIT, MAX_OPERATIONS, Condition, Delete, Put, Store, Write, check_commit

log = logging.getLogger(__name__)

T = TypeVar("T")

BEATS = 5
"""Keep-alives in the lease's time ..."""
EAGER_BEATS = 20
"""... and attempts in it after one that failed."""
BURST = 4
WINDOW = 1.0
"""A record that changes more than BURST times within WINDOW seconds is written with its latest value once they have passed."""
WRITING = 0.8
"""Seconds that a commit may take before it is tried again, perhaps at another member of the store ..."""
SLOWER = 1.25
"""... times this for each attempt that failed, up to the lease's time."""


class Lease:
    """`id` is 0 while there is no lease. `sent` is the monotonic time at which the latest good keep-alive was sent, -inf while there is no
    lease: a lease stands for at least `ttl` seconds after it. `contact` tells since when the store has answered."""

    def __init__(self, store: Store, clock: Clock, ttl: float) -> None:
        self.id = 0
        self.sent = -math.inf
        self.ttl = ttl
        self.contact = Contact(clock, gap=ttl)
        self._store = store
        self._clock = clock
        self._records: dict[str, bytes] = {}
        self._due: dict[str, int] = {}
        self._urgent: set[str] = set()
        self._written: dict[str, deque[float]] = {}
        self._numbers = itertools.count(1)
        self._changed = asyncio.Event()
        self._beaten = asyncio.Event()
        self._writing = Wake()

    # ---------------------------------------------------------------- records

    def publish(self, key: str, value: bytes, *, urgent: bool = False) -> None:
        """Write a record under this lease and under each that follows it, even if the value is the same as before. `urgent`: it is not held
        back however often it changes. Raises InvalidInput for a record that no store takes."""
        if fault := check_commit([], [Put(key, value)]):
            raise InvalidInput(fault)
        self._records[key] = value
        self._ask(key, urgent)

    def withdraw(self, key: str) -> None:
        """Delete a record, whoever wrote it."""
        self._records.pop(key, None)
        self._ask(key, urgent=True)

    def _ask(self, key: str, urgent: bool) -> None:
        self._due[key] = next(self._numbers)
        if urgent:
            self._urgent.add(key)
        self._writing.set()

    async def commit(self, conditions: Sequence[Condition], records: Mapping[str, bytes]) -> int:
        """Write records under the lease that stands, once; returns the revision. Raises Conflict, LeaseLost and StoreUnavailable."""
        lease = self.id
        if not lease:
            raise LeaseLost("there is no lease to write under")
        try:
            return await self._bounded(self._store.commit(conditions, [Put(key, value, lease) for key, value in records.items()]))
        except LeaseLost:
            self._end(lease)
            raise

    # ---------------------------------------------------------------- its life

    async def take(self, conditions: Sequence[Condition] = ()) -> None:
        """Grant a new lease and write the published records that the conditions name, if these hold. Raises Conflict, LeaseLost and
        StoreUnavailable; there is no lease then."""
        sent = self._clock.monotonic()
        first = {condition.key: self._records[condition.key] for condition in conditions}
        try:
            lease = await self._bounded(self._store.grant(self.ttl))
            if first:
                try:
                    await self._bounded(self._store.commit(conditions, [Put(key, value, lease) for key, value in first.items()]))
                except Conflict:
                    await self._bounded(self._store.revoke(lease))
                    raise
        except StoreUnavailable:
            self.contact.missed()
            raise
        self.contact.seen()
        self.id, self.sent = lease, sent
        for key, value in self._records.items():
            if first.get(key) is value:
                self._due.pop(key, None)
            else:
                self._due[key] = next(self._numbers)
        self._writing.set()
        self._tell_change()

    async def held(self) -> int:
        """Wait until there is a lease, and return its id."""
        while not self.id:
            await self._changed.wait()
        return self.id

    async def ended(self, lease: int) -> None:
        """Wait until this lease has ended."""
        while self.id == lease:
            await self._changed.wait()

    async def kept(self) -> None:
        """Wait until the next good keep-alive."""
        await self._beaten.wait()

    async def run(self) -> None:
        """Keep the lease alive while there is one, and its records written. Never returns; the lease is left to end by itself when this is
        cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep())
            group.create_task(self._write())

    async def hold(self) -> None:
        """As `run`, and take a lease whenever there is none: for a process that registers no machine."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.run())
            backoff = Backoff(most=1.0)
            while True:
                try:
                    await self.take()
                except (StoreUnavailable, LeaseLost) as error:
                    log.warning("no lease: %s", error)
                    await self._clock.sleep(backoff.next())
                    continue
                backoff.reset()
                await self.ended(self.id)

    async def _keep(self) -> None:
        silent = False
        while True:
            lease = await self.held()
            await self._clock.sleep(self.ttl / (EAGER_BEATS if silent else BEATS))
            sent = self._clock.monotonic()
            try:
                await within(self._clock, self.ttl, self._store.keep_alive(lease))
            except LeaseLost:
                self._end(lease)
            except StoreUnavailable as error:
                self.contact.missed()
                if not silent:
                    log.warning("lease cannot be kept alive: %s", error)
                silent = True
                continue
            else:
                self.contact.seen()
                if lease == self.id:
                    self.sent = sent
                beaten, self._beaten = self._beaten, asyncio.Event()
                beaten.set()
            if silent:
                log.info("store reachable; lease is kept alive again")
            silent = False

    def _end(self, lease: int) -> None:
        """The store says that this lease has ended."""
        if lease == self.id:
            log.warning("lease lost: its records have ended with it")
            self.id, self.sent = 0, -math.inf
            self._tell_change()

    def _tell_change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # ---------------------------------------------------------------- writing

    async def _write(self) -> None:
        backoff = Backoff(most=1.0)
        while True:
            lease = await self.held()
            batch, pause = self._batch()
            if not batch:
                await self._writing.wait(self._clock, pause)
                continue
            writes: list[Write] = [Put(key, self._records[key], lease) if key in self._records else Delete(key) for key in batch]
            limit = min(self.ttl, WRITING * SLOWER ** min(backoff.failures, 20))
            try:
                await within(self._clock, limit, self._store.commit([], writes))
            except LeaseLost:
                self._end(lease)
                continue
            except StoreUnavailable as error:
                log.debug("%d records are written later: %s", len(batch), error)
                await self._clock.sleep(backoff.next())
                continue
            backoff.reset()
            self._done(batch)

    def _batch(self) -> tuple[dict[str, int], float | None]:
        """The keys to write now, by the number of their latest change, and the seconds until the first of those that must wait may be."""
        now = self._clock.monotonic()
        batch: dict[str, int] = {}
        size = 0
        pause: float | None = None
        for key, number in self._due.items():
            times = self._written.get(key)
            wait = times[0] + WINDOW - now if times and len(times) == BURST and key not in self._urgent else 0.0
            if wait > 0:
                pause = wait if pause is None else min(pause, wait)
                continue
            size += len(key.encode()) + len(self._records.get(key, b""))
            if len(batch) == MAX_OPERATIONS or (batch and size > MAX_COMMIT):
                break
            batch[key] = number
        return batch, pause

    def _done(self, batch: Mapping[str, int]) -> None:
        now = self._clock.monotonic()
        for key, number in batch.items():
            if self._due.get(key) == number:
                del self._due[key]
                self._urgent.discard(key)
            if key in self._records:
                self._written.setdefault(key, deque(maxlen=BURST)).append(now)
            else:
                self._written.pop(key, None)

    async def _bounded(self, work: Awaitable[T]) -> T:
        return await within(self._clock, self.ttl, work)


async def within(clock: Clock, seconds: float, work: Awaitable[T]) -> T:
    """Return the work's result. Raises StoreUnavailable if it takes longer than `seconds`; the work is cancelled then."""
    try:
        return await reconcile.within(clock, seconds, work)
    except TimeoutError as error:
        raise StoreUnavailable(f"the store did not answer within {seconds:g} s") from error
