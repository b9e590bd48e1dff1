"""The agent of one machine: it registers the machine, does what the engine has placed there, and tells how it goes.

It watches only its own placements. While the store is out of reach, what runs goes on running, for the placements last known stand; only
units that must not outlive the machine's lease are stopped in time. An agent that stops leaves everything running and its lease to end by
itself, so that a restart moves nothing.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

import msgspec

from argosy.agent.facts import notably_different
from argosy.agent.fence import GUARDS, Fence
from argosy.agent.plan import Command, Start, attempted, refused
from argosy.agent.registration import Registration
from argosy.agent.runtime import Runtime
from argosy.agent.runtimes import Runtimes
from argosy.agent.table import UnitTable
from argosy.errors import Conflict, LeaseLost, RuntimeFailed, StoreUnavailable
from argosy.model import UNIT, Detail, Facts, LogLine, Machine, Observed, Problem, UnitState
from argosy.reconcile import Backoff, Clock, Wake, reconcile
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.kinds import placements_on
from argosy.state.lease import Lease, within
from argosy.state.records import decoded, encode
from argosy.verdict import has_failed

log = logging.getLogger(__name__)

TOLD = 8
FACTS_EVERY = 30.0
THOROUGH_EVERY = 600.0
"""Seconds after which a round looks at everything, whatever was told."""


class Agent:
    """`machine` says who this machine is; the agent adds when it came, what runs its units, its facts and its lease's time."""

    def __init__(
        self,
        cache: Cache,
        lease: Lease,
        runtimes: Runtimes,
        machine: Machine,
        clock: Clock,
        fence: Fence,
        facts: Callable[[], Awaitable[Facts]] | None = None,
    ) -> None:
        self._cache = cache
        self._store = cache.store
        self._lease = lease
        self._ttl = lease.ttl
        self._runtimes = runtimes
        self._clock = clock
        self._gather = facts
        self._id = machine.id
        described = msgspec.structs.replace(machine, ttl=lease.ttl, runtime=runtimes.units.kind)
        self._registration = Registration(cache.store, lease, described, clock)
        self._fence = fence
        self._units = UnitTable(machine.id, runtimes)
        self._published: dict[str, UnitState] = {}
        self._standing: set[str] | None = None
        self._fenced = True
        self._joined = False
        self._thorough = -math.inf
        self._backoff = Backoff()
        self._heard = Wake()
        self._observing = {kind: asyncio.Lock() for kind in runtimes}
        self._wake = Wake()
        self._looked = Wake()

    @property
    def has_joined(self) -> bool:
        """Whether this process has registered the machine, be it under a lease that has ended since."""
        return self._registration.joined

    @property
    def machine(self) -> Machine:
        """The record as it is told to the store."""
        return self._registration.machine

    def report_problem(self, source: str, problem: Problem | None) -> None:
        """Add a problem to the machine's record, or take it back (None). `source` names who reports; each has at most one problem."""
        self._registration.report_problem(source, problem)

    async def detail(self, name: str) -> Detail:
        """Raises NotFound for a unit that is not loaded here."""
        return await self._runtime_of(name).detail(name)

    def logs(self, name: str, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        return self._runtime_of(name).logs(name, lines, follow)

    def _runtime_of(self, name: str) -> Runtime:
        """The runtime that has the unit loaded, or that of units."""
        seen = self._units.observed.get(name)
        return self._runtimes[seen.kind] if seen is not None else self._runtimes.units

    async def run(self) -> None:
        """Until it is cancelled. Raises Refused (in a group) if another agent keeps this machine id alive."""
        since = self.machine.since or self._clock.now()
        self._registration.update(msgspec.structs.replace(self.machine, since=since))
        earlier = await self._fence.begin(since)
        await self._update_facts()
        self._units.forget_observed()
        self._thorough = -math.inf
        async with asyncio.TaskGroup() as group:
            group.create_task(self._register(earlier))
            group.create_task(self._follow())
            for kind in self._runtimes:
                group.create_task(self._watch(kind))
            group.create_task(reconcile("agent", self._round, self._wake, self._clock))
            group.create_task(reconcile("updating the machine's facts", self._update_facts, Wake(), self._clock))

    # ---------------------------------------------------------------- the machine's place in the cluster

    async def _register(self, earlier: float) -> None:
        """Join, and join anew whenever the lease has ended. `earlier` is the `since` of the agent that ran here before."""
        backoff = Backoff(most=1.0)
        while True:
            try:
                await self._settle()
                if not self._lease.id:
                    await self._join(earlier)
            except (StoreUnavailable, Conflict, LeaseLost) as error:
                pause = backoff.next()
                log.warning("machine %s cannot join: %s; trying again in %.1f s", self._id, error, pause)
                await self._clock.sleep(pause)
                continue
            backoff.reset()
            for name in (self._standing or set()) - self._units.states.keys():
                self._lease.withdraw(keys.state(self._id, name))
            self._wake.set()
            await self._lease.ended(self._lease.id)
            log.warning("the lease of machine %s has ended: joining anew", self._id)
            self._fence.lose()

    async def _join(self, earlier: float) -> None:
        revision = await self._registration.find_record(earlier)
        if revision == 0 and not self._fence.is_clear(self._all_observed()):
            self._fence.lose()
            raise LeaseLost(f"the record of machine {self._id} is gone")
        await self._fence.note()
        await self._registration.join(revision)
        log.info("machine %s has joined, with a lease of %.0f s", self._id, self._ttl)

    # ---------------------------------------------------------------- what is placed here

    async def _follow(self) -> None:
        async for changes in self._cache.follow(placements_on(self._id)):
            self._units.take(changes)
            self._heard.set()
            self._wake.set()

    async def _settle(self) -> None:
        """Before the machine joins (for the first time, or after it was counted as lost): what is no longer placed here is stopped, so that
        nothing runs twice. Units that take their time to stop are waited for as long as a lease lasts; those that must not outlive a lease
        that has ended, until they are dead."""
        await self._recall()
        await within(self._clock, self._ttl, self._catch_up())
        self._wake.set()
        end = self._clock.monotonic() + self._ttl
        while (
            self._is_blind()
            or (self._units.leftovers() and self._clock.monotonic() < end)
            or (self._fence.sent == -math.inf and not self._fence.is_clear(self._all_observed()))
        ):
            await self._looked.wait(self._clock, self._ttl / GUARDS)

    def _is_blind(self) -> bool:
        """Whether it must still be found out what runs here: a runtime that cannot be used is not waited for, unless something may run that
        must not outlive a lease."""
        unknown = [kind for kind in self._runtimes if not self._units.is_known(kind)]
        return any(self._fence.exclusive or not self._registration.has_problem(problem_source(kind)) for kind in unknown)

    def _all_observed(self) -> Mapping[str, Observed] | None:
        """All that is loaded here; None while that is not known."""
        return self._units.observed if all(map(self._units.is_known, self._runtimes)) else None

    async def _catch_up(self) -> None:
        """Until the placements that are followed are those that the store has now. Which of two revisions is newer says nothing: the store
        may have been restored."""
        prefix = keys.placements_on(self._id)
        while True:
            listing = await self._store.list(prefix)
            now = {record.key[len(prefix) :]: record.modified for record in listing.records}
            if self._units.placements is not None and self._units.modified == now:
                return
            await self._heard.wait(self._clock, self._ttl / GUARDS)

    async def _recall(self) -> None:
        """The states that stand in the store: at first, the failures that the agent before had counted; later, what must be deleted."""
        prefix = keys.states_on(self._id)
        listing = await within(self._clock, self._ttl, self._store.list(prefix))
        states = {record.key[len(prefix) :]: decoded(UnitState, record) for record in listing.records}
        if self._standing is None and not self._units.states:
            now = self._clock.now()
            for name, state in states.items():
                if state is not None:
                    self._units.set_state(name, msgspec.structs.replace(state, retry_at=now) if has_failed(state) else state)
            self._publish()  # they stand while the runtime cannot be asked
        self._standing = set(states)

    # ---------------------------------------------------------------- doing it

    async def _watch(self, kind: str) -> None:
        """What a runtime tells. Its first word is about all units."""
        backoff = Backoff()
        while True:
            try:
                async with _closed(self._runtimes[kind].changes()) as changes:
                    first = True
                    async for names in changes:
                        backoff.reset()
                        self._units.unsee(kind, None if first else names)
                        first = False
                        await self._observe(kind)
                        self._wake.set()
            except RuntimeFailed as error:
                self._cannot_manage(kind, error)
                pause = backoff.next()
                log.warning("%s; connecting anew in %.1f s", error, pause)
                await self._clock.sleep(pause)

    async def _observe(self, kind: str) -> None:
        """Look at the units of a kind that may have changed, and publish what has; this goes on while a round waits for the runtime."""
        async with self._observing[kind]:
            names = self._units.unseen(kind)
            if names is None or names:
                try:
                    found = await self._runtimes.observe(kind, names)
                except BaseException:
                    self._units.unsee(kind, names)
                    raise
                self._units.saw(kind, names, found)
        self._units.report(self._clock.now())
        self._publish()
        self._looked.set()

    def _cannot_manage(self, kind: str, error: RuntimeFailed) -> None:
        """Tell the cluster, until a round succeeds. Without a runtime for units the machine must get no new ones."""
        what = "units" if kind == UNIT else f"workloads of kind {kind}"
        self.report_problem(problem_source(kind), Problem(f"its {what} cannot be managed: {error.message}", blocking=kind == UNIT))
        self._looked.set()

    async def _round(self) -> float | None:
        """Do what has become necessary. A runtime that cannot be used delays nothing of another."""
        self._doubt()
        names = self._units.pending(self._clock.monotonic())
        failing: dict[str, RuntimeFailed] = {}
        try:
            await self._observe_all(self._units.with_leaders(names), failing)
            if self._units.placements is None:  # the store was not heard yet: nothing is known, so nothing is done
                self._units.replan(names)
            else:
                names |= self._units.pending(self._clock.monotonic())
                await self._bring_about(names, failing)
        except BaseException:
            self._units.replan(names)
            raise
        for kind in self._runtimes:
            if kind not in failing:
                self.report_problem(problem_source(kind), None)
        if not failing:
            self._backoff.reset()
            pause = self._units.pause(self._clock.monotonic())
            if self._fenced and self._fence.exclusive:  # nobody tells when the store answers again
                pause = min(pause or math.inf, self._ttl / GUARDS)
            return pause
        self._units.replan(names)
        if UNIT in failing:
            raise failing[UNIT]
        pause = self._backoff.next()  # what has changed meanwhile is not kept waiting, as it is by an error
        log.warning("%s; trying again in %.1f s", "; ".join(map(str, failing.values())), pause)
        return pause

    def _doubt(self) -> None:
        """Look at everything when what holds for all units has changed, and now and then."""
        fenced, joined = self._fence.is_due(), bool(self._lease.id)
        now = self._clock.monotonic()
        if now - self._thorough >= THOROUGH_EVERY:
            self._thorough = now
            for kind in self._runtimes:
                self._units.unsee(kind, None)
            self._units.doubt_all()
        elif (fenced, joined) != (self._fenced, self._joined):
            self._units.doubt_all()
        self._fenced, self._joined = fenced, joined

    async def _observe_all(self, names: frozenset[str], failing: dict[str, RuntimeFailed]) -> None:
        for kind in self._runtimes:
            self._units.unsee(kind, names)
            try:
                await self._observe(kind)
            except RuntimeFailed as error:
                self._cannot_manage(kind, error)
                failing[kind] = error

    async def _bring_about(self, names: set[str], failing: dict[str, RuntimeFailed]) -> None:
        """Plan and apply for these units."""
        units, now = self._units, self._clock.now()
        assert units.placements is not None
        actions = units.plan(names, now, self._clock.monotonic(), fenced=self._fenced)
        if not self._joined:  # before the machine has joined, perhaps under an id that is another's, it may only stop what is not its own
            actions = tuple(action for action in actions if action.unit not in units.placements)
        await self._fence.know(names, units.placements, units.observed)
        rejected: dict[str, str] = {}
        for _, group in groupby(actions, type):
            chosen = list(group)
            for kind in dict.fromkeys(action.kind for action in chosen):
                await self._apply([action for action in chosen if action.kind == kind and action.unit not in rejected], rejected, failing)
        now = self._clock.now()
        for name, reason in rejected.items():
            state = refused(self._id, name, units.placements.get(name), units.states.get(name), reason, now)
            units.set_state(name, state)
            units.wake_at(name, self._clock.monotonic() + state.retry_at - now)
            log.error("%s is refused: %s", name, reason)
        self._publish()

    async def _apply(self, actions: list[Command], rejected: dict[str, str], failing: dict[str, RuntimeFailed]) -> None:
        """Carry out actions of one type and one kind in one call."""
        if not actions or (kind := actions[0].kind) in failing:
            return
        _tell(actions)
        try:
            rejected |= await self._runtimes.apply(actions, self._units.placements or {})
        except RuntimeFailed as error:
            self._cannot_manage(kind, error)
            failing[kind] = error
            return
        finally:
            if kind in self._runtimes:
                self._units.unsee(kind, [action.unit for action in actions])
        for action in actions:
            if isinstance(action, Start) and action.unit in self._units.states and action.unit not in rejected:
                self._units.set_state(action.unit, attempted(self._units.states[action.unit]))

    # ---------------------------------------------------------------- telling

    def _publish(self) -> None:
        """Publish the states that have changed."""
        changed, self._units.changed = self._units.changed, set()
        for name in changed:
            state = self._units.states.get(name)
            if state is None:
                if self._published.pop(name, None) is not None:
                    self._lease.withdraw(keys.state(self._id, name))
            elif self._published.get(name) != state:
                self._published[name] = state
                self._lease.publish(keys.state(self._id, name), encode(state))

    async def _update_facts(self) -> float:
        if self._gather is not None:
            facts = await self._gather()
            if notably_different(self.machine.facts, facts):
                self._registration.update(msgspec.structs.replace(self.machine, facts=facts))
        return FACTS_EVERY


@asynccontextmanager
async def _closed(changes: AsyncIterator[frozenset[str]]) -> AsyncIterator[AsyncIterator[frozenset[str]]]:
    """Ends the iterator with the block, not whenever it happens to be collected."""
    try:
        yield changes
    finally:
        if isinstance(changes, AsyncGenerator):
            await changes.aclose()


def _tell(actions: Sequence[Command]) -> None:
    """A line for each action; of many, one line for all."""
    for action in actions[:TOLD]:
        log.info("%s %s: %s", type(action).__name__.lower(), action.unit, action.reason)
    if len(actions) > TOLD:
        log.info("... and %d more: %s", len(actions) - TOLD, ", ".join(action.unit for action in actions[TOLD:]))


def problem_source(kind: str) -> str:
    """Source of the problem that the runtime of a kind cannot be used."""
    return "runtime" if kind == UNIT else f"runtime {kind}"
