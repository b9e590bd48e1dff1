"""Small questions and answers that every part of the plan shares."""

from __future__ import annotations

import msgspec

from argosy.engine.actions import Action, Remove, Update
from argosy.engine.world import World
from argosy.model import Job, Placement, Target, Unit
from argosy.placement.jobs import Reading, text_hash
from argosy.verdict import ended_well


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
    return ended_well(state, placement.launch, text_hash(placement.text))


def depends(world: World, job: Job, machine: str) -> bool:
    """Whether placing this unit there may be right only after what has been decided before it in this round: its leader has come, or
    somebody whom it conflicts with has left."""
    return bool(job.requirements.peers) or job.name in world.cluster.followers or machine in world.vacated


def halted(unit: Unit, old: Placement) -> list[Action]:
    """A copy that is about to go, or whose machine is away, is told to stop if that is what is wanted now, but not to begin with a new text
    or launch."""
    if unit.target is Target.LAUNCHED or old.target is not Target.LAUNCHED:
        return []
    return [Update(msgspec.structs.replace(old, target=unit.target), "its target state changed")]


def asks_otherwise(new: Placement, old: Placement) -> bool:
    """Whether an update may change what the unit asks of its machine and of others."""
    return new.text != old.text and ("X-" in new.text or "X-" in old.text)


def goes(world: World, name: str, machine: str, reason: str) -> Remove:
    """Leaving is ordered where others may depend on it: they may be waiting for the room."""
    return Remove(name, machine, reason, world.cluster.tied(name))


def changed(action: Action, before: Placement | None) -> bool:
    """Whether the action makes a difference to what stood before."""
    return before is not None if isinstance(action, Remove) else action.placement != before
