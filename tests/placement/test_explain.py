"""`argosy why`: from the store's records to sentences."""

from __future__ import annotations

import msgspec
import pytest

import argosy.placement
from argosy.errors import NotFound
from argosy.model import Machine, Order, Placement, Problem, Target, UnitState, Workload
from argosy.placement import Explanation, Row, why

RUN = "[Service]\nExecStart=/bin/a\n"
JOB = "[Service]\nType=oneshot\nExecStart=/bin/a\n"
ONLY = RUN + "[X-Argosy]\nOnDisconnect=stop\n"
WEB = RUN + "[X-Fleet]\nMachineMetadata=role=web\n"
MACHINES = {"m1": Machine("m1", metadata={"role": "web"}), "m2": Machine("m2")}
DRAIN = {"m1": Order(draining=True)}


def explained(
    text: str = RUN,
    *places: str,
    machines: dict[str, Machine] = MACHINES,
    orders: dict[str, Order] | None = None,
    states: dict[str, str] | None = None,
    target: Target = Target.LAUNCHED,
    finished: bool = False,
) -> Explanation:
    units = {"a.service": Workload("a.service", text, target, 1)}
    placements = {(m, "a.service"): Placement("a.service", m, text, target, 1, "fewest units (0)", finished=finished) for m in places}
    observed = {(m, "a.service"): UnitState("a.service", m, launch=1, active=active) for m, active in (states or {}).items()}
    return why(units, machines, orders or {}, placements, observed, "a.service")


REASONS: list[tuple[str, Explanation, tuple[str, ...], str]] = [
    ("placed", explained(RUN, "m2"), ("m2",), "on m2: fewest units (0)"),
    ("about to be placed", explained(), (), "it fits and is about to be placed by the engine"),
    ("not wanted", explained(target=Target.INACTIVE), (), "nobody asked for it: its target state is inactive (argosy start places it)"),
    ("no machine at all", explained(machines={}), (), "there is no machine"),
    ("all refuse", explained(WEB.replace("web", "x")), (), "no machine fits: all 2 refuse it"),
    ("the only one refuses", explained(WEB, machines={"m2": Machine("m2")}), (), "no machine fits: the only one refuses it"),
    (
        "all report a problem that forbids new units",
        explained(machines={"m1": Machine("m1", problems=(Problem("systemd is away", blocking=True),))}),
        (),
        "no machine fits: the only one refuses it",
    ),
    (
        "a problem that is only shown forbids nothing",
        explained(machines={"m1": Machine("m1", problems=(Problem("slow"),))}),
        (),
        "it fits and is about to be placed by the engine",
    ),
    (
        "the operator took the metadata away",
        explained(WEB, orders={"m1": Order(metadata={"role": None})}),
        (),
        "no machine fits: all 2 refuse it",
    ),
    ("draining, alone", explained(RUN, "m1", orders=DRAIN), ("m1",), "on m1, which drains: no other machine fits, so it stays"),
    ("draining, a oneshot", explained(JOB, "m1", orders=DRAIN), ("m1",), "on m1, which drains: a oneshot is left to end where it is"),
    (
        "moving",
        explained(RUN, "m1", "m2", orders=DRAIN),
        ("m1", "m2"),
        "leaving m1, which drains, as soon as the new copy is active; on m2: fewest units (0) (its agent has not reported it active yet)",
    ),
    ("finished", explained(JOB, "m1", finished=True), ("m1",), "it ran on m1 and has finished"),
    ("lost", explained(RUN, "m9"), ("m9",), "on m9, which is lost; it stays recorded there until another machine fits"),
    ("global", explained(RUN + "[X-Fleet]\nGlobal=1\n", "m1", "m2"), ("m1", "m2"), "on m1: fewest units (0); on m2: fewest units (0)"),
    (
        "waiting for the old copy to stop",
        explained(ONLY, states={"m1": "deactivating"}),
        (),
        "it waits until its old copy on m1 has stopped, because two must never run (OnDisconnect=stop)",
    ),
    (
        "a text that cannot be read",
        explained("[X-Fleet]\nNo=1\n"),
        (),
        'its text cannot be placed: unrecognized requirement in [X-Fleet] section: "No"',
    ),
]


@pytest.mark.parametrize(("sentence", "found", "placed", "reason"), REASONS, ids=[row[0] for row in REASONS])
def test_reasons(sentence: str, found: Explanation, placed: tuple[str, ...], reason: str) -> None:
    assert (found.placed_on, found.reason) == (placed, reason), sentence


def test_every_machine_has_a_row() -> None:
    assert explained(WEB, "m1").rows == (
        Row("m1", "", "it is placed here: fewest units (0)", True),
        Row("m2", "MachineMetadata", "local Machine metadata insufficient: role=web is required, it has no role", False),
    )


def test_conflicts_with_other_units_are_seen_in_their_texts() -> None:
    units = {
        name: Workload(name, text, Target.LAUNCHED, 1)
        for name, text in {"a.service": RUN, "b.service": RUN + "[X-Fleet]\nConflicts=a*\n"}.items()
    }
    placements = {("m1", "b.service"): Placement("b.service", "m1", units["b.service"].body, Target.LAUNCHED, 1)}
    refused = (Row("m1", "Conflicts", "found conflict with locally-scheduled Unit(b.service)", False),)
    assert why(units, {"m1": Machine("m1")}, {}, placements, {}, "a.service").rows == refused
    units["b.service"] = Workload("b.service", RUN, Target.LAUNCHED, 2)
    assert why(units, {"m1": Machine("m1")}, {}, placements, {}, "a.service").rows == refused, "the older text runs until it is replaced"


def test_a_unit_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(NotFound, match=r"unit no\.service does not exist"):
        why({}, MACHINES, {}, {}, {}, "no.service")


def test_it_is_the_room_s_public_function_and_travels_as_json() -> None:
    assert argosy.placement.why is why
    found = explained(WEB, "m1")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found
