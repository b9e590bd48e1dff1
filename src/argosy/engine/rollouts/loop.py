"""The leader carries rollouts out: it looks, plans, and tells the units. All that the next leader needs to go on is in the store.

Each step is one commit of what the units are told and how far the rollout is, on the condition that this leader leads, that the request
and the units stand as they were read, and that nobody else has recorded progress. So a leader that ends between any two commits leaves
nothing half told, and no unit is told twice.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import msgspec

from argosy.engine.rollouts.health import Scene
from argosy.engine.rollouts.plan import Finish, Restore, Touch, Wait
from argosy.engine.rollouts.routers import AskRouters, RouteWatch
from argosy.engine.rollouts.run import Moment, Run
from argosy.engine.rollouts.writes import in_place, written
from argosy.engine.world import World
from argosy.errors import Conflict, InvalidInput
from argosy.model import Rollout, RolloutProgress, RolloutUnit, Unit
from argosy.reconcile import Clock, Wake
from argosy.state import desired, keys
from argosy.state.desired import Stored
from argosy.state.records import decoded, encode
from argosy.store.base import Condition, Delete, Put, Store, Write

log = logging.getLogger(__name__)

KEPT_SECONDS = 86_400.0
KEPT = 50
"""How long, and how many, ended rollouts are kept."""

SAVE_EVERY = 1.0
"""Seconds between two records of mere reasons."""


class Rollouts:
    """All rollouts during one term. `leader` is the revision of the leader's key."""

    def __init__(self, store: Store, world: World, leader: int, clock: Clock, ask: AskRouters, wake: Wake) -> None:
        self.units_revision = 0
        self.routers = RouteWatch(ask, clock, wake)
        self._store = store
        self._world = world
        self._leader = Condition(keys.ENGINE_LEADER, leader)
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._progress: dict[str, tuple[RolloutProgress | None, int]] = {}

    async def load(self) -> None:
        """Reads how far all are. Only the leader writes these records: they are listed once, and known from then on."""
        listing = await self._store.list(keys.ROLLOUT_PROGRESS)
        names = [(record.key[len(keys.ROLLOUT_PROGRESS) :], record) for record in listing.records]
        self._progress = {name: (decoded(RolloutProgress, record), record.modified) for name, record in names}

    def set_request(self, name: str, request: Rollout | None, revision: int) -> None:
        """A request was written or (None) removed."""
        if request is None or request.name != name:
            self._runs.pop(name, None)
        elif name in self._runs and self._runs[name].request.created == request.created:
            self._runs[name].request = request
            self._runs[name].revision = revision
        else:
            self._runs[name] = Run(request, revision, *self._progress.get(name, (None, 0)))
        self._keep_beside()

    def requests(self) -> list[str]:
        return list(self._runs)

    async def step(self) -> float:
        """Does what is due. Returns the seconds until the next look is due by time alone."""
        active = [run for run in self._runs.values() if not run.ended]
        self.routers.want(frozenset().union(*(run.apps for run in active)))
        again = math.inf
        for run in sorted(active, key=lambda run: (run.request.created, run.request.name)):
            again = min(again, await self._advance(run))
        return min(again, await self._clean())

    async def _advance(self, run: Run) -> float:
        moment = self._moment()
        actions = run.look(self._world, self.units_revision, self.routers, moment)
        self._keep_beside()
        match actions[0]:
            case Touch() as touch:
                return await self._tell(run, touch.name, touch.reason, back=False)
            case Restore() as restore:
                return await self._tell(run, restore.name, restore.reason, back=True)
            case Finish() as finish:
                return await self._finish(run, finish)
            case Wait() as wait:
                if run.memory.items and self._is_new(run, moment):
                    await self._commit(run, run.record(moment), [], [])
                return wait.pause

    def _is_new(self, run: Run, moment: Moment) -> bool:
        """Whether there is anything to record."""
        if run.progress is None:
            return True
        if run.memory.steps != run.progress.steps:
            return True
        return run.reason != run.progress.reason and moment.now - run.saved_at >= SAVE_EVERY

    # ---------------------------------------------------------------- telling

    async def _tell(self, run: Run, name: str, reason: str, *, back: bool) -> float:
        """Tells a group in one commit, with the record of it. Raises Conflict when this leader leads no longer."""
        moment = self._moment()
        memory = run.remember()
        changes = run.changes(name)
        try:
            stored = {change.name: await desired.unit(self._store, change.name) for change in changes}
            units = self._units(run, name, changes, stored, back=back)
        except (Conflict, InvalidInput) as refusal:
            run.refuse(name, refusal.message, moment)
            return 0.0
        beside, note = self._beside(run, changes, units) if run.request.rules.start_first else ((), "")
        run.say(f"{name}: {_deed(changes, back)}, {reason}{note}", moment)
        run.begin_change(name, units, beside, Scene(self._world, self.routers.answer.served), moment, back=back)
        self._keep_beside()
        conditions = [Condition(keys.rollout(run.request.name), run.revision)]
        conditions += [Condition(keys.unit(unit), found.revision) for unit, found in stored.items() if found is not None]
        writes = [Put(keys.unit(unit), encode(after)) for unit, (_, after) in units.items()]
        try:
            await self._commit(run, run.record(moment), conditions, writes, told=name)
        except (Conflict, InvalidInput) as refusal:
            run.memory = memory
            self._keep_beside()
            if isinstance(refusal, Conflict):
                return self._overtaken(run, refusal)
            run.refuse(name, refusal.message, moment)
        return 0.0

    def _overtaken(self, run: Run, conflict: Conflict) -> float:
        """Somebody wrote the request or a unit at the same moment: the next look sees it."""
        if not conflict.key.startswith((keys.UNITS, keys.ROLLOUTS)):
            raise conflict
        log.info("rollout %s: %s; looking again", run.request.name, conflict)
        return 0.05

    def _units(
        self, run: Run, name: str, changes: Sequence[RolloutUnit], stored: dict[str, Stored | None], *, back: bool
    ) -> dict[str, tuple[Unit, Unit]]:
        group = run.memory.records[name]
        found = {}
        for change in changes:
            after = written(run.request, change, stored[change.name], group, self._world, back=back)
            before = stored[change.name]
            assert before is not None
            found[change.name] = (before.unit, after)
        return found

    def _beside(self, run: Run, changes: Sequence[RolloutUnit], units: dict[str, tuple[Unit, Unit]]) -> tuple[tuple[str, ...], str]:
        """The units whose new copy comes up beside the old one; and why the first does not."""
        beside: set[str] = set()
        note = ""
        for change in changes:
            before, after = units[change.name]
            if after.launch < before.launch:  # what it was before goes on, and the new copy goes
                beside.add(change.name)
                continue
            if after.launch == before.launch:
                continue
            why = in_place(self._world, before, after.text, beside)
            if not why:
                beside.add(change.name)
            elif not note:
                note = f"; in place: {why}"
        return tuple(sorted(beside)), note

    def _keep_beside(self) -> None:
        found: dict[str, bool] = {}
        for run in self._runs.values():
            if not run.ended:
                found |= run.beside
        self._world.set_beside(found)

    # ---------------------------------------------------------------- recording

    async def _commit(
        self, run: Run, progress: RolloutProgress, conditions: Sequence[Condition], writes: Sequence[Write], *, told: str = ""
    ) -> None:
        """Raises Conflict if this leader leads no longer, or a condition does not hold."""
        key = keys.rollout_progress(run.request.name)
        own = Condition(key, run.progress_revision)
        revision = await self._store.commit([self._leader, own, *conditions], [*writes, Put(key, encode(progress))])
        new = progress.steps[-1].number if progress.steps else 0
        old = run.progress.steps[-1].number if run.progress is not None and run.progress.steps else 0
        for step in progress.steps[len(progress.steps) - (new - old) :] if new > old else ():
            log.info("rollout %s: %s", run.request.name, step.text)
        run.progress, run.saved_at = progress, self._clock.monotonic()
        run.committed(revision, told)
        self._progress[run.request.name] = (progress, revision)

    async def _finish(self, run: Run, finish: Finish) -> float:
        """Records the end; when all went well, with the templates' new texts."""
        moment = self._moment()
        memory = run.remember()
        conditions: list[Condition] = []
        writes: list[Write] = []
        templates = []
        for template in run.request.templates if finish.good else ():
            stored = await desired.unit(self._store, template.name)
            if (stored.revision if stored else 0) != template.revision or template.text is None:
                run.say(f"{template.name}: not replaced: somebody else has changed it", moment)
                continue
            text = run.request.texts[template.text]
            unit = msgspec.structs.replace(stored.unit, text=text) if stored else Unit(template.name, text, submitted=moment.at)
            conditions.append(Condition(keys.unit(template.name), template.revision))
            writes.append(Put(keys.unit(template.name), encode(unit)))
            templates.append(template.name)
            run.say(f"{template.name}: replaced, for instances to come", moment)
        try:
            await self._commit(run, run.record(moment, finish, templates), conditions, writes)
        except Conflict as conflict:
            run.memory = memory
            return self._overtaken(run, conflict)
        log.info("rollout %s: %s", run.request.name, finish.reason)
        self._keep_beside()
        return 0.0

    async def _clean(self) -> float:
        """Removes what has ended long ago, and progress without a request. Returns the seconds until the next is due."""
        now = self._clock.now()
        ended = sorted((run for run in self._runs.values() if run.ended), key=lambda run: -run.ended)
        for place, run in enumerate(ended):
            if place >= KEPT or now - run.ended >= KEPT_SECONDS:
                name = run.request.name
                conditions = [self._leader, Condition(keys.rollout(name), run.revision)]
                try:
                    await self._store.commit(conditions, [Delete(keys.rollout(name)), Delete(keys.rollout_progress(name))])
                except Conflict as conflict:
                    return self._overtaken(run, conflict)
                self._forget(name)
        for name in [name for name in self._progress if name not in self._runs]:
            await self._store.commit([self._leader], [Delete(keys.rollout_progress(name))])
            self._forget(name)
        return min((KEPT_SECONDS - (now - run.ended) for run in self._runs.values() if run.ended), default=math.inf)

    def _forget(self, name: str) -> None:
        self._runs.pop(name, None)
        self._progress.pop(name, None)

    def _moment(self) -> Moment:
        return Moment(self._clock.monotonic(), self._clock.now())


def _deed(changes: Sequence[RolloutUnit], back: bool) -> str:
    names = " and ".join(change.name for change in changes[1:])
    along = f" (with {names})" if names else ""
    if all(change.text is None for change in changes):
        return f"restarting{along}"
    return f"putting its old text back{along}" if back else f"updating{along}"
