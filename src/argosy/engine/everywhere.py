"""Global units: one place on every machine that fits, decided machine by machine."""

from __future__ import annotations

import msgspec

from argosy.engine.actions import Action, MarkFinished, Place, Update
from argosy.engine.rollouts.plan import Item, Touch, plan
from argosy.engine.steps import asks_otherwise, depends, ended, goes, halted, placed, updated
from argosy.engine.world import NO_PLACES, World
from argosy.model import Placement, RolloutRules, Stage, Target, Workload
from argosy.placement.filters.base import OTHERS
from argosy.placement.jobs import Reading
from argosy.placement.place import Refusal, expulsion, reason_for, refusal
from argosy.placement.workloads import body_hash
from argosy.verdict import has_arrived, is_active


def decide_everywhere(world: World, workload: Workload, reading: Reading, machine: str, now: float) -> list[Action]:
    """A lost machine keeps its record until the unit changes: if it comes back, what runs there goes on. A draining one keeps global units
    until everything else has left. With Update=rolling a change goes from machine to machine, by their ids."""
    actions = _decide(world, workload, reading, machine, now)
    if reading.job.requirements.rolling and not world.is_outdated(workload.name, machine):
        following = min(world.outdated(workload.name), default="")
        if following:
            world.touch(workload.name, following)  # it may be its turn
    return actions


def _decide(world: World, workload: Workload, reading: Reading, machine: str, now: float) -> list[Action]:
    spot = world.cluster.spots.get(machine)
    if spot is None:
        return []
    old = world.placements.get(workload.name, NO_PLACES).get(machine)
    if old is None:
        found = refusal(world.cluster, reading.job, spot)
        if found is None:
            reason = reason_for(world.cluster, reading.job, spot)
            return [Place(placed(workload, machine, reason, now), reason, depends(world, reading.job, machine))]
        _wait(world, workload, found)
        return []
    new = updated(workload, old)
    if not spot.present:
        if new is old or world.may_return(machine):
            return halted(workload, old)
        return [goes(world, workload.name, machine, f"target Machine({machine}) went away, and the unit has changed since")]
    if ended(world, workload, reading, old):
        return [MarkFinished(msgspec.structs.replace(new, finished=True), "it has ended with success")]
    leaving = expulsion(world.cluster, reading.job, spot)
    if leaving is not None:
        _wait(world, workload, leaving)
        return [goes(world, workload.name, machine, leaving.reason)]
    if spot.draining and not world.occupied(spot):
        return [goes(world, workload.name, machine, "the machine is draining, and nothing else is left there")]
    if new is old or not _its_turn(world, workload, reading, machine):
        return []
    return [Update(new, "the unit changed", asks_otherwise(new, old))]


ONE_BY_ONE = RolloutRules(parallel=1, steady=0.0)


def _its_turn(world: World, workload: Workload, reading: Reading, machine: str) -> bool:
    """Whether a changed unit may be updated on this machine now: always, unless it is rolling and runs there. Then its machines are a
    rollout: each is touched when all others are ready."""
    if not reading.job.requirements.rolling or workload.target is not Target.LAUNCHED or not _runs(world, workload.name, machine):
        return True
    if world.is_behind_another(workload.name, machine):
        return False
    places = world.placements[workload.name]
    items = tuple(Item(other, _stage(world, places[other])) for other in sorted(places) if world.cluster.spots[other].present)
    return any(isinstance(action, Touch) and action.name == machine for action in plan(items, ONE_BY_ONE, 0.0))


def _stage(world: World, placement: Placement) -> Stage:
    """Those that are changed already must be ready in what they were changed to, the others in what they run."""
    if world.is_outdated(placement.unit, placement.machine):
        return Stage.WAITING if _runs(world, placement.unit, placement.machine) else Stage.CHANGING
    return Stage.READY if _ready(world, placement) else Stage.CHANGING


def _runs(world: World, name: str, machine: str) -> bool:
    state = world.state(name, machine)
    return state is not None and is_active(state)


def _ready(world: World, placement: Placement) -> bool:
    """Its agent reports it active with this text, in this launch."""
    state = world.state(placement.unit, placement.machine)
    return has_arrived(placement, state, body_hash(placement))


def _wait(world: World, workload: Workload, refused: Refusal) -> None:
    """A refusal that other units are the cause of may pass with them; any other only with the machine, which is noticed anyway."""
    if refused.depends in OTHERS:
        world.wait(workload.name, refused.depends, refused.machine)
