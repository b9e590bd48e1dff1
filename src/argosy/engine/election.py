"""One engine leads: whoever wrote the leader's key, as long as the machine's lease stands under it.

A candidate takes the key over before that if the observers of the leader's machine report that nobody reaches it (see `loss`).
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from argosy.engine.loss.plan import Report, deposable
from argosy.errors import Conflict, LeaseLost, StoreUnavailable
from argosy.model import Leader
from argosy.reconcile import Backoff, Clock, Wake
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.kinds import LEADER_ALONE, SILENCES
from argosy.state.lease import Lease, within
from argosy.state.records import decoded, encode
from argosy.store.base import Condition, Delete, Record

log = logging.getLogger(__name__)

RESIGNING = 2.0
"""Seconds that a leader that stops may take to say so; its machine's lease ends by itself otherwise."""


class Term(msgspec.Struct, frozen=True):
    """A time in office. `revision` is that of the leader's key: every commit of the leader has it as a condition (the fence)."""

    lease: int
    revision: int


class Election:
    """Wins, keeps and resigns leadership for one machine."""

    def __init__(self, cache: Cache, machine_id: str, clock: Clock, lease: Lease, strategy: str) -> None:
        self._cache = cache
        self._store = cache.store
        self._machine = machine_id
        self._clock = clock
        self._lease = lease
        self._strategy = strategy
        self._reports: dict[str, dict[str, Report]] = {}

    async def win(self) -> Term:
        """Wait until the machine has a lease and nobody leads, and then lead."""
        vacant = Wake()
        backoff = Backoff()
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(work(vacant)) for work in (self._watch_key, self._watch_reports)]
            try:
                while True:
                    lease = await self._lease.held()
                    try:
                        term = await self._attempt(lease)
                    except LeaseLost:
                        continue
                    except StoreUnavailable as error:
                        self._lease.contact.missed()
                        pause = backoff.next()
                        log.warning("engine: cannot stand for election: %s; trying again in %.1f s", error, pause)
                        await self._clock.sleep(pause)
                        continue
                    if term is not None:
                        return term
                    backoff.reset()
                    await vacant.wait(self._clock, None)
            finally:
                for watcher in watchers:
                    watcher.cancel()

    async def keep(self, term: Term) -> None:
        """Wait until the term is over, and then raise LeaseLost (in a group)."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._until_replaced(term))
            await self._lease.ended(term.lease)
            raise LeaseLost("the machine's lease has ended")

    async def _until_replaced(self, term: Term) -> None:
        async for changes in self._cache.follow(LEADER_ALONE):
            # the view may still be behind the commit that won; a store that has gone back in time ends the lease
            if changes.revision >= term.revision and changes.modified.get("") != term.revision:
                raise LeaseLost("somebody else has written or deleted the leader's key")

    async def resign(self, term: Term) -> None:
        """Delete the leader's key, so that another can lead at once. If the store is away the key stands until the machine's lease ends, or
        until this engine stands for election again."""
        try:
            mine = Condition(keys.ENGINE_LEADER, term.revision)
            await within(self._clock, RESIGNING, self._store.commit([mine], [Delete(keys.ENGINE_LEADER)]))
        except Conflict:
            log.debug("engine: the leader's key is another one already")
        except StoreUnavailable as error:
            log.warning("engine: cannot resign: %s", error)

    async def _attempt(self, lease: int) -> Term | None:
        standing = await self._store.get(keys.ENGINE_LEADER)
        self._lease.contact.seen()
        # a key under the own lease is that of an attempt whose answer was lost, or of a term that could not be resigned
        if standing is not None and standing.lease != lease and not await self._may_replace(standing):
            return None
        mine = Leader(self._machine, self._clock.now(), self._strategy)
        vacant = Condition(keys.ENGINE_LEADER, standing.modified if standing is not None else 0)
        try:
            return Term(lease, await self._lease.commit([vacant], {keys.ENGINE_LEADER: encode(mine)}))
        except Conflict:
            return None

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
        async for changes in self._cache.follow(SILENCES):
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

    async def _watch_key(self, vacant: Wake) -> None:
        """Wakes the candidate whenever the leader's key changes."""
        async for _ in self._cache.follow(LEADER_ALONE):
            vacant.set()
