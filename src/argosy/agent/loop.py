"""The agent of one machine: it registers the machine, does what the engine has placed there, and tells how it goes.

It watches only its own placements. While the store is out of reach, what runs goes on running, for the placements last known stand; only
units that must not outlive the machine's lease are stopped in time. An agent that stops leaves everything running and its lease to end by
itself, so that a restart moves nothing.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

import msgspec

from argosy.agent.containers import Containers
from argosy.agent.facts import notably_different
from argosy.agent.fence import GUARDS, Fence
from argosy.agent.plan import (
    Action,
    Kill,
    Load,
    Start,
    Stop,
    Unload,
    Wait,
    anew,
    attempted,
    next_look,
    plan,
    refused,
    report,
)
from argosy.agent.registration import Registration
from argosy.agent.runtime import Runtime
from argosy.errors import Conflict, LeaseLost, RuntimeFailed, StoreUnavailable
from argosy.model import Detail, Facts, LogLine, Machine, Observed, Placement, Problem, UnitState
from argosy.reconcile import Backoff, Clock, Wake, reconcile
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.kinds import placements_on
from argosy.state.lease import Lease, within
from argosy.state.records import decoded, encode
from argosy.state.table import Changes
from argosy.verdict import at_rest, has_failed

log = logging.getLogger(__name__)

TOLD = 8
FACTS_EVERY = 30.0
RUNTIME = "runtime"
"""Source of the problem that the runtime cannot be used."""


class Agent:
    """`machine` says who this machine is; the agent adds when it came, what runs its units, its facts and its lease's time. `containers`
    makes services of Quadlet files; the default takes whichever engine there is."""

    def __init__(
        self,
        cache: Cache,
        lease: Lease,
        runtime: Runtime,
        machine: Machine,
        clock: Clock,
        fence: Fence,
        facts: Callable[[], Awaitable[Facts]] | None = None,
        containers: Containers | None = None,
    ) -> None:
        self._cache = cache
        self._store = cache.store
        self._lease = lease
        self._ttl = lease.ttl
        self._runtime = runtime
        self._clock = clock
        self._gather = facts
        self._containers = containers or Containers("auto", runtime.kind)
        self._id = machine.id
        self._registration = Registration(cache.store, lease, msgspec.structs.replace(machine, ttl=lease.ttl, runtime=runtime.kind), clock)
        self._fence = fence
        self._placements: dict[str, Placement] | None = None
        self._unreadable: set[str] = set()
        self._modified: dict[str, int] = {}
        self._heard = Wake()
        self._observed: dict[str, Observed] | None = None
        self._states: dict[str, UnitState] = {}
        self._published: dict[str, UnitState] = {}
        self._standing: set[str] | None = None
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
        return await self._runtime.detail(name)

    def logs(self, name: str, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        return self._runtime.logs(name, lines, follow)

    async def run(self) -> None:
        """Until it is cancelled. Raises Refused (in a group) if another agent keeps this machine id alive."""
        since = self.machine.since or self._clock.now()
        self._registration.update(msgspec.structs.replace(self.machine, since=since))
        earlier = await self._fence.begin(since)
        await self._update_facts()
        self._observed = None
        async with asyncio.TaskGroup() as group:
            group.create_task(self._register(earlier))
            group.create_task(self._follow())
            group.create_task(self._watch())
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
            for name in (self._standing or set()) - self._states.keys():
                self._lease.withdraw(keys.state(self._id, name))
            self._wake.set()
            await self._lease.ended(self._lease.id)
            log.warning("the lease of machine %s has ended: joining anew", self._id)
            self._fence.lose()

    async def _join(self, earlier: float) -> None:
        revision = await self._registration.find_record(earlier)
        if revision == 0 and not self._fence.is_clear(self._observed):
            self._fence.lose()
            raise LeaseLost(f"the record of machine {self._id} is gone")
        await self._fence.note()
        await self._registration.join(revision)
        log.info("machine %s has joined, with a lease of %.0f s", self._id, self._ttl)

    # ---------------------------------------------------------------- what is placed here

    async def _follow(self) -> None:
        async for changes in self._cache.follow(placements_on(self._id)):
            self._take(changes)

    def _take(self, changes: Changes[Placement]) -> None:
        before = self._placements or {}
        after = {} if changes.reset else dict(before)
        broken = {name for name in changes.modified if changes.items.get(name) is None}
        for name, placement in changes.items.items():
            if placement is None:
                after.pop(name, None)
            else:
                after[name] = placement
        for name in sorted(broken):  # `decoded` has told why
            log.error("the placement of %s cannot be read: %s", name, "the one before stands" if name in before else "it stays as it is")
            if name in before:
                after[name] = before[name]
        self._unreadable = (set() if changes.reset else self._unreadable - changes.items.keys()) | broken
        for name in after:
            if name in self._states and name in before and _another(before[name], after[name]):
                self._states[name] = anew(self._states[name])
        kept = {} if changes.reset else {name: revision for name, revision in self._modified.items() if name not in changes.items}
        self._modified = kept | dict(changes.modified)
        self._placements = after
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
            (self._observed is None and (not self._registration.has_problem(RUNTIME) or self._fence.exclusive))
            or (self._leftovers() and self._clock.monotonic() < end)
            or (self._fence.sent == -math.inf and not self._fence.is_clear(self._observed))
        ):
            await self._looked.wait(self._clock, self._ttl / GUARDS)

    async def _catch_up(self) -> None:
        """Until the placements that are followed are those that the store has now. Which of two revisions is newer says nothing: the store
        may have been restored."""
        prefix = keys.placements_on(self._id)
        while True:
            listing = await self._store.list(prefix)
            now = {record.key[len(prefix) :]: record.modified for record in listing.records}
            if self._placements is not None and self._modified == now:
                return
            await self._heard.wait(self._clock, self._ttl / GUARDS)

    async def _recall(self) -> None:
        """The states that stand in the store: at first, the failures that the agent before had counted; later, what must be deleted."""
        prefix = keys.states_on(self._id)
        listing = await within(self._clock, self._ttl, self._store.list(prefix))
        states = {record.key[len(prefix) :]: decoded(UnitState, record) for record in listing.records}
        if self._standing is None and not self._states:
            now = self._clock.now()
            for name, state in states.items():
                if state is not None:
                    self._states[name] = msgspec.structs.replace(state, retry_at=now) if has_failed(state) else state
            self._publish()  # they stand while the runtime cannot be asked
        self._standing = set(states)

    def _leftovers(self) -> bool:
        placed = {*(self._placements or ()), *self._unreadable}
        return any(name not in placed and not at_rest(seen) for name, seen in (self._observed or {}).items())

    # ---------------------------------------------------------------- doing it

    async def _watch(self) -> None:
        """What the runtime tells."""
        backoff = Backoff()
        while True:
            try:
                async with _closed(self._runtime.changes()) as changes:
                    async for _ in changes:
                        backoff.reset()
                        await self._look()
                        self._wake.set()
            except RuntimeFailed as error:
                self._cannot_manage(error)
                pause = backoff.next()
                log.warning("%s; connecting anew in %.1f s", error, pause)
                await self._clock.sleep(pause)

    async def _look(self) -> dict[str, Observed]:
        """Looks at all units and offers their states; this goes on while a round waits for the runtime."""
        observed = self._observed = await self._runtime.units()
        if self._placements is not None:
            self._states = report(self._id, self._placements, observed, self._states, self._clock.now())
            self._publish()
        self._looked.set()
        return observed

    def _cannot_manage(self, error: RuntimeFailed) -> None:
        """Tells the cluster, until a round succeeds, that this machine must get no new units."""
        self.report_problem(RUNTIME, Problem(f"its units cannot be managed: {error.message}", blocking=True))
        self._looked.set()

    async def _round(self) -> float | None:
        try:
            pause = await self._bring_about()
        except RuntimeFailed as error:
            if not error.refused:
                self._cannot_manage(error)
            raise
        self.report_problem(RUNTIME, None)
        return pause

    async def _bring_about(self) -> float | None:
        observed = await self._look()
        placements = self._placements
        if placements is None:  # the store was not heard yet: nothing is known, so nothing is done
            return None
        now = self._clock.now()
        actions = plan(placements, observed, self._states, now, fenced=self._fence.is_due(), unreadable=self._unreadable)
        if not self._lease.id:  # before the machine has joined, perhaps under an id that is another's, it may only stop what is not its own
            actions = tuple(action for action in actions if action.unit not in placements)
        await self._fence.know(placements, observed)
        pause = next_look(actions, self._states, now)
        retry = await self._apply([action for action in actions if not isinstance(action, Wait)])
        return retry if pause is None else pause if retry is None else min(pause, retry)

    async def _apply(self, actions: list[Action]) -> float | None:
        """Does what is planned, one call for each kind. Seconds until something that was refused is tried again."""
        rejected: dict[str, str] = {}
        for kind, group in groupby(actions, type):
            chosen = [action for action in group if action.unit not in rejected]
            _tell(chosen)
            try:
                await self._call(chosen)
            except RuntimeFailed as error:
                if not error.refused:
                    raise
                rejected |= error.refused
            if kind is Start:
                for action in chosen:
                    if action.unit in self._states and action.unit not in rejected:
                        self._states[action.unit] = attempted(self._states[action.unit])
        now = self._clock.now()
        for name, reason in rejected.items():
            placement = (self._placements or {}).get(name)
            self._states[name] = refused(self._id, name, placement, self._states.get(name), reason, now)
            log.error("%s is refused: %s", name, reason)
        self._publish()
        return min((self._states[name].retry_at - now for name in rejected), default=None)

    async def _call(self, actions: list[Action]) -> None:
        """Actions of one kind, in one call."""
        names = [action.unit for action in actions]
        match actions:
            case []:
                return
            case [Load(), *_]:
                await self._load([(action.unit, action.text) for action in actions if isinstance(action, Load)])
            case [Start(), *_]:
                await self._runtime.start([(action.unit, action.launch) for action in actions if isinstance(action, Start)])
            case [Stop(), *_]:
                await self._runtime.stop(names)
            case [Kill(), *_]:
                await self._runtime.kill(names)
            case [Unload(), *_]:
                await self._runtime.unload(names)

    async def _load(self, units: Sequence[tuple[str, str]]) -> None:
        """Raises RuntimeFailed as the runtime does, also for containers that cannot be run here."""
        texts = {name: placement.text for name, placement in (self._placements or {}).items()}
        services, refused = await self._containers.services(units, texts)
        try:
            if services:
                await self._runtime.load(services)
        except RuntimeFailed as error:
            if not error.refused:
                raise
            refused |= error.refused
        if refused:
            raise RuntimeFailed("; ".join(refused.values()), refused=refused)

    # ---------------------------------------------------------------- telling

    def _publish(self) -> None:
        """Publish the states that have changed."""
        for name, state in self._states.items():
            if self._published.get(name) != state:
                self._lease.publish(keys.state(self._id, name), encode(state))
        for name in self._published.keys() - self._states.keys():
            self._lease.withdraw(keys.state(self._id, name))
        self._published = dict(self._states)

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


def _tell(actions: Sequence[Action]) -> None:
    """A line for each action; of many, one line for all."""
    for action in actions[:TOLD]:
        log.info("%s %s: %s", type(action).__name__.lower(), action.unit, action.reason)
    if len(actions) > TOLD:
        log.info("... and %d more: %s", len(actions) - TOLD, ", ".join(action.unit for action in actions[TOLD:]))


def _another(before: Placement, after: Placement) -> bool:
    """Whether a placement asks for something else than before."""
    return (before.text, before.target, before.launch) != (after.text, after.target, after.launch)
