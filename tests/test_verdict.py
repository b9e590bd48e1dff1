"""The one verdict on a launch: a table of what machines report."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.model import UnitState
from argosy.verdict import Phase, ended_well, has_stopped, judge

ROWS: list[tuple[str, dict[str, Any], Phase]] = [
    ("it runs", {"active": "active"}, Phase.RUNNING),
    ("it reloads", {"active": "reloading"}, Phase.RUNNING),
    ("it runs, and failed before in this launch", {"active": "active", "failures": 2}, Phase.RUNNING),
    ("it begins", {"active": "activating"}, Phase.STARTING),
    ("the run before it is being stopped", {"active": "deactivating"}, Phase.STARTING),
    ("... which had gone wrong", {"active": "deactivating", "result": "exit-code"}, Phase.STARTING),
    ("it failed", {"active": "failed", "result": "exit-code"}, Phase.FAILED),
    ("it failed and is restarted by systemd", {"active": "activating", "sub": "auto-restart", "result": "signal"}, Phase.FAILED),
    ("it failed and is tried again", {"active": "activating", "failures": 1}, Phase.FAILED),
    ("what it requires failed", {"active": "inactive", "result": "dependency"}, Phase.FAILED),
    ("it ended well", {"active": "inactive", "code": 0}, Phase.ENDED),
    ("it was stopped, or not run", {"active": "inactive"}, Phase.ENDED),
    ("it waits for the unit that it is bound to", {"active": "inactive", "code": 0, "note": "it is started with app"}, Phase.STARTING),
    ("it was refused", {"active": "inactive", "result": "refused", "note": "disk full"}, Phase.REFUSED),
    ("it was refused before its text was loaded", {"active": "inactive", "result": "refused", "hash": ""}, Phase.REFUSED),
    ("it was refused while an older launch runs", {"active": "active", "result": "refused"}, Phase.REFUSED),
    ("its file is no good", {"load": "bad-setting"}, Phase.REFUSED),
    ("... but it runs by the one before", {"load": "bad-setting", "active": "active"}, Phase.RUNNING),
    ("it is of the launch before", {"launch": 1, "active": "failed", "result": "exit-code", "failures": 5}, Phase.PENDING),
    ("systemd runs it without a launch", {"launch": 0, "active": "active"}, Phase.PENDING),
    ("it is of another text", {"hash": "old", "active": "active"}, Phase.PENDING),
]


def state(fields: dict[str, Any]) -> UnitState:
    return UnitState("a.service", "m1", **{"launch": 2, "load": "loaded", "hash": "new", **fields})


@pytest.mark.parametrize(("sentence", "fields", "phase"), ROWS, ids=[row[0] for row in ROWS])
def test_what_a_report_says_of_a_launch(sentence: str, fields: dict[str, Any], phase: Phase) -> None:
    assert judge(state(fields), 2, "new") is phase, sentence
    assert ended_well(state(fields), 2, "new") is (sentence == "it ended well")


def test_a_machine_that_reports_nothing_says_nothing() -> None:
    assert judge(None, 2) is Phase.PENDING
    assert not ended_well(None, 2)


@pytest.mark.parametrize(
    ("sentence", "fields", "stopped"),
    [
        ("it runs", {"active": "active"}, False),
        ("it is being stopped", {"active": "deactivating", "launch": 0}, False),
        ("it has stopped", {"launch": 0}, True),
        ("it has failed", {"active": "failed"}, True),
        ("systemd started it after that", {"active": "active", "launch": 0}, True),
        ("... and it begins", {"active": "activating", "launch": 0}, True),
    ],
)
def test_whether_a_stop_is_over(sentence: str, fields: dict[str, Any], stopped: bool) -> None:
    assert has_stopped(state(fields)) is stopped, sentence
