"""The one verdict: a table of what machines report, and that nobody who uses it says something else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.agent.plan import Start, Stop, plan
from argosy.api.queries import reached
from argosy.api.shapes import UnitView
from argosy.cli.outcome import loaded, needs_launch, started
from argosy.lab.asker import runs
from argosy.launches import count_launch, is_due, is_over, is_overtaken, joins, wanted_launch
from argosy.model import Observed, Placement, Target, UnitState
from argosy.unit.text import unit_text
from argosy.verdict import (
    Phase,
    at_rest,
    ended_well,
    has_arrived,
    has_failed,
    has_stopped,
    is_active,
    is_idle,
    judge,
    may_run,
    phase,
    sub_state,
    trouble,
    was_launched,
)

TEXT = "[Service]\nExecStart=/bin/app\n"
NEW = unit_text(TEXT).hash
LAUNCHED, LOADED = Target.LAUNCHED, Target.LOADED

P = Phase
Row = tuple[str, Target, dict[str, Any], Phase, str, str]

TABLE: list[Row] = [
    # sentence, target, report (launch 2, loaded, inactive, this text, unless it says otherwise), phase,
    # what holds: Arrived, Idle (nothing of it runs and nothing is about to), Launched (as fleet says), Runs perhaps; trouble in words
    ("it runs", LAUNCHED, {"active": "active"}, P.RUNNING, "ALR", ""),
    ("it reloads", LAUNCHED, {"active": "reloading"}, P.RUNNING, "ALR", ""),
    ("it runs, and failed before in this launch", LAUNCHED, {"active": "active", "failures": 2}, P.RUNNING, "ALR", "failed 2 times"),
    ("it begins", LAUNCHED, {"active": "activating"}, P.STARTING, "LR", ""),
    ("the run before it is being stopped", LAUNCHED, {"active": "deactivating"}, P.STARTING, "LR", ""),
    ("... which had gone wrong", LAUNCHED, {"active": "deactivating", "result": "exit-code"}, P.STARTING, "LR", ""),
    ("it failed", LAUNCHED, {"active": "failed", "result": "exit-code", "code": 3}, P.FAILED, "IL", "failed: exit status 3"),
    (
        "systemd restarts it",
        LAUNCHED,
        {"active": "activating", "sub": "auto-restart", "result": "signal"},
        P.FAILED,
        "LR",
        "failed: killed",
    ),
    (
        "it failed and is tried again",
        LAUNCHED,
        {"active": "activating", "failures": 1, "result": "timeout"},
        P.FAILED,
        "LR",
        "failed: it did not",
    ),
    ("what it requires failed", LAUNCHED, {"result": "dependency"}, P.FAILED, "IL", "failed: a unit that it requires"),
    ("it ended well", LAUNCHED, {"code": 0, "invocation": "a"}, P.ENDED, "AIL", ""),
    ("it was stopped", LAUNCHED, {"invocation": "a"}, P.ENDED, "IL", ""),
    ("it was not run: its conditions do not hold", LAUNCHED, {}, P.ENDED, "IL", ""),
    ("it waits for another unit", LAUNCHED, {"code": 0, "note": "it is started with app"}, P.STARTING, "IL", "it is started with"),
    ("it was refused", LAUNCHED, {"result": "refused", "note": "disk full"}, P.REFUSED, "IL", "refused: disk full"),
    ("... before its text was loaded", LAUNCHED, {"result": "refused", "hash": "", "load": "error"}, P.REFUSED, "IL", "refused: error"),
    ("... while an older launch runs", LAUNCHED, {"active": "active", "result": "refused"}, P.REFUSED, "LR", "refused"),
    ("its file is no good", LAUNCHED, {"load": "bad-setting"}, P.REFUSED, "IL", "refused: bad-setting"),
    ("... but it runs by the one before", LAUNCHED, {"load": "bad-setting", "active": "active"}, P.RUNNING, "ALR", "refused"),
    (
        "it is of the launch before",
        LAUNCHED,
        {"launch": 1, "active": "failed", "result": "exit-code", "failures": 5},
        P.PENDING,
        "",
        "failed 5 times in a row",
    ),
    ("... and runs: it is about to be restarted", LAUNCHED, {"launch": 1, "active": "active"}, P.PENDING, "R", ""),
    ("systemd runs it without a launch", LAUNCHED, {"launch": 0, "active": "active"}, P.PENDING, "R", ""),
    ("it is of another text", LAUNCHED, {"hash": "old", "active": "active"}, P.PENDING, "LR", ""),
    ("it is loaded", LOADED, {"launch": 0}, P.LOADED, "AI", ""),
    ("it failed before it was told to stop", LOADED, {"launch": 0, "active": "failed", "result": "exit-code"}, P.LOADED, "AI", "failed"),
    ("its stop is to come", LOADED, {"active": "active"}, P.STOPPING, "ALR", ""),
    ("it is being stopped", LOADED, {"launch": 0, "active": "deactivating"}, P.STOPPING, "ALR", ""),
    ("systemd has started it since", LOADED, {"launch": 0, "active": "active"}, P.LOADED, "AR", ""),
    ("... and it begins", LOADED, {"launch": 0, "active": "activating"}, P.LOADED, "AR", ""),
    ("it is not loaded yet", LOADED, {"launch": 0, "load": "not-found"}, P.PENDING, "I", ""),
    ("it is loaded by another text", LOADED, {"launch": 0, "hash": "old"}, P.PENDING, "I", ""),
    ("it cannot be loaded", LOADED, {"launch": 0, "result": "refused", "load": "error"}, P.REFUSED, "I", "refused: error"),
    ("it cannot be stopped", LOADED, {"active": "active", "result": "refused", "failures": 2}, P.REFUSED, "LR", "refused 2 times"),
]
NAMES = [row[0] for row in TABLE]


def state(fields: dict[str, Any]) -> UnitState:
    return UnitState("a.service", "m1", **{"launch": 2, "load": "loaded", "hash": NEW, **fields})


def placement(target: Target, *, finished: bool = False) -> Placement:
    return Placement("a.service", "m1", TEXT, target, 2, finished=finished)


def view(place: Placement, report: UnitState | None) -> UnitView:
    """The unit as the API shows it."""
    built = {"name": "a.service", "target": place.target, "launch": 2, "hash": NEW, "places": [place], "states": [report] if report else []}
    return msgspec.json.decode(msgspec.json.encode(built), type=UnitView)


@pytest.mark.parametrize(("sentence", "target", "fields", "expected", "holds", "words"), TABLE, ids=NAMES)
def test_what_a_report_says(sentence: str, target: Target, fields: dict[str, Any], expected: Phase, holds: str, words: str) -> None:
    wanted, report = placement(target), state(fields)
    assert phase(wanted, report, NEW) is expected, sentence
    found = {
        "A": has_arrived(wanted, report, NEW),
        "I": is_idle(wanted, report),
        "L": was_launched(wanted, report),
        "R": may_run(report),
    }
    assert "".join(letter for letter, true in found.items() if true) == holds, sentence
    assert trouble(report).startswith(words) if words else trouble(report) == "", sentence


def test_a_machine_that_reports_nothing_says_nothing() -> None:
    for target, idle in ((LAUNCHED, False), (LOADED, True)):
        assert phase(placement(target), None) is Phase.PENDING
        assert not has_arrived(placement(target), None)
        assert is_idle(placement(target), None) is idle
    assert not may_run(None)
    assert sub_state(placement(LAUNCHED), None) == "unknown"


def test_a_finished_job_has_arrived_whatever_is_reported() -> None:
    done = placement(LAUNCHED, finished=True)
    assert phase(done, None) is Phase.FINISHED
    assert has_arrived(done, None)
    assert wanted_launch(done) == 0
    assert sub_state(done, None) == "finished"


# ---------------------------------------------------------------- nobody says something else

ACTIVES = ["active", "reloading", "refreshing", "activating", "deactivating", "inactive", "failed", "maintenance"]
REPORTS = st.builds(
    UnitState,
    unit=st.just("a.service"),
    machine=st.just("m1"),
    hash=st.sampled_from([NEW, "old"]),
    launch=st.integers(0, 3),
    load=st.sampled_from(["loaded", "not-found", "bad-setting", "error", "masked"]),
    active=st.sampled_from(ACTIVES),
    sub=st.sampled_from(["dead", "running", "auto-restart", "start"]),
    pid=st.just(7),
    code=st.sampled_from([None, 0, 1]),
    result=st.sampled_from(["success", "exit-code", "refused", "dependency"]),
    failures=st.integers(0, 3),
    retry_at=st.sampled_from([0.0, 5.0]),
    note=st.sampled_from(["", "a note"]),
    invocation=st.sampled_from(["", "a"]),
)
PLACEMENTS = st.builds(placement, st.sampled_from([LAUNCHED, LOADED]))


@given(PLACEMENTS, REPORTS)
def test_the_engine_and_who_waits_agree(wanted: Placement, report: UnitState) -> None:
    found, arrived = phase(wanted, report, NEW), has_arrived(wanted, report, NEW)
    unit = view(wanted, report)
    outcome = started(unit, 2, {}) if wanted.target is LAUNCHED else loaded(unit, {})
    good = outcome.done and outcome.good
    assert good == (found in (Phase.RUNNING, Phase.ENDED) if wanted.target is LAUNCHED else phase(wanted, report) is Phase.LOADED)
    assert not (outcome.done and not outcome.good) or found in (Phase.FAILED, Phase.REFUSED)
    if wanted.target is LAUNCHED and arrived:
        assert good, "who waits is told as soon as the engine lets the older copy go"
    if is_idle(wanted, report):
        assert not may_run(report), "a copy elsewhere interrupts nothing"
    if needs_launch(unit):
        assert not is_active(report)
        assert not good or found is Phase.ENDED


@given(PLACEMENTS, REPORTS)
def test_fleet_the_lab_and_the_engine_agree(wanted: Placement, report: UnitState) -> None:
    found = phase(wanted, report)
    assert (reached(wanted, report) is LAUNCHED) == was_launched(wanted, report)
    if wanted.target is LAUNCHED:
        assert was_launched(wanted, report) == (judge(report, 2) is not Phase.PENDING)
        assert runs(msgspec.to_builtins(view(wanted, report))) == (found is Phase.RUNNING)
    elif found in (Phase.LOADED, Phase.STOPPING):
        assert was_launched(wanted, report) == (found is Phase.STOPPING)
    assert may_run(report) != at_rest(report)
    assert not (is_active(report) and at_rest(report))
    assert not has_failed(report) or at_rest(report)
    assert not ended_well(report, 2) or found in (Phase.ENDED, Phase.LOADED, Phase.REFUSED, Phase.PENDING)


@given(PLACEMENTS, REPORTS)
def test_the_agent_leaves_alone_what_has_arrived_and_starts_what_is_due(wanted: Placement, report: UnitState) -> None:
    result = "success" if report.result == "refused" else report.result
    seen = Observed("a.service", report.hash, report.launch, report.load, report.active, report.sub, result=result, invocation="a")
    told = msgspec.structs.replace(report, result=result, retry_at=0.0)
    actions = plan({"a.service": wanted}, {"a.service": seen}, {"a.service": told}, 100.0)
    kinds = {type(action) for action in actions}
    if has_arrived(wanted, told, NEW) and told.hash == NEW and not is_over(wanted, seen.launch):
        assert not kinds & {Start, Stop}, "what has arrived is left alone"
    if told.hash == NEW and is_due(wanted, seen.launch):
        assert Start in kinds
    if told.hash == NEW and is_over(wanted, seen.launch):
        assert Stop in kinds
    if wanted.target is LOADED and has_stopped(told) and not seen.launch and told.hash == NEW:
        assert not kinds


# ---------------------------------------------------------------- the launch rule

COUNTS = [
    # sentence, launch, before, target, restart, expected
    ("a first start", 0, "inactive", "launched", False, 1),
    ("a start of what is loaded", 1, "loaded", "launched", False, 2),
    ("a start of what is launched already", 1, "launched", "launched", False, 1),
    ("a restart", 1, "launched", "launched", True, 2),
    ("a stop", 2, "launched", "loaded", False, 2),
    ("an unload", 2, "launched", "inactive", False, 2),
]


@pytest.mark.parametrize(("sentence", "launch", "before", "target", "restart", "expected"), COUNTS, ids=[row[0] for row in COUNTS])
def test_what_counts_as_a_launch(sentence: str, launch: int, before: str, target: str, restart: bool, expected: int) -> None:
    assert count_launch(launch, before, target, restart=restart) == expected, sentence


RULES = [
    # sentence, target, launch that holds, is it due, is it over
    ("it is in its launch", LAUNCHED, 2, False, False),
    ("it is in an older launch", LAUNCHED, 1, True, False),
    ("it was stopped, or systemd started it", LAUNCHED, 0, True, False),
    ("it shall only be loaded, and its launch holds", LOADED, 2, False, True),
    ("it was told to stop", LOADED, 0, False, False),
]


@pytest.mark.parametrize(("sentence", "target", "held", "due", "over"), RULES, ids=[row[0] for row in RULES])
def test_what_an_agent_does_about_a_launch(sentence: str, target: Target, held: int, due: bool, over: bool) -> None:
    assert (is_due(placement(target), held), is_over(placement(target), held)) == (due, over), sentence


@pytest.mark.parametrize(
    ("active", "held", "expected"),
    [("active", 0, True), ("activating", 2, True), ("active", 1, False), ("inactive", 2, False), ("deactivating", 2, False)],
)
def test_what_runs_joins_a_launch_that_it_was_not_started_for(active: str, held: int, expected: bool) -> None:
    assert joins(active, held, 2) is expected


def test_a_launch_is_overtaken_by_the_next() -> None:
    assert is_overtaken(3, 2)
    assert not is_overtaken(2, 2)
