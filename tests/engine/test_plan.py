"""What the engine decides, as a table: a cluster, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from argosy.engine.actions import MarkFinished, Place, Remove, Update
from argosy.engine.plan import plan, plan_round
from argosy.engine.world import Snapshot, world_of
from argosy.model import Machine, Order, Placement, Target, UnitState, Workload
from argosy.unit.text import unit_text

RUN = "[Service]\nExecStart=/bin/sleep 1000\n"
NEW = "[Service]\nExecStart=/bin/sleep 2000\n"
JOB = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
WEB = RUN + "[X-Fleet]\nMachineMetadata=role=web\n"
ONLY = RUN + "[X-Argosy]\nOnDisconnect=stop\n"
GLOBAL = RUN + "[X-Fleet]\nGlobal=true\n"
LAUNCHED, LOADED, INACTIVE = Target.LAUNCHED, Target.LOADED, Target.INACTIVE
DRAIN, CORDON = Order(draining=True), Order(cordoned=True)


def beside(leader: str) -> str:
    return f"{RUN}[X-Fleet]\nMachineOf={leader}\n"


def unit(text: str = RUN, target: Target = LAUNCHED, launch: int = 1) -> Workload:
    return Workload("", text, target, launch)


def scene(
    machines: str,
    units: Mapping[str, Workload],
    placed: str = "",
    states: str = "",
    **orders: Order,
) -> Snapshot:
    """`machines`: ids that are alive. `placed`: unit@machine, as the unit is now, followed by `+` if it has finished, by `-` if the record
    is of an older text and launch, and by `!` if it was launched. `states`: unit@machine=active word, of the unit's launch; `done` is
    inactive with code 0."""
    named = {name: msgspec.structs.replace(one, name=name) for name, one in units.items()}
    placements = {}
    for item in placed.split():
        name, _, machine = item.rstrip("+-!").partition("@")
        now = named.get(name, Workload(name, RUN, LAUNCHED, 1))
        target = LAUNCHED if now.target is INACTIVE else now.target
        placement = Placement(name, machine, now.body, target, now.launch, "it was so", 1.0, item.endswith("+"))
        if item.endswith(("-", "-!")):
            placement = msgspec.structs.replace(placement, text=RUN, launch=now.launch - 1)
        if item.endswith("!"):
            placement = msgspec.structs.replace(placement, target=LAUNCHED)
        placements[machine, name] = placement
    observed = {}
    for item in states.split():
        where, _, active = item.partition("=")
        name, _, machine = where.partition("@")
        one = named[name]
        state = UnitState(name, machine, hash=unit_text(one.body).hash, launch=one.launch, load="loaded", active=active)
        observed[machine, name] = msgspec.structs.replace(state, active="inactive", code=0) if active == "done" else state
    return Snapshot(named, {name: Machine(name) for name in machines.split()}, orders, placements, observed)


def told(snapshot: Snapshot, *, patient: bool = False) -> list[str]:
    words = {Place: "place", Update: "update", MarkFinished: "finished", Remove: "remove"}
    return [f"{words[type(action)]} {action.unit} {action.machine}" for action in plan(snapshot, 9.0, patient=patient)]


TABLE: list[tuple[str, Snapshot, list[str]]] = [
    # What users want
    ("nothing is wanted, nothing is done", scene("m1", {}), []),
    ("a unit that was only submitted is placed nowhere", scene("m1", {"a": unit(target=INACTIVE)}), []),
    ("a launched unit is placed", scene("m1 m2", {"a.service": unit()}), ["place a.service m1"]),
    ("a loaded unit is placed, too", scene("m1", {"a.service": unit(target=LOADED)}), ["place a.service m1"]),
    ("instances are spread", scene("m1 m2", {f"a@{n}.service": unit() for n in (1, 2)}), ["place a@1.service m1", "place a@2.service m2"]),
    ("what is as it should be is left alone", scene("m1", {"a.service": unit()}, "a.service@m1"), []),
    ("a changed unit is updated in place", scene("m1 m2", {"a.service": unit(NEW, launch=2)}, "a.service@m1-"), ["update a.service m1"]),
    ("an unwanted unit is removed", scene("m1", {"a.service": unit(target=INACTIVE)}, "a.service@m1"), ["remove a.service m1"]),
    ("a destroyed unit is removed", scene("m1", {}, "a.service@m1"), ["remove a.service m1"]),
    ("a template is never placed", scene("m1", {"a@.service": unit()}), []),
    ("a text that cannot be read is not placed", scene("m1", {"a.service": unit("[X-Fleet]\nNo=1\n")}), []),
    (
        "... and if it is placed already, that stays as it is",
        scene("m1", {"a.service": unit("[X-Fleet]\nNo=1\n", launch=2)}, "a.service@m1-"),
        [],
    ),
    ("metadata nobody has: it waits", scene("m1", {"a.service": unit(WEB)}), []),
    (
        "a changed unit that may not stay moves",
        msgspec.structs.replace(
            scene("m1 m2", {"a.service": unit(WEB, launch=2)}, "a.service@m1-"),
            machines={"m1": Machine("m1"), "m2": Machine("m2", metadata={"role": "web"})},
        ),
        ["remove a.service m1", "place a.service m2"],
    ),
    (
        "a changed unit that may be nowhere is removed",
        scene("m1", {"a.service": unit(WEB, launch=2)}, "a.service@m1-"),
        ["remove a.service m1"],
    ),
    # Machines that go and come
    (
        "a lost machine's unit is placed elsewhere",
        scene("m2", {"a.service": unit()}, "a.service@m1"),
        ["remove a.service m1", "place a.service m2"],
    ),
    ("with nowhere to go its place stays recorded", scene("", {"a.service": unit()}, "a.service@m1"), []),
    ("... and is left as it is, for whatever runs there still", scene("", {"a.service": unit(NEW, launch=2)}, "a.service@m1-"), []),
    ("... unless it is to stop", scene("", {"a.service": unit(NEW, LOADED, launch=2)}, "a.service@m1-!"), ["update a.service m1"]),
    (
        "... and is updated when the machine is back",
        scene("m1", {"a.service": unit(NEW, launch=2)}, "a.service@m1-"),
        ["update a.service m1"],
    ),
    (
        "a machine that comes back takes nothing that runs",
        scene("m1 m2", {"a.service": unit(), "b.service": unit()}, "a.service@m2 b.service@m2"),
        [],
    ),
    (
        "two copies, both good: the older one stays",
        scene("m1 m2", {"a.service": unit()}, "a.service@m1 a.service@m2"),
        ["remove a.service m2"],
    ),
    (
        "two copies, one active: that one stays",
        scene("m1 m2", {"a.service": unit()}, "a.service@m1 a.service@m2", "a.service@m2=active"),
        ["remove a.service m1"],
    ),
    # Cordon and drain
    ("nothing new on a cordoned machine", scene("m1 m2", {"a.service": unit()}, m1=CORDON), ["place a.service m2"]),
    ("what is on a cordoned machine stays", scene("m1 m2", {"a.service": unit()}, "a.service@m1", m1=CORDON), []),
    ("... and is updated there", scene("m1 m2", {"a.service": unit(NEW, launch=2)}, "a.service@m1-", m1=CORDON), ["update a.service m1"]),
    (
        "drain: the new copy comes before the old one goes",
        scene("m1 m2", {"a.service": unit()}, "a.service@m1", "a.service@m1=active", m1=DRAIN),
        ["place a.service m2"],
    ),
    (
        "... and is waited for",
        scene("m1 m2", {"a.service": unit()}, "a.service@m1 a.service@m2", "a.service@m1=active a.service@m2=activating", m1=DRAIN),
        [],
    ),
    (
        "... until it is active",
        scene("m1 m2", {"a.service": unit()}, "a.service@m1 a.service@m2", "a.service@m1=active a.service@m2=active", m1=DRAIN),
        ["remove a.service m1"],
    ),
    (
        "... or has ended well",
        scene("m1 m2", {"a.service": unit()}, "a.service@m1 a.service@m2", "a.service@m1=active a.service@m2=done", m1=DRAIN),
        ["remove a.service m1"],
    ),
    (
        "a new copy that fails does not cost the old one",
        scene("m1 m2", {"a.service": unit()}, "a.service@m1 a.service@m2", "a.service@m1=active a.service@m2=failed", m1=DRAIN),
        [],
    ),
    (
        "the machine of the new copy is lost: another one",
        scene("m1 m3", {"a.service": unit()}, "a.service@m1 a.service@m2", "a.service@m1=active", m1=DRAIN),
        ["remove a.service m2", "place a.service m3"],
    ),
    (
        "the machine of the new copy drains as well: another one, and still only two copies",
        scene("m1 m2 m3", {"a.service": unit()}, "a.service@m1 a.service@m2", "a.service@m1=active", m1=DRAIN, m2=DRAIN),
        ["remove a.service m2", "place a.service m3"],
    ),
    (
        "the draining machine itself is lost: the new copy is all there is",
        scene("m2", {"a.service": unit()}, "a.service@m1 a.service@m2", m1=DRAIN),
        ["remove a.service m1"],
    ),
    (
        "the drain is called off before the new copy is active",
        scene("m1 m2", {"a.service": unit()}, "a.service@m1 a.service@m2", "a.service@m1=active a.service@m2=activating"),
        ["remove a.service m2"],
    ),
    ("a drained machine with nowhere to go keeps its units", scene("m1", {"a.service": unit()}, "a.service@m1", m1=DRAIN), []),
    ("... and updates them", scene("m1", {"a.service": unit(NEW, launch=2)}, "a.service@m1-", m1=DRAIN), ["update a.service m1"]),
    (
        "a unit of which nothing runs changes over at once",
        scene("m1 m2", {"a.service": unit()}, "a.service@m1", "a.service@m1=failed", m1=DRAIN),
        ["remove a.service m1", "place a.service m2"],
    ),
    (
        "one that is only loaded, too",
        scene("m1 m2", {"a.service": unit(target=LOADED)}, "a.service@m1", m1=DRAIN),
        ["remove a.service m1", "place a.service m2"],
    ),
    (
        "a unit that must never run twice stops first",
        scene("m1 m2", {"a.service": unit(ONLY)}, "a.service@m1", "a.service@m1=active", m1=DRAIN),
        ["remove a.service m1"],
    ),
    (
        "... and is not placed while its old copy runs",
        scene("m1 m2", {"a.service": unit(ONLY)}, "", "a.service@m1=deactivating", m1=DRAIN),
        [],
    ),
    (
        "... but as soon as it does not",
        scene("m1 m2", {"a.service": unit(ONLY)}, "", "a.service@m1=inactive", m1=DRAIN),
        ["place a.service m2"],
    ),
    (
        "... or its machine is lost: it was stopped there before the lease ended",
        scene("m2", {"a.service": unit(ONLY)}, "a.service@m1", "a.service@m1=active"),
        ["remove a.service m1", "place a.service m2"],
    ),
    (
        "... and it stays where there is nowhere to go",
        scene("m1", {"a.service": unit(ONLY)}, "a.service@m1", "a.service@m1=active", m1=DRAIN),
        [],
    ),
    (
        "a unit that must never run twice and does not run changes over at once",
        scene("m1 m2", {"a.service": unit(ONLY)}, "a.service@m1", "a.service@m1=failed", m1=DRAIN),
        ["remove a.service m1", "place a.service m2"],
    ),
    (
        "stopped while it is on two machines: both are told, and the copy on the draining one goes when the other is loaded",
        scene("m1 m2", {"a.service": unit(target=LOADED)}, "a.service@m1 a.service@m2", "a.service@m2=inactive", m1=DRAIN),
        ["remove a.service m1"],
    ),
    # Oneshots
    (
        "a oneshot that ended well is marked",
        scene("m1", {"j.service": unit(JOB)}, "j.service@m1", "j.service@m1=done"),
        ["finished j.service m1"],
    ),
    ("one that failed is not", scene("m1", {"j.service": unit(JOB)}, "j.service@m1", "j.service@m1=failed"), []),
    (
        "one that remains after exit is not",
        scene("m1", {"j.service": unit(JOB + "RemainAfterExit=yes\n")}, "j.service@m1", "j.service@m1=done"),
        [],
    ),
    ("a service that ended is not", scene("m1", {"a.service": unit()}, "a.service@m1", "a.service@m1=done"), []),
    ("a finished oneshot stays on its lost machine", scene("m2", {"j.service": unit(JOB)}, "j.service@m1+"), []),
    ("... and on a draining one", scene("m1 m2", {"j.service": unit(JOB)}, "j.service@m1+", m1=DRAIN), []),
    (
        "... until it is launched again",
        scene("m2", {"j.service": unit(JOB, launch=2)}, "j.service@m1-"),
        ["remove j.service m1", "place j.service m2"],
    ),
    (
        "a running oneshot is left to end on a draining machine",
        scene("m1 m2", {"j.service": unit(JOB)}, "j.service@m1", "j.service@m1=activating", m1=DRAIN),
        [],
    ),
    (
        "a oneshot that was running on a lost machine runs elsewhere",
        scene("m2", {"j.service": unit(JOB)}, "j.service@m1"),
        ["remove j.service m1", "place j.service m2"],
    ),
    # Followers
    (
        "a follower goes where its leader is",
        scene("m1 m2", {"a.service": unit(beside("z.service")), "z.service": unit(), "x.service": unit()}, "x.service@m1"),
        ["place z.service m2", "place a.service m2"],
    ),
    ("a follower without a leader waits", scene("m1", {"a.service": unit(beside("z.service"))}), []),
    (
        "followers in a circle are placed nowhere",
        scene("m1", {"a.service": unit(beside("b.service")), "b.service": unit(beside("a.service"))}),
        [],
    ),
    (
        "a follower moves with the leader of a lost machine",
        scene("m2", {"a.service": unit(beside("z.service")), "z.service": unit()}, "a.service@m1 z.service@m1"),
        ["remove z.service m1", "place z.service m2", "remove a.service m1", "place a.service m2"],
    ),
    (
        "a follower goes when its leader is stopped",
        scene("m1", {"a.service": unit(beside("z.service")), "z.service": unit(target=INACTIVE)}, "a.service@m1 z.service@m1"),
        ["remove z.service m1", "remove a.service m1"],
    ),
    (
        "leader and follower of a draining machine both get a second place",
        scene(
            "m1 m2",
            {"a.service": unit(beside("z.service")), "z.service": unit()},
            "a.service@m1 z.service@m1",
            "z.service@m1=active",
            m1=DRAIN,
        ),
        ["place z.service m2", "place a.service m2"],
    ),
    (
        "the leader does not leave before its follower, which announces it",
        scene(
            "m1 m2",
            {"a.service": unit(beside("z.service")), "z.service": unit()},
            "a.service@m1 z.service@m1 a.service@m2 z.service@m2",
            "z.service@m2=active a.service@m2=activating",
            m1=DRAIN,
        ),
        [],
    ),
    (
        "... both leave when both are active",
        scene(
            "m1 m2",
            {"a.service": unit(beside("z.service")), "z.service": unit()},
            "a.service@m1 z.service@m1 a.service@m2 z.service@m2",
            "z.service@m2=active a.service@m2=active",
            m1=DRAIN,
        ),
        ["remove a.service m1", "remove z.service m1"],
    ),
    # Conflicts and Replaces
    (
        "of two that conflict, one waits",
        scene("m1", {"a.service": unit(RUN + "[X-Fleet]\nConflicts=b*\n"), "b.service": unit()}),
        ["place a.service m1"],
    ),
    (
        "... until the other goes",
        scene(
            "m1",
            {"a.service": unit(RUN + "[X-Fleet]\nConflicts=b*\n", target=INACTIVE), "b.service": unit()},
            "a.service@m1",
        ),
        ["remove a.service m1", "place b.service m1"],
    ),
    (
        "a unit that conflicts with itself is placed",
        scene("m1", {"a.service": unit(RUN + "[X-Fleet]\nConflicts=a.service\n")}),
        ["place a.service m1"],
    ),
    (
        "a replaced unit is pushed to another machine",
        scene(
            "m1 m2",
            {"b.service": unit(RUN + "[X-Fleet]\nReplaces=a*\n"), "a.service": unit(), "x.service": unit()},
            "a.service@m1 x.service@m2",
        ),
        ["place b.service m1", "remove a.service m1", "place a.service m2"],
    ),
    (
        "... or out, if there is none",
        scene("m1", {"b.service": unit(RUN + "[X-Fleet]\nReplaces=a*\n"), "a.service": unit()}, "a.service@m1"),
        ["place b.service m1", "remove a.service m1"],
    ),
    # Global units
    ("a global unit is placed on every machine", scene("m1 m2", {"g.service": unit(GLOBAL)}), ["place g.service m1", "place g.service m2"]),
    ("... not on a cordoned one", scene("m1 m2", {"g.service": unit(GLOBAL)}, m1=CORDON), ["place g.service m2"]),
    ("... but it stays there", scene("m1 m2", {"g.service": unit(GLOBAL)}, "g.service@m1 g.service@m2", m1=CORDON), []),
    (
        "... and leaves a draining one",
        scene("m1 m2", {"g.service": unit(GLOBAL)}, "g.service@m1 g.service@m2", m1=DRAIN),
        ["remove g.service m1"],
    ),
    (
        "... after everything else has left",
        scene("m1", {"g.service": unit(GLOBAL), "a.service": unit()}, "g.service@m1 a.service@m1", m1=DRAIN),
        [],
    ),
    ("... where it fits by metadata", scene("m1", {"g.service": unit(GLOBAL + "MachineMetadata=role=web\n")}), []),
    (
        "... and leaves where it does not any more",
        scene("m1", {"g.service": unit(GLOBAL + "MachineMetadata=role=web\n")}, "g.service@m1"),
        ["remove g.service m1"],
    ),
    ("its record on a lost machine waits for the machine", scene("m2", {"g.service": unit(GLOBAL)}, "g.service@m1 g.service@m2"), []),
    (
        "... unless the unit changes",
        scene("m2", {"g.service": unit(GLOBAL, launch=2)}, "g.service@m1- g.service@m2-"),
        ["remove g.service m1", "update g.service m2"],
    ),
    (
        "a unit that is global no longer keeps one place",
        scene("m1 m2", {"g.service": unit()}, "g.service@m1 g.service@m2"),
        ["remove g.service m2"],
    ),
    (
        "a global oneshot is marked machine by machine",
        scene("m1 m2", {"g.service": unit(JOB + "[X-Fleet]\nGlobal=1\n")}, "g.service@m1 g.service@m2", "g.service@m2=done"),
        ["finished g.service m2"],
    ),
    (
        "a destroyed global unit is removed everywhere",
        scene("m1 m2", {}, "g.service@m1 g.service@m2"),
        ["remove g.service m1", "remove g.service m2"],
    ),
]


@pytest.mark.parametrize(("sentence", "snapshot", "actions"), TABLE, ids=[row[0] for row in TABLE])
def test_decisions(sentence: str, snapshot: Snapshot, actions: list[str]) -> None:
    assert told(snapshot) == actions, sentence


PATIENT: list[tuple[str, Snapshot, list[str]]] = [
    ("what is on a missing machine stays", scene("m2", {"a.service": unit()}, "a.service@m1"), []),
    ("... as it is", scene("m2", {"a.service": unit(NEW, launch=2)}, "a.service@m1-"), []),
    ("... but is told to stop", scene("m2", {"a.service": unit(NEW, LOADED, launch=2)}, "a.service@m1-!"), ["update a.service m1"]),
    ("... unless nobody wants it any more", scene("m2", {"a.service": unit(target=INACTIVE)}, "a.service@m1"), ["remove a.service m1"]),
    ("what is new goes to machines that are there", scene("m2", {"a.service": unit()}), ["place a.service m2"]),
    (
        "a global unit is left as it is on a missing machine",
        scene("m2", {"g.service": unit(GLOBAL, launch=2)}, "g.service@m1- g.service@m2-"),
        ["update g.service m2"],
    ),
]


@pytest.mark.parametrize(("sentence", "snapshot", "actions"), PATIENT, ids=[row[0] for row in PATIENT])
def test_while_missing_machines_may_come_back(sentence: str, snapshot: Snapshot, actions: list[str]) -> None:
    assert told(snapshot, patient=True) == actions, sentence


def without(snapshot: Snapshot, *machines: str) -> Snapshot:
    """The same where nobody reaches these machines; their leases stand."""
    return msgspec.structs.replace(snapshot, unreachable=frozenset(machines))


UNREACHABLE: list[tuple[str, Snapshot, list[str]]] = [
    (
        "what is on it moves, although its lease stands",
        scene("m1 m2", {"a.service": unit()}, "a.service@m1", "a.service@m1=active"),
        ["remove a.service m1", "place a.service m2"],
    ),
    ("with nowhere to go its place stays recorded", scene("m1", {"a.service": unit()}, "a.service@m1"), []),
    ("nothing new goes there", scene("m1 m2", {"a.service": unit(), "b.service": unit()}), ["place a.service m2", "place b.service m2"]),
    ("a unit that must never run twice waits for the end of the lease", scene("m1 m2", {"a.service": unit(ONLY)}, "a.service@m1"), []),
    (
        "... and then moves",
        scene("m2", {"a.service": unit(ONLY)}, "a.service@m1"),
        ["remove a.service m1", "place a.service m2"],
    ),
    (
        "... and is placed nowhere else while a copy may run there that is to stop",
        scene("m1 m2", {"a.service": unit(ONLY)}, "", "a.service@m1=active"),
        [],
    ),
    ("a finished oneshot stays", scene("m1 m2", {"a.service": unit(JOB)}, "a.service@m1+"), []),
    ("a global unit stays", scene("m1 m2", {"g.service": unit(GLOBAL)}, "g.service@m1 g.service@m2"), []),
    (
        "a sidekick goes with its leader",
        scene("m1 m2", {"a.service": unit(), "k.service": unit(beside("a.service"))}, "a.service@m1 k.service@m1"),
        ["remove a.service m1", "place a.service m2", "remove k.service m1", "place k.service m2"],
    ),
]


@pytest.mark.parametrize("patient", [False, True])
@pytest.mark.parametrize(("sentence", "snapshot", "actions"), UNREACHABLE, ids=[row[0] for row in UNREACHABLE])
def test_where_nobody_reaches_m1(sentence: str, snapshot: Snapshot, actions: list[str], patient: bool) -> None:
    assert told(without(snapshot, "m1"), patient=patient) == actions, sentence


REASONS: list[tuple[str, Snapshot, list[str]]] = [
    ("new", scene("m1", {"a.service": unit()}), ["fewest units (0)"]),
    (
        "lost",
        scene("m2", {"a.service": unit()}, "a.service@m1"),
        ["target Machine(m1) went away", "target Machine(m1) went away; fewest units (0)"],
    ),
    ("drain", scene("m1 m2", {"a.service": unit()}, "a.service@m1", m1=DRAIN), ["Machine(m1) is draining; fewest units (0)"]),
    ("text", scene("m1", {"a.service": unit(NEW, launch=2)}, "a.service@m1-"), ["its text changed"]),
    ("launch", scene("m1", {"a.service": unit(launch=2)}, "a.service@m1-"), ["its launch changed"]),
    ("destroyed", scene("m1", {}, "a.service@m1"), ["the unit does not exist"]),
    ("unloaded", scene("m1", {"a.service": unit(target=INACTIVE)}, "a.service@m1"), ["its target state is inactive"]),
    (
        "peer gone",
        scene("m1", {"a.service": unit(beside("z.service"))}, "a.service@m1"),
        ["required peer Unit(z.service) is not scheduled locally (there is no such unit to be placed)"],
    ),
]


@pytest.mark.parametrize(("sentence", "snapshot", "reasons"), REASONS, ids=[row[0] for row in REASONS])
def test_every_action_has_its_reason(sentence: str, snapshot: Snapshot, reasons: list[str]) -> None:
    assert [action.reason for action in plan(snapshot, 9.0)] == reasons, sentence


def test_an_update_keeps_when_and_why_a_unit_was_placed_and_forgets_that_an_older_launch_finished() -> None:
    snapshot = scene("m1", {"j.service": unit(JOB, launch=2)}, "j.service@m1-")
    old = {place: msgspec.structs.replace(one, finished=True) for place, one in snapshot.placements.items()}
    (action,) = plan(msgspec.structs.replace(snapshot, placements=old), 9.0)
    assert isinstance(action, Update)
    assert action.placement == Placement("j.service", "m1", JOB, LAUNCHED, 2, "it was so", 1.0, finished=False)


def test_a_state_of_an_older_text_does_not_finish_a_oneshot() -> None:
    snapshot = scene("m1", {"j.service": unit(JOB)}, "j.service@m1", "j.service@m1=done")
    states = {place: msgspec.structs.replace(state, hash="0" * 40) for place, state in snapshot.states.items()}
    assert plan(msgspec.structs.replace(snapshot, states=states), 9.0) == ()
    states = {place: msgspec.structs.replace(state, launch=0) for place, state in snapshot.states.items()}
    assert plan(msgspec.structs.replace(snapshot, states=states), 9.0) == ()


def test_a_placement_of_an_unknown_kind_stays_as_it_is() -> None:
    snapshot = scene("m1 m2", {}, "a.service@m1", m1=DRAIN)
    other = {place: msgspec.structs.replace(one, kind="dirigible") for place, one in snapshot.placements.items()}
    assert plan(msgspec.structs.replace(snapshot, placements=other), 9.0) == ()


def test_a_placement_carries_the_kind_and_the_body_of_its_workload() -> None:
    (action,) = plan(scene("m1", {"a.service": unit(NEW)}), 9.0)
    assert isinstance(action, Place)
    assert (action.placement.kind, action.placement.unit, action.placement.text) == ("unit", "a.service", NEW)


def test_a_round_decides_no_more_than_it_is_told_to_and_leaves_the_rest_for_the_next() -> None:
    world = world_of(scene("m1 m2", {f"a@{n}.service": unit() for n in range(10)}))
    assert [len(plan_round(world, 9.0, most=4)) for _ in range(4)] == [4, 4, 2, 0]
    assert not world.unsettled()


def test_what_runs_is_decided_before_what_waits() -> None:
    world = world_of(scene("m2", {"a.service": unit(), "z.service": unit()}, "z.service@m1"))
    (_, moved) = plan_round(world, 9.0, most=1)
    assert (moved.unit, moved.machine) == ("z.service", "m2")


def test_actions_that_are_right_only_after_others_are_marked_as_ordered() -> None:
    rival = RUN + "[X-Fleet]\nConflicts=b*\n"
    free = scene("m1", {"a.service": unit(), "r.service": unit(rival)})
    assert [(action.unit, action.ordered) for action in plan(free, 9.0)] == [("a.service", False), ("r.service", False)]
    makes_room = scene("m1", {"r.service": unit(rival, target=INACTIVE), "b.service": unit()}, "r.service@m1")
    assert [(action.unit, action.ordered) for action in plan(makes_room, 9.0)] == [("r.service", True), ("b.service", True)]
    follows = scene("m1", {"a.service": unit(beside("z.service")), "z.service": unit()})
    assert [(action.unit, action.ordered) for action in plan(follows, 9.0)] == [("z.service", True), ("a.service", True)]
