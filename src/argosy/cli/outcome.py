"""What came of a wish: from a unit as the API shows it to a sentence for the person who waits. Decides and touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from argosy.cli.cluster import Reported, View, places, reported_on, states
from argosy.cli.table import span
from argosy.verdict import BROKEN_TEXT, REFUSALS, REFUSED, RUNNING, UNLOADABLE, Phase, ended, ending, has_stopped, judge

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
    if unit["target"] != "launched" or unit.get("launch", 0) > launch:
        return _overruled(unit)
    return _everywhere(unit, [_started_on(unit, place, launch, machines) for place in places(unit)])


def _started_on(unit: View, place: View, launch: int, machines: Machines) -> Outcome:
    name = unit["name"]
    where = legend(machines.get(place["machine"]), place["machine"])
    if place.get("finished"):
        return Outcome(True, True, f"Unit {name} finished on {where}")
    state = reported_on(unit, place["machine"])
    phase = judge(state, launch, unit.get("hash", "")) if place.get("launch", 0) == launch else Phase.PENDING
    if state is None or phase is Phase.PENDING:
        return Outcome(False, text=f"waiting for {where} to start it")
    match phase:
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


def has_come_to_rest(unit: View) -> bool:
    """Whether nothing of a launched unit runs or is about to, though it is placed: it failed, was refused or ended. A finished job has done
    what was asked."""
    found = places(unit)
    return unit["target"] == "launched" and bool(found) and all(_rests(unit, place) for place in found)


def _rests(unit: View, place: View) -> bool:
    state = reported_on(unit, place["machine"])
    phase = judge(state, unit.get("launch", 0), unit.get("hash", ""))
    if state is None or place.get("finished") or phase not in (Phase.FAILED, Phase.REFUSED, Phase.ENDED):
        return False
    return state.active in ("inactive", "failed") or state.sub == "auto-restart"


def _refused(what: str, state: Reported) -> Outcome:
    """What a unit of the same command is still missing may come: the machine tries again before it is given up."""
    reason = state.note or state.load
    if state.load not in BROKEN_TEXT and state.failures < REFUSALS:
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
    if state is None or place["target"] != "loaded":
        return Outcome(False, text=f"waiting for {where} to load it")
    if state.result == REFUSED and state.active in RUNNING:
        return _refused(f"Unit {unit['name']} cannot be stopped on {where}", state)
    if state.result == REFUSED or state.load in UNLOADABLE:
        return _refused(f"Unit {unit['name']} cannot be loaded on {where}", state)
    if not has_stopped(state):
        return Outcome(False, text=f"{state.active} ({state.sub}) on {where}")
    started = f"; it is {state.active} there, started by something other than argosy" if state.active in RUNNING else ""
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


def trouble(state: Reported, now: float) -> str:
    """What is wrong with a unit on its machine, in words; "" if nothing is."""
    again = f"; the next try is in {span(state.retry_at - now)}" if state.retry_at else ""
    times = f" {state.failures} times in a row" if state.failures > 1 else ""
    if state.result == REFUSED or state.load in UNLOADABLE:
        return f"refused{times}: {state.note or state.load}{again}"
    if state.failures or state.active == "failed":
        return f"failed{times}: {ending(state)}{again}"
    return state.note


def sub_state(unit: View, place: View | None, state: View | None) -> str:
    """The sub-state that lists show: systemd's, or ours where systemd has no word for it."""
    if place is not None and place.get("finished"):
        return "finished"
    if state is None:
        return "unknown" if place is not None else "waiting" if unit["target"] != "inactive" else "dead"
    if state.get("result") == REFUSED:
        return "refused"
    if state.get("retry_at"):
        return "failing"
    return str(state.get("sub", "dead"))


def unplaced(name: str, why: Mapping[str, Any], machines: Machines) -> list[str]:
    """Why a unit is nowhere: the reason, and one line for each machine that refuses it."""
    lines = [f"Unit {name} is waiting: {why.get('reason') or 'no machine takes it'}"]
    for row in why.get("machines", []):
        where = row.get("name") or legend(machines.get(row["machine"]), row["machine"])
        if row.get("filter"):
            lines.append(f"  {where}: {row.get('reason') or row['filter']}")
    return lines
