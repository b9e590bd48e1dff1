"""Global units: one place on every machine that fits, decided machine by machine."""

from __future__ import annotations

import msgspec

from argosy.engine.actions import Action, MarkFinished, Place, Update
from argosy.engine.steps import asks_otherwise, depends, ended, goes, halted, updated
from argosy.engine.world import NO_PLACES, World
from argosy.model import Placement, Unit
from argosy.placement.jobs import Reading
from argosy.placement.place import Refusal, expulsion, reason_for, refusal


def decide_everywhere(world: World, unit: Unit, reading: Reading, machine: str, now: float) -> list[Action]:
    """A lost machine keeps its record until the unit changes: if it comes back, what runs there goes on. A draining one keeps global units
    until everything else has left."""
    spot = world.cluster.spots.get(machine)
    if spot is None:
        return []
    old = world.placements.get(unit.name, NO_PLACES).get(machine)
    if old is None:
        found = refusal(world.cluster, reading.job, spot)
        if found is None:
            reason = reason_for(world.cluster, reading.job, spot)
            new = Placement(unit.name, machine, unit.text, unit.target, unit.launch, reason, now)
            return [Place(new, reason, depends(world, reading.job, machine))]
        _wait(world, unit, found)
        return []
    new = updated(unit, old)
    if not spot.present:
        if new is old or world.patient:
            return halted(unit, old)
        return [goes(world, unit.name, machine, f"target Machine({machine}) went away, and the unit has changed since")]
    if ended(world, unit, reading, old):
        return [MarkFinished(msgspec.structs.replace(new, finished=True), "it has ended with success")]
    leaving = expulsion(world.cluster, reading.job, spot)
    if leaving is not None:
        _wait(world, unit, leaving)
        return [goes(world, unit.name, machine, leaving.reason)]
    if spot.draining and not world.occupied(spot):
        return [goes(world, unit.name, machine, "the machine is draining, and nothing else is left there")]
    return [] if new is old else [Update(new, "the unit changed", asks_otherwise(new, old))]


def _wait(world: World, unit: Unit, refused: Refusal) -> None:
    """A refusal that other units are the cause of may pass with them; any other only with the machine, which is noticed anyway."""
    if refused.filter in ("Conflicts", "Replaces"):
        world.wait(unit.name, refused.machine, tied=True)
