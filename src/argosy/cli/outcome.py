"""What came of a wish: from a unit as the API shows it to a sentence for the person who waits. Decides and touches nothing.

Units, machines and states here are the API's JSON: fields that are empty, zero or false are left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

View = Mapping[str, Any]
"""A unit or a machine as the API shows it."""


class Outcome(msgspec.Struct, frozen=True):
    """`done`: nothing more to wait for. `good`: it came as wished. `text`: a sentence, "" while there is nothing to say."""

    done: bool
    good: bool = True
    text: str = ""


def legend(machine: View | None, machine_id: str, *, full: bool = False) -> str:
    """A machine as fleetctl shows it: `85c0c595.../172.17.8.102`."""
    short = machine_id if full else f"{machine_id[:8]}..."
    address = machine.get("address", "") if machine else ""
    return f"{short}/{address}" if address else short


def started(unit: View, launch: int, machines: Mapping[str, View]) -> Outcome:
    """Has this launch come to run? A global unit has when it runs wherever it is placed."""
    name = unit["name"]
    places = unit.get("places", [])
    if unit["target"] != "launched" or unit.get("launch", 0) > launch:
        return Outcome(True, False, f"Unit {name} was told something else meanwhile: its target is {unit['target']}")
    if not places:
        return Outcome(False)
    found = [_started_on(unit, place, launch, machines) for place in places]
    failed = [outcome for outcome in found if outcome.done and not outcome.good]
    if failed:
        return failed[0]
    return Outcome(all(outcome.done for outcome in found), True, "\n".join(outcome.text for outcome in found if outcome.done))


def _started_on(unit: View, place: View, launch: int, machines: Mapping[str, View]) -> Outcome:
    name = unit["name"]
    where = legend(machines.get(place["machine"]), place["machine"])
    if place.get("finished"):
        return Outcome(True, True, f"Unit {name} finished on {where}")
    state = state_on(unit, place["machine"])
    if state is None or state.get("launch", 0) != launch or place.get("launch", 0) != launch:
        return Outcome(False)
    active, sub, result = state.get("active", "inactive"), state.get("sub", "dead"), state.get("result", "success")
    if active in ("active", "reloading"):
        return Outcome(True, True, f"Unit {name} launched on {where}")
    if state.get("load", "not-found") in ("error", "bad-setting"):
        return Outcome(True, False, f"Unit {name} cannot be loaded on {where}: {state.get('note') or state['load']}")
    if active == "failed" or (sub == "auto-restart" and result != "success") or state.get("failures"):
        return Outcome(True, False, f"Unit {name} failed on {where}: {ending(state)}")
    if active == "inactive" and state.get("code") is not None:
        return Outcome(True, result == "success", f"Unit {name} ended on {where}: {ending(state)}")
    return Outcome(False)


def reached(unit: View, target: str, machines: Mapping[str, View]) -> Outcome:
    """Has the unit come down to `inactive` or `loaded`, or up to `loaded`?"""
    name = unit["name"]
    places = unit.get("places", [])
    if unit["target"] != target:
        return Outcome(True, False, f"Unit {name} was told something else meanwhile: its target is {unit['target']}")
    if target == "inactive":
        gone = not places and not unit.get("states")
        return Outcome(gone, True, f"Unit {name} inactive" if gone else "")
    if not places or unit.get("current", "inactive") != "loaded":
        return Outcome(False)
    wheres = [legend(machines.get(place["machine"]), place["machine"]) for place in places]
    return Outcome(True, True, "\n".join(f"Unit {name} loaded on {where}" for where in wheres))


def state_on(unit: View, machine_id: str) -> View | None:
    for state in unit.get("states", []):
        if state["machine"] == machine_id:
            found: View = state
            return found
    return None


def ending(state: View) -> str:
    """How a unit's main process ended, in words."""
    result, code = state.get("result", "success"), state.get("code")
    words = {
        "success": "it ended well",
        "exit-code": f"exit status {code}",
        "signal": "killed by a signal",
        "core-dump": "it dumped core",
        "timeout": "it did not get ready in time",
        "watchdog": "it stopped answering its watchdog",
        "start-limit-hit": "it failed too often in a row",
        "resources": "it could not be started at all",
        "protocol": "it did not say that it was ready",
        "oom-kill": "it ran out of memory",
    }
    text = words.get(result, str(result))
    return f"{text} ({state['note']})" if state.get("note") else text


def sub_state(unit: View, place: View | None, state: View | None) -> str:
    """The sub-state that lists show: systemd's, or ours where systemd has no word for it."""
    if state is None:
        if place is None:
            return "waiting" if unit["target"] != "inactive" else "dead"
        return "finished" if place.get("finished") else "unknown"
    if state.get("retry_at"):
        return "failing"
    return str(state.get("sub", "dead"))


def refusals(why: Mapping[str, Any], machines: Mapping[str, View]) -> list[str]:
    """One line for each machine that refuses a unit."""
    refusing = [row for row in why.get("machines", []) if not row.get("placed")]
    wheres = [row.get("name") or legend(machines.get(row["machine"]), row["machine"]) for row in refusing]
    return [f"{where}: {row.get('reason') or row.get('filter')}" for where, row in zip(wheres, refusing, strict=True)]


def unplaced(name: str, why: Mapping[str, Any], machines: Mapping[str, View]) -> str:
    lines = refusals(why, machines)
    return "\n".join([f"Unit {name} is waiting: {why.get('reason') or 'no machine takes it'}", *(f"  {line}" for line in lines)])


def by_id(machines: Sequence[View]) -> dict[str, View]:
    return {machine["id"]: machine for machine in machines}
