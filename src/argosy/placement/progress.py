"""How far a placed unit has come, read from what its agent reports. `state` is None where no agent reports anything."""

from __future__ import annotations

from argosy.model import Placement, Target, UnitState
from argosy.verdict import REFUSED, Phase, ended_well, judge, may_run


def arrived(placement: Placement, state: UnitState | None) -> bool:
    """The unit is what it should be on this machine: loaded, active, or ended well; an older copy may go."""
    if placement.finished:
        return True
    if state is None:
        return False
    if placement.target is not Target.LAUNCHED:
        return state.load == "loaded" and state.result != REFUSED
    return judge(state, placement.launch) is Phase.RUNNING or ended_well(state, placement.launch)


def given_up(placement: Placement, state: UnitState | None) -> bool:
    """The agent says that nothing of the unit runs there: making a copy elsewhere interrupts nothing."""
    if placement.target is not Target.LAUNCHED:
        return not may_run(state)
    return state is not None and state.active in ("failed", "inactive") and state.launch == placement.launch
