"""How an agent's report is read."""

from __future__ import annotations

import pytest

from argosy.model import Placement, Target, UnitState
from argosy.placement.progress import arrived, given_up
from argosy.verdict import may_run

RUNS = Placement("a.service", "m1", "", Target.LAUNCHED, 2)
LOADS = Placement("a.service", "m1", "", Target.LOADED, 2)
DONE = Placement("a.service", "m1", "", Target.LAUNCHED, 2, finished=True)


def state(active: str = "inactive", launch: int = 2, load: str = "loaded", code: int | None = None, result: str = "success") -> UnitState:
    return UnitState("a.service", "m1", launch=launch, load=load, active=active, code=code, result=result)


TABLE: list[tuple[str, Placement, UnitState | None, bool, bool, bool]] = [
    ("nothing reported", RUNS, None, False, False, False),
    ("active", RUNS, state("active"), True, True, False),
    ("active since an older launch: it is about to be restarted", RUNS, state("active", launch=1), False, True, False),
    ("activating", RUNS, state("activating"), False, True, False),
    ("stopping", RUNS, state("deactivating"), False, True, False),
    ("failed", RUNS, state("failed", result="exit-code"), False, False, True),
    ("failed in an older launch", RUNS, state("failed", launch=1), False, False, False),
    ("not started yet", RUNS, state("inactive", launch=1), False, False, False),
    ("ended with success", RUNS, state(code=0), True, False, True),
    ("ended by a condition, without running", RUNS, state(), False, False, True),
    ("finished", DONE, None, True, False, False),
    ("loaded is all that is wanted", LOADS, state(launch=0), True, False, True),
    ("not loaded yet", LOADS, state(load="not-found", launch=0), False, False, True),
    ("nothing reported of one that is only loaded", LOADS, None, False, False, True),
    ("still running though only loaded is wanted", LOADS, state("active"), True, True, False),
]


@pytest.mark.parametrize(("sentence", "placement", "report", "there", "runs", "given"), TABLE)
def test_progress(sentence: str, placement: Placement, report: UnitState | None, there: bool, runs: bool, given: bool) -> None:
    assert (arrived(placement, report), may_run(report), given_up(placement, report)) == (there, runs, given), sentence
