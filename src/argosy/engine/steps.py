"""Small questions and answers that every part of the plan shares."""

from __future__ import annotations

import msgspec

from argosy.engine.actions import Action, Remove, Update
from argosy.engine.world import World, is_current
from argosy.model import Job, Placement, Target, Workload
from argosy.placement.jobs import Reading
from argosy.placement.place import followers, follows, tied
from argosy.placement.workloads import body_hash, read
from argosy.verdict import ended_well


def placed(workload: Workload, machine: str, reason: str, now: float, *, finished: bool = False) -> Placement:
    """Return a place of the workload as it is wanted now."""
    return Placement(workload.name, machine, workload.body, workload.target, workload.launch, reason, now, finished, workload.kind)


def updated(workload: Workload, old: Placement) -> Placement:
    """The same place with what the workload wants now. A new launch or another text is not finished."""
    if is_current(workload, old):
        return old
    finished = old.finished and same(workload, old)
    return placed(workload, old.machine, old.reason, old.placed, finished=finished)


def same(workload: Workload, old: Placement) -> bool:
    """The placement is of this launch of this text."""
    return old.launch == workload.launch and old.text == workload.body


def ended(world: World, workload: Workload, reading: Reading, placement: Placement) -> bool:
    """Whether a oneshot has ended well in this launch, and is not marked so yet."""
    if not reading.ends or placement.finished or not same(workload, placement):
        return False
    state = world.state(workload.name, placement.machine)
    return ended_well(state, placement.launch, body_hash(placement))


def depends(world: World, job: Job, machine: str) -> bool:
    """Whether placing this workload there may be right only after what has been decided before it in this round: its leader has come, or
    somebody whom it conflicts with has left."""
    return machine in world.vacated or follows(world.cluster, job) or bool(followers(world.cluster, job.name))


def halted(workload: Workload, old: Placement) -> list[Action]:
    """A copy that is about to go, or whose machine is away, is told to stop if that is what is wanted now, but not to begin with a new text
    or launch."""
    if workload.target is Target.LAUNCHED or old.target is not Target.LAUNCHED:
        return []
    return [Update(msgspec.structs.replace(old, target=workload.target), "its target state changed")]


def asks_otherwise(new: Placement, old: Placement) -> bool:
    """Whether an update may change what the unit asks of its machine and of others."""
    return new.text != old.text and _job(new) != _job(old)


def _job(placement: Placement) -> Job:
    return read(placement.kind, placement.unit, placement.text).job


def goes(world: World, name: str, machine: str, reason: str) -> Remove:
    """Leaving is ordered where others may depend on it: they may be waiting for the room."""
    return Remove(name, machine, reason, tied(world.cluster, name))


def changed(action: Action, before: Placement | None) -> bool:
    """Whether the action makes a difference to what stood before."""
    return before is not None if isinstance(action, Remove) else action.placement != before
