"""What clients do with units: read them, wish for something, delete them. Every write is conditioned on what was read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from argosy.api import texts, waiting
from argosy.api.overview import UNIT_PREFIXES, Units, read_units
from argosy.api.plan import Change, change
from argosy.api.shapes import BatchAnswer, Fault, NamedWish, UnitView, Wish, Written
from argosy.errors import ArgosyError, Conflict, NotFound
from argosy.model import Unit
from argosy.reconcile import Clock
from argosy.state import desired
from argosy.state.desired import ATTEMPTS, UNITS_AT_ONCE, Stored
from argosy.store.base import Store

COMMIT_BYTES = 750_000
"""Text that one commit may carry (etcd refuses requests above 1.5 MB; JSON makes text longer)."""

READS_AT_ONCE = 32


class UnitService:
    """All methods may raise StoreUnavailable."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    async def read(self, names: Sequence[str] = (), index: int = 0, wait: float = 0.0) -> Units:
        """All there is; with `index` as soon as something about the named units (all, if none is named) has changed since, or `wait` is
        over."""
        if index > 0 and wait > 0:
            await waiting.beyond(self.store, UNIT_PREFIXES, index, wait, self.clock, _about(names))
        return await read_units(self.store)

    async def view(self, name: str, index: int = 0, wait: float = 0.0) -> tuple[UnitView, int]:
        """The unit with its text, and a revision that includes it. Raises NotFound."""
        texts.check_name(name)
        found = await self.read([name], index, wait)
        if name not in found.units:
            raise missing(name)
        return found.view(name, text=True), found.index

    async def wish(self, name: str, wish: Wish) -> Written:
        """Raises InvalidUnit, NotFound and Conflict as `plan.change` does."""
        for _ in range(ATTEMPTS):
            planned = await self._planned(name, wish)
            if not planned.changed:
                return _written(planned, planned.revision, planned.revision)
            try:
                revision = await desired.write_unit(self.store, planned.unit, planned.revision)
            except Conflict:
                if wish.revision is not None or wish.replace:
                    raise Conflict(f"unit {name} was changed by somebody else at the same time", remedy="read it again") from None
                continue
            return _written(planned, revision, revision)
        raise Conflict(f"unit {name} is being changed by others all the time", remedy="try again")

    async def wish_many(self, wishes: Sequence[NamedWish]) -> BatchAnswer:
        """Many wishes in few commits. Each has its own result; one that fails holds up no other."""
        results: list[Written | None] = [None] * len(wishes)
        gate = asyncio.Semaphore(READS_AT_ONCE)
        plans: list[tuple[int, Change]] = []

        async def plan(place: int, wish: NamedWish) -> None:
            async with gate:
                try:
                    plans.append((place, await self._planned(wish.name, wish)))
                except ArgosyError as error:
                    results[place] = _failed(wish.name, error)

        seen: set[str] = set()
        later: list[int] = []
        async with asyncio.TaskGroup() as group:
            for place, wish in enumerate(wishes):
                if wish.name in seen:
                    later.append(place)
                    continue
                seen.add(wish.name)
                group.create_task(plan(place, wish))
        for chunk in _chunks(sorted((place, planned) for place, planned in plans if planned.changed)):
            later += await self._commit(chunk, results)
        for place, planned in plans:
            if not planned.changed:
                results[place] = _written(planned, planned.revision, planned.revision)
        for place in later:
            try:
                results[place] = await self.wish(wishes[place].name, wishes[place])
            except ArgosyError as error:
                results[place] = _failed(wishes[place].name, error)
        found = [result for result in results if result is not None]
        return BatchAnswer(found, max((result.index for result in found), default=0))

    async def delete(self, name: str, revision: int | None = None) -> int:
        texts.check_name(name)
        return await desired.delete_unit(self.store, name, revision)

    async def _commit(self, chunk: list[tuple[int, Change]], results: list[Written | None]) -> list[int]:
        """Writes all or none; returns the places that have to be tried one by one because somebody was faster with one of them."""
        try:
            revision = await desired.write_units(self.store, [Stored(planned.unit, planned.revision) for _, planned in chunk])
        except Conflict:
            return [place for place, _ in chunk]
        for place, planned in chunk:
            results[place] = _written(planned, revision, revision)
        return []

    async def _planned(self, name: str, wish: Wish) -> Change:
        texts.check_name(name)
        current = await desired.unit(self.store, name)
        template = await self._template(name) if current is None and wish.text is None else None
        return change(name, wish, current, template, self.clock.now())

    async def _template(self, name: str) -> Unit | None:
        parent = texts.template_of(name)
        if not parent or parent == name:
            return None
        stored = await desired.unit(self.store, parent)
        return stored.unit if stored else None


def missing(name: str) -> NotFound:
    return NotFound(f"unit {name} does not exist", remedy="argosy list-unit-files shows those that do")


def _about(names: Sequence[str]) -> Callable[[str], bool] | None:
    if not names:
        return None
    wanted = frozenset(names)
    return lambda key: key.rpartition("/")[2] in wanted


def _chunks(plans: Sequence[tuple[int, Change]]) -> Iterator[list[tuple[int, Change]]]:
    chunk: list[tuple[int, Change]] = []
    size = 0
    for place, planned in plans:
        length = len(planned.unit.text)
        if chunk and (len(chunk) == UNITS_AT_ONCE or size + length > COMMIT_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((place, planned))
        size += length
    if chunk:
        yield chunk


def _written(planned: Change, revision: int, index: int) -> Written:
    unit = planned.unit
    return Written(
        name=unit.name,
        created=planned.created,
        changed=planned.changed,
        target=unit.target,
        launch=unit.launch,
        revision=revision,
        index=index,
    )


def _failed(name: str, error: ArgosyError) -> Written:
    return Written(name, error=Fault(error.status, error.message, error.remedy))
