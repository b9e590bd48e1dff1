"""What came of a wish: from a unit as the API shows it to a sentence for the person who waits. Decides and touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from argosy.cli.cluster import Reported, View, placed, places, reported_on, states
from argosy.cli.table import span
from argosy.launches import is_overtaken
from argosy.verdict import REFUSED, Phase, ended, ending, has_come_to_rest, is_given_up, may_run, phase, trouble

Machines = Mapping[str, View]


class Outcome(NamedTuple):
    """`done`: nothing more to wait for. `good`: it came as wished. `text`: one line; while it is not done, what is waited for. `more`: the
    lines below it."""

    done: bool
    good: bool = True
    text: str = ""
    more: tuple[str, ...] = ()


Judge = Callable[[View], Outcome]


def legend(machine: View | None, machine_id: str, *, full: bool = False) -> str:
    """A machine as fleetctl shows it: `85c0c595.../172.17.8.102`."""
    short = machine_id if full else f"{machine_id[:8]}..."
    address = machine.get("address", "") if machine else ""
    return f"{short}/{address}" if address else short


def started(unit: View, launch: int, machines: Machines) -> Outcome:
    """Has this launch come to run? A global unit has when it runs wherever it is placed."""
    if unit["target"] != "launched" or is_overtaken(unit.get("launch", 0), launch):
        return _overruled(unit)
    return _everywhere(unit, [_started_on(unit, place, launch, machines) for place in places(unit)])


def _started_on(unit: View, place: View, launch: int, machines: Machines) -> Outcome:
    name = unit["name"]
    where = legend(machines.get(place["machine"]), place["machine"])
    state = reported_on(unit, place["machine"])
    wanted = placed(place)
    found = phase(wanted, state, unit.get("hash", ""))
    if found is Phase.FINISHED:
        return Outcome(True, True, f"Unit {name} finished on {where}")
    if state is None or found is Phase.PENDING or wanted.launch != launch:
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


def needs_launch(unit: View) -> bool:
    """Whether a launched unit has come to rest wherever it is placed, so that starting it needs a new launch."""
    found = places(unit)
    if unit["target"] != "launched" or not found:
        return False
    launch, digest = unit.get("launch", 0), unit.get("hash", "")
    return all(has_come_to_rest(placed(place)._replace(launch=launch), reported_on(unit, place["machine"]), digest) for place in found)


def _refused(what: str, state: Reported) -> Outcome:
    reason = state.note or state.load
    if not is_given_up(state):
        return Outcome(False, text=f"{what}: {reason}; it is tried again")
    return Outcome(True, False, f"{what}: {reason}")


def _look(name: str) -> tuple[str, ...]:
    return (f"  argosy status {name} and argosy journal {name} tell more",)


def loaded(unit: View, machines: Machines) -> Outcome:
    """Has the unit been placed and loaded, or stopped where it is?"""
    if unit["target"] != "loaded":
        return _overruled(unit)
    return _everywhere(unit, [_loaded_on(unit, place, machines) for place in places(unit)])


def _loaded_on(unit: View, place: View, machines: Machines) -> Outcome:
    where = legend(machines.get(place["machine"]), place["machine"])
    state = reported_on(unit, place["machine"])
    wanted = placed(place)
    found = phase(wanted, state)
    if state is None or found is Phase.PENDING or wanted.target != "loaded":
        return Outcome(False, text=f"waiting for {where} to load it")
    if found is Phase.REFUSED:
        what = "stopped" if state.result == REFUSED and may_run(state) else "loaded"
        return _refused(f"Unit {unit['name']} cannot be {what} on {where}", state)
    if found is Phase.STOPPING:
        return Outcome(False, text=f"{state.active} ({state.sub}) on {where}")
    started = f"; it is {state.active} there, started by something other than argosy" if may_run(state) else ""
    return Outcome(True, True, f"Unit {unit['name']} loaded on {where}{started}")


def stopped(unit: View, machines: Machines) -> Outcome:
    """Has the unit come down to loaded? One that is nowhere has nothing to stop."""
    outcome = loaded(unit, machines)
    if outcome.done or places(unit):
        return outcome
    return _still(unit, machines) or Outcome(True, True, f"Unit {unit['name']} loaded on no machine")


def unloaded(unit: View, machines: Machines) -> Outcome:
    """Is the unit off its machines?"""
    if unit["target"] != "inactive":
        return _overruled(unit)
    if places(unit):
        return Outcome(False, text="waiting for it to be taken off its machine")
    return _still(unit, machines) or Outcome(True, True, f"Unit {unit['name']} inactive")


def _still(unit: View, machines: Machines) -> Outcome | None:
    """Waiting for machines that still show it."""
    left = [state for view in states(unit) if (state := reported_on(unit, view["machine"])) is not None]
    if not left:
        return None
    stuck = next((state for state in left if state.result == REFUSED), left[0])
    wheres = ", ".join(legend(machines.get(state.machine), state.machine) for state in left)
    if stuck.result == REFUSED:
        return _refused(f"Unit {unit['name']} cannot be taken off {legend(machines.get(stuck.machine), stuck.machine)}", stuck)
    return Outcome(False, text=f"{stuck.active} on {wheres}")


def _everywhere(unit: View, found: list[Outcome]) -> Outcome:
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


def _overruled(unit: View) -> Outcome:
    return Outcome(True, False, f"Unit {unit['name']} was told something else meanwhile: its target is {unit['target']}")


def describe_trouble(state: Reported, now: float) -> str:
    """What is wrong with a unit on its machine and when that is tried again, in words; "" if nothing is."""
    return trouble(state) + (f"; the next try is in {span(state.retry_at - now)}" if state.retry_at else "")


def unplaced(name: str, why: Mapping[str, Any], machines: Machines) -> list[str]:
    """Why a unit is nowhere: the reason, and one line for each machine that refuses it."""
    lines = [f"Unit {name} is waiting: {why.get('reason') or 'no machine takes it'}"]
    for row in why.get("machines", []):
        where = row.get("name") or legend(machines.get(row["machine"]), row["machine"])
        if row.get("filter"):
            lines.append(f"  {where}: {row.get('reason') or row['filter']}")
    return lines
