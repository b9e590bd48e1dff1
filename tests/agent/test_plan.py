"""What an agent does next: tables of what is placed and seen, and what must hold for any of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.agent.plan import (
    KILL_AT,
    RETRY_MOST,
    STEADY,
    STOP_AT,
    Action,
    Kill,
    Load,
    Start,
    Stop,
    Unload,
    Wait,
    anew,
    attempted,
    delay,
    fence,
    next_look,
    plan,
    refused,
    report,
)
from argosy.model import Observed, Placement, Target, UnitState
from argosy.unit.text import unit_text
from argosy.verdict import at_rest, has_failed

NOW = 1_700_000_000.0
M = "0" * 32

PLAIN = "[Service]\nExecStart=/bin/app\n"
OTHER = "[Service]\nExecStart=/bin/other\n"
ONESHOT = "[Service]\nType=oneshot\nExecStart=/bin/job\n"
ONESHOT_RESTARTED = ONESHOT + "Restart=on-failure\n"
NEVER = PLAIN + "Restart=no\n"
SIDEKICK = "[Unit]\nBindsTo=app.service\nAfter=app.service\n" + PLAIN
EXCLUSIVE = PLAIN + "[X-Argosy]\nOnDisconnect=stop\n"
BROKEN = "[X-Argosy]\nNoSuchKey=1\n" + PLAIN


def placed(
    text: str = PLAIN, *, unit: str = "app.service", target: Target = Target.LAUNCHED, launch: int = 1, finished: bool = False
) -> Placement:
    return Placement(unit, M, text, target, launch, "fewest units", NOW, finished)


def seen(text: str = PLAIN, active: str = "active", *, unit: str = "app.service", launch: int = 1, **more: object) -> Observed:
    subs = {"active": "running", "activating": "start", "deactivating": "stop-sigterm", "failed": "failed"}
    observed = Observed(unit, unit_text(text).hash, launch, active=active, sub=subs.get(active, "dead"), since=NOW - 100, started=NOW - 100)
    return msgspec.structs.replace(observed, **more)


def state(active: str = "active", *, unit: str = "app.service", launch: int = 1, **more: object) -> UnitState:
    return msgspec.structs.replace(UnitState(unit, M, launch=launch, active=active, since=NOW - 100), **more)


def short(actions: Sequence[Action]) -> list[str]:
    """Actions as one reads them."""
    return [f"{type(action).__name__} {action.unit.removesuffix('.service')}" for action in actions]


FAILED: dict[str, Any] = {"active": "failed", "result": "exit-code", "code": 1}

ONE_UNIT: Sequence[tuple[str, Placement | None, Observed | None, UnitState | None, list[str]]] = [
    ("a unit placed here is loaded and started", placed(), None, None, ["Load app", "Start app"]),
    ("one whose target is loaded is only loaded", placed(target=Target.LOADED), None, None, ["Load app"]),
    ("a finished oneshot is loaded again after a reboot, not started", placed(ONESHOT, finished=True), None, None, ["Load app"]),
    ("a unit that runs in its launch is left alone", placed(), seen(), None, []),
    ("... and so is one that is starting", placed(), seen(active="activating"), None, []),
    ("a loaded unit is started once its launch is asked for", placed(), seen(active="inactive", launch=0), None, ["Start app"]),
    ("a higher launch restarts", placed(launch=2), seen(launch=1), None, ["Start app"]),
    ("a lower launch does as well: the unit was made anew", placed(launch=1), seen(launch=5), None, ["Start app"]),
    ("a target of loaded stops what runs", placed(target=Target.LOADED), seen(), None, ["Stop app"]),
    ("... once: a stop ends the launch", placed(target=Target.LOADED), seen(active="deactivating", launch=0), None, []),
    ("... also of what systemd is stopping already", placed(target=Target.LOADED), seen(active="deactivating"), None, ["Stop app"]),
    ("... of what has ended by itself", placed(target=Target.LOADED), seen(active="inactive"), None, ["Stop app"]),
    ("... and of what has failed", placed(target=Target.LOADED), seen(**FAILED), None, ["Stop app"]),
    ("... or of a oneshot that finished", placed(ONESHOT, target=Target.LOADED), seen(ONESHOT, "inactive", code=0), None, ["Stop app"]),
    ("... while one that waits for its restart is stopped", placed(target=Target.LOADED), seen(active="activating"), None, ["Stop app"]),
    ("changed text stops what runs first, by its old text", placed(OTHER), seen(), None, ["Stop app"]),
    ("... waits for it", placed(OTHER), seen(active="deactivating"), None, []),
    ("... then loads and starts", placed(OTHER), seen(active="inactive"), None, ["Load app", "Start app"]),
    ("... even if the launch is the same and it has failed", placed(OTHER), seen(**FAILED), None, ["Load app", "Start app"]),
    ("... or only loads", placed(OTHER, target=Target.LOADED), seen(active="inactive"), None, ["Load app"]),
    ("a comment is no change", placed("# hello\n" + PLAIN), seen(), None, []),
    ("a unit not placed here is stopped", None, seen(), None, ["Stop app"]),
    ("... waited for", None, seen(active="deactivating"), None, []),
    ("... and unloaded when it is down", None, seen(active="inactive"), None, ["Unload app"]),
    ("... however it went down", None, seen(**FAILED), None, ["Unload app"]),
    ("a unit that ended well by itself is left, as systemd leaves it", placed(), seen(active="inactive", code=0), None, []),
    ("a oneshot that ended well is left", placed(ONESHOT), seen(ONESHOT, "inactive", code=0), None, []),
    (
        "a finished oneshot is left even if its launch is unknown",
        placed(ONESHOT, finished=True),
        seen(ONESHOT, "inactive", launch=0),
        None,
        [],
    ),
    ("a failed unit is tried again when it is due", placed(), seen(**FAILED), state("failed", retry_at=NOW), ["Start app"]),
    ("... not before", placed(), seen(**FAILED), state("failed", retry_at=NOW + 3), ["Wait app"]),
    ("... nor while its next attempt is under way", placed(), seen(**FAILED), state("failed", retry_at=0.0), []),
    ("a clock set back does not postpone it", placed(), seen(**FAILED), state("failed", retry_at=NOW + 3600), ["Start app"]),
    ("Restart=no means no", placed(NEVER), seen(NEVER, **FAILED), state("failed", retry_at=NOW), []),
    ("a failed oneshot is left", placed(ONESHOT), seen(ONESHOT, **FAILED), state("failed", retry_at=NOW), []),
    (
        "... unless it has a Restart=",
        placed(ONESHOT_RESTARTED),
        seen(ONESHOT_RESTARTED, **FAILED),
        state("failed", retry_at=NOW),
        ["Start app"],
    ),
    ("Restart=no does not hold against a new launch", placed(NEVER, launch=2), seen(NEVER, **FAILED), state("failed"), ["Start app"]),
    (
        "one whose requirement failed counts as failed",
        placed(),
        seen(active="inactive", result="dependency"),
        state("inactive", retry_at=NOW),
        ["Start app"],
    ),
    (
        "what the runtime refuses to load is tried when due",
        placed(),
        None,
        state("inactive", launch=0, retry_at=NOW - 1),
        ["Load app", "Start app"],
    ),
    ("... not before", placed(), None, state("inactive", launch=0, retry_at=NOW + 5), ["Wait app"]),
    (
        "what it refuses to start waits too",
        placed(),
        seen(active="inactive", launch=0),
        state("inactive", launch=0, retry_at=NOW + 5),
        ["Wait app"],
    ),
    ("text that breaks a rule is handed on for the runtime to judge", placed(BROKEN), None, None, ["Load app", "Start app"]),
]


@pytest.mark.parametrize(("sentence", "placement", "observed", "known", "expected"), ONE_UNIT, ids=[row[0] for row in ONE_UNIT])
def test_one_unit(
    sentence: str, placement: Placement | None, observed: Observed | None, known: UnitState | None, expected: list[str]
) -> None:
    actions = plan(
        {"app.service": placement} if placement else {},
        {"app.service": observed} if observed else {},
        {"app.service": known} if known else {},
        NOW,
    )
    assert short(actions) == expected, sentence
    assert all(action.reason for action in actions if not isinstance(action, Wait))


ITS_OWN: dict[str, Any] = {"launch": 0}
"""What runs with launch 0 was started by the engine behind the runtime: a timer, a socket, a path, D-Bus, a unit that requires or wants
it, or an operator."""

STARTED_BY_THE_ENGINE: Sequence[tuple[str, Placement | None, Observed, list[str]]] = [
    ("a loaded unit that the engine started runs on", placed(target=Target.LOADED), seen(**ITS_OWN), []),
    ("... while it begins", placed(target=Target.LOADED), seen(active="activating", **ITS_OWN), []),
    ("... while it reloads", placed(target=Target.LOADED), seen(active="reloading", **ITS_OWN), []),
    ("... while it waits for its own restart", placed(target=Target.LOADED), seen(active="activating", sub="auto-restart", launch=0), []),
    ("... it may stop", placed(target=Target.LOADED), seen(active="deactivating", **ITS_OWN), []),
    ("... and fail", placed(target=Target.LOADED), seen(launch=0, **FAILED), []),
    ("a job that a timer starts runs to its end", placed(ONESHOT, target=Target.LOADED), seen(ONESHOT, "activating", launch=0), []),
    ("... also one that has finished its launch", placed(ONESHOT, finished=True), seen(ONESHOT, "activating"), []),
    ("... or is past a reboot", placed(ONESHOT, finished=True), seen(ONESHOT, "activating", launch=0), []),
    ("another text is loaded beside the run", placed(OTHER, target=Target.LOADED), seen(**ITS_OWN), ["Load app"]),
    ("... and when a stop is over", placed(OTHER, target=Target.LOADED), seen(active="deactivating", **ITS_OWN), []),
    ("a run of our own is stopped first", placed(OTHER, target=Target.LOADED), seen(), ["Stop app"]),
    ("... and needs no stop when it has ended", placed(OTHER, target=Target.LOADED), seen(active="inactive"), ["Load app"]),
    ("a start takes over what runs", placed(), seen(**ITS_OWN), ["Start app"]),
    ("... but not with another text", placed(OTHER), seen(**ITS_OWN), ["Stop app"]),
    ("a unit that leaves is stopped, whoever started it", None, seen(**ITS_OWN), ["Stop app"]),
    ("... also one that begins", None, seen(active="activating", **ITS_OWN), ["Stop app"]),
]


@pytest.mark.parametrize(
    ("sentence", "placement", "observed", "expected"), STARTED_BY_THE_ENGINE, ids=[r[0] for r in STARTED_BY_THE_ENGINE]
)
def test_what_the_engine_starts_by_itself(sentence: str, placement: Placement | None, observed: Observed, expected: list[str]) -> None:
    actions = plan({"app.service": placement} if placement else {}, {"app.service": observed}, {}, NOW)
    assert short(actions) == expected, sentence


def kick(active: str, **more: Any) -> Observed:
    return seen(SIDEKICK, active, unit="kick.service", **more)


SIDEKICKS: Sequence[tuple[str, Observed | None, Observed, UnitState | None, list[str]]] = [
    ("a sidekick that went down with its app is started with it again", seen(started=NOW - 5), kick("inactive"), None, ["Start kick"]),
    ("... when the app is up, not while it starts", seen(active="activating", started=NOW - 5), kick("inactive"), None, []),
    ("... nor while it is down", seen(active="inactive", code=0), kick("inactive"), None, []),
    ("a sidekick that ended by itself while its app ran on is left", seen(started=NOW - 100.5), kick("inactive"), None, []),
    (
        "a sidekick that failed is tried again when due",
        seen(started=NOW - 101),
        kick(**FAILED),
        state("failed", retry_at=NOW),
        ["Start kick"],
    ),
    ("... but never before its app is up", seen(active="activating"), kick(**FAILED), state("failed", retry_at=NOW), []),
    ("without its app on this machine it stays as it is", None, kick("inactive"), None, []),
]


@pytest.mark.parametrize(("sentence", "app", "sidekick", "known", "expected"), SIDEKICKS, ids=[row[0] for row in SIDEKICKS])
def test_sidekicks_follow_their_app(
    sentence: str, app: Observed | None, sidekick: Observed, known: UnitState | None, expected: list[str]
) -> None:
    placements = {"kick.service": placed(SIDEKICK, unit="kick.service")}
    observed = {"kick.service": sidekick}
    if app is not None:
        placements["app.service"] = placed()
        observed["app.service"] = app
    assert short(plan(placements, observed, {"kick.service": known} if known else {}, NOW)) == expected, sentence


def unit(name: str, *lines: str) -> Placement:
    return placed("[Unit]\n" + "\n".join(lines) + "\n" + PLAIN, unit=name)


def test_units_that_others_build_on_are_started_first() -> None:
    units = [
        unit("a.service", "BindsTo=c.service"),
        unit("b.service", "After=a.service"),
        unit("c.service"),
        unit("d.service", "Before=c.service"),
        unit("e@1.service", "Requires=f@%i.service"),
        unit("f@1.service"),
        unit("x.service", "After=y.service"),
        unit("y.service", "After=x.service"),
    ]
    order = [action.unit for action in plan({u.unit: u for u in units}, {}, {}, NOW) if isinstance(action, Start)]
    assert order.index("d.service") < order.index("c.service") < order.index("a.service") < order.index("b.service")
    assert order.index("f@1.service") < order.index("e@1.service")
    assert len(order) == len(units)


def test_lists_of_dependencies_cannot_be_reset_and_may_be_quoted_as_in_systemd() -> None:
    text = unit_text(unit("b@1.service", 'After="a@%i.service" c.service', "After=", "After=no-unit").text)
    assert text.dependencies("b@1.service", "After") == ("a@1.service", "c.service")


def test_a_unit_whose_placement_cannot_be_read_is_left_as_it_is() -> None:
    observed = {"app.service": seen(), "gone.service": seen(unit="gone.service")}
    assert short(plan({}, observed, {}, NOW, unreadable={"app.service"})) == ["Stop gone"]


def test_what_stops_comes_before_what_starts_and_each_kind_together() -> None:
    placements = {name: placed(unit=name) for name in ("new1.service", "new2.service")}
    observed = {
        "gone1.service": seen(unit="gone1.service"),
        "gone2.service": seen(active="inactive", unit="gone2.service"),
        "gone3.service": seen(unit="gone3.service"),
    }
    assert short(plan(placements, observed, {}, NOW)) == [
        "Stop gone1",
        "Stop gone3",
        "Unload gone2",
        "Load new1",
        "Load new2",
        "Start new1",
        "Start new2",
    ]


def test_a_fenced_plan_leaves_exclusive_units_to_the_fence() -> None:
    placements = {"app.service": placed(EXCLUSIVE), "web.service": placed(unit="web.service")}
    assert short(plan(placements, {}, {}, NOW, fenced=True)) == ["Load web", "Start web"]
    assert short(plan(placements, {}, {}, NOW)) == ["Load app", "Load web", "Start app", "Start web"]


FENCED: Sequence[tuple[str, Observed | None, float, list[str]]] = [
    ("before half the lease nothing happens", seen(EXCLUSIVE), 2.4, []),
    ("from half of it on the unit is stopped", seen(EXCLUSIVE), 2.5, ["Stop app"]),
    ("a stop is asked for once", seen(EXCLUSIVE, "deactivating"), 3.0, []),
    ("what has not stopped in time is killed", seen(EXCLUSIVE, "deactivating"), 4.0, ["Kill app"]),
    ("after a lost lease it is killed at once", seen(EXCLUSIVE), float("inf"), ["Kill app"]),
    ("what is dead needs nothing", seen(EXCLUSIVE, "inactive"), 9.0, []),
    ("what a timer started is stopped as well", seen(EXCLUSIVE, "activating", launch=0), 3.0, ["Stop app"]),
    ("what is not loaded needs nothing", None, 9.0, []),
]


@pytest.mark.parametrize(("sentence", "observed", "silent", "expected"), FENCED, ids=[row[0] for row in FENCED])
def test_the_fence(sentence: str, observed: Observed | None, silent: float, expected: list[str]) -> None:
    units = {"web.service": seen(unit="web.service")} | ({"app.service": observed} if observed else {})
    actions = fence(units, {"app.service"}, silent, 5.0)
    assert short(actions) == expected, sentence


def test_the_fence_works_without_knowing_any_placement() -> None:
    assert short(fence({"app.service": seen()}, {"app.service"}, 3.0, 5.0)) == ["Stop app"]


# ---------------------------------------------------------------- reports


def failing(since: float, launch: int = 1) -> Observed:
    return seen(since=since, launch=launch, **FAILED)


def test_failures_in_a_row_are_counted_once_each_with_growing_delays() -> None:
    placements = {"app.service": placed()}
    states: dict[str, UnitState] = {}
    told = []
    for attempt in range(8):
        now = NOW + 10 * attempt
        for _ in range(2):  # a second look at the same failure changes nothing
            states = report(M, placements, {"app.service": failing(since=now)}, states, now)
        told.append((states["app.service"].failures, states["app.service"].retry_at - now))
        states = {"app.service": attempted(states["app.service"])}
        states = report(M, placements, {"app.service": seen(active="activating", since=now + 1)}, states, now + 1)
        states = report(M, placements, {"app.service": seen(since=now + 2)}, states, now + 2)
        assert states["app.service"].failures == attempt + 1
    assert told == [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 16.0), (6, 32.0), (7, 60.0), (8, 60.0)]


def test_a_unit_that_ran_well_for_a_while_starts_over() -> None:
    placements = {"app.service": placed()}
    states = {"app.service": state(active="active", since=NOW, failures=5)}
    states = report(M, placements, {"app.service": seen(since=NOW)}, states, NOW + STEADY - 1)
    assert states["app.service"].failures == 5
    assert next_look((), states, NOW + STEADY - 1) == pytest.approx(1.0)
    steady = report(M, placements, {"app.service": seen(since=NOW)}, states, NOW + STEADY)
    assert steady["app.service"].failures == 0
    failed = report(M, placements, {"app.service": failing(since=NOW + STEADY + 5)}, states, NOW + STEADY + 5)
    assert failed["app.service"].failures == 1


@pytest.mark.parametrize("text", [NEVER, ONESHOT])
def test_a_unit_that_is_not_retried_says_no_time(text: str) -> None:
    states = report(M, {"app.service": placed(text)}, {"app.service": seen(text, **FAILED)}, {}, NOW)
    assert (states["app.service"].failures, states["app.service"].retry_at) == (1, 0.0)


def test_a_new_launch_counts_anew() -> None:
    before = {"app.service": state("failed", launch=1, failures=6, result="exit-code")}
    states = report(M, {"app.service": placed(launch=2)}, {"app.service": failing(since=NOW, launch=2)}, before, NOW)
    assert states["app.service"].failures == 1
    assert anew(before["app.service"]).failures == 0


def test_a_refusal_carries_its_launch_and_is_counted_and_kept_while_the_unit_is_not_there() -> None:
    asked = placed(launch=4)
    states = {"app.service": refused(M, "app.service", asked, None, "no space left on device", NOW)}
    for _ in range(2):
        states = report(M, {"app.service": asked}, {}, states, NOW)
    note = "no space left on device"
    wanted = UnitState("app.service", M, launch=4, load="error", result="refused", failures=1, retry_at=NOW + 1, note=note)
    assert states["app.service"] == wanted
    again = refused(M, "app.service", asked, states["app.service"], "still none", NOW + 1)
    assert (again.failures, again.retry_at, again.note, again.launch) == (2, NOW + 3, "still none", 4)
    assert report(M, {}, {}, states, NOW) == {}
    assert report(M, {"app.service": asked}, {"app.service": seen(launch=4)}, states, NOW)["app.service"].note == ""
    assert report(M, {"app.service": asked}, {}, {"app.service": anew(again)}, NOW) == {}, "another wish is not refused yet"


REFUSALS: Sequence[tuple[str, Placement | None, Observed, bool, list[str]]] = [
    # what was refused, as what is placed and seen afterwards; whether that stands; what is done when it is due
    ("a start of a loaded unit", placed(launch=4), seen(active="inactive", launch=0), True, ["Start app"]),
    ("a start while an older launch runs", placed(launch=4), seen(launch=3), True, ["Start app"]),
    ("a start that went through later", placed(launch=4), seen(launch=4), False, []),
    ("another text", placed(OTHER, launch=4), seen(active="inactive", launch=0), True, ["Load app", "Start app"]),
    ("another text of a loaded unit", placed(OTHER, target=Target.LOADED), seen(active="inactive", launch=0), True, ["Load app"]),
    ("a stop", placed(target=Target.LOADED), seen(launch=3), True, ["Stop app"]),
    ("a stop that went through later", placed(target=Target.LOADED), seen(active="inactive", launch=0), False, []),
    ("a stop of a unit that leaves", None, seen(launch=3), True, ["Stop app"]),
    ("... that systemd started", None, seen(launch=0), True, ["Stop app"]),
]


@pytest.mark.parametrize(("sentence", "placement", "observed", "stands", "due"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_a_refusal_stands_until_it_is_done_and_is_tried_again_when_due(
    sentence: str, placement: Placement | None, observed: Observed, stands: bool, due: list[str]
) -> None:
    placements = {"app.service": placement} if placement else {}
    units = {"app.service": observed}
    states = {"app.service": refused(M, "app.service", placement, state(launch=9, failures=7), "no", NOW)}
    assert states["app.service"].failures == 1, "of another launch were others"
    states = report(M, placements, units, states, NOW)
    told = states["app.service"]
    assert (told.result == "refused", told.note == "no", told.retry_at == NOW + 1) == (stands,) * 3, sentence
    asked = placement.launch if placement and placement.target is Target.LAUNCHED else 0
    assert told.launch == (asked if stands else observed.launch)
    if stands:
        assert short(plan(placements, units, states, NOW)) == ["Wait app"]
    assert short(plan(placements, units, states, NOW + 1)) == due


def test_a_refusal_that_is_over_leaves_no_failure_behind() -> None:
    told = attempted(refused(M, "app.service", placed(), None, "no", NOW))
    assert (told.result, told.failures, told.retry_at, told.note) == ("success", 0, 0.0, "")


def test_failures_of_one_launch_are_not_told_of_the_next() -> None:
    before = {"app.service": state("failed", launch=1, failures=6, result="exit-code", retry_at=NOW + 5, note="x")}
    for active in ("activating", "deactivating", "active", "inactive"):
        told = report(M, {"app.service": placed(launch=2)}, {"app.service": seen(active=active, launch=2)}, before, NOW)["app.service"]
        assert (told.launch, told.failures, told.retry_at, told.note) == (2, 0, 0.0, ""), active


def test_two_runs_that_failed_at_the_same_moment_are_two_failures() -> None:
    states = report(M, {"app.service": placed()}, {"app.service": failing(NOW)}, {}, NOW)
    units = {"app.service": msgspec.structs.replace(failing(NOW), invocation="b" * 32)}
    assert report(M, {"app.service": placed()}, units, states, NOW)["app.service"].failures == 2


WAITING: Sequence[tuple[str, Observed, Observed, str]] = [
    ("its app has ended", seen(active="inactive", code=0), seen(SIDEKICK, "inactive", unit="kick.service"), ""),
    (
        "its app was stopped",
        seen(active="inactive", launch=0),
        seen(SIDEKICK, "inactive", unit="kick.service"),
        "it is started with app.service",
    ),
    (
        "its app failed, and is tried again",
        seen(**FAILED),
        seen(SIDEKICK, "inactive", unit="kick.service"),
        "it is started with app.service",
    ),
    ("its app begins", seen(active="activating"), seen(SIDEKICK, "inactive", unit="kick.service"), "it is started with app.service"),
    (
        "its app was started anew",
        seen(started=NOW - 5),
        seen(SIDEKICK, "inactive", unit="kick.service"),
        "it is started with app.service",
    ),
    ("it ended by itself while its app ran on", seen(started=NOW - 101), seen(SIDEKICK, "inactive", unit="kick.service"), ""),
    ("it runs", seen(), seen(SIDEKICK, unit="kick.service"), ""),
]


@pytest.mark.parametrize(("sentence", "app", "sidekick", "note"), WAITING, ids=[row[0] for row in WAITING])
def test_a_unit_that_comes_back_with_another_says_so(sentence: str, app: Observed, sidekick: Observed, note: str) -> None:
    placements = {"kick.service": placed(SIDEKICK, unit="kick.service"), "app.service": placed()}
    units = {"app.service": app, "kick.service": sidekick}
    known = {"app.service": state("failed", retry_at=NOW + 9)} if app.active == "failed" else {}
    assert report(M, placements, units, known, NOW)["kick.service"].note == note, sentence
    idle = {**placements, "app.service": placed(target=Target.LOADED)}
    if at_rest(app) and not known:
        assert report(M, idle, units, known, NOW)["kick.service"].note == "", "nobody starts its app"


def test_a_state_tells_what_was_seen() -> None:
    observed = Observed("app.service", "h" * 40, 3, "bad-setting", "inactive", "dead", NOW, 7, 5, "success", 2, NOW, "no ExecStart=")
    (told,) = report(M, {}, {"app.service": observed}, {}, NOW).values()
    assert told == UnitState("app.service", M, "h" * 40, 3, "bad-setting", "inactive", "dead", NOW, 7, 5, note="no ExecStart=")


def test_the_next_look_is_when_the_first_wait_is_over() -> None:
    waits = (Wait("a", NOW + 7, ""), Wait("b", NOW + 3, ""))
    assert next_look(waits, {}, NOW) == 3.0
    assert next_look((), {"a": state()}, NOW) is None
    assert next_look((Wait("a", NOW - 1, ""),), {}, NOW) == 0.05


# ---------------------------------------------------------------- what holds for anything

names = st.sampled_from(["app.service", "kick.service", "job.service", "a@1.service"])
texts = st.sampled_from([PLAIN, OTHER, ONESHOT, ONESHOT_RESTARTED, NEVER, SIDEKICK, EXCLUSIVE, BROKEN])
times = st.sampled_from([0.0, NOW - 200, NOW - 10, NOW, NOW + 10, NOW + 1000])
actives = st.sampled_from(["active", "inactive", "failed", "activating", "deactivating"])


@st.composite
def machines(draw: st.DrawFn) -> tuple[dict[str, Placement], dict[str, Observed], dict[str, UnitState]]:
    placements = {
        name: placed(
            draw(texts),
            unit=name,
            target=draw(st.sampled_from([Target.LOADED, Target.LAUNCHED])),
            launch=draw(st.integers(1, 3)),
            finished=draw(st.booleans()),
        )
        for name in draw(st.sets(names))
    }
    observed = {}
    for name in draw(st.sets(names)):
        active = draw(actives)
        result = (
            "exit-code" if active == "failed" else draw(st.sampled_from(["success", "dependency"])) if active == "inactive" else "success"
        )
        observed[name] = seen(
            draw(texts),
            active,
            unit=name,
            launch=draw(st.integers(0, 3)),
            result=result,
            since=draw(times),
            started=draw(times),
            code=draw(st.sampled_from([None, 0])),
        )
    states = {
        name: state(draw(actives), unit=name, failures=draw(st.integers(0, 9)), retry_at=draw(times)) for name in draw(st.sets(names))
    }
    return placements, observed, states


def apply(actions: Sequence[Action], observed: Mapping[str, Observed]) -> dict[str, Observed]:
    """What a runtime makes of a plan when all goes well."""
    after = dict(observed)
    for action in actions:
        match action:
            case Load(name, text):
                after[name] = seen(text, "inactive", unit=name, launch=0, since=0.0, started=0.0)
            case Start(name, launch):
                after[name] = msgspec.structs.replace(
                    after[name], active="active", sub="running", launch=launch, since=NOW, started=NOW, result="success", code=None
                )
            case Stop(name) | Kill(name):
                after[name] = msgspec.structs.replace(
                    after[name], active="inactive", sub="dead", launch=0, since=NOW, result="success", code=None
                )
            case Unload(name):
                del after[name]
    return {
        name: msgspec.structs.replace(unit, active="inactive", sub="dead") if unit.active == "deactivating" else unit
        for name, unit in after.items()
    }


@settings(deadline=None)
@given(machines())
def test_planning_after_applying_is_soon_empty(machine: tuple[dict[str, Placement], dict[str, Observed], dict[str, UnitState]]) -> None:
    placements, observed, states = machine
    now = NOW
    for _ in range(4):
        states = report(M, placements, observed, states, now)
        actions = plan(placements, observed, states, now)
        started = {action.unit for action in actions if isinstance(action, Start)}
        states = {name: attempted(known) if name in started else known for name, known in states.items()}
        observed = apply(actions, observed)
        now += RETRY_MOST
    states = report(M, placements, observed, states, now)
    assert plan(placements, observed, states, now) == ()
    assert observed.keys() == placements.keys()
    for name, placement in placements.items():
        assert observed[name].hash == unit_text(placement.text).hash
        if placement.target is Target.LOADED:
            assert observed[name].launch == 0


@settings(deadline=None)
@given(machines(), st.booleans())
def test_a_plan_touches_only_what_it_may(
    machine: tuple[dict[str, Placement], dict[str, Observed], dict[str, UnitState]], fenced: bool
) -> None:
    placements, observed, states = machine
    states = report(M, placements, observed, states, NOW)
    actions = plan(placements, observed, states, NOW, fenced=fenced)
    assert len({(type(action), action.unit) for action in actions}) == len(actions)
    known = set(observed)
    for action in actions:
        if isinstance(action, Load):
            known.add(action.unit)
        if isinstance(action, Start):
            placement = placements[action.unit]
            assert placement.target is Target.LAUNCHED, "never starts what is only to be loaded"
            assert not placement.finished, "never starts what has finished"
            assert action.launch == placement.launch
            assert action.unit in known, "never starts what is not loaded"
            exclusive = unit_text(placement.text).requirements(action.unit).stop_on_disconnect
            assert not (fenced and exclusive), "never starts an exclusive unit without a lease"
            before = observed.get(action.unit)
            assert before is None or at_rest(before) or before.launch != placement.launch, "never restarts what runs in its launch"
        if isinstance(action, Unload):
            assert action.unit not in placements, "never unloads what is placed here"
            assert at_rest(observed[action.unit]), "never unloads what runs"
        if isinstance(action, Load) and action.unit in observed:
            its_own = placements[action.unit].target is Target.LOADED and observed[action.unit].launch == 0
            assert at_rest(observed[action.unit]) or its_own, "never replaces the text of what it has started itself"
    assert plan(placements, observed, states, NOW, fenced=fenced) == actions
    backwards = plan(dict(reversed(placements.items())), dict(reversed(observed.items())), states, NOW, fenced=fenced)
    assert backwards == actions, "the order of events does not matter"


@settings(deadline=None)
@given(machines(), st.floats(0, 10))
def test_the_fence_touches_exclusive_units_only_and_in_time(
    machine: tuple[dict[str, Placement], dict[str, Observed], dict[str, UnitState]], silent: float
) -> None:
    _, observed, _ = machine
    exclusive = {"app.service", "job.service"}
    actions = fence(observed, exclusive, silent, 5.0)
    assert {action.unit for action in actions} <= exclusive & observed.keys()
    if silent < 5 * STOP_AT:
        assert actions == ()
    if silent >= 5 * KILL_AT:
        running = {name for name in exclusive & observed.keys() if not at_rest(observed[name])}
        assert {action.unit for action in actions if isinstance(action, Kill)} == running


@given(st.integers(1, 10_000))
def test_delays_grow_and_stay_within_a_minute(failures: int) -> None:
    assert 1 <= delay(failures) <= delay(failures + 1) <= RETRY_MOST


@settings(deadline=None)
@given(machines())
def test_reports_name_every_loaded_unit_and_are_stable(
    machine: tuple[dict[str, Placement], dict[str, Observed], dict[str, UnitState]],
) -> None:
    placements, observed, states = machine
    once = report(M, placements, observed, states, NOW)
    assert observed.keys() <= once.keys() <= observed.keys() | placements.keys()
    assert report(M, placements, observed, once, NOW) == once
    assert all(told.retry_at == 0 or told.failures for told in once.values() if has_failed(told))
