"""One engine leads: whoever wrote the leader's key, as long as the lease under it stands.

A candidate takes the key over before that if the observers of the leader's machine report that nobody reaches it (see `loss`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

import msgspec

from argosy.engine.contact import Contact
from argosy.engine.loss.plan import Report, deposable
from argosy.errors import Conflict, HistoryGone, LeaseLost, StoreUnavailable
from argosy.model import Leader, Silence
from argosy.reconcile import Backoff, Clock, Wake
from argosy.state import keys
from argosy.state.records import encode
from argosy.state.view import decoded, follow
from argosy.store.base import Condition, Put, Record, Store

log = logging.getLogger(__name__)

RESIGNING = 2.0
"""Seconds that a leader that stops may take to say so; its lease ends by itself otherwise."""


class Term(msgspec.Struct, frozen=True):
    """A time in office. `revision` is that of the leader's key: every commit of the leader has it as a condition (the fence)."""

    lease: int
    revision: int


class Election:
    """Wins, keeps and resigns leadership for one machine. `ttl` is the time, in seconds, after which a silent leader is replaced."""

    def __init__(self, store: Store, machine_id: str, clock: Clock, contact: Contact, ttl: float) -> None:
        self._store = store
        self._machine = machine_id
        self._clock = clock
        self._contact = contact
        self._ttl = ttl
        self._lease = 0
        self._reports: dict[str, dict[str, Report]] = {}

    async def win(self) -> Term:
        """Waits until nobody leads, and then leads. Asks the store as often as a leader does: `Contact` must know whether it is there."""
        vacant = Wake()
        backoff = Backoff()
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(work(vacant)) for work in (self._watch, self._watch_reports)]
            try:
                while True:
                    try:
                        term = await self._attempt()
                    except StoreUnavailable as error:
                        self._contact.missed()
                        pause = backoff.next()
                        log.warning("engine: cannot stand for election: %s; trying again in %.1f s", error, pause)
                        await self._clock.sleep(pause)
                        continue
                    if term is not None:
                        return term
                    backoff.reset()
                    await vacant.wait(self._clock, self._ttl / 5)
            finally:
                for watcher in watchers:
                    watcher.cancel()

    async def keep(self, term: Term) -> None:
        """Keeps the lease alive until the term is over, and then raises LeaseLost."""
        backoff = Backoff(most=self._ttl / 5)
        while True:
            try:
                await self._store.keep_alive(term.lease)
                record = await self._store.get(keys.ENGINE_LEADER)
            except StoreUnavailable as error:
                self._contact.missed()
                log.warning("engine: cannot keep the leader's lease: %s", error)
                await self._clock.sleep(backoff.next())
                continue
            if record is None or record.modified != term.revision:
                raise LeaseLost("somebody else has written or deleted the leader's key")
            self._contact.seen()
            backoff.reset()
            await self._clock.sleep(self._ttl / 5)

    async def resign(self) -> None:
        """Ends the term, if there is one, so that another can lead at once. If the store is away, that is made up for before the next
        election (and the lease ends by itself)."""
        if not self._lease:
            return
        try:
            if await _within(self._clock, RESIGNING, self._store.revoke(self._lease)):
                self._lease = 0
        except StoreUnavailable as error:
            log.warning("engine: cannot resign: %s", error)

    async def _attempt(self) -> Term | None:
        if self._lease:
            await self._store.revoke(self._lease)
            self._lease = 0
        standing = await self._store.get(keys.ENGINE_LEADER)
        self._contact.seen()
        if standing is not None and not await self._may_replace(standing):
            return None
        self._lease = await self._store.grant(self._ttl)
        mine = Leader(self._machine, self._clock.now())
        vacant = Condition(keys.ENGINE_LEADER, standing.modified if standing is not None else 0)
        try:
            revision = await self._store.commit([vacant], [Put(keys.ENGINE_LEADER, encode(mine), self._lease)])
        except (Conflict, LeaseLost):
            await self._store.revoke(self._lease)
            self._lease = 0
            return None
        return Term(self._lease, revision)

    async def _may_replace(self, standing: Record) -> bool:
        """Whether the machine of the leader whose key stands is reported as unreachable."""
        leader = decoded(Leader, standing)
        if leader is None or leader.machine == self._machine or leader.machine not in self._reports:
            return False
        machines = len((await self._store.list(keys.MACHINES)).records)
        if not deposable(leader.machine, self._reports, machines):
            return False
        log.warning("engine: leader on machine %s unreachable; taking over", leader.machine)
        return True

    async def _watch_reports(self, vacant: Wake) -> None:
        """Keeps the observers' reports current and wakes the candidate when one changes."""
        async for changes in follow(self._store, keys.SILENCES, Silence, self._clock):
            if changes.reset:
                self._reports = {}
            for key in {*changes.items, *changes.modified}:
                machine, _, observer = key.partition("/")
                by = self._reports.setdefault(machine, {})
                if key in changes.modified:
                    by[observer] = Report(changes.modified[key], self._clock.monotonic())
                else:
                    by.pop(observer, None)
                if not by:
                    del self._reports[machine]
            vacant.set()

    async def _watch(self, vacant: Wake) -> None:
        """Wakes the candidate whenever the leader's key changes."""
        while True:
            try:
                listing = await self._store.list(keys.ENGINE_LEADER)
                vacant.set()
                async for _ in self._store.watch(keys.ENGINE_LEADER, listing.revision):
                    vacant.set()
                return  # the store was closed
            except (HistoryGone, StoreUnavailable):
                await self._clock.sleep(self._ttl / 5)


async def _within(clock: Clock, seconds: float, work: Awaitable[None]) -> bool:
    """Whether the work was done in time; it is cancelled otherwise."""
    working = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((working, timer), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return True
        return False
    finally:
        for task in (working, timer):
            task.cancel()
        await asyncio.gather(working, timer, return_exceptions=True)
