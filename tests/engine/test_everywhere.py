"""Global units with Update=rolling: a change goes from machine to machine, each when the one before it runs it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.engine.actions import Update
from argosy.engine.plan import plan, plan_round
from argosy.engine.world import Snapshot, world_of
from argosy.model import Machine, Order, Placement, Target, UnitState, Workload
from argosy.unit.text import unit_text

NAME = "g.service"
OLD = "[Service]\nExecStart=/bin/old\n[X-Fleet]\nGlobal=true\n[X-Argosy]\nUpdate=rolling\n"
NEW = OLD.replace("old", "new")
TOGETHER = NEW.replace("rolling", "together")
LAUNCHED, LOADED = Target.LAUNCHED, Target.LOADED


def unit(text: str = NEW, launch: int = 1, target: Target = LAUNCHED) -> Workload:
    return Workload(NAME, text, target, launch)


def state(machine: str, text: str, active: str = "active", launch: int = 1) -> UnitState:
    return UnitState(NAME, machine, hash=unit_text(text).hash, launch=launch, load="loaded", active=active)


def scene(wanted: Workload, places: dict[str, str], states: dict[str, str], lost: str = "", **orders: Order) -> Snapshot:
    """`places`: the text by which each machine has it, of launch 1. `states`: what runs there and how it is, as `new active`."""
    texts = {"old": OLD, "new": NEW, "together": TOGETHER}
    placements = {(machine, NAME): Placement(NAME, machine, texts[text], LAUNCHED, 1) for machine, text in places.items()}
    observed = {}
    for machine, said in states.items():
        text, _, active = said.partition(" ")
        observed[machine, NAME] = state(machine, texts[text], active or "active")
    return Snapshot({NAME: wanted}, {name: Machine(name) for name in places if name not in lost.split()}, orders, placements, observed)


def told(snapshot: Snapshot) -> list[str]:
    return [f"{type(action).__name__.lower()} {action.machine}" for action in plan(snapshot, 9.0)]


OLDS = {"m1": "old", "m2": "old", "m3": "old"}
ALL = {"m1": "old active", "m2": "old active", "m3": "old active"}
ROWS: list[tuple[str, Snapshot, list[str]]] = [
    ("the first is updated alone", scene(unit(), OLDS, ALL), ["update m1"]),
    ("all are, if that is what it says", scene(unit(TOGETHER), OLDS, ALL), ["update m1", "update m2", "update m3"]),
    ("while it comes the others wait", scene(unit(), OLDS | {"m1": "new"}, ALL), []),
    ("... though it starts", scene(unit(), OLDS | {"m1": "new"}, ALL | {"m1": "new activating"}), []),
    ("... and if it fails they go on waiting", scene(unit(), OLDS | {"m1": "new"}, ALL | {"m1": "new failed"}), []),
    ("when it runs the next is updated", scene(unit(), OLDS | {"m1": "new"}, ALL | {"m1": "new active"}), ["update m2"]),
    ("what does not run is updated at once", scene(unit(), OLDS, ALL | {"m2": "old failed"}), ["update m2"]),
    ("so is what nobody has reported on", scene(unit(), OLDS, {}), ["update m1", "update m2", "update m3"]),
    (
        "what is stopped is stopped everywhere",
        scene(unit(OLD, target=LOADED), OLDS, ALL),
        ["update m1", "update m2", "update m3"],
    ),
    ("a restart rolls as well", scene(unit(OLD, launch=2), OLDS, ALL), ["update m1"]),
    (
        "a lost machine holds nobody up",
        scene(unit(), OLDS | {"m1": "new"}, {"m2": "old active", "m3": "old active"}, lost="m1"),
        ["update m2"],
    ),
    (
        "a lost machine that is behind is let go, and holds nobody up",
        scene(unit(), OLDS, {"m2": "old active", "m3": "old active"}, lost="m1"),
        ["remove m1", "update m2"],
    ),
    (
        "going back touches those only that were changed",
        scene(unit(OLD), OLDS | {"m1": "new"}, ALL | {"m1": "new failed"}),
        ["update m1"],
    ),
]


@pytest.mark.parametrize(("sentence", "snapshot", "actions"), ROWS, ids=[row[0] for row in ROWS])
def test_a_change_rolls(sentence: str, snapshot: Snapshot, actions: list[str]) -> None:
    assert sorted(told(snapshot)) == sorted(actions)


@given(st.permutations([f"m{number}" for number in range(6)]), st.integers(0, 6))
def test_a_roll_told_of_each_state_as_it_comes_reaches_every_machine_with_one_down_at_a_time(order: list[str], lose: int) -> None:
    """The agents report as the engine goes; one machine may be lost in the middle."""
    world = world_of(scene(unit(OLD), dict.fromkeys(order, "old"), dict.fromkeys(order, "old active")))
    assert plan_round(world, 1.0) == ()
    world.set_workload(NAME, unit())
    updated: list[str] = []
    for _ in range(40):
        actions = plan_round(world, 1.0)
        assert len(actions) <= 1 or len(updated) == lose
        for action in actions:
            if not isinstance(action, Update):
                continue
            updated.append(action.machine)
            if len(updated) == lose:
                world.set_state(action.machine, NAME, None)
                world.set_machine(action.machine, None)
                continue
            world.set_state(action.machine, NAME, state(action.machine, OLD, "deactivating"))
            assert plan_round(world, 1.0) == ()
            world.set_state(action.machine, NAME, state(action.machine, NEW, "activating"))
            assert plan_round(world, 1.0) == ()
            world.set_state(action.machine, NAME, state(action.machine, NEW))
        if not actions and not world.unsettled():
            break
    assert updated == sorted(order)


def test_a_machine_that_comes_meanwhile_gets_the_new_text() -> None:
    snapshot = scene(unit(), OLDS | {"m1": "new"}, ALL)
    snapshot = msgspec.structs.replace(snapshot, machines={**snapshot.machines, "m4": Machine("m4")})
    assert told(snapshot) == ["place m4"]
