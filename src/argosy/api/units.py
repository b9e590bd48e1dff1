"""What clients do with units: read them, wish for something, delete them. Every write is conditioned on what was read."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence

from argosy.api.plan import Change, change
from argosy.api.queries import Units, read_units, unit_topics
from argosy.api.shapes import BatchAnswer, NamedWish, Wish, Written
from argosy.errors import ArgosyError, Conflict, NotFound, StoreUnavailable
from argosy.model import Unit
from argosy.reconcile import Clock
from argosy.state import desired
from argosy.state.cache import Cache
from argosy.state.desired import ATTEMPTS, UNITS_AT_ONCE, Stored
from argosy.state.records import encode
from argosy.store.base import MAX_COMMIT
from argosy.unit.names import check_name, template_of
from argosy.web.shapes import Fault

COMMIT_BYTES = MAX_COMMIT // 2
"""Records that one commit of a batch carries: well below what a commit may hold, keys and conditions included."""

READS_AT_ONCE = 64

NO_TEMPLATES: Mapping[str, Unit] = {}


class UnitService:
    """All methods may raise StoreUnavailable. What they have written is seen by whoever reads here afterwards."""

    def __init__(self, cache: Cache, clock: Clock) -> None:
        self.cache = cache
        self.store = cache.store
        self.clock = clock

    async def read(self, names: Sequence[str] = (), index: int = 0, wait: float = 0.0) -> Units:
        """All there is; with `index` as soon as something about the named units (all, if none is named) has changed since, or `wait` is
        over."""
        if index > 0 and wait > 0:
            await self.cache.wait(index, unit_topics(names), wait)
        return await read_units(self.cache)

    async def known(self, name: str, index: int = 0, wait: float = 0.0) -> Units:
        """The same, in which this unit is. Raises NotFound."""
        found = await self.read([name], index, wait)
        if name not in found.units:
            raise NotFound(f"unit {name} does not exist", remedy="argosy list-unit-files shows those that do")
        return found

    async def wish(self, name: str, wish: Wish) -> Written:
        """Raises InvalidUnit, NotFound and Conflict as `plan.change` does."""
        for _ in range(ATTEMPTS):
            planned = await self.planned(name, wish)
            if not planned.changed:
                return _written(planned, planned.revision, planned.revision)
            try:
                revision = await self.write(planned.unit, planned.revision)
            except Conflict:
                if wish.revision is not None or wish.replace:
                    raise Conflict(f"unit {name} was changed by somebody else at the same time", remedy="read it again") from None
                continue
            return _written(planned, revision, revision)
        raise Conflict(f"unit {name} is being changed by others all the time", remedy="try again")

    async def wish_many(self, wishes: Sequence[NamedWish]) -> BatchAnswer:
        """Many wishes in few commits. Each has its own result; one that fails holds up no other."""
        return await Batch(self, wishes).done()

    async def write(self, unit: Unit, revision: int) -> int:
        """Write the unit on the condition that it stands at `revision` (0: not at all). Return the revision of the write, when it is seen
        here. Raises Conflict."""
        written = await desired.write_unit(self.store, unit, revision)
        await self.cache.seen(written)
        return written

    async def delete(self, name: str, revision: int | None = None) -> int:
        """Raises NotFound, and Conflict if the unit was not last written at `revision`."""
        check_name(name)
        deleted = await desired.delete_unit(self.store, name, revision)
        await self.cache.seen(deleted)
        return deleted

    async def planned(self, name: str, wish: Wish, templates: Mapping[str, Unit] = NO_TEMPLATES) -> Change:
        """What the wish makes of the unit as it stands now; `templates` are known already. Raises as `plan.change` does."""
        check_name(name)
        current = await desired.unit(self.store, name)
        template = None
        if current is None and wish.text is None:
            parent = template_of(name)
            template = templates.get(parent) or await self.template(parent, name)
        return change(name, wish, current, template, self.clock.now())

    async def template(self, parent: str, name: str) -> Unit | None:
        if not parent or parent == name:
            return None
        stored = await desired.unit(self.store, parent)
        return stored.unit if stored else None


class Batch:
    """Wishes on their way into the store. A unit that is named twice is wished for twice, in order."""

    def __init__(self, service: UnitService, wishes: Sequence[NamedWish]) -> None:
        self._service = service
        self._wishes = wishes
        self._results: dict[int, Written] = {}
        self._templates: dict[str, Unit] = {}

    async def done(self) -> BatchAnswer:
        """Raises StoreUnavailable if nothing could be read; what could not be written then says so for each unit."""
        first = {wish.name: place for place, wish in reversed([*enumerate(self._wishes)])}
        later = [place for place, wish in enumerate(self._wishes) if first[wish.name] != place]
        await self._learn_templates()
        changes = []
        for place, planned in zip(first.values(), await self._plan(first.values()), strict=True):
            if isinstance(planned, ArgosyError):
                self._results[place] = _failed(self._wishes[place].name, planned)
            elif planned.changed:
                changes.append((place, planned))
            else:
                self._results[place] = _written(planned, planned.revision, planned.revision)
        for chunk in _chunks(sorted(changes, key=lambda change: change[0])):
            later += await self._commit(chunk)
        for place in sorted(later):
            await self._alone(place)
        results = [self._results[place] for place in range(len(self._wishes))]
        return BatchAnswer(results, max((result.index for result in results), default=0))

    async def _learn_templates(self) -> None:
        """The templates that instances in this batch need: stored ones, or else those that come with it."""
        coming = {wish.name: wish.text for wish in self._wishes if wish.text is not None}
        needed = {template_of(wish.name): wish.name for wish in self._wishes if wish.text is None}
        for parent, name in needed.items():
            stored = await self._service.template(parent, name)
            if stored is not None:
                self._templates[parent] = stored
            elif parent in coming:
                self._templates[parent] = Unit(parent, coming[parent])

    async def _plan(self, places: Collection[int]) -> list[Change | ArgosyError]:
        gate = asyncio.Semaphore(READS_AT_ONCE)

        async def plan(wish: NamedWish) -> Change | ArgosyError:
            async with gate:
                try:
                    return await self._service.planned(wish.name, wish, self._templates)
                except ArgosyError as error:
                    return error

        planned = list(await asyncio.gather(*(plan(self._wishes[place]) for place in places)))
        away = next((error for error in planned if isinstance(error, StoreUnavailable)), None)
        if away is not None:
            raise away
        return planned

    async def _commit(self, chunk: list[tuple[int, Change]]) -> list[int]:
        """Writes all or none; returns the places that have to be tried one by one because somebody was faster with one of them."""
        try:
            revision = await desired.write_units(self._service.store, [Stored(planned.unit, planned.revision) for _, planned in chunk])
            await self._service.cache.seen(revision)
        except Conflict:
            return [place for place, _ in chunk]
        except ArgosyError as error:
            self._results.update({place: _failed(planned.unit.name, error) for place, planned in chunk})
            return []
        self._results.update({place: _written(planned, revision, revision) for place, planned in chunk})
        return []

    async def _alone(self, place: int) -> None:
        wish = self._wishes[place]
        try:
            self._results[place] = await self._service.wish(wish.name, wish)
        except ArgosyError as error:
            self._results[place] = _failed(wish.name, error)


def _chunks(plans: Sequence[tuple[int, Change]]) -> Iterator[list[tuple[int, Change]]]:
    chunk: list[tuple[int, Change]] = []
    size = 0
    for place, planned in plans:
        length = len(encode(planned.unit))
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
