"""Whether a group is healthy again: a table of clusters, one sentence each."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.cli.rolling.groups import Group
from argosy.cli.rolling.health import Asked, Scene, asked_now, health
from argosy.cli.rolling.plan import Verdict

M1, M2 = "1" * 32, "2" * 32
MACHINES = {M1: {"id": M1, "address": "10.0.0.1"}, M2: {"id": M2, "address": "10.0.0.2"}}
WEB, KICK = "web@1.service", "kick@1.service"
GROUP = Group(WEB, (WEB,), (KICK,), {KICK: frozenset({WEB})}, frozenset(), (("web", "1"),))
ASKED = Asked({WEB: 2}, {WEB: "new"}, {KICK: {M1: "old"}}, frozenset(), frozenset({("web", "1")}))


def unit(name: str, launch: int, active: str = "active", machine: str = M1, **state: Any) -> dict[str, Any]:
    shown = {"machine": machine, "launch": launch, "active": active, "hash": "new", "invocation": "new", **state}
    placed = {"machine": machine, "target": "launched", "launch": launch}
    return {"name": name, "target": "launched", "launch": launch, "hash": "new", "places": [placed], "states": [shown]}


def router(machine: str, *instances: str, **more: Any) -> dict[str, Any]:
    return {"machine": machine, "upstreams": [{"app": "web", "instance": name} for name in instances], **more}


def web(*, active: str = "active", launch: int = 2, **state: Any) -> dict[str, Any]:
    return unit(WEB, launch, active, **state)


def kick(active: str = "active", invocation: str = "new", **state: Any) -> dict[str, Any]:
    return unit(KICK, 1, active, invocation=invocation, **state)


def begun_before() -> dict[str, Any]:
    """Placed for the new launch, and seen in the one before."""
    return {**web(), "states": web(launch=1)["states"]}


ROUTERS = [router(M1, "1", "2"), router(M2, "1", "2")]
ROWS: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]], Verdict, str]] = [
    ("it runs anew, its sidekick too, and all routers serve it", [web(), kick()], ROUTERS, Verdict.READY, ""),
    ("its machine has not begun yet", [begun_before(), kick()], ROUTERS, Verdict.WAITING, "to start it"),
    ("it is getting ready", [web(active="activating", sub="start"), kick()], ROUTERS, Verdict.WAITING, "activating (start)"),
    ("it failed", [web(active="failed", result="exit-code", code=3), kick()], ROUTERS, Verdict.FAILED, "exit status 3"),
    (
        "it fails again and again",
        [web(active="activating", sub="auto-restart", result="signal"), kick()],
        ROUTERS,
        Verdict.FAILED,
        "killed by a signal",
    ),
    ("it ended well, and serves nobody", [web(active="inactive", code=0), kick()], ROUTERS, Verdict.FAILED, "ended well"),
    ("it was stopped, and serves nobody", [web(active="inactive"), kick()], ROUTERS, Verdict.FAILED, "was stopped"),
    ("it waits for another unit", [web(active="inactive", note="it is started with db"), kick()], ROUTERS, Verdict.WAITING, "with db"),
    (
        "what the launch before left is no verdict on the new one",
        [{**web(), "states": web(active="failed", launch=1, result="exit-code", failures=3)["states"]}, kick()],
        ROUTERS,
        Verdict.WAITING,
        "to start it",
    ),
    (
        "its machine refuses it",
        [web(active="inactive", result="refused", failures=2, note="no space left"), kick()],
        ROUTERS,
        Verdict.FAILED,
        "no space left",
    ),
    ("it was destroyed", [kick()], ROUTERS, Verdict.FAILED, "was destroyed meanwhile"),
    ("its sidekick is the old run still", [web(), kick(invocation="old")], ROUTERS, Verdict.WAITING, "has not been restarted"),
    ("its sidekick is not back yet", [web(), kick("inactive")], ROUTERS, Verdict.WAITING, f"{KICK} is inactive"),
    (
        "its sidekick waits for the check",
        [web(), kick("activating", sub="start")],
        ROUTERS,
        Verdict.WAITING,
        f"{KICK} is activating (start)",
    ),
    (
        "its sidekick fails",
        [web(), kick("activating", sub="auto-restart", result="timeout")],
        ROUTERS,
        Verdict.WAITING,
        "it did not get ready in time",
    ),
    ("its sidekick is on its way", [web(), {**kick(), "places": []}], ROUTERS, Verdict.WAITING, f"no living machine has {KICK}"),
    ("one router lacks it", [web(), kick()], [ROUTERS[0], router(M2, "2")], Verdict.WAITING, "the router of 22222222.../10.0.0.2"),
    (
        "a router cannot change",
        [web(), kick()],
        [ROUTERS[0], router(M2, "2", error="nginx: no")],
        Verdict.WAITING,
        "whose last change failed: nginx: no",
    ),
    ("a router that cannot tell all is believed", [web(), kick()], [ROUTERS[0], router(M2, "2", omitted=9)], Verdict.READY, ""),
    ("it was served before, and by none now", [web(), kick()], [router(M1), router(M2)], Verdict.WAITING, "is not served yet"),
    ("somebody stopped it", [{**web(), "target": "loaded"}, kick()], ROUTERS, Verdict.FAILED, "was told something else"),
    ("somebody gave it another text", [{**web(), "hash": "other"}, kick()], ROUTERS, Verdict.FAILED, "was given another text"),
    ("somebody restarted it", [unit(WEB, 3), kick()], ROUTERS, Verdict.FAILED, "was told something else meanwhile"),
    ("its machine is lost", [web(machine="3" * 32), kick()], ROUTERS, Verdict.WAITING, f"no living machine has {WEB}"),
]


def scene(units: list[dict[str, Any]], routers: list[dict[str, Any]]) -> Scene:
    return Scene({found["name"]: found for found in units}, routers, MACHINES)


@pytest.mark.parametrize(("sentence", "units", "routers", "verdict", "text"), ROWS, ids=[row[0] for row in ROWS])
def test_a_group_that_was_told_to_change(
    sentence: str, units: list[dict[str, Any]], routers: list[dict[str, Any]], verdict: Verdict, text: str
) -> None:
    found = health(GROUP, ASKED, scene(units, routers))
    assert found.verdict is verdict, found
    assert text in found.text


def test_a_sidekick_that_is_only_beside_it_need_not_be_restarted() -> None:
    beside = Group(WEB, (WEB,), (KICK,), {KICK: frozenset()})
    assert health(beside, ASKED, scene([web(), kick(invocation="old")], ROUTERS)).verdict is Verdict.READY


def test_one_that_no_machine_had_taken_is_changed_and_not_waited_for() -> None:
    nowhere = {**web(), "places": [], "states": []}
    asked = asked_now(GROUP, scene([nowhere], []), {WEB: 2}, {WEB: "new"})
    assert asked.nowhere == {WEB}
    assert health(GROUP, asked, scene([nowhere], [])).verdict is Verdict.READY


def test_what_is_not_to_run_is_as_it_should_be_when_its_text_is() -> None:
    loaded = {**web(), "target": "loaded", "states": []}
    assert health(Group(WEB, (WEB,)), Asked({}, {WEB: "new"}), scene([loaded], [])).verdict is Verdict.READY


def test_a_job_that_has_ended_well_is_healthy() -> None:
    job = Group(WEB, (WEB,), oneshots=frozenset({WEB}))
    assert health(job, Asked({WEB: 2}), scene([web(active="inactive", code=0)], [])).verdict is Verdict.READY


def test_a_sidekick_that_had_ended_by_itself_before_need_not_run() -> None:
    before = scene([web(launch=1), kick("inactive")], ROUTERS)
    asked = asked_now(GROUP, before, {WEB: 2}, {WEB: "new"})
    assert health(GROUP, asked, scene([web(), kick("inactive")], ROUTERS)).verdict is Verdict.READY


def test_routes_of_an_app_that_no_router_knows_are_not_waited_for() -> None:
    before = scene([web(launch=1), kick(invocation="old")], [router(M1)])
    asked = asked_now(GROUP, before, {WEB: 2}, {WEB: "new"})
    assert asked.routes == frozenset()
    assert health(GROUP, asked, scene([web(), kick()], [router(M1)])).verdict is Verdict.READY


def test_a_global_unit_is_judged_only_where_its_new_text_has_come() -> None:
    one, other = web(hash="new"), web(machine=M2, active="failed", result="exit-code", code=1, hash="old")
    everywhere = {**one, "everywhere": True, "places": one["places"] + other["places"], "states": one["states"] + other["states"]}
    found = health(Group(WEB, (WEB,)), Asked({}, {WEB: "new"}), scene([everywhere], []))
    assert (found.verdict, found.done) == (Verdict.WAITING, 1)
    assert found.text == f"waiting for 22222222.../10.0.0.2 to take the new text of {WEB}"
    everywhere["states"][1]["hash"] = "new"
    assert health(Group(WEB, (WEB,)), Asked({}, {WEB: "new"}), scene([everywhere], [])).verdict is Verdict.FAILED


def test_a_global_unit_counts_its_machines() -> None:
    one, other = web(hash="new"), web(machine=M2, active="activating", sub="start", hash="new")
    everywhere = {**one, "everywhere": True, "places": one["places"] + other["places"], "states": one["states"] + other["states"]}
    found = health(Group(WEB, (WEB,)), ASKED, scene([everywhere], []))
    assert (found.verdict, found.done) == (Verdict.WAITING, 1)


def test_another_invocation_is_another_run() -> None:
    first = health(GROUP, ASKED, scene([web(invocation="a"), kick()], ROUTERS))
    second = health(GROUP, ASKED, scene([web(invocation="b"), kick()], ROUTERS))
    assert first.runs != second.runs
