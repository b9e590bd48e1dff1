"""Every single revision of the store, while much happens at once and engines die: at none of them is a rule broken."""

from __future__ import annotations

import random

import pytest

from argosy.model import Order, Placement, Target, UnitState
from argosy.placement.jobs import read
from argosy.state import keys
from argosy.state.records import decode, encode
from argosy.store.base import Delete, Put
from argosy.unit.globs import conflict
from argosy.unit.text import unit_text
from tests.conftest import FakeClock, settle
from tests.engine.harness import PLAIN, TTL, Harness, harness

TEXTS = [
    PLAIN,
    PLAIN + "[X-Fleet]\nConflicts=%p@*\n",
    PLAIN + "[X-Fleet]\nConflicts=b@*\n",
    PLAIN + "[X-Fleet]\nMachineOf=a@1.service\n",
    PLAIN + "[X-Fleet]\nMachineMetadata=role=web\n",
]
NAMES = [f"{app}@{number}.service" for app in "abc" for number in range(4)]


@pytest.mark.parametrize("seed", range(4))
async def test_no_revision_holds_a_unit_twice_or_two_that_conflict(clock: FakeClock, seed: int) -> None:
    chance = random.Random(seed)
    async with harness(clock, "m1", "m2", "m3", "m4", engines=["e1", "e2"]) as cluster:
        for number in range(60):
            await something(cluster, chance, number)
            await settle(chance.choice([0, 1, 5, 50]))
            if number % 20 == 19:
                for name in cluster.leaders():
                    await cluster.kill(name)
                await cluster.engine(f"e{number}")
                await cluster.pass_time(TTL + 1)
        for machine in list(cluster.leases):
            await cluster.order(machine, Order())
        await cluster.pass_time(2 * TTL)
        assert await broken_rules(cluster) == []
        assert await cluster.placements()


async def something(cluster: Harness, chance: random.Random, number: int) -> None:
    """One thing that users, operators, agents or fate do."""
    name, machine = chance.choice(NAMES), f"m{chance.randint(1, 4)}"
    match chance.randrange(8):
        case 0 | 1 | 2:
            await cluster.submit(
                *chance.sample(NAMES, 3), text=chance.choice(TEXTS), target=chance.choice([Target.LAUNCHED, Target.LOADED])
            )
        case 3:
            await cluster.submit(name, target=Target.INACTIVE)
        case 4:
            await cluster.destroy(name)
        case 5 if machine in cluster.leases:
            await cluster.machine_dies(machine)
        case 5:
            await cluster.machine(machine, role="web")
        case 6:
            await cluster.order(machine, Order(draining=chance.random() < 0.7))
        case _:
            await report_all(cluster)


async def report_all(cluster: Harness) -> None:
    """Agents report what their placements ask for as done."""
    for (machine, name), placement in (await cluster.placements()).items():
        if machine in cluster.leases:
            active = "active" if placement.target is Target.LAUNCHED else "inactive"
            state = UnitState(name, machine, unit_text(placement.text).hash, placement.launch, "loaded", active)
            await cluster.store.commit([], [Put(keys.state(machine, name), encode(state))])
    await cluster.store.commit([], [Delete("/nothing")])


async def broken_rules(cluster: Harness) -> list[str]:
    """Replays the store's history: what was on which machine after each revision."""
    here: dict[tuple[str, str], Placement] = {}
    drained: set[str] = set()
    found: list[str] = []
    end = await cluster.store.commit([], [Put("/argosy/end", b"")])
    async for batches in cluster.store.watch("/argosy/", 0):
        for batch in batches:
            for event in batch.events:
                if event.key.startswith(keys.ORDERS) and event.record and decode(Order, event.record.value, event.key).draining:
                    drained.add(event.key.removeprefix(keys.ORDERS))
                if event.key.startswith(keys.PLACEMENTS):
                    machine, _, name = event.key.removeprefix(keys.PLACEMENTS).partition("/")
                    if event.record is None:
                        here.pop((machine, name), None)
                    else:
                        here[machine, name] = decode(Placement, event.record.value, event.key)
                    found += [f"revision {batch.revision}: {rule}" for rule in rules_broken_by(name, here, drained)]
        if batches[-1].revision >= end:
            break
    return found


def rules_broken_by(name: str, here: dict[tuple[str, str], Placement], drained: set[str]) -> list[str]:
    places = [machine for machine, unit in here if unit == name]
    found = []
    if len(places) > 2 or (len(places) == 2 and not drained & set(places)):
        found.append(f"{name} is on {places}")
    for machine in places:
        mine = read(name, here[machine, name].text).job.requirements.conflicts
        for (where, other), placement in here.items():
            if where == machine and conflict(name, mine, other, read(other, placement.text).job.requirements.conflicts):
                found.append(f"{name} and {other} are on {machine}")
    return found
