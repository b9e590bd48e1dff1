"""What a machine reports about others, and when it objects to reports about itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from argosy.agent.probes.loop import Link, Prober, Unanswered
from argosy.model import Probes, ProbeTarget, Silence
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.lease import Lease
from argosy.state.records import encode
from argosy.store.base import Delete, Put
from argosy.store.sqlite import SqliteStore
from tests.conftest import FakeClock, settle
from tests.engine.harness import Line

ME, OTHER, THIRD = "a" * 32, "b" * 32, "c" * 32
TTL = 5.0


class Wire:
    """The network between two machines. `up`: the other's kernel answers; `listening`: connections are accepted."""

    def __init__(self) -> None:
        self.up = True
        self.listening = True
        self.dialled: list[str] = []
        self._links: list[asyncio.Event] = []

    async def __call__(self, target: ProbeTarget, answered: Callable[[], None]) -> Link | None:
        self.dialled.append(target.machine)
        await asyncio.sleep(0)
        if not self.up:
            raise Unanswered
        answered()
        if not self.listening:
            return None
        self._links.append(asyncio.Event())
        return WireLink(self._links[-1])

    def end_links(self) -> None:
        for link in self._links:
            link.set()
        self._links.clear()

    def cut(self) -> None:
        self.up = False
        self.end_links()


class WireLink:
    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def ended(self) -> None:
        await self._event.wait()

    def close(self) -> None:
        self._event.set()


class Ground:
    def __init__(self, store: SqliteStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.line = Line(store)
        self.wire = Wire()
        self.lease = Lease(self.line, clock, TTL)

    async def assign(self, *machines: str) -> None:
        record = Probes(ME, tuple(ProbeTarget(machine, f"{machine}:8700") for machine in machines))
        await self.store.commit([], [Put(keys.probes(ME), encode(record))])
        await settle(100)

    async def reported(self) -> list[str]:
        """`machine<observer` of what stands."""
        found = (await self.store.list(keys.SILENCES)).records
        pairs = [record.key.removeprefix(keys.SILENCES).split("/") for record in found]
        return [f"{machine[0]}<{observer[0]}" for machine, observer in pairs]

    async def against_me(self, observer: str) -> None:
        await self.store.commit([], [Put(keys.silence(ME, observer), encode(Silence(ME, observer)))])
        await settle(100)


@asynccontextmanager
async def prober(clock: FakeClock) -> AsyncIterator[Ground]:
    """With a lease, and told to probe OTHER."""
    async with SqliteStore(":memory:", clock) as store:
        ground = Ground(store, clock)
        await ground.lease.take()
        prober = Prober(Cache(ground.line, clock), ME, clock, ground.lease, ground.wire)
        running = [asyncio.create_task(work()) for work in (ground.lease.run, prober.run)]
        await ground.assign(OTHER)
        try:
            yield ground
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def test_a_machine_that_was_reached_and_answers_no_more_is_reported_until_it_answers_again(clock: FakeClock) -> None:
    async with prober(clock) as ground:
        assert await ground.reported() == []
        ground.wire.cut()
        await clock.advance(0.1)
        assert await ground.reported() == ["b<a"]
        ground.wire.up = True
        await clock.advance(0.5)
        assert await ground.reported() == []


async def test_a_machine_whose_agent_is_away_but_whose_kernel_answers_is_not_reported(clock: FakeClock) -> None:
    async with prober(clock) as ground:
        ground.wire.listening = False
        ground.wire.end_links()
        await clock.advance(60)
        assert await ground.reported() == []
        ground.wire.up = False
        await clock.advance(6)
        assert await ground.reported() == ["b<a"], "the machine died while its agent was away"


async def test_a_machine_that_was_never_reached_is_not_reported(clock: FakeClock) -> None:
    async with prober(clock) as ground:
        ground.wire.cut()
        await clock.advance(1)
        await ground.assign(THIRD)
        await clock.advance(60)
        assert await ground.reported() == []
        assert THIRD in ground.wire.dialled


async def test_one_attempt_without_an_answer_is_no_silence(clock: FakeClock) -> None:
    async with prober(clock) as ground:
        dialled = len(ground.wire.dialled)
        ground.wire.cut()
        while len(ground.wire.dialled) == dialled:  # noqa: ASYNC110
            await asyncio.sleep(0)
        ground.wire.up = True
        await clock.advance(5)
        assert await ground.reported() == []


async def test_while_all_is_well_nothing_is_dialled_or_written_again(clock: FakeClock) -> None:
    async with prober(clock) as ground:
        revision = (await ground.store.list(keys.SILENCES)).revision
        await clock.advance(600)
        assert ground.wire.dialled == [OTHER]
        assert (await ground.store.list(keys.SILENCES)).revision == revision


async def test_a_target_that_is_taken_away_takes_its_report_along(clock: FakeClock) -> None:
    async with prober(clock) as ground:
        ground.wire.cut()
        await clock.advance(1)
        assert await ground.reported() == ["b<a"]
        await ground.store.commit([], [Delete(keys.probes(ME))])
        await settle(100)
        assert await ground.reported() == []


async def test_reports_stand_under_the_machines_lease_and_are_written_again_under_the_next(clock: FakeClock) -> None:
    async with prober(clock) as ground:
        ground.wire.cut()
        await clock.advance(1)
        await ground.store.revoke(ground.lease.id)
        assert await ground.reported() == []
        await clock.advance(1)
        assert await ground.reported() == []
        assert ground.lease.id == 0
        await ground.lease.take()
        await clock.advance(1)
        assert await ground.reported() == ["b<a"]


async def test_a_report_is_written_once_the_store_is_back_if_it_is_still_true(clock: FakeClock) -> None:
    async with prober(clock) as ground:
        ground.line.cut()
        ground.wire.cut()
        await clock.advance(2)
        assert await ground.reported() == []
        ground.line.mend()
        await clock.advance(1)
        assert await ground.reported() == ["b<a"]
        ground.line.cut()
        ground.wire.up = True
        await clock.advance(2)
        ground.line.mend()
        await clock.advance(1)
        assert await ground.reported() == []


async def test_this_machine_objects_to_every_new_report_and_takes_that_back_with_the_last(clock: FakeClock) -> None:
    async with prober(clock) as ground:
        await ground.against_me(OTHER)
        assert await ground.reported() == ["a<a", "a<b"]
        first = await ground.store.get(keys.silence(ME, ME))
        await ground.against_me(THIRD)
        second = await ground.store.get(keys.silence(ME, ME))
        third = await ground.store.get(keys.silence(ME, THIRD))
        assert first is not None
        assert second is not None
        assert third is not None
        assert second.modified > third.modified > first.modified
        await clock.advance(10)
        assert (await ground.store.get(keys.silence(ME, ME))) == second, "and to none twice"
        await ground.store.commit([], [Delete(keys.silence(ME, OTHER)), Delete(keys.silence(ME, THIRD))])
        await settle(100)
        assert await ground.reported() == []


async def test_a_store_that_does_not_answer_a_report_is_asked_again(clock: FakeClock) -> None:
    async with prober(clock) as ground:
        answer = ground.line.commit
        hanging = 2

        async def hang(*arguments: object) -> int:
            nonlocal hanging
            hanging -= 1
            if hanging >= 0:
                await asyncio.Event().wait()
            return await answer(*arguments)  # type: ignore[arg-type]

        ground.line.commit = hang  # type: ignore[method-assign, assignment]
        ground.wire.cut()
        await clock.advance(2.5)
        assert await ground.reported() == ["b<a"]
