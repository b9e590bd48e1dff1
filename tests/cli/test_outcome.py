"""What people are told while they wait: tables of units as the API shows them, and the sentence that comes of each."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from argosy.api.shapes import MachineView, Place, UnitView, WhyAnswer, WhyOn
from argosy.cli.outcome import Outcome, legend, loaded, needs_launch, started, stopped, unloaded, unplaced
from argosy.model import Target, UnitState
from argosy.verdict import ending, sub_state

M1 = MachineView("85c0c595" + "0" * 24, "172.17.8.102", "m1")
M2 = MachineView("9" * 32, "172.17.8.103", "m2")
MACHINES = {M1.id: M1, M2.id: M2}
WHERE = "85c0c595.../172.17.8.102"
THERE = "99999999.../172.17.8.103"


def waiting(text: str) -> Outcome:
    return Outcome(False, text=text)


def unit(state: dict[str, Any] | None = None, *, place: dict[str, Any] | None = None, **fields: Any) -> UnitView:
    placed = {"machine": M1.id, "target": "launched", "launch": 1, **(place or {})}
    states = [{"unit": "a.service", "machine": M1.id, "launch": 1, "load": "loaded", **state}] if state is not None else []
    told = {"name": "a.service", "target": "launched", "launch": 1, "places": [placed], "states": states, **fields}
    return msgspec.convert(told, UnitView)


LOOK = ("  argosy status a.service and argosy journal a.service tell more",)

STARTS = [
    ("it is nowhere yet", unit(places=[]), waiting("no machine has taken it yet")),
    ("it is placed and its machine has said nothing", unit(), waiting(f"waiting for {WHERE} to start it")),
    ("its machine still shows the launch before", unit({"launch": 0, "active": "active"}), waiting(f"waiting for {WHERE} to start it")),
    ("it is placed for the launch before", unit({"active": "active"}, place={"launch": 0}), waiting(f"waiting for {WHERE} to start it")),
    ("it is getting ready", unit({"active": "activating", "sub": "start-pre"}), waiting(f"activating (start-pre) on {WHERE}")),
    (
        "something is in its way",
        unit({"active": "inactive", "note": "the disk is full"}),
        waiting(f"inactive (dead) on {WHERE}: the disk is full"),
    ),
    ("it runs", unit({"active": "active", "sub": "running"}), Outcome(True, True, f"Unit a.service launched on {WHERE}")),
    ("it reloads", unit({"active": "reloading"}), Outcome(True, True, f"Unit a.service launched on {WHERE}")),
    ("a job has ended well", unit(place={"finished": True}), Outcome(True, True, f"Unit a.service finished on {WHERE}")),
    (
        "it failed",
        unit({"active": "failed", "result": "exit-code", "code": 3}),
        Outcome(True, False, f"Unit a.service failed on {WHERE}: exit status 3", LOOK),
    ),
    (
        "it fails again and again",
        unit({"active": "activating", "sub": "auto-restart", "result": "signal"}),
        Outcome(True, False, f"Unit a.service failed on {WHERE}: killed by a signal", LOOK),
    ),
    (
        "it is tried again after a while",
        unit({"active": "inactive", "failures": 2, "result": "timeout"}),
        Outcome(True, False, f"Unit a.service failed on {WHERE}: it did not get ready in time", LOOK),
    ),
    (
        "its file cannot be loaded",
        unit({"load": "bad-setting", "note": "ExecStart= is missing"}),
        Outcome(True, False, f"Unit a.service cannot be started on {WHERE}: ExecStart= is missing"),
    ),
    (
        "its machine refused it once",
        unit({"load": "error", "result": "refused", "failures": 1, "note": "data.volume is missing"}),
        waiting(f"Unit a.service cannot be started on {WHERE}: data.volume is missing; it is tried again"),
    ),
    (
        "... and again",
        unit({"load": "error", "result": "refused", "failures": 2, "note": "data.volume is missing"}),
        Outcome(True, False, f"Unit a.service cannot be started on {WHERE}: data.volume is missing"),
    ),
    (
        "... while an older launch still runs",
        unit({"active": "active", "result": "refused", "failures": 2, "note": "the disk is full"}),
        Outcome(True, False, f"Unit a.service cannot be started on {WHERE}: the disk is full"),
    ),
    (
        "what failed was another launch",
        unit({"launch": 0, "active": "failed", "result": "exit-code", "failures": 4}),
        waiting(f"waiting for {WHERE} to start it"),
    ),
    ("it ended by itself at once", unit({"active": "inactive", "code": 0}), Outcome(True, True, f"Unit a.service ended well on {WHERE}")),
    (
        "it was stopped on its machine",
        unit({"active": "inactive", "invocation": "a"}),
        Outcome(True, True, f"Unit a.service was stopped on {WHERE}"),
    ),
    (
        "its conditions do not hold",
        unit({"active": "inactive"}),
        Outcome(True, True, f"Unit a.service was not run, since its conditions do not hold, on {WHERE}"),
    ),
    (
        "it follows another unit",
        unit({"active": "inactive", "invocation": "a", "note": "it is started with app.service"}),
        waiting(f"inactive (dead) on {WHERE}: it is started with app.service"),
    ),
    (
        "it ended by itself, badly",
        unit({"active": "inactive", "code": 2, "result": "exit-code"}),
        Outcome(True, False, f"Unit a.service failed on {WHERE}: exit status 2", LOOK),
    ),
    (
        "somebody stopped it meanwhile",
        unit(target="loaded"),
        Outcome(True, False, "Unit a.service was told something else meanwhile: its target is loaded"),
    ),
    (
        "somebody restarted it meanwhile",
        unit(launch=2),
        Outcome(True, False, "Unit a.service was told something else meanwhile: its target is launched"),
    ),
]


@pytest.mark.parametrize(("sentence", "view", "expected"), STARTS, ids=[row[0] for row in STARTS])
def test_a_start_is_waited_for_until(sentence: str, view: UnitView, expected: Outcome) -> None:
    assert started(view, 1, MACHINES) == expected


RESTS: list[tuple[str, UnitView, bool]] = [
    ("it failed", unit({"active": "failed", "result": "exit-code"}), True),
    ("it failed, and waits for its next attempt", unit({"active": "failed", "result": "signal", "failures": 4, "retry_at": 5.0}), True),
    ("it waits for systemd's restart", unit({"active": "activating", "sub": "auto-restart", "result": "signal"}), True),
    ("it is being tried again", unit({"active": "activating", "sub": "start", "failures": 1}), False),
    ("it was refused", unit({"active": "inactive", "result": "refused", "failures": 1}), True),
    ("... while an older launch runs", unit({"active": "active", "result": "refused", "failures": 1}), False),
    ("it ended well", unit({"active": "inactive", "code": 0}), True),
    ("it was stopped on its machine", unit({"active": "inactive", "invocation": "a"}), True),
    ("it comes back with another", unit({"active": "inactive", "note": "it is started with app.service"}), False),
    ("it is a job that has finished", unit({"active": "inactive", "code": 0}, place={"finished": True}), False),
    ("it runs", unit({"active": "active"}), False),
    ("it has not been started yet", unit({"active": "failed", "launch": 0}), False),
    ("its new text has not come yet", unit({"active": "failed", "hash": "old"}, hash="new"), False),
    ("it is nowhere", unit(places=[]), False),
    ("it is only loaded", unit({"active": "failed"}, target="loaded"), False),
]


@pytest.mark.parametrize(("sentence", "view", "expected"), RESTS, ids=[row[0] for row in RESTS])
def test_what_a_start_starts_anew(sentence: str, view: UnitView, expected: bool) -> None:
    assert needs_launch(view) is expected, sentence


def test_a_global_unit_is_started_anew_only_if_it_runs_nowhere() -> None:
    assert not needs_launch(everywhere("active", "failed"))
    assert needs_launch(everywhere("failed", "failed"))


def test_what_runs_by_another_text_has_not_started_yet() -> None:
    assert started(unit({"active": "active", "hash": "old"}, hash="new"), 1, MACHINES) == waiting(f"waiting for {WHERE} to start it")


def everywhere(*active: str, target: str = "launched") -> UnitView:
    places = [{"machine": machine, "target": target, "launch": 1} for machine in MACHINES]
    states = [
        {"unit": "a.service", "machine": machine, "launch": 1, "active": word} for machine, word in zip(MACHINES, active, strict=False)
    ]
    return unit(places=places, states=states, target=target)


def test_a_global_unit_has_started_when_it_runs_on_every_machine_where_it_is_placed() -> None:
    assert started(everywhere("active"), 1, MACHINES) == waiting(f"waiting for {THERE} to start it")
    assert started(everywhere(), 1, MACHINES) == waiting(f"waiting for {WHERE} to start it, and 1 more")
    assert started(everywhere("active", "active"), 1, MACHINES) == Outcome(
        True, True, f"Unit a.service launched on {WHERE}", (f"Unit a.service launched on {THERE}",)
    )


def test_a_global_unit_that_fails_on_one_machine_has_failed() -> None:
    outcome = started(everywhere("activating", "failed"), 1, MACHINES)
    assert outcome.done
    assert not outcome.good
    assert outcome.text.startswith(f"Unit a.service failed on {THERE}")


LOADED = Outcome(True, True, f"Unit a.service loaded on {WHERE}")
DOWN: dict[str, Any] = {"target": "loaded", "place": {"target": "loaded"}}
COMINGS: list[tuple[str, Any, UnitView, Outcome]] = [
    ("not placed yet", loaded, unit(places=[], target="loaded"), waiting("no machine has taken it yet")),
    ("placed, not loaded yet", loaded, unit(**DOWN), waiting(f"waiting for {WHERE} to load it")),
    ("loaded", loaded, unit({"load": "loaded"}, **DOWN), LOADED),
    (
        "not to be loaded",
        loaded,
        unit({"load": "bad-setting"}, **DOWN),
        Outcome(True, False, f"Unit a.service cannot be loaded on {WHERE}: bad-setting"),
    ),
    (
        "still running",
        stopped,
        unit({"active": "deactivating", "sub": "stop-sigterm"}, **DOWN),
        waiting(f"deactivating (stop-sigterm) on {WHERE}"),
    ),
    ("its engine has not heard", stopped, unit({"active": "inactive"}, target="loaded"), waiting(f"waiting for {WHERE} to load it")),
    ("stopped", stopped, unit({}, **DOWN), LOADED),
    ("running still", stopped, unit({"active": "active", "sub": "running"}, **DOWN), waiting(f"active (running) on {WHERE}")),
    (
        "... until its launch has ended",
        stopped,
        unit({"active": "deactivating", "launch": 0}, **DOWN),
        waiting(f"deactivating (dead) on {WHERE}"),
    ),
    (
        "started again by its machine's systemd",
        stopped,
        unit({"active": "active", "launch": 0}, **DOWN),
        Outcome(True, True, f"Unit a.service loaded on {WHERE}; it is active there, started by something other than argosy"),
    ),
    (
        "refused by its machine's systemd",
        stopped,
        unit({"active": "active", "launch": 0, "result": "refused", "failures": 2, "note": "RefuseManualStop=yes"}, **DOWN),
        Outcome(True, False, f"Unit a.service cannot be stopped on {WHERE}: RefuseManualStop=yes"),
    ),
    (
        "refused by its machine",
        loaded,
        unit({"load": "error", "launch": 0, "result": "refused", "failures": 2, "note": "the disk is full"}, **DOWN),
        Outcome(True, False, f"Unit a.service cannot be loaded on {WHERE}: the disk is full"),
    ),
    ("stopped by failing", stopped, unit({"active": "failed"}, **DOWN), LOADED),
    ("nowhere, and so not running", stopped, unit(places=[], target="loaded"), Outcome(True, True, "Unit a.service loaded on no machine")),
    (
        "nowhere, but its old machine still shows it",
        stopped,
        unit({"active": "active"}, places=[], target="loaded"),
        waiting(f"active on {WHERE}"),
    ),
    (
        "started by somebody else meanwhile",
        stopped,
        unit(),
        Outcome(True, False, "Unit a.service was told something else meanwhile: its target is launched"),
    ),
    ("still on its machine", unloaded, unit({}, target="inactive"), waiting("waiting for it to be taken off its machine")),
    (
        "taken off, still stopping",
        unloaded,
        unit({"active": "deactivating"}, target="inactive", places=[]),
        waiting(f"deactivating on {WHERE}"),
    ),
    (
        "its machine cannot stop it",
        unloaded,
        unit({"active": "active", "result": "refused", "failures": 2, "note": "RefuseManualStop=yes"}, target="inactive", places=[]),
        Outcome(True, False, f"Unit a.service cannot be taken off {WHERE}: RefuseManualStop=yes"),
    ),
    ("gone from its machine", unloaded, unit(target="inactive", places=[]), Outcome(True, True, "Unit a.service inactive")),
]


@pytest.mark.parametrize(("sentence", "judge", "view", "expected"), COMINGS, ids=[row[0] for row in COMINGS])
def test_other_targets_are_waited_for_until(sentence: str, judge: Any, view: UnitView, expected: Outcome) -> None:
    assert judge(view, MACHINES) == expected


def test_a_machine_is_shown_as_fleetctl_does() -> None:
    assert legend(M1, M1.id) == WHERE
    assert legend(M1, M1.id, full=True) == f"{M1.id}/172.17.8.102"
    assert legend(None, M1.id) == "85c0c595..."


def test_a_unit_that_is_nowhere_is_explained_machine_by_machine() -> None:
    why = WhyAnswer("a.service", "no machine takes it", [WhyOn(M1.id, "m1", filter="conflicts", reason="conflict with b")])
    assert unplaced("a.service", why, MACHINES) == ["Unit a.service is waiting: no machine takes it", "  m1: conflict with b"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"result": "exit-code", "code": 1}, "exit status 1"),
        ({"result": "something-new"}, "something-new"),
        ({"result": "timeout", "note": "disk full"}, "it did not get ready in time (disk full)"),
    ],
)
def test_an_end_is_told_in_words(state: dict[str, Any], expected: str) -> None:
    assert ending(UnitState("a.service", M1.id, **state)) == expected


@pytest.mark.parametrize(
    ("place", "state", "expected"),
    [
        ({}, None, "unknown"),
        ({"finished": True}, None, "finished"),
        ({"finished": True}, {"sub": "dead"}, "finished"),
        ({}, {"retry_at": 5.0, "sub": "failed"}, "failing"),
        ({}, {"retry_at": 5.0, "sub": "dead", "result": "refused"}, "refused"),
        ({}, {"sub": "running"}, "running"),
    ],
)
def test_lists_show_systemds_word_or_ours(place: dict[str, Any] | None, state: dict[str, Any] | None, expected: str) -> None:
    wanted = None if place is None else Place(M1.id, Target.LAUNCHED, **place)
    assert sub_state(wanted, None if state is None else UnitState("a.service", M1.id, **state)) == expected
