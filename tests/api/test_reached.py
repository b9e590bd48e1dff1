"""What a placed unit has come to, in fleet's words: what fleetctl waits for."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.api.queries import reached
from argosy.model import Placement, Target, UnitState

ROWS: list[tuple[str, Target, dict[str, Any], Target]] = [
    ("it runs in its launch", Target.LAUNCHED, {"launch": 2, "active": "active"}, Target.LAUNCHED),
    ("it failed in its launch", Target.LAUNCHED, {"launch": 2, "active": "failed", "result": "exit-code"}, Target.LAUNCHED),
    ("its launch was refused: there is nothing to wait for", Target.LAUNCHED, {"launch": 2, "result": "refused"}, Target.LAUNCHED),
    ("its launch is to come", Target.LAUNCHED, {"launch": 1, "active": "active"}, Target.LOADED),
    ("systemd runs it, and its launch is to come", Target.LAUNCHED, {"launch": 0, "active": "active"}, Target.LOADED),
    ("its stop is to come", Target.LOADED, {"launch": 2, "active": "active"}, Target.LAUNCHED),
    ("it is being stopped", Target.LOADED, {"launch": 0, "active": "deactivating"}, Target.LAUNCHED),
    ("it has stopped", Target.LOADED, {"launch": 0}, Target.LOADED),
    ("systemd has started it since", Target.LOADED, {"launch": 0, "active": "active"}, Target.LOADED),
]


@pytest.mark.parametrize(("sentence", "target", "state", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_what_a_unit_came_to(sentence: str, target: Target, state: dict[str, Any], expected: Target) -> None:
    placement = Placement("a.service", "m1", "", target, 2)
    assert reached(placement, UnitState("a.service", "m1", load="loaded", **state)) is expected, sentence
