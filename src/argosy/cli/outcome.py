"""What came of a wish: from a unit as the API shows it to a sentence for the person who waits. Decides and touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from argosy.api.shapes import MachineView, Place, UnitView, WhyAnswer
from argosy.cli.cluster import reported_on
from argosy.cli.table import span
from argosy.launches import is_overtaken
from argosy.model import UnitState
from argosy.verdict import REFUSED, Phase, ended, ending, has_come_to_rest, is_given_up, may_run, phase, trouble

Machines = Mapping[str, MachineView]


class Outcome(NamedTuple):
    """`done`: nothing more to wait for. `good`: it came as wished. `text`: one line; while it is not done, what is waited for. `more`: the
    lines below it."""

    done: bool
    good: bool = True
    text: str = ""
    more: tuple[str, ...] = ()


Judge = Callable[[UnitView], Outcome]


def legend(machine: MachineView | None, machine_id: str, *, full: bool = False) -> str:
    """A machine as fleetctl shows it: `85c0c595.../172.17.8.102`."""
    short = machine_id if full else f"{machine_id[:8]}..."
    address = machine.address if machine else ""
    return f"{short}/{address}" if address else short


def started(unit: UnitView, launch: int, machines: Machines) -> Outcome:
    """Has this launch come to run? A global unit has when it runs wherever it is placed."""
    if unit.target != "launched" or is_overtaken(unit.launch, launch):
        return _overruled(unit)
    return _everywhere(unit, [_started_on(unit, place, launch, machines) for place in unit.places])


def _started_on(unit: UnitView, place: Place, launch: int, machines: Machines) -> Outcome:
    name = unit.name
    where = legend(machines.get(place.machine), place.machine)
    state = reported_on(unit, place.machine)
    found = phase(place, state, unit.hash)
    if found is Phase.FINISHED:
        return Outcome(True, True, f"Unit {name} finished on {where}")
    if state is None or found is Phase.PENDING or place.launch != launch:
        return Outcome(False, text=f"waiting for {where} to start it")
    match found:
        case Phase.RUNNING:
            return Outcome(True, True, f"Unit {name} launched on {where}")
        case Phase.REFUSED:
            return _refused(f"Unit {name} cannot be started on {where}", state)
        case Phase.FAILED:
            return Outcome(True, False, f"Unit {name} failed on {where}: {ending(state)}", _look(name))
        case Phase.ENDED:
            return Outcome(True, True, f"Unit {name} {ended(state)} on {where}")
    note = f": {state.note}" if state.note else ""
    return Outcome(False, text=f"{state.active} ({state.sub}) on {where}{note}")


def needs_launch(unit: UnitView) -> bool:
    """Whether a launched unit has come to rest wherever it is placed, so that starting it needs a new launch."""
    found = unit.places
    if unit.target != "launched" or not found:
        return False
    launch, digest = unit.launch, unit.hash
    return all(has_come_to_rest(msgspec.structs.replace(place, launch=launch), reported_on(unit, place.machine), digest) for place in found)


def _refused(what: str, state: UnitState) -> Outcome:
    reason = state.note or state.load
    if not is_given_up(state):
        return Outcome(False, text=f"{what}: {reason}; it is tried again")
    return Outcome(True, False, f"{what}: {reason}")


def _look(name: str) -> tuple[str, ...]:
    return (f"  argosy status {name} and argosy journal {name} tell more",)


def loaded(unit: UnitView, machines: Machines) -> Outcome:
    """Has the unit been placed and loaded, or stopped where it is?"""
    if unit.target != "loaded":
        return _overruled(unit)
    return _everywhere(unit, [_loaded_on(unit, place, machines) for place in unit.places])


def _loaded_on(unit: UnitView, place: Place, machines: Machines) -> Outcome:
    where = legend(machines.get(place.machine), place.machine)
    state = reported_on(unit, place.machine)
    found = phase(place, state)
    if state is None or found is Phase.PENDING or place.target != "loaded":
        return Outcome(False, text=f"waiting for {where} to load it")
    if found is Phase.REFUSED:
        what = "stopped" if state.result == REFUSED and may_run(state) else "loaded"
        return _refused(f"Unit {unit.name} cannot be {what} on {where}", state)
    if found is Phase.STOPPING:
        return Outcome(False, text=f"{state.active} ({state.sub}) on {where}")
    started = f"; it is {state.active} there, started by something other than argosy" if may_run(state) else ""
    return Outcome(True, True, f"Unit {unit.name} loaded on {where}{started}")


def stopped(unit: UnitView, machines: Machines) -> Outcome:
    """Has the unit come down to loaded? One that is nowhere has nothing to stop."""
    outcome = loaded(unit, machines)
    if outcome.done or unit.places:
        return outcome
    return _still(unit, machines) or Outcome(True, True, f"Unit {unit.name} loaded on no machine")


def unloaded(unit: UnitView, machines: Machines) -> Outcome:
    """Is the unit off its machines?"""
    if unit.target != "inactive":
        return _overruled(unit)
    if unit.places:
        return Outcome(False, text="waiting for it to be taken off its machine")
    return _still(unit, machines) or Outcome(True, True, f"Unit {unit.name} inactive")


def _still(unit: UnitView, machines: Machines) -> Outcome | None:
    """Waiting for machines that still show it."""
    left = unit.states
    if not left:
        return None
    stuck = next((state for state in left if state.result == REFUSED), left[0])
    wheres = ", ".join(legend(machines.get(state.machine), state.machine) for state in left)
    if stuck.result == REFUSED:
        return _refused(f"Unit {unit.name} cannot be taken off {legend(machines.get(stuck.machine), stuck.machine)}", stuck)
    return Outcome(False, text=f"{stuck.active} on {wheres}")


def _everywhere(unit: UnitView, found: list[Outcome]) -> Outcome:
    """One outcome of a unit from those on its machines: the first failure counts, and it is done when it is done everywhere."""
    if not found:
        return Outcome(False, text="no machine has taken it yet")
    failed = next((outcome for outcome in found if outcome.done and not outcome.good), None)
    if failed:
        return failed
    waiting = [outcome.text for outcome in found if not outcome.done]
    if waiting:
        return Outcome(False, text=waiting[0] + (f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""))
    first, *others = found
    return Outcome(True, True, first.text, tuple(outcome.text for outcome in others))


def _overruled(unit: UnitView) -> Outcome:
    return Outcome(True, False, f"Unit {unit.name} was told something else meanwhile: its target is {unit.target}")


def describe_trouble(state: UnitState, now: float) -> str:
    """What is wrong with a unit on its machine and when that is tried again, in words; "" if nothing is."""
    return trouble(state) + (f"; the next try is in {span(state.retry_at - now)}" if state.retry_at else "")


def unplaced(name: str, why: WhyAnswer, machines: Machines) -> list[str]:
    """Why a unit is nowhere: the reason, and one line for each machine that refuses it."""
    lines = [f"Unit {name} is waiting: {why.reason or 'no machine takes it'}"]
    for row in why.machines:
        where = row.name or legend(machines.get(row.machine), row.machine)
        if row.filter:
            lines.append(f"  {where}: {row.reason or row.filter}")
    return lines
