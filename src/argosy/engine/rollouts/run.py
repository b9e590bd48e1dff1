"""One rollout as its leader holds it: what was asked for, how far it is, and what is recorded of that. Touches nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from argosy.engine.rollouts.groups import Group, grouped, of_units, read_all
from argosy.engine.rollouts.health import Asked, Scene, asked_now, health
from argosy.engine.rollouts.plan import (
    LOOK,
    MOVING,
    Action,
    Finish,
    Health,
    Item,
    Items,
    Verdict,
    Wait,
    begin,
    begun,
    broken,
    plan,
    seen,
)
from argosy.engine.rollouts.routers import RouteWatch
from argosy.engine.world import World
from argosy.model import (
    Rollout,
    RolloutGroup,
    RolloutProgress,
    RolloutState,
    RolloutStep,
    RolloutUnit,
    RolloutWish,
    Stage,
    Unit,
)
from argosy.unit.text import unit_text

STEPS = 100
"""Steps that are kept."""

SETTLED = {Stage.READY: "healthy again", Stage.RESTORED: "healthy again with what it was before"}
BACK = (Stage.RESTORING, Stage.RESTORED, Stage.LOST)


class Moment(msgspec.Struct, frozen=True):
    """`now` in monotonic seconds, `at` in Unix time."""

    now: float
    at: float


class Memory(msgspec.Struct):
    """What changes when a step is taken, so that a step that could not be written is forgotten."""

    items: Items = ()
    records: dict[str, RolloutGroup] = {}
    asked: dict[str, Asked] = {}
    steps: tuple[RolloutStep, ...] = ()
    number: int = 0


class Run:
    """`revision` is the request's, `progress_revision` that of the record of its progress (0: there is none)."""

    def __init__(self, request: Rollout, revision: int, progress: RolloutProgress | None, progress_revision: int) -> None:
        self.request = request
        self.revision = revision
        self.progress_revision = progress_revision
        self.progress = progress if progress is not None and progress.created == request.created else None
        self.groups: dict[str, Group] = {}
        self.memory = Memory()
        self.reason = ""
        self.saved_at = 0.0
        self._paused = self.progress is not None and self.progress.state is RolloutState.PAUSED
        self._seen_from: dict[str, int] = {}
        self._units = {unit.name: unit for unit in request.units}

    @property
    def ended(self) -> float:
        return self.progress.ended if self.progress is not None else 0.0

    @property
    def apps(self) -> frozenset[str]:
        return frozenset(app for found in self.groups.values() for app, _ in found.routes)

    @property
    def beside(self) -> dict[str, bool]:
        """Units whose new copy comes up beside the old one; True: the old one must stay, since the new one is not healthy yet. Only the
        first of a group stays: those that follow it go ahead."""
        groups = [_recorded(self.memory.records[item.name], item) for item in self.memory.items]
        if not groups and self.progress is not None:
            groups = list(self.progress.groups)
        return {name: name == group.name and group.stage in MOVING and not group.released for group in groups for name in group.beside}

    def changes(self, name: str) -> list[RolloutUnit]:
        """Of a group."""
        return [self._units[unit] for unit in self.groups[name].units if unit in self._units and self._units[unit].changes]

    # ---------------------------------------------------------------- looking

    def look(self, world: World, units_revision: int, routers: RouteWatch, moment: Moment) -> tuple[Action, ...]:
        """What to do next. `units_revision`: up to which the world shows units."""
        if not self.groups:
            self._gather(world)
        if not routers.covers(self.apps) and self.apps:
            return (Wait(LOOK, "what the routers serve is not known yet"),)
        scene = Scene(world, routers.answer.served)
        if not self.memory.items:
            self._begin(scene, moment)
        found = {item.name: self._health(item, scene, units_revision, routers) for item in self.memory.items}
        self._move(seen(self.memory.items, found, self.request.rules, moment.now), moment)
        if self._paused is not (self.request.wish is RolloutWish.PAUSE):
            self._paused = not self._paused
            self.say("paused" if self._paused else "goes on", moment)
        actions = plan(self.memory.items, self.request.rules, moment.now, self.request.wish)
        if isinstance(actions[0], Wait | Finish):
            self.reason = actions[0].reason
        return actions

    def _gather(self, world: World) -> None:
        """The groups: as they were recorded, or from the texts."""
        wanted = [unit.name for unit in self.request.units]
        texts = {unit.name: self.request.texts[unit.text] for unit in self.request.units if unit.text is not None}
        recorded = self.progress.groups if self.progress is not None else ()
        if not recorded:
            self.groups = {found.name: found for found in grouped(wanted, world.workloads, texts)}
            return
        readings = read_all(wanted, world.workloads, texts)
        self.groups = {each.name: of_units(each.name, each.units, frozenset(wanted), readings) for each in recorded}

    def _begin(self, scene: Scene, moment: Moment) -> None:
        memory = self.memory
        if self.progress is not None and self.progress.groups:
            memory.steps = self.progress.steps
            memory.number = max((step.number for step in self.progress.steps), default=0)
            memory.records = {each.name: each for each in self.progress.groups}
            memory.asked = {each.name: self._asked_of(each, scene) for each in self.progress.groups}
            memory.items = tuple(_item_of(each, moment) for each in self.progress.groups)
            return
        memory.asked = {name: asked_now(found, scene, {}, {}) for name, found in self.groups.items()}
        memory.records = {name: RolloutGroup(name, found.units) for name, found in self.groups.items()}
        already = [name for name in self.groups if not self.changes(name)]
        memory.items = begin({name: health(found, memory.asked[name], scene) for name, found in self.groups.items()}, already, moment.now)

    def _asked_of(self, record: RolloutGroup, scene: Scene) -> Asked:
        if not record.touched:
            return asked_now(self.groups[record.name], scene, {}, {})
        hashes = self._hashes(record.name, back=record.stage in BACK)
        return Asked(record.launches, hashes, record.before, frozenset(record.nowhere), frozenset(record.routes))

    def _hashes(self, name: str, *, back: bool) -> dict[str, str]:
        texts = self.request.texts
        changed = [(unit.name, unit.before if back else unit.text) for unit in self.changes(name) if unit.text is not None]
        return {unit: unit_text(texts[place]).hash for unit, place in changed if place is not None}

    def _health(self, item: Item, scene: Scene, units_revision: int, routers: RouteWatch) -> Health:
        """What was seen before the group was told says nothing."""
        if units_revision < self._seen_from.get(item.name, 0):
            return Health(Verdict.WAITING, "what it was told has not been seen yet")
        if self.groups[item.name].routes and item.stage in MOVING and not routers.tells(since=item.told):
            return Health(Verdict.WAITING, "the routers have not answered yet")
        return health(self.groups[item.name], self.memory.asked[item.name], scene)

    # ---------------------------------------------------------------- steps

    def say(self, text: str, moment: Moment) -> None:
        self.memory.number += 1
        step = RolloutStep(self.memory.number, moment.at, text)
        self.memory.steps = (*self.memory.steps[1 - STEPS :], step)

    def begin_change(
        self, name: str, units: Mapping[str, tuple[Unit, Unit]], beside: Collection[str], scene: Scene, moment: Moment, *, back: bool
    ) -> None:
        """The group is told: `units` are (before, after) by name. `beside`: see RolloutGroup."""
        memory, found = self.memory, self.groups[name]
        launches = {unit: after.launch for unit, (before, after) in units.items() if after.launch != before.launch}
        asked = asked_now(found, scene, launches, self._hashes(name, back=back))
        released = any(after.launch < before.launch for before, after in units.values())
        memory.items = begun(memory.items, name, moment.now, restoring=back, released=released)
        memory.asked[name] = asked
        memory.records[name] = RolloutGroup(
            name,
            found.units,
            told=moment.at,
            launches=launches,
            previous={unit: before.launch for unit, (before, _) in units.items()},
            before={unit: dict(runs) for unit, runs in asked.before.items()},
            nowhere=tuple(sorted(asked.nowhere)),
            routes=tuple(sorted(asked.routes)),
            beside=tuple(sorted(beside)),
        )

    def committed(self, revision: int, told: str = "") -> None:
        """The progress was written at this revision, with what the group `told` was told."""
        self.progress_revision = revision
        if told:
            self._seen_from[told] = revision

    def refuse(self, name: str, reason: str, moment: Moment) -> None:
        """The group could not be told; nothing of it was written."""
        self._move(broken(self.memory.items, name, reason, touched=False), moment)

    def remember(self) -> Memory:
        memory = self.memory
        return Memory(memory.items, dict(memory.records), dict(memory.asked), memory.steps, memory.number)

    def _move(self, items: Items, moment: Moment) -> None:
        """Takes new items, telling of those that came to another stage."""
        before = {item.name: item for item in self.memory.items}
        self.memory.items = items
        for item in items:
            old = before.get(item.name)
            took = f" after {moment.now - old.told:.1f} s" if old is not None and old.told else ""
            if old is None or (old.stage is item.stage and old.released == item.released):
                continue
            if old.stage is item.stage:
                self.say(f"{item.name}: its new copy is healthy{took}; the old one goes", moment)
            elif item.stage in SETTLED:
                count = sum(other.stage in (Stage.READY, Stage.SKIPPED, Stage.RESTORED) for other in items)
                self.say(f"{item.name}: {SETTLED[item.stage]}{took} ({count} of {len(items)})", moment)
            elif item.stage in (Stage.FAILED, Stage.LOST):
                self.say(f"{item.name}: failed{took}: {item.reason}", moment)
            elif item.stage is Stage.CHANGING:
                self.say(f"{item.name}: no longer healthy: {item.reason}", moment)

    # ---------------------------------------------------------------- recording

    def record(self, moment: Moment, finish: Finish | None = None, templates: Sequence[str] = ()) -> RolloutProgress:
        """What is written of it now."""
        state = RolloutState.PAUSED if self.request.wish is RolloutWish.PAUSE else RolloutState.RUNNING
        if finish is not None:
            state = self._outcome(finish)
        return RolloutProgress(
            self.request.name,
            self.request.created,
            state,
            finish.reason if finish is not None else self.reason,
            tuple(_recorded(self.memory.records[item.name], item) for item in self.memory.items),
            self.memory.steps,
            tuple(templates),
            moment.at if finish is not None else 0.0,
        )

    def _outcome(self, finish: Finish) -> RolloutState:
        stages = {item.stage for item in self.memory.items if item.touched}
        if finish.good:
            return RolloutState.DONE
        if Stage.RESTORED in stages and not stages & {Stage.LOST, Stage.READY, Stage.FAILED}:
            return RolloutState.ROLLED_BACK
        failed = any(item.failure for item in self.memory.items)
        return RolloutState.FAILED if failed else RolloutState.ABORTED


def _recorded(record: RolloutGroup, item: Item) -> RolloutGroup:
    found = msgspec.structs.replace(
        record, stage=item.stage, reason=item.reason, failure=item.failure, touched=item.touched, released=item.released
    )
    return found if item.stage in MOVING else msgspec.structs.replace(found, before={})


def _item_of(record: RolloutGroup, moment: Moment) -> Item:
    """Its time begins anew: clocks of two machines may differ."""
    told = moment.now - max(0.0, moment.at - record.told) if record.told else 0.0
    return Item(
        record.name,
        record.stage,
        record.reason,
        record.failure,
        touched=record.touched,
        since=moment.now,
        told=told,
        released=record.released,
    )
