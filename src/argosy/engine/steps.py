"""Small questions and answers that every part of the plan shares."""

from __future__ import annotations

import msgspec

from argosy.engine.actions import Action, Remove
from argosy.engine.world import World
from argosy.model import Job, Placement, Unit
from argosy.placement.jobs import Reading, text_hash
from argosy.placement.progress import ended_well


def updated(unit: Unit, old: Placement) -> Placement:
    """The same place with what the unit wants now. A new launch or another text is not finished."""
    if old.text == unit.text and old.target is unit.target and old.launch == unit.launch:
        return old
    finished = old.finished and same(unit, old)
    return msgspec.structs.replace(old, text=unit.text, target=unit.target, launch=unit.launch, finished=finished)


def same(unit: Unit, old: Placement) -> bool:
    """The placement is of this launch of this text."""
    return old.launch == unit.launch and old.text == unit.text


def ended(world: World, unit: Unit, reading: Reading, placement: Placement) -> bool:
    """Whether a oneshot has ended well in this launch, and is not marked so yet."""
    if not reading.ends or placement.finished or not same(unit, placement):
        return False
    state = world.state(unit.name, placement.machine)
    return state is not None and state.launch == placement.launch and ended_well(state) and state.hash == text_hash(placement.text)


def depends(world: World, job: Job, machine: str) -> bool:
    """Whether placing this unit there may be right only after what has been decided before it in this round: its leader has come, or
    somebody whom it conflicts with has left."""
    return bool(job.requirements.peers) or job.name in world.cluster.followers or machine in world.vacated


def goes(world: World, name: str, machine: str, reason: str) -> Remove:
    """Leaving is ordered where others may depend on it: they may be waiting for the room."""
    job = world.cluster.jobs.get(name)
    return Remove(name, machine, reason, job is not None and world.cluster.tied(job))


def changed(action: Action, before: Placement | None) -> bool:
    """Whether the action makes a difference to what stood before."""
    return before is not None if isinstance(action, Remove) else action.placement != before
