"""What systemd tells of a unit, and what the agent sees of it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from argosy.agent.systemd_bus import object_path
from argosy.agent.systemd_unit import Ended, Launch, LoadedUnit, Memory
from argosy.model import Observed

RUNNING = {"ActiveState": "active", "SubState": "running", "StateChangeTimestamp": 20_000_000, "InactiveExitTimestamp": 20_000_000}
DEAD = {"ActiveState": "inactive", "SubState": "dead", "StateChangeTimestamp": 30_000_000}
FAILED = DEAD | {"ActiveState": "failed", "SubState": "failed"}
PROCESS = {"MainPID": 7, "Result": "success", "NRestarts": 0, "ExecMainCode": 0, "ExecMainStatus": 0}
EXITED = {"MainPID": 0, "ExecMainCode": 1}


def unit(*told: Mapping[str, object], launch: Launch | None = None) -> LoadedUnit:
    made = LoadedUnit("app.service", "h", None if launch is None else Memory("1", launch))
    for changed in told:
        made.told(changed, complete=True)
    return made


def launched(*told: Mapping[str, object]) -> LoadedUnit:
    """Started, and the start accepted."""
    made = LoadedUnit("app.service", "h")
    made.ask(3, 19.0)
    made.accepted()
    made.job = "/job/1"
    for changed in told:
        made.told(changed, complete=True)
    made.job_ended("/job/1", "done")
    return made


def test_a_unit_just_loaded_is_idle() -> None:
    assert unit().observed() == Observed("app.service", "h")


def test_a_change_counts_when_it_is_complete() -> None:
    made = unit()
    made.told(PROCESS, complete=False)
    assert made.observed().pid == 0
    made.told(RUNNING, complete=True)
    assert made.observed() == Observed("app.service", "h", active="active", sub="running", since=20.0, pid=7, started=20.0)


@pytest.mark.parametrize(
    ("sentence", "told", "code", "result"),
    [
        ("an exit status is one if the process exited", EXITED | {"ExecMainStatus": 3, "Result": "exit-code"} | FAILED, 3, "exit-code"),
        ("a signal's number is none", {"MainPID": 0, "ExecMainCode": 2, "ExecMainStatus": 9, "Result": "signal"} | FAILED, None, "signal"),
        ("a clean end", EXITED | {"ExecMainStatus": 0, "Result": "success"} | DEAD, 0, "success"),
    ],
)
def test_how_it_ended(sentence: str, told: Mapping[str, object], code: int | None, result: str) -> None:
    seen = launched(PROCESS | RUNNING, told).observed()
    assert (seen.code, seen.result, seen.launch, seen.pid) == (code, result, 3, 0), sentence


def test_a_start_that_waits_is_activating_and_a_stop_that_waits_is_deactivating() -> None:
    made = unit()
    made.ask(1, 10.0)
    assert (made.observed().active, made.observed().sub) == ("activating", "dead")
    made.job = "/job/1"
    made.told(PROCESS | RUNNING, complete=True)
    made.job_ended("/job/1", "done")
    assert made.observed().active == "active"
    made.ask_stop(21.0)
    assert made.observed().active == "deactivating"
    made.job = "/job/2"
    made.told(EXITED | DEAD, complete=True)
    made.job_ended("/job/2", "done")
    assert made.observed().active == "inactive"


def test_a_restart_that_waits_does_not_show_what_runs_as_the_new_launch_running() -> None:
    made = launched(PROCESS | RUNNING)
    made.ask(4, 25.0)
    assert (made.pending, made.observed().active, made.observed().launch) == ("restart", "deactivating", 4)
    made.told(DEAD, complete=True)
    assert made.observed().active == "activating"


def test_a_stop_before_the_start_was_seen_shows() -> None:
    made = unit()
    made.ask(1, 10.0)
    made.ask_stop(21.0)
    assert made.observed().active == "deactivating"


def test_a_failed_requirement_shows_as_the_result() -> None:
    made = unit()
    made.ask(1, 10.0)
    made.job = "/job/1"
    made.job_ended("/job/1", "dependency")
    seen = made.observed()
    assert (seen.active, seen.result, seen.code, seen.launch) == ("inactive", "dependency", None, 1)
    made.ask(2, 11.0)
    assert made.observed().result == "success"


def test_a_refused_start_leaves_the_launch_before() -> None:
    made = launched(PROCESS | RUNNING)
    made.ask(4, 25.0)
    made.refused()
    assert (made.observed().launch, made.observed().active) == (3, "active")


def test_another_text_has_not_been_launched() -> None:
    made = launched(PROCESS | RUNNING)
    made.change("h")
    assert made.observed().launch == 3
    made.change("other")
    assert (made.observed().launch, made.observed().pid) == (0, 7)


def test_how_an_earlier_unit_of_that_name_ended_is_not_told_of_a_new_one() -> None:
    made = unit(PROCESS | RUNNING, EXITED | {"ExecMainStatus": 3} | DEAD)
    made.begin_anew()
    assert made.observed() == Observed("app.service", "h")
    made.told({"SubState": "dead"} | DEAD | {"InactiveExitTimestamp": 20_000_000}, complete=True)
    assert made.observed() == Observed("app.service", "h")
    made.told(PROCESS | RUNNING | {"InactiveExitTimestamp": 40_000_000}, complete=True)
    assert (made.observed().started, made.observed().pid) == (40.0, 7)


@pytest.mark.parametrize(
    ("sentence", "remembered", "told", "launch"),
    [
        ("an accepted launch stands", Launch(3, 19.0, 2, accepted=True, hash="h"), {}, 3),
        ("one of another text does not", Launch(3, 19.0, 2, accepted=True, hash="g"), {}, 0),
        ("one that systemd has begun was accepted", Launch(3, 19.0, 2, hash="h"), PROCESS | RUNNING, 3),
        ("one that it has not begun was not", Launch(3, 21.0, 2, hash="h"), PROCESS | RUNNING, 2),
        ("nor was one of a unit that never ran", Launch(1, 19.0, 0, hash="h"), {}, 0),
    ],
)
def test_a_launch_after_the_agent_was_killed(sentence: str, remembered: Launch, told: Mapping[str, object], launch: int) -> None:
    made = unit(told, launch=remembered)
    made.recover({})
    assert made.observed().launch == launch, sentence


STOPPED = Launch(0, 25.0, 3, stopped=True, hash="h")


@pytest.mark.parametrize(
    ("sentence", "told", "launch"),
    [
        ("a stop that was never accepted is asked again", PROCESS | RUNNING, 3),
        ("one that is under way was accepted", PROCESS | RUNNING | {"ActiveState": "deactivating"}, 0),
        ("one of a unit that has ended needs no other", PROCESS | RUNNING | DEAD, 0),
        ("... nor of one that has failed", PROCESS | RUNNING | FAILED, 0),
        ("what was started since then had been stopped", PROCESS | RUNNING | {"InactiveExitTimestamp": 26_000_000}, 0),
        ("what systemd itself restarted was not", PROCESS | RUNNING | {"InactiveExitTimestamp": 26_000_000, "NRestarts": 4}, 3),
    ],
)
def test_a_stop_after_the_agent_was_killed(sentence: str, told: Mapping[str, object], launch: int) -> None:
    made = unit(told, launch=STOPPED)
    made.recover({})
    assert made.observed().launch == launch, sentence


def test_a_stop_asked_twice_before_its_answer_is_taken_back_to_the_launch() -> None:
    made = launched(PROCESS | RUNNING)
    made.ask_stop(25.0)
    made.ask_stop(26.0)
    made.refused()
    assert (made.observed().launch, made.observed().active) == (3, "active")


def test_a_start_job_that_waits_is_found_by_the_next_agent() -> None:
    made = unit(launch=Launch(3, 19.0, 2, hash="h"))
    made.recover({"app.service": ("start", "/job/9")})
    assert (made.observed().launch, made.observed().active, made.observed().code) == (3, "activating", None)
    made.told(PROCESS | RUNNING, complete=True)
    made.job_ended("/job/9", "done")
    assert (made.observed().launch, made.observed().active) == (3, "active")


def run(invocation: str, *told: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {"InvocationID": bytes.fromhex(invocation * 16)}
    for changed in told:
        found |= changed
    return found


def test_what_is_left_of_the_launch_before_is_not_told_of_the_next_one() -> None:
    made = launched(run("aa", PROCESS, RUNNING), {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 5, "MainPID": 0} | FAILED)
    assert (made.observed().result, made.observed().code, made.observed().invocation) == ("exit-code", 5, "aa" * 16)
    made.ask(4, 40.0)
    begun = made.observed()
    assert (begun.launch, begun.active, begun.sub, begun.result, begun.code, begun.invocation) == (
        4,
        "activating",
        "dead",
        "success",
        None,
        "",
    )
    made.told({"ActiveState": "activating", "SubState": "auto-restart"}, complete=True)
    assert (made.observed().sub, made.observed().result) == ("dead", "success")
    made.job = "/job/2"
    made.told(run("bb", PROCESS, RUNNING), complete=True)
    assert (made.observed().active, made.observed().invocation, made.observed().pid) == ("active", "bb" * 16, 7)
    made.job_ended("/job/2", "done")
    assert (made.observed().launch, made.observed().active, made.observed().result) == (4, "active", "success")


def test_a_launch_whose_job_ended_without_a_run_has_no_invocation() -> None:
    made = launched(run("aa", PROCESS, RUNNING), EXITED | {"ExecMainStatus": 0} | DEAD)
    made.ask(4, 40.0)
    made.job = "/job/2"
    made.job_ended("/job/2", "done")  # its conditions do not hold
    seen = made.observed()
    assert (seen.launch, seen.active, seen.code, seen.result, seen.invocation) == (4, "inactive", None, "success", "")


def test_a_failed_requirement_is_forgotten_with_the_next_run() -> None:
    made = unit(run("aa", PROCESS, RUNNING), EXITED | {"ExecMainStatus": 0} | DEAD)
    made.job_ended("/job/of/a/timer", "dependency")
    assert (made.observed().result, made.observed().invocation) == ("dependency", "")
    made.told(run("bb", PROCESS, RUNNING), complete=True)
    made.told(EXITED | {"ExecMainStatus": 0} | DEAD, complete=True)
    assert (made.observed().result, made.observed().invocation) == ("success", "bb" * 16)


@pytest.mark.parametrize(
    ("sentence", "before", "told", "launch", "how"),
    [
        ("what runs in another launch is restarted", 3, RUNNING, 4, "restart"),
        ("what runs in this launch is not", 3, RUNNING, 3, "start"),
        ("what systemd started is taken over", 0, RUNNING, 1, "start"),
        ("... while it begins", 0, RUNNING | {"ActiveState": "activating"}, 1, "start"),
        ("... not while it stops", 0, RUNNING | {"ActiveState": "deactivating"}, 1, "restart"),
        ("what has ended is started", 3, RUNNING | DEAD, 4, "start"),
    ],
)
def test_how_a_unit_is_started(sentence: str, before: int, told: Mapping[str, object], launch: int, how: str) -> None:
    made = unit(PROCESS, told, launch=Launch(before, 19.0, 0, accepted=True, hash="h"))
    made.ask(launch, 30.0)
    assert made.pending == how, sentence


def test_what_runs_by_an_older_text_is_not_taken_over() -> None:
    made = unit(run("aa", PROCESS, RUNNING))
    made.change("other")
    made.ask(1, 30.0)
    assert made.pending == "restart"
    made.told(run("bb", PROCESS, RUNNING), complete=True)
    made.pending = ""
    made.ask(1, 31.0)
    assert made.pending == "start"


@pytest.mark.parametrize(
    ("sentence", "remembered", "code", "result", "since"),
    [
        ("what was remembered counts", Launch(1, 5.0, 0, True, False, Ended(3, "success", 9.0, 6.0), "h"), 3, "success", 9.0),
        ("what ended unseen ended well: systemd keeps those that fail", Launch(1, 5.0, 0, True, hash="h"), 0, "success", 5.0),
        ("what was stopped has no exit status", Launch(1, 5.0, 0, True, True, hash="h"), None, "success", 5.0),
    ],
)
def test_an_end_that_systemd_has_forgotten(sentence: str, remembered: Launch, code: int | None, result: str, since: float) -> None:
    seen = unit(launch=remembered).observed()
    assert (seen.active, seen.code, seen.result, seen.since) == ("inactive", code, result, since), sentence


def test_what_is_kept_of_an_end() -> None:
    made = launched(PROCESS | RUNNING, EXITED | {"ExecMainStatus": 0} | DEAD)
    assert made.keep("1").launch.ended == Ended(0, "success", 30.0, 20.0)
    assert unit(launch=made.keep("1").launch).observed() == made.observed()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("app.service", "app_2eservice"),
        ("a-b@1.service", "a_2db_401_2eservice"),
        ("1up.service", "_31up_2eservice"),
        ("a_b.service", "a_5fb_2eservice"),
        (r"a\x2d.service", "a_5cx2d_2eservice"),
    ],
)
def test_object_paths(name: str, path: str) -> None:
    assert object_path(name) == f"/org/freedesktop/systemd1/unit/{path}"


def test_an_end_that_systemd_has_forgotten_stands_when_it_loads_the_unit_again() -> None:
    made = unit()
    made.ask(1, 10.0)
    made.accepted()
    made.job_ended("", "done")
    made.pending = ""
    made.told({"MainPID": 0, "Result": "success", "ExecMainCode": 1, "ExecMainStatus": 0}, complete=False)
    ended = {"InactiveExitTimestamp": 20_000_000, "StateChangeTimestamp": 30_000_000, "InvocationID": b"\x01" * 16}
    made.told({"ActiveState": "inactive", "SubState": "dead", **ended}, complete=True)
    before = made.observed()
    assert (before.code, before.started, before.since) == (0, 20.0, 30.0)
    made.told({"MainPID": 0, "Result": "success", "ExecMainCode": 0, "ExecMainStatus": 0}, complete=False)
    forgotten = {"InactiveExitTimestamp": 0, "StateChangeTimestamp": 0, "InvocationID": b""}
    made.told({"ActiveState": "inactive", "SubState": "dead", **forgotten}, complete=True)
    assert made.observed() == before
    again = {"InactiveExitTimestamp": 40_000_000, "StateChangeTimestamp": 40_000_000, "InvocationID": b"\x02" * 16}
    made.told({"ActiveState": "active", "SubState": "running", **again}, complete=True)
    assert (made.observed().active, made.observed().started) == ("active", 40.0)
