"""What clients do with rollouts: ask for one, look at it, change what they want of it. The engine leader carries them out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from argosy.api.shapes import RolloutAnswer, RolloutGroupView, RolloutList, RolloutOrder, RolloutUnitOrder, RolloutView
from argosy.errors import Conflict, InvalidInput, NotFound
from argosy.model import Rollout, RolloutGroup, RolloutProgress, RolloutRules, RolloutState, RolloutUnit, RolloutWish, Target
from argosy.reconcile import Clock
from argosy.state import desired
from argosy.state.cache import Cache
from argosy.state.desired import Stored
from argosy.state.kinds import ROLLOUT_PROGRESS, ROLLOUTS, Topic
from argosy.state.rollouts import create_rollout, followed, wish_rollout
from argosy.unit.names import check_name, is_template
from argosy.unit.validate import validate

READS_AT_ONCE = 64

NEW = RolloutProgress("", reason="no leader has taken it on yet")


class RolloutService:
    """All methods may raise StoreUnavailable."""

    def __init__(self, cache: Cache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock

    async def all(self, index: int = 0, wait: float = 0.0) -> RolloutList:
        """With `index` as soon as one has changed since, or `wait` seconds are over."""
        await self._wait(index, wait, [ROLLOUTS.all(), ROLLOUT_PROGRESS.all()])
        reading = await self._cache.read(ROLLOUTS, ROLLOUT_PROGRESS)
        progress = reading[ROLLOUT_PROGRESS]
        found = [_view(rollout, progress.get(name), steps=False) for name, rollout in reading[ROLLOUTS].values.items()]
        return RolloutList(sorted(found, key=lambda view: (view.created, view.name)), reading.index)

    async def one(self, name: str, index: int = 0, wait: float = 0.0) -> RolloutAnswer:
        """The same of one. Raises NotFound."""
        await self._wait(index, wait, [ROLLOUTS.key(name), ROLLOUT_PROGRESS.key(name)])
        reading = await self._cache.read(ROLLOUTS, ROLLOUT_PROGRESS)
        rollout = reading[ROLLOUTS].get(name)
        if rollout is None:
            raise NotFound(f"rollout {name} does not exist", remedy="argosy rollouts lists those that do")
        return RolloutAnswer(_view(rollout, reading[ROLLOUT_PROGRESS].get(name), steps=True), reading.index)

    async def create(self, order: RolloutOrder) -> RolloutAnswer:
        """Raises NotFound for a unit that does not exist, Conflict for one that does not stand as it was read, is not launched though it is
        to be restarted, or is part of another rollout, and InvalidUnit or InvalidInput for what breaks a rule."""
        names = [unit.name for unit in (*order.units, *order.templates)]
        if len(set(names)) < len(names):
            raise InvalidInput("a rollout names a unit twice", remedy="name each once")
        gate = asyncio.Semaphore(READS_AT_ONCE)

        async def read(name: str) -> Stored | None:
            async with gate:
                return await desired.unit(self._cache.store, name)

        stored = dict(zip(names, await asyncio.gather(*(read(name) for name in names)), strict=True))
        texts: dict[str, int] = {}
        units = [_unit(unit, stored[unit.name], order.texts, texts) for unit in order.units]
        templates = [_template(unit, stored[unit.name], order.texts, texts) for unit in order.templates]
        rules = RolloutRules(order.parallel, order.timeout, order.steady, order.rollback, order.start_first)
        asked = Rollout(order.name, tuple(units), tuple(texts), tuple(templates), rules, created=self._clock.now())
        rollout, revision = await create_rollout(self._cache.store, asked)
        await self._cache.seen(revision)
        return RolloutAnswer(_view(rollout, None, steps=True), revision)

    async def wish(self, name: str, wish: RolloutWish) -> RolloutAnswer:
        """Raises NotFound, and Conflict for one that has ended."""
        await self._cache.seen(await wish_rollout(self._cache.store, name, wish))
        return await self.one(name)

    async def _wait(self, index: int, wait: float, topics: Sequence[Topic]) -> None:
        if index > 0 and wait > 0:
            await self._cache.wait(index, topics, wait)


def _unit(order: RolloutUnitOrder, stored: Stored | None, texts: Sequence[str], kept: dict[str, int]) -> RolloutUnit:
    """The unit as it is recorded; `kept`: the places of the texts that the request holds, which gain those of this unit."""
    name = order.name
    if stored is None:
        raise NotFound(f"unit {name} does not exist", remedy="argosy start is for new units")
    if is_template(name):
        raise InvalidInput(f"{name} is a template: it does not run", remedy="name it in templates, and its instances in units")
    if stored.revision != order.revision:
        raise Conflict(f"unit {name} stands at revision {stored.revision}, not at {order.revision}", remedy="read it again")
    if order.restart and stored.unit.target is not Target.LAUNCHED:
        target = stored.unit.target.value
        raise Conflict(f"unit {name} is not launched: its target is {target}", remedy=f"argosy start {name} starts it")
    place = _place(order, texts, kept)
    if place is None:
        return RolloutUnit(name, order.revision, restart=order.restart)
    return RolloutUnit(name, order.revision, kept.setdefault(stored.unit.text, len(kept)), place, order.restart)


def _template(order: RolloutUnitOrder, stored: Stored | None, texts: Sequence[str], kept: dict[str, int]) -> RolloutUnit:
    if not is_template(order.name) or order.text is None or order.restart:
        raise InvalidInput(f"{order.name}: templates only get texts", remedy="name a template and the place of its text in texts")
    stands = stored.revision if stored else 0
    if stands != order.revision:
        raise Conflict(f"unit {order.name} stands at revision {stands}, not at {order.revision}", remedy="read it again")
    return RolloutUnit(order.name, order.revision, text=_place(order, texts, kept))


def _place(order: RolloutUnitOrder, texts: Sequence[str], kept: dict[str, int]) -> int | None:
    check_name(order.name)
    if order.text is None:
        return None
    if order.text >= len(texts):
        raise InvalidInput(f"{order.name}: there is no text {order.text} among {len(texts)}", remedy="count the texts from 0")
    validate(order.name, texts[order.text])
    return kept.setdefault(texts[order.text], len(kept))


def _view(rollout: Rollout, progress: RolloutProgress | None, *, steps: bool) -> RolloutView:
    found = followed(rollout, progress).progress or NEW
    return RolloutView(
        rollout.name,
        found.state if found is not NEW or rollout.wish is not RolloutWish.PAUSE else RolloutState.PAUSED,
        found.reason,
        rollout.wish,
        rollout.rules,
        rollout.created,
        found.ended,
        [_group(group) for group in found.groups],
        list(found.steps) if steps else [],
        list(found.templates),
    )


def _group(group: RolloutGroup) -> RolloutGroupView:
    return RolloutGroupView(group.name, list(group.units), group.stage, group.failure or group.reason, group.touched)
