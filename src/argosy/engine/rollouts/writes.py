"""What a rollout writes to a unit, and whether its new copy may come up beside the old one. Decides and touches nothing."""

from __future__ import annotations

import msgspec

from argosy.engine.world import NO_PLACES, World
from argosy.errors import Conflict
from argosy.launches import count_launch
from argosy.model import Rollout, RolloutGroup, RolloutUnit, Target, Unit
from argosy.placement.jobs import Reading, read
from argosy.placement.place import pick, refusal
from argosy.state.desired import Stored
from argosy.unit.text import unit_text
from argosy.verdict import has_arrived


def written(rollout: Rollout, change: RolloutUnit, stored: Stored | None, group: RolloutGroup, world: World, *, back: bool) -> Unit:
    """Return the unit as the rollout writes it. `back`: to what it was before; where a copy of that still stands, exactly to that, so that
    the copy goes on running. Raises Conflict if somebody else has written or destroyed the unit."""
    if stored is None:
        raise Conflict(f"{change.name} was destroyed meanwhile")
    unit = stored.unit
    if not back and stored.revision != change.revision:
        raise Conflict(f"{change.name} was changed by somebody else: it stands at revision {stored.revision}, not {change.revision}")
    if back and not _as_told(rollout, change, unit, group):
        raise Conflict(f"{change.name} was changed by somebody else meanwhile")
    text = unit.text if change.text is None else rollout.texts[change.before if back else change.text]
    previous = group.previous.get(change.name)
    if back and previous is not None and change.name in group.beside and _stands(world, change.name, text, previous):
        return msgspec.structs.replace(unit, text=text, launch=previous)
    launch = count_launch(unit.launch, unit.target, unit.target, restart=_restarts(change, unit, text))
    return msgspec.structs.replace(unit, text=text, launch=launch)


def _restarts(change: RolloutUnit, unit: Unit, text: str) -> bool:
    """Whether it needs a new launch, if it is launched. Other comments are no reason to; nor is another text on every machine, which
    restarts it where it comes: going back, the machines that it has not come to shall not notice."""
    everywhere = read(unit.name, unit.text).job.requirements.everywhere
    return change.restart or (unit_text(text).hash != unit_text(unit.text).hash and not everywhere)


def in_place(world: World, unit: Unit, text: str, beside: set[str]) -> str:
    """Why the unit is changed where it is; "" if its new copy comes up beside the old one, as those do that it follows (`beside`)."""
    reading = read(unit.name, text)
    wanted = reading.job.requirements
    if beside.intersection(wanted.peers):
        return ""
    if reading.error or wanted.everywhere or reading.ends or unit.target is not Target.LAUNCHED:
        return "it has no copy that could stay meanwhile"
    if wanted.stop_on_disconnect or read(unit.name, unit.text).job.requirements.stop_on_disconnect:
        return "OnDisconnect=stop: two copies must never run"
    here = world.placements.get(unit.name, NO_PLACES)
    if not any(has_arrived(placement, world.state(unit.name, machine)) for machine, placement in here.items()):
        return "nothing of it runs now"
    if pick(world.cluster, reading.job, avoid=here) is not None:
        return ""
    return _refused(world, reading, set(here))


def _refused(world: World, reading: Reading, here: set[str]) -> str:
    for machine in sorted(world.cluster.spots):
        spot = world.cluster.spots[machine]
        found = refusal(world.cluster, reading.job, spot) if machine not in here and spot.present else None
        if found is not None:
            return f"no other machine takes it: {found.reason}"
    return "there is no other machine"


def _as_told(rollout: Rollout, change: RolloutUnit, unit: Unit, group: RolloutGroup) -> bool:
    text = change.text is None or unit.text == rollout.texts[change.text]
    return text and unit.launch == group.launches.get(change.name, unit.launch)


def _stands(world: World, name: str, text: str, launch: int) -> bool:
    here = world.placements.get(name, NO_PLACES).values()
    return any(placement.text == text and placement.launch == launch for placement in here)
