"""Whether a group is healthy again: a table of clusters, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from argosy.engine.rollouts.groups import Group
from argosy.engine.rollouts.health import Asked, Scene, Served, asked_now, health
from argosy.engine.rollouts.plan import Verdict
from argosy.engine.world import Snapshot, world_of
from argosy.model import Machine, Placement, Target, Unit, UnitState
from argosy.placement.workloads import unit_workload
from argosy.unit.text import unit_text

M1, M2 = "1" * 32, "2" * 32
MACHINES = {M1: Machine(M1, "10.0.0.1"), M2: Machine(M2, "10.0.0.2")}
WEB, KICK = "web@1.service", "kick@1.service"
TEXTS = {name: f"[Service]\nExecStart=/bin/{name}\n" for name in ("old", "new", "other")}
HASHES = {name: unit_text(text).hash for name, text in TEXTS.items()}
GROUP = Group(WEB, (WEB,), (KICK,), {KICK: frozenset({WEB})}, frozenset(), (("web", "1"),))
ASKED = Asked({WEB: 2}, {WEB: HASHES["new"]}, {KICK: {M1: "old"}}, frozenset(), frozenset({("web", "1")}))
LAUNCHED, LOADED = Target.LAUNCHED, Target.LOADED


class Seen(msgspec.Struct, frozen=True):
    """A unit with its places and states."""

    unit: Unit
    places: tuple[Placement, ...] = ()
    states: tuple[UnitState, ...] = ()


def unit(name: str, launch: int, active: str = "active", machine: str = M1, hash: str = "new", **state: Any) -> Seen:
    shown = UnitState(name, machine, **{"launch": launch, "active": active, "hash": HASHES[hash], "invocation": "new", **state})
    placed = Placement(name, machine, TEXTS["new"], LAUNCHED, launch)
    return Seen(Unit(name, TEXTS["new"], LAUNCHED, launch), (placed,), (shown,))


def router(machine: str, *instances: str, **more: Any) -> Served:
    return Served(machine, frozenset(("web", name) for name in instances), **more)


def web(*, active: str = "active", launch: int = 2, **state: Any) -> Seen:
    return unit(WEB, launch, active, **state)


def kick(active: str = "active", invocation: str = "new", **state: Any) -> Seen:
    return unit(KICK, 1, active, invocation=invocation, **state)


def seen(base: Seen, **other: Any) -> Seen:
    """The same with other `places`, `states`, or fields of its unit."""
    parts = {key: other.pop(key) for key in ("places", "states") if key in other}
    return msgspec.structs.replace(base, unit=msgspec.structs.replace(base.unit, **other), **parts)


def begun_before() -> Seen:
    """Placed for the new launch, and seen in the one before."""
    return seen(web(), states=web(launch=1).states)


ROUTERS = [router(M1, "1", "2"), router(M2, "1", "2")]
ROWS: list[tuple[str, list[Seen], list[Served], Verdict, str]] = [
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
        [seen(web(), states=web(active="failed", launch=1, result="exit-code", failures=3).states), kick()],
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
    ("its sidekick is on its way", [web(), seen(kick(), places=())], ROUTERS, Verdict.WAITING, f"no living machine has {KICK}"),
    ("one router lacks it", [web(), kick()], [ROUTERS[0], router(M2, "2")], Verdict.WAITING, "the router of 22222222.../10.0.0.2"),
    (
        "a router cannot change",
        [web(), kick()],
        [ROUTERS[0], router(M2, "2", error="nginx: no")],
        Verdict.WAITING,
        "is not served yet by the router of 22222222.../10.0.0.2: nginx: no",
    ),
    ("a router that cannot tell all is believed", [web(), kick()], [ROUTERS[0], router(M2, "2", partial=True)], Verdict.READY, ""),
    ("it was served before, and by none now", [web(), kick()], [router(M1), router(M2)], Verdict.WAITING, "is not served yet"),
    ("somebody stopped it", [seen(web(), target=LOADED), kick()], ROUTERS, Verdict.FAILED, "was told something else"),
    ("somebody gave it another text", [seen(web(), text=TEXTS["other"]), kick()], ROUTERS, Verdict.FAILED, "was given another text"),
    ("somebody restarted it", [unit(WEB, 3), kick()], ROUTERS, Verdict.FAILED, "was told something else meanwhile"),
    ("its machine is lost", [web(machine="3" * 32), kick()], ROUTERS, Verdict.WAITING, f"no living machine has {WEB}"),
]


def scene(units: Sequence[Seen], routers: Sequence[Served] = ()) -> Scene:
    world = world_of(
        Snapshot(
            {found.unit.name: unit_workload(found.unit) for found in units},
            MACHINES,
            {},
            {(place.machine, place.unit): place for found in units for place in found.places},
            {(state.machine, state.unit): state for found in units for state in found.states},
        )
    )
    return Scene(world, routers)


@pytest.mark.parametrize(("sentence", "units", "routers", "verdict", "text"), ROWS, ids=[row[0] for row in ROWS])
def test_a_group_that_was_told_to_change(sentence: str, units: list[Seen], routers: list[Served], verdict: Verdict, text: str) -> None:
    found = health(GROUP, ASKED, scene(units, routers))
    assert found.verdict is verdict, found
    assert text in found.text


def test_a_sidekick_that_is_only_beside_it_need_not_be_restarted() -> None:
    beside = Group(WEB, (WEB,), (KICK,), {KICK: frozenset()})
    assert health(beside, ASKED, scene([web(), kick(invocation="old")], ROUTERS)).verdict is Verdict.READY


def test_one_that_no_machine_had_taken_is_changed_and_not_waited_for() -> None:
    nowhere = seen(web(), places=(), states=())
    asked = asked_now(GROUP, scene([nowhere], []), {WEB: 2}, {WEB: HASHES["new"]})
    assert asked.nowhere == {WEB}
    assert health(GROUP, asked, scene([nowhere], [])).verdict is Verdict.READY


def test_what_is_not_to_run_is_as_it_should_be_when_its_text_is() -> None:
    loaded = seen(web(), target=LOADED, states=())
    assert health(Group(WEB, (WEB,)), Asked({}, {WEB: HASHES["new"]}), scene([loaded], [])).verdict is Verdict.READY


def test_a_job_that_has_ended_well_is_healthy() -> None:
    job = Group(WEB, (WEB,), oneshots=frozenset({WEB}))
    assert health(job, Asked({WEB: 2}), scene([web(active="inactive", code=0)], [])).verdict is Verdict.READY


def test_a_sidekick_that_had_ended_by_itself_before_need_not_run() -> None:
    before = scene([web(launch=1, hash="new"), kick("inactive")], ROUTERS)
    asked = asked_now(GROUP, before, {WEB: 2}, {WEB: HASHES["new"]})
    assert health(GROUP, asked, scene([web(), kick("inactive")], ROUTERS)).verdict is Verdict.READY


def test_routes_of_an_app_that_no_router_knows_are_not_waited_for() -> None:
    before = scene([web(launch=1, hash="new"), kick(invocation="old")], [router(M1)])
    asked = asked_now(GROUP, before, {WEB: 2}, {WEB: HASHES["new"]})
    assert asked.routes == frozenset()
    assert health(GROUP, asked, scene([web(), kick()], [router(M1)])).verdict is Verdict.READY


GLOBAL = {name: f"{text}[X-Fleet]\nGlobal=true\n" for name, text in TEXTS.items()}


def everywhere(first: Seen, other: Seen) -> Seen:
    """A global unit with its new text on M1; on M2 as `other` says."""
    places = tuple(msgspec.structs.replace(place, text=GLOBAL["new"]) for place in (*first.places, *other.places))
    states = tuple(msgspec.structs.replace(state, hash=unit_text(GLOBAL["new"]).hash) for state in (*first.states, *other.states))
    return seen(first, text=GLOBAL["new"], places=places, states=states)


def test_a_global_unit_is_judged_only_where_its_new_text_has_come() -> None:
    both = everywhere(web(), web(machine=M2, active="failed", result="exit-code", code=1))
    behind = msgspec.structs.replace(both.places[1], text=GLOBAL["old"])
    asked = Asked({}, {WEB: unit_text(GLOBAL["new"]).hash})
    found = health(Group(WEB, (WEB,)), asked, scene([seen(both, places=(both.places[0], behind))]))
    assert (found.verdict, found.done, found.old) == (Verdict.WAITING, 1, False)
    assert found.text == f"waiting for 22222222.../10.0.0.2 to take the new text of {WEB}"
    assert health(Group(WEB, (WEB,)), asked, scene([both])).verdict is Verdict.FAILED


def test_a_global_unit_counts_its_machines() -> None:
    both = everywhere(web(), web(machine=M2, active="activating", sub="start"))
    found = health(Group(WEB, (WEB,)), Asked({WEB: 2}), scene([both]))
    assert (found.verdict, found.done) == (Verdict.WAITING, 1)


def both_copies(active: str = "active") -> list[Seen]:
    """The new copy on M2, the old one on M1; the sidekick is on both, on M1 in the run that it had before."""
    new, old = web(machine=M2, active=active, result="success" if active == "active" else "exit-code", code=1), web(launch=1)
    states = (*kick(machine=M2).states, *kick(invocation="old").states)
    return [
        seen(new, places=(*new.places, *old.places), states=(*new.states, *old.states)),
        seen(kick(), places=(*kick(machine=M2).places, *kick().places), states=states),
    ]


def test_where_a_new_copy_comes_up_beside_the_old_one_only_the_new_one_is_judged() -> None:
    found = health(GROUP, ASKED, scene(both_copies(), ROUTERS))
    assert (found.verdict, found.old) == (Verdict.READY, True)
    assert [run[1] for run in found.runs] == [M2]
    failed = health(GROUP, ASKED, scene(both_copies("failed"), ROUTERS))
    assert (failed.verdict, failed.old) == (Verdict.FAILED, True)


def test_another_invocation_is_another_run() -> None:
    first = health(GROUP, ASKED, scene([web(invocation="a"), kick()], ROUTERS))
    second = health(GROUP, ASKED, scene([web(invocation="b"), kick()], ROUTERS))
    assert first.runs != second.runs
