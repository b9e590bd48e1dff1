"""What is to be done: for each doubtful unit, from where it is and where it may be, to frozen actions with reasons.

The rules, for a unit that wants one place:
- good place (alive, no filter against it, not draining): it stays, updated in place; every other place goes;
- draining: make before break. It gets a second place, and leaves the first when the new copy is active and its followers have gone ahead.
  A unit that must never run twice leaves first; one of which nothing runs changes over at once; a oneshot is left to end; with nowhere
  to go it stays;
- on its way elsewhere by a rollout: the same, with its old text where it is, and it does not leave before the rollout says so;
- refused by a filter: it moves at once, or is placed nowhere until something changes;
- machine lost (its lease has ended, or its observers agree that nobody reaches it): it moves at once, a unit that must never run twice not
  before the lease has ended; with nowhere to go its place stays recorded as it is, so that a machine that returns finds it;
- a finished oneshot is never touched before its next launch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from argosy.engine.actions import Action, MarkFinished, Place, Update
from argosy.engine.agenda import Item
from argosy.engine.everywhere import decide_everywhere
from argosy.engine.steps import asks_otherwise, changed, depends, ended, goes, halted, placed, same, updated
from argosy.engine.world import NO_PLACES, Snapshot, World, world_of
from argosy.model import Placement, Target, Workload
from argosy.placement.filters.base import Depends
from argosy.placement.jobs import Reading
from argosy.placement.place import expulsion, pick, reason_for, waits_for
from argosy.placement.spot import Spot
from argosy.placement.workloads import KINDS
from argosy.verdict import has_arrived, is_idle, may_run

MOST_DECISIONS = 1000
"""Units looked at in one round of the engine: some tens of milliseconds, so that nothing else in the process waits long."""

MOST_ROUNDS = 1000
"""Of `plan`. Rounds end by themselves, since every action removes a reason to act; this turns a defect into an error."""


class Places(msgspec.Struct, gc=False):
    """Where a unit is placed now, by what is to be thought of each place. `refused` has the reasons."""

    good: list[str]
    silent: list[str]
    leaving: list[str]
    lost: list[str]
    refused: dict[str, str]


def plan(snapshot: Snapshot, now: float, *, patient: bool = False) -> tuple[Action, ...]:
    """Everything that is to be done about a snapshot, as far as it can be planned without seeing what comes of it; in an order in which
    each action may be carried out. `patient`: what is placed on missing machines stays untouched."""
    world = world_of(snapshot, patient=patient)
    before = dict(snapshot.placements)
    last: dict[Item, Action] = {}
    for _ in range(MOST_ROUNDS):
        for action in plan_round(world, now):
            last.pop((action.unit, action.machine), None)
            last[action.unit, action.machine] = action
        if not world.unsettled():
            return tuple(action for action in last.values() if changed(action, before.get((action.machine, action.unit))))
    raise AssertionError("a plan that does not come to an end")


def plan_round(world: World, now: float, most: int = MOST_DECISIONS) -> tuple[Action, ...]:
    """Decides up to `most` units of the agenda and applies the actions to the world. No unit is acted on twice in one round: what becomes
    doubtful again waits for the next, so that the actions may be committed in their order."""
    world.begin_round()
    actions: list[Action] = []
    acted: set[Item] = set()
    again: list[Item] = []
    for _ in range(most):
        if not world.unsettled():
            break
        item = world.agenda.pop()
        if item in acted:
            again.append(item)
            continue
        for action in decide(world, *item, now):
            world.apply(action)
            actions.append(action)
            acted.add(item)
    for name, machine in again:
        world.touch(name, machine)
    return tuple(actions)


def decide(world: World, name: str, machine: str, now: float) -> list[Action]:
    """What is to be done about one workload (for a global one: on one machine). Placements of a kind that is not known here, which a newer
    leader has made, stay as they are."""
    if name in world.unreadable:
        return []
    here = world.placements.get(name, NO_PLACES)
    workload = world.workloads.get(name)
    if workload is None or workload.target is Target.INACTIVE:
        reason = "the unit does not exist" if workload is None else "its target state is inactive"
        return [goes(world, name, place, reason) for place in sorted(here) if here[place].kind in KINDS]
    reading = world.readings[name]
    if reading.error:
        return []  # what is placed stays as it is: a text that cannot be read says nothing
    if reading.job.requirements.everywhere:
        if machine:
            return decide_everywhere(world, workload, reading, machine, now)
        world.touch(name)
        return []
    if not here:
        return _new(world, workload, reading, now)
    return _placed(world, workload, reading, here, now)


def _placed(world: World, workload: Workload, reading: Reading, here: Mapping[str, Placement], now: float) -> list[Action]:
    for machine in sorted(here):
        if ended(world, workload, reading, here[machine]):
            mark = MarkFinished(msgspec.structs.replace(updated(workload, here[machine]), finished=True), "it has ended with success")
            return [*_others(world, workload, here, machine, "it has finished elsewhere"), mark]
        if updated(workload, here[machine]).finished:
            return [*_others(world, workload, here, machine, "it has finished elsewhere"), *_update(workload, here[machine])]
    places = _sort(world, reading, here)
    if places.good:
        return _settle(world, workload, here, places)
    if places.silent:
        return [action for machine in places.silent for action in halted(workload, here[machine])]
    if places.leaving:
        return _drain(world, workload, reading, here, places, now)
    return _move(world, workload, reading, here, places, now)


def _sort(world: World, reading: Reading, here: Mapping[str, Placement]) -> Places:
    places = Places([], [], [], [], {})
    for machine in sorted(here):
        spot = world.cluster.spots[machine]
        if not spot.present:
            exclusive = reading.job.requirements.stop_on_disconnect and machine in world.machines
            (places.silent if exclusive or world.may_return(machine) else places.lost).append(machine)
            continue
        found = expulsion(world.cluster, reading.job, spot)
        if found is not None:
            places.refused[machine] = found.reason
        elif spot.draining or world.leaves(reading.job.name, machine):
            places.leaving.append(machine)
        else:
            places.good.append(machine)
    return places


def _settle(world: World, workload: Workload, here: Mapping[str, Placement], places: Places) -> list[Action]:
    """One place is good: the others go, from a draining machine not before the copy in the good place is active."""
    home = min(places.good, key=_preference(world, workload, here))
    there = has_arrived(updated(workload, here[home]), world.state(workload.name, home))
    actions: list[Action] = []
    for machine in sorted(here):
        if machine == home:
            actions += _update(workload, here[machine])
        elif machine in places.silent:
            actions += halted(workload, here[machine])
        elif machine not in places.leaving:
            actions.append(goes(world, workload.name, machine, places.refused.get(machine) or _gone(machine, places)))
        elif there and not world.beside.get(workload.name) and not _followers_behind(world, workload.name, machine):
            reason = f"{_leaving(world, machine)}, and the new copy on Machine({home}) is active"
            actions.append(goes(world, workload.name, machine, reason))
        else:
            actions += halted(workload, here[machine])
    return actions


def _drain(world: World, workload: Workload, reading: Reading, here: Mapping[str, Placement], places: Places, now: float) -> list[Action]:
    """It is on draining machines only (one; two if the machine of its new copy drains as well)."""
    home = min(places.leaving, key=_preference(world, workload, here))
    others = _others(world, workload, here, home, _leaving(world, home))
    old, state = here[home], world.state(workload.name, home)
    if reading.ends and workload.target is Target.LAUNCHED and same(workload, old):
        return others  # a oneshot that was started here is left to end: a second run is no continuation of the first
    spot = pick(world.cluster, reading.job, avoid=here)
    if spot is None:
        _wait(world, reading)
        return [*others, *_update(workload, old)]
    reason = f"Machine({home}) is draining" if world.cluster.spots[home].draining else f"a rollout changes it on Machine({home})"
    leave = goes(world, workload.name, home, f"{reason}; it goes to Machine({spot.id})")
    if reading.job.requirements.stop_on_disconnect and may_run(state):
        return _stopped_first(world, workload, [*others, leave])
    new = _place(world, workload, reading, spot, reason, now)
    if reading.job.requirements.stop_on_disconnect or is_idle(old, state):
        return [*others, leave, new]
    return [*others, *halted(workload, old), new]


def _move(world: World, workload: Workload, reading: Reading, here: Mapping[str, Placement], places: Places, now: float) -> list[Action]:
    """No place is any good: refused by filters, or its machine lost."""
    reasons = {machine: places.refused.get(machine) or _gone(machine, places) for machine in sorted(here)}
    refused = [goes(world, workload.name, machine, reasons[machine]) for machine in places.refused]
    spot = pick(world.cluster, reading.job, avoid=here)
    if spot is None:
        _wait(world, reading)
        kept = places.lost[:1]
        return [
            *refused,
            *[goes(world, workload.name, machine, reasons[machine]) for machine in places.lost[1:]],
            *[action for machine in kept for action in halted(workload, here[machine])],
        ]
    removes = [goes(world, workload.name, machine, reasons[machine]) for machine in sorted(here)]
    if reading.job.requirements.stop_on_disconnect and any(may_run(world.state(workload.name, machine)) for machine in places.refused):
        return _stopped_first(world, workload, list(removes))
    return [*removes, _place(world, workload, reading, spot, next(iter(reasons.values())), now)]


def _stopped_first(world: World, workload: Workload, removes: list[Action]) -> list[Action]:
    """The next place of what must never run twice is found when its agent has reported that it stopped."""
    world.wait(workload.name, Depends.OCCUPANTS)
    return removes


def _new(world: World, workload: Workload, reading: Reading, now: float) -> list[Action]:
    if reading.job.requirements.stop_on_disconnect:
        states = world.states.get(workload.name, {})
        if any(may_run(state) and (machine in world.machines) for machine, state in states.items()):
            world.wait(workload.name, Depends.OCCUPANTS)
            return []
    spot = pick(world.cluster, reading.job)
    if spot is None:
        _wait(world, reading)
        return []
    return [_place(world, workload, reading, spot, "", now)]


def _place(world: World, workload: Workload, reading: Reading, spot: Spot, because: str, now: float) -> Place:
    reason = reason_for(world.cluster, reading.job, spot)
    placement = placed(workload, spot.id, f"{because}; {reason}" if because else reason, now)
    return Place(placement, placement.reason, depends(world, reading.job, spot.id))


def _update(workload: Workload, old: Placement) -> list[Action]:
    new = updated(workload, old)
    if new == old:
        return []
    what = "text" if new.text != old.text else "launch" if new.launch != old.launch else "target state"
    return [Update(new, f"its {what} changed", asks_otherwise(new, old))]


def _others(world: World, workload: Workload, here: Mapping[str, Placement], keep: str, reason: str) -> list[Action]:
    return [goes(world, workload.name, machine, reason) for machine in sorted(here) if machine != keep]


def _followers_behind(world: World, name: str, machine: str) -> bool:
    """Whether a follower that is on its way elsewhere is still here: it goes first, so that nothing is announced that has stopped."""
    for follower in world.cluster.followers.get(name, ()):
        places = world.placements.get(follower, NO_PLACES)
        if machine in places and len(places) > 1:
            return True
    return False


def _preference(world: World, workload: Workload, here: Mapping[str, Placement]) -> Callable[[str], tuple[bool, bool, float, str]]:
    """Of several places the one where it is active, then that of its newest launch, then the oldest, then the lowest id."""

    def key(machine: str) -> tuple[bool, bool, float, str]:
        old = here[machine]
        return (not has_arrived(old, world.state(workload.name, machine)), not same(workload, old), old.placed, machine)

    return key


def _leaving(world: World, machine: str) -> str:
    return "the machine is draining" if world.cluster.spots[machine].draining else "a rollout changes it"


def _gone(machine: str, places: Places) -> str:
    return f"target Machine({machine}) went away" if machine in places.lost else "it has another place"


def _wait(world: World, reading: Reading) -> None:
    world.wait(reading.job.name, waits_for(world.cluster, reading.job))
