"""What a change makes doubtful, and what it does not."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from argosy.engine.plan import plan_round
from argosy.engine.world import World
from argosy.model import Facts, Machine, Order, Placement, Problem, Target, UnitState, Workload

RUN = "[Service]\nExecStart=/bin/a\n"
TEXTS = {
    "plain.service": RUN,
    "nobody.service": RUN + "[X-Fleet]\nMachineMetadata=role=none\n",
    "rival.service": RUN + "[X-Fleet]\nConflicts=plain* global*\n",
    "side.service": RUN + "[X-Fleet]\nMachineOf=plain.service\n",
    "global.service": RUN + "[X-Fleet]\nGlobal=1\n",
    "job.service": "[Service]\nType=oneshot\nExecStart=/bin/a\n",
}
"""plain, side, job and global are placed on m1, global on m2 as well; nobody and rival wait."""


def settled() -> World:
    """A world in which everything is decided; `rival` waits, since it would be alone."""
    world = World()
    world.set_machine("m1", Machine("m1"))
    for name, text in TEXTS.items():
        world.set_workload(name, Workload(name, text, Target.LAUNCHED, 1))
        while world.unsettled():
            plan_round(world, 1.0)
    world.set_machine("m2", Machine("m2"))
    while world.unsettled():
        plan_round(world, 1.0)
    return world


def doubtful(world: World) -> list[str]:
    found = []
    while world.unsettled():
        name, machine = world.agenda.pop()
        found.append(f"{name.partition('.')[0]}{'@' if machine else ''}{machine}")
    return sorted(found)


def running(name: str, machine: str = "m1", **fields: object) -> UnitState:
    return msgspec.structs.replace(UnitState(name, machine, launch=1, load="loaded", active="active"), **fields)


CHANGES: list[tuple[str, Callable[[World], None], list[str]]] = [
    (
        "a unit that is written again as it was",
        lambda w: w.set_workload("plain.service", Workload("plain.service", RUN, Target.LAUNCHED, 1)),
        [],
    ),
    ("a new launch of one unit", lambda w: w.set_workload("plain.service", Workload("plain.service", RUN, Target.LAUNCHED, 2)), ["plain"]),
    (
        "what a placed unit asks for: it, and nothing else before it is decided",
        lambda w: w.set_workload("job.service", Workload("job.service", TEXTS["nobody.service"], Target.LAUNCHED, 1)),
        ["job"],
    ),
    (
        "a global unit: machine by machine",
        lambda w: w.set_workload("global.service", Workload("global.service", TEXTS["global.service"], Target.LAUNCHED, 2)),
        ["global@m1", "global@m2"],
    ),
    ("facts of a machine", lambda w: w.set_machine("m1", Machine("m1", facts=Facts(load=3.0), since=5.0)), []),
    (
        "metadata of a machine: what is there, what waits, global units",
        lambda w: w.set_machine("m1", Machine("m1", metadata={"role": "none"})),
        ["global@m1", "job", "nobody", "plain", "rival", "side"],
    ),
    ("the same by an order", lambda w: w.set_order("m2", Order(metadata={"role": "none"})), ["global@m2", "nobody", "rival"]),
    ("an order that changes nothing", lambda w: w.set_order("m1", Order()), []),
    (
        "a cordon: what is there, but nothing that waits",
        lambda w: w.set_order("m1", Order(cordoned=True)),
        ["global@m1", "job", "plain", "side"],
    ),
    (
        "a problem that forbids new units: as a cordon",
        lambda w: w.set_machine("m1", Machine("m1", problems=(Problem("systemd is away", blocking=True),))),
        ["global@m1", "job", "plain", "side"],
    ),
    ("a problem that is only shown", lambda w: w.set_machine("m1", Machine("m1", problems=(Problem("the disk is slow"),))), []),
    ("a lost machine", lambda w: w.set_machine("m1", None), ["global@m1", "job", "plain", "side"]),
    ("a machine that nobody reaches", lambda w: w.set_unreachable(frozenset({"m1"})), ["global@m1", "job", "plain", "side"]),
    ("a new machine", lambda w: w.set_machine("m3", Machine("m3")), ["global@m3", "nobody", "rival"]),
    ("an order for a machine that is not there", lambda w: w.set_order("m9", Order(draining=True)), []),
    ("a unit that runs well", lambda w: w.set_state("m1", "plain.service", running("plain.service")), []),
    ("a oneshot's state", lambda w: w.set_state("m1", "job.service", running("job.service", active="inactive", code=0)), ["job"]),
    ("a state of a waiting unit", lambda w: w.set_state("m2", "rival.service", running("rival.service", "m2")), ["rival"]),
    ("a state that is gone which was not there", lambda w: w.set_state("m1", "plain.service", None), []),
    (
        "a placement that somebody deletes: it, its followers, and those that wait for room",
        lambda w: w.set_placement("m1", "plain.service", None),
        ["plain", "rival", "side"],
    ),
    (
        "a placement that nobody wanted",
        lambda w: w.set_placement("m2", "stray.service", Placement("stray.service", "m2", "", Target.LAUNCHED)),
        ["stray"],
    ),
    ("a destroyed unit", lambda w: w.set_workload("job.service", None), ["job"]),
    ("a destroyed unit that waited", lambda w: w.set_workload("rival.service", None), []),
]


@pytest.mark.parametrize(("sentence", "change", "expected"), CHANGES, ids=[row[0] for row in CHANGES])
def test_what_is_doubtful_after(sentence: str, change: Callable[[World], None], expected: list[str]) -> None:
    world = settled()
    assert doubtful(world) == []
    change(world)
    assert doubtful(world) == expected, sentence


def test_a_unit_whose_record_cannot_be_decoded_keeps_its_place_until_it_can_again() -> None:
    world = settled()
    world.set_workload("plain.service", None, unreadable="unit")
    assert plan_round(world, 2.0) == ()
    world.set_workload("plain.service", Workload("plain.service", RUN, Target.LAUNCHED, 1))
    assert plan_round(world, 2.0) == ()
    world.set_workload("plain.service", None)
    assert [(action.unit, action.machine) for action in plan_round(world, 2.0)] == [("plain.service", "m1"), ("side.service", "m1")]


def test_patience_that_ends_makes_everything_on_missing_machines_doubtful() -> None:
    world = settled()
    world.be_patient(True)
    world.set_machine("m1", None)
    assert plan_round(world, 2.0) == ()
    world.be_patient(False)
    assert doubtful(world) == ["global@m1", "job", "plain", "side"]
    world.be_patient(False)
    assert doubtful(world) == []


def test_the_end_of_an_unreachable_machines_lease_makes_doubtful_what_waited_for_it() -> None:
    world = World()
    world.set_machine("m1", Machine("m1"))
    world.set_workload("only.service", Workload("only.service", RUN + "[X-Argosy]\nOnDisconnect=stop\n", Target.LAUNCHED, 1))
    while world.unsettled():
        plan_round(world, 1.0)
    world.set_unreachable(frozenset({"m1"}))
    while world.unsettled():
        assert plan_round(world, 1.0) == ()
    world.set_machine("m1", None)
    assert doubtful(world) == ["only"]


def test_a_machine_that_is_reached_again_is_there_again() -> None:
    world = settled()
    world.set_unreachable(frozenset({"m2"}))
    assert doubtful(world) == ["global@m2"]
    assert not world.cluster.spots["m2"].present
    world.set_unreachable(frozenset())
    assert doubtful(world) == ["global@m2", "nobody", "rival"]
    assert world.cluster.spots["m2"].present


def test_nothing_is_remembered_of_units_and_machines_that_are_gone() -> None:
    world = settled()
    for name in TEXTS:
        world.set_workload(name, None)
        world.set_state("m1", name, running(name))
        world.set_state("m1", name, None)
    while world.unsettled():
        plan_round(world, 2.0)
    for machine in ("m1", "m2"):
        world.set_machine(machine, None)
    assert not world.placements
    assert not world.readings
    assert not world.states
    assert not world.cluster.spots
    assert not world.cluster.jobs
    assert not world.cluster.where
    assert not world.cluster.globs.patterns


@pytest.mark.parametrize("stopped", ["its agent reports that it stopped", "its state ends with the machine's lease"])
def test_what_must_never_run_twice_is_placed_anew_once_it_has_stopped_on_a_draining_machine(stopped: str) -> None:
    world, name = World(), "alone.service"
    for machine in ("m1", "m2"):
        world.set_machine(machine, Machine(machine))
    world.set_workload(name, Workload(name, RUN + "[X-Argosy]\nOnDisconnect=stop\n", Target.LAUNCHED, 1))
    plan_round(world, 1.0)
    (home,) = world.placements[name]
    world.set_state(home, name, running(name, home))
    world.set_order(home, Order(draining=True))
    while world.unsettled():
        plan_round(world, 2.0)
    assert name not in world.placements, "it may still run there"
    if "reports" in stopped:
        world.set_state(home, name, running(name, home, active="inactive"))
    else:
        world.set_machine(home, None)
        world.set_state(home, name, None)
    while world.unsettled():
        plan_round(world, 3.0)
    assert [*world.placements[name]] == [machine for machine in ("m1", "m2") if machine != home]
