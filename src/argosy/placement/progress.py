"""How far a placed unit has come, read from what its agent reports. `state` is None where no agent reports anything."""

from __future__ import annotations

from argosy.model import Placement, Target, UnitState

RUNNING = frozenset({"active", "activating", "reloading", "deactivating", "refreshing", "maintenance"})


def arrived(placement: Placement, state: UnitState | None) -> bool:
    """The unit is what it should be on this machine: loaded, active, or ended well; an older copy may go."""
    if placement.finished:
        return True
    if state is None:
        return False
    if placement.target is not Target.LAUNCHED:
        return state.load == "loaded"
    if state.launch != placement.launch:
        return False
    return state.active == "active" or ended_well(state)


def ended_well(state: UnitState) -> bool:
    """Its main process ran and exited with success."""
    return state.active == "inactive" and state.result == "success" and state.code is not None


def may_run(state: UnitState | None) -> bool:
    """Processes of the unit may be alive there."""
    return state is not None and state.active in RUNNING


def has_stopped(state: UnitState) -> bool:
    """Its latest launch has ended. What runs without a launch was started by its machine's systemd and is no reason to wait."""
    return state.active not in RUNNING or (state.launch == 0 and state.active != "deactivating")


def given_up(placement: Placement, state: UnitState | None) -> bool:
    """The agent says that nothing of the unit runs there: making a copy elsewhere interrupts nothing."""
    if placement.target is not Target.LAUNCHED:
        return not may_run(state)
    return state is not None and state.active in ("failed", "inactive") and state.launch == placement.launch
