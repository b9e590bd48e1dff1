"""What came of a wish: from a unit as the API shows it to a sentence for the person who waits. Decides and touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from argosy.cli.cluster import View, places, state_on, states
from argosy.model import UnitState
from argosy.placement.progress import RUNNING, has_stopped

Machines = Mapping[str, View]

ENDINGS = {
    "success": "it ended well",
    "signal": "killed by a signal",
    "core-dump": "it dumped core",
    "timeout": "it did not get ready in time",
    "watchdog": "it stopped answering its watchdog",
    "start-limit-hit": "it failed too often in a row",
    "resources": "it could not be started at all",
    "protocol": "it did not say that it was ready",
    "oom-kill": "it ran out of memory",
    "dependency": "a unit that it requires failed",
}
"""systemd's results in words."""


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
    state = state_on(unit, place["machine"])
    if state is None or state.get("launch", 0) != launch or place.get("launch", 0) != launch:
        return Outcome(False, text=f"waiting for {where} to start it")
    active, sub, result = state.get("active", "inactive"), state.get("sub", "dead"), state.get("result", "success")
    if active in ("active", "reloading"):
        return Outcome(True, True, f"Unit {name} launched on {where}")
    if state.get("load", "not-found") in ("error", "bad-setting"):
        return Outcome(True, False, f"Unit {name} cannot be loaded on {where}: {state.get('note') or state['load']}")
    if active == "failed" or (sub == "auto-restart" and result != "success") or state.get("failures"):
        return Outcome(True, False, f"Unit {name} failed on {where}: {ending(state)}", _look(name))
    if active == "inactive" and state.get("code") is not None:
        good = result == "success"
        return Outcome(True, good, f"Unit {name} ended on {where}: {ending(state)}", () if good else _look(name))
    note = f": {state['note']}" if state.get("note") else ""
    return Outcome(False, text=f"{active} ({sub}) on {where}{note}")


def _look(name: str) -> tuple[str, ...]:
    return (f"  argosy status {name} and argosy journal {name} tell more",)


def loaded(unit: View, machines: Machines) -> Outcome:
    """Has the unit been placed and loaded, or stopped where it is?"""
    if unit["target"] != "loaded":
        return _overruled(unit)
    return _everywhere(unit, [_loaded_on(unit, place, machines) for place in places(unit)])


def _loaded_on(unit: View, place: View, machines: Machines) -> Outcome:
    where = legend(machines.get(place["machine"]), place["machine"])
    state = state_on(unit, place["machine"])
    if state is None or place["target"] != "loaded":
        return Outcome(False, text=f"waiting for {where} to load it")
    if state.get("load") in ("error", "bad-setting"):
        return Outcome(True, False, f"Unit {unit['name']} cannot be loaded on {where}: {state.get('note') or state['load']}")
    told = msgspec.convert({"unit": unit["name"], **state}, UnitState)
    if not has_stopped(told):
        return Outcome(False, text=f"{told.active} ({told.sub}) on {where}")
    started = f"; it is {told.active} there, started by something other than argosy" if told.active in RUNNING else ""
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
    if not states(unit):
        return None
    wheres = ", ".join(legend(machines.get(state["machine"]), state["machine"]) for state in states(unit))
    return Outcome(False, text=f"{states(unit)[0].get('active', 'inactive')} on {wheres}")


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


def ending(state: View) -> str:
    """How a unit's main process ended, in words."""
    result = str(state.get("result", "success"))
    code = state.get("code")
    text = f"exit status {code}" if result == "exit-code" and code is not None else ENDINGS.get(result, result)
    return f"{text} ({state['note']})" if state.get("note") else text


def sub_state(unit: View, place: View | None, state: View | None) -> str:
    """The sub-state that lists show: systemd's, or ours where systemd has no word for it."""
    if place is not None and place.get("finished"):
        return "finished"
    if state is None:
        return "unknown" if place is not None else "waiting" if unit["target"] != "inactive" else "dead"
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
