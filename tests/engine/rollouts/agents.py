"""Agents of a cluster in a test: each unit that is placed comes up after a while, or fails if its text says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from argosy.model import Placement, Rollout, RolloutProgress, RolloutRules, RolloutUnit, Target, Unit, UnitState
from argosy.reconcile import Clock
from argosy.state import desired, keys
from argosy.state.cache import Cache
from argosy.state.kinds import PLACEMENTS
from argosy.state.records import encode
from argosy.state.rollouts import create_rollout, rollouts
from argosy.store.base import Delete, Put, Store
from argosy.unit.text import unit_text
from tests.engine.harness import Harness

START = 0.5
"""Seconds that a unit takes to become active."""


def text(word: str, more: str = "") -> str:
    return f"[Service]\nExecStart=/bin/{word}\n{more}"


class Ground(Protocol):
    """A cluster's store and its time."""

    @property
    def store(self) -> Store: ...
    @property
    def clock(self) -> Clock: ...


class Agents:
    """`started` are the launches in their order, as (unit, machine, launch); `active` where each unit runs; `gaps` are units that came to
    run nowhere after they had run."""

    def __init__(self, cluster: Ground) -> None:
        self.cluster = cluster
        self.started: list[tuple[str, str, int]] = []
        self.active: dict[str, set[str]] = {}
        self.gaps: list[str] = []
        self._known: dict[tuple[str, str], tuple[int, str]] = {}

    def starts(self, *units: str) -> list[str]:
        return [unit for unit, _, _ in self.started if not units or unit in units]

    async def run(self) -> None:
        cluster = self.cluster
        async with Cache(cluster.store, cluster.clock) as cache, asyncio.TaskGroup() as group:
            async for changes in cache.follow(PLACEMENTS):
                for key, placement in changes.items.items():
                    machine, _, unit = key.partition("/")
                    if placement is None:
                        await self._stop(machine, unit)
                    elif placement.target is Target.LAUNCHED:
                        await self._obey(group, placement)

    async def _stop(self, machine: str, unit: str) -> None:
        self._known.pop((machine, unit), None)
        self._down(machine, unit)
        await self.cluster.store.commit([], [Delete(keys.state(machine, unit))])

    def _down(self, machine: str, unit: str) -> None:
        here = self.active.setdefault(unit, set())
        if machine in here:
            here.discard(machine)
            if not here:
                self.gaps.append(unit)

    async def _obey(self, group: asyncio.TaskGroup, placement: Placement) -> None:
        key = (placement.machine, placement.unit)
        digest = unit_text(placement.text).hash
        before = self._known.get(key)
        self._known[key] = (placement.launch, digest)
        if before == (placement.launch, digest):
            return
        self._down(*key)
        self.started.append((placement.unit, placement.machine, placement.launch))
        await self._report(placement, digest, "activating")
        group.create_task(self._come_up(placement, digest))

    async def _come_up(self, placement: Placement, digest: str) -> None:
        await self.cluster.clock.sleep(START)
        if self._known.get((placement.machine, placement.unit)) != (placement.launch, digest):
            return
        good = "/bin/bad" not in placement.text
        if good:
            self.active.setdefault(placement.unit, set()).add(placement.machine)
        await self._report(placement, digest, "active" if good else "failed")

    async def _report(self, placement: Placement, digest: str, active: str) -> None:
        state = UnitState(
            placement.unit,
            placement.machine,
            digest,
            placement.launch,
            "loaded",
            active,
            "running",
            code=1 if active == "failed" else None,
            result="exit-code" if active == "failed" else "success",
            invocation=f"{placement.machine}-{placement.launch}-{digest[:4]}",
        )
        await self.cluster.store.commit([], [Put(keys.state(placement.machine, placement.unit), encode(state))])


@asynccontextmanager
async def played(cluster: Ground) -> AsyncIterator[Agents]:
    agents = Agents(cluster)
    playing = asyncio.create_task(agents.run())
    try:
        yield agents
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)


async def launch(cluster: Harness, **units: str) -> None:
    """Units by name (without .service) and text, and waits until they run."""
    for name, body in units.items():
        await cluster.submit(f"{name}.service", text=body)
    await cluster.pass_time(3.0, 0.5)


async def ask(cluster: Ground, rules: RolloutRules, *, name: str = "r", restart: bool = False, **texts: str) -> Rollout:
    """See `ask_for`."""
    return await ask_for(cluster, rules, texts, name, restart=restart)


async def ask_for(cluster: Ground, rules: RolloutRules, texts: Mapping[str, str], name: str = "r", *, restart: bool = False) -> Rollout:
    """Asks for a rollout of these units (without .service) to these texts; with `restart` to the same."""
    units, bodies = [], []
    for stem, body in texts.items():
        stored = await desired.unit(cluster.store, f"{stem}.service")
        assert stored is not None
        bodies += [body, stored.unit.text]
        place = None if restart else len(bodies) - 2
        units.append(RolloutUnit(stored.unit.name, stored.revision, len(bodies) - 1, place, restart))
    asked = Rollout(name, tuple(units), tuple(bodies), rules=rules, created=cluster.clock.now())
    return (await create_rollout(cluster.store, asked))[0]


async def progress(cluster: Ground, name: str = "r") -> RolloutProgress:
    found = (await rollouts(cluster.store))[0][name].progress
    return found or RolloutProgress(name)


async def until(cluster: Harness, condition: Callable[[RolloutProgress], bool], name: str = "r", seconds: float = 60.0) -> RolloutProgress:
    """Lets time pass until the rollout is so."""
    for _ in range(int(seconds / 0.25)):
        found = await progress(cluster, name)
        if condition(found):
            return found
        await cluster.pass_time(0.25, 0.25)
    raise AssertionError(f"did not happen: {await progress(cluster, name)}")


async def ended(cluster: Harness, name: str = "r", seconds: float = 60.0) -> RolloutProgress:
    return await until(cluster, lambda found: found.ended > 0, name, seconds)


async def unit(cluster: Ground, stem: str) -> Unit:
    stored = await desired.unit(cluster.store, f"{stem}.service")
    assert stored is not None
    return stored.unit
