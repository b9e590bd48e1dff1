"""What people are told while they wait: tables of units as the API shows them, and the sentence that comes of each."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.cli.outcome import Outcome, ending, legend, reached, started, sub_state, unplaced

M1 = {"id": "85c0c595" + "0" * 24, "address": "172.17.8.102", "name": "m1"}
M2 = {"id": "9" * 32, "address": "172.17.8.103", "name": "m2"}
MACHINES = {M1["id"]: M1, M2["id"]: M2}
WHERE = "85c0c595.../172.17.8.102"
PENDING = Outcome(False)


def unit(state: dict[str, Any] | None = None, *, place: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    placed = {"machine": M1["id"], "target": "launched", "launch": 1, **(place or {})}
    states = [{"machine": M1["id"], "launch": 1, **state}] if state is not None else []
    return {"name": "a.service", "target": "launched", "launch": 1, "places": [placed], "states": states, **fields}


STARTS = [
    ("it is nowhere yet", unit(places=[]), PENDING),
    ("it is placed and its machine has said nothing", unit(), PENDING),
    ("its machine still shows the launch before", unit({"launch": 0, "active": "active"}), PENDING),
    ("it is getting ready", unit({"active": "activating", "sub": "start-pre"}), PENDING),
    ("it runs", unit({"active": "active", "sub": "running"}), Outcome(True, True, f"Unit a.service launched on {WHERE}")),
    ("a job has ended well", unit(place={"finished": True}), Outcome(True, True, f"Unit a.service finished on {WHERE}")),
    (
        "it failed",
        unit({"active": "failed", "result": "exit-code", "code": 3}),
        Outcome(True, False, f"Unit a.service failed on {WHERE}: exit status 3"),
    ),
    (
        "it fails again and again",
        unit({"active": "activating", "sub": "auto-restart", "result": "signal"}),
        Outcome(True, False, f"Unit a.service failed on {WHERE}: killed by a signal"),
    ),
    (
        "it ended by itself at once",
        unit({"active": "inactive", "code": 0}),
        Outcome(True, True, f"Unit a.service ended on {WHERE}: it ended well"),
    ),
    (
        "somebody stopped it meanwhile",
        unit(target="loaded"),
        Outcome(True, False, "Unit a.service was told something else meanwhile: its target is loaded"),
    ),
]


@pytest.mark.parametrize(("sentence", "view", "expected"), STARTS, ids=[row[0] for row in STARTS])
def test_a_start_is_waited_for_until(sentence: str, view: dict[str, Any], expected: Outcome) -> None:
    assert started(view, 1, MACHINES) == expected


def test_a_global_unit_has_started_when_it_runs_on_every_machine_where_it_is_placed() -> None:
    places = [{"machine": machine, "target": "launched", "launch": 1} for machine in MACHINES]
    running = {"launch": 1, "active": "active"}
    one = unit(places=places, states=[{"machine": M1["id"], **running}])
    both = unit(places=places, states=[{"machine": machine, **running} for machine in MACHINES])
    assert not started(one, 1, MACHINES).done
    assert started(both, 1, MACHINES).text.count("launched on") == 2


REACHED = [
    ("still running", unit({"active": "active"}, target="loaded", current="launched"), "loaded", PENDING),
    ("stopped", unit({}, target="loaded", current="loaded"), "loaded", Outcome(True, True, f"Unit a.service loaded on {WHERE}")),
    ("still on its machine", unit({}, target="inactive"), "inactive", PENDING),
    ("gone from its machine", unit(target="inactive", places=[]), "inactive", Outcome(True, True, "Unit a.service inactive")),
]


@pytest.mark.parametrize(("sentence", "view", "target", "expected"), REACHED, ids=[row[0] for row in REACHED])
def test_coming_down_is_waited_for(sentence: str, view: dict[str, Any], target: str, expected: Outcome) -> None:
    assert reached(view, target, MACHINES) == expected


def test_a_machine_is_shown_as_fleetctl_does() -> None:
    assert legend(M1, M1["id"]) == WHERE
    assert legend(M1, M1["id"], full=True) == f"{M1['id']}/172.17.8.102"
    assert legend(None, M1["id"]) == "85c0c595..."


def test_a_unit_that_is_nowhere_is_explained_machine_by_machine() -> None:
    why = {
        "reason": "no machine takes it",
        "machines": [{"machine": M1["id"], "name": "m1", "filter": "conflicts", "reason": "conflict with b"}],
    }
    assert unplaced("a.service", why, MACHINES) == "Unit a.service is waiting: no machine takes it\n  m1: conflict with b"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"result": "exit-code", "code": 1}, "exit status 1"),
        ({"result": "something-new"}, "something-new"),
        ({"result": "timeout", "note": "disk full"}, "it did not get ready in time (disk full)"),
    ],
)
def test_an_end_is_told_in_words(state: dict[str, Any], expected: str) -> None:
    assert ending(state) == expected


@pytest.mark.parametrize(
    ("place", "state", "expected"),
    [
        (None, None, "waiting"),
        ({}, None, "unknown"),
        ({"finished": True}, None, "finished"),
        ({}, {"retry_at": 5.0, "sub": "failed"}, "failing"),
        ({}, {"sub": "running"}, "running"),
    ],
)
def test_lists_show_systemds_word_or_ours(place: dict[str, Any] | None, state: dict[str, Any] | None, expected: str) -> None:
    assert sub_state(unit(), place, state) == expected
