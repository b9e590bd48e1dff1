"""Each filter, alone: what it lets pass, and its words for what it refuses."""

from __future__ import annotations

import pytest

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters import (
    FILTERS,
    conflicts,
    machine_id,
    machine_metadata,
    machine_of,
    only_one,
    ready,
    replaces,
)
from argosy.placement.filters.base import Filter
from argosy.placement.place import STAYING
from argosy.requirements import Requirements
from tests.placement.scenes import cluster, wants

ANYWHERE = wants()
LONG = "85c0c595" + "0" * 24


def on(made: Cluster, machine: str, one: Filter, name: str, wanted: Requirements) -> str:
    """Why the filter refuses the machine, "" if it does not."""
    made.set_job(Job(name, wanted))
    job, spot = Job(name, wanted), made.spots[machine]
    return one.reason(made, job, spot) if one.refuses(made, job, spot) else ""


READY = [
    ("a machine that is alive takes units", "m1", ""),
    ("a cordoned machine takes nothing new", "m1!", "the machine is cordoned"),
    ("a draining machine takes nothing new", "m1~", "the machine is draining"),
    ("a machine that reports a problem which forbids it takes nothing new", "m1*", "the machine takes no new units: systemd is away"),
    ("a lost machine takes nothing", "m1?", "the machine is lost: its agent has not been heard of for longer than its lease"),
]


@pytest.mark.parametrize(("sentence", "machine", "reason"), READY)
def test_ready(sentence: str, machine: str, reason: str) -> None:
    made = cluster(machine, {"there.service": (ANYWHERE, "m1")})
    assert on(made, "m1", ready.FILTER, "a.service", ANYWHERE) == reason, sentence


MACHINE_ID = [
    ("no MachineID is no wish", "", ""),
    ("the full id", LONG, ""),
    ("the short id: its first eight characters", "85c0c595", ""),
    ("seven characters are not the short id", "85c0c59", f'agent ID "{LONG}" does not match required "85c0c59"'),
    ("another machine", "85c0c596", f'agent ID "{LONG}" does not match required "85c0c596"'),
]


@pytest.mark.parametrize(("sentence", "wanted", "reason"), MACHINE_ID)
def test_machine_id(sentence: str, wanted: str, reason: str) -> None:
    assert on(cluster(LONG), LONG, machine_id.FILTER, "a.service", wants(machine_id=wanted)) == reason, sentence


METADATA = [
    ("no metadata wanted", (), ""),
    ("a pair that the machine has", (("role", ("web",)),), ""),
    ("one of several values of a key is enough", (("role", ("db", "web")),), ""),
    ("every key must match", (("role", ("web",)), ("zone", ("b",))), "zone=b is required, it has zone=a"),
    ("a key that the machine lacks", (("disk", ("ssd", "nvme")),), "disk=ssd or nvme is required, it has no disk"),
]


@pytest.mark.parametrize(("sentence", "wanted", "reason"), METADATA)
def test_machine_metadata(sentence: str, wanted: tuple[tuple[str, tuple[str, ...]], ...], reason: str) -> None:
    made = cluster({"m1": {"role": "web", "zone": "a"}})
    answer = on(made, "m1", machine_metadata.FILTER, "a.service", wants(metadata=wanted))
    assert answer == (f"local Machine metadata insufficient: {reason}" if reason else ""), sentence


PEERS = [
    ("no peers", (), ""),
    ("the peer is here", ("app.service",), ""),
    ("several peers that are all here", ("app.service", "db.service"), ""),
    ("the peer is elsewhere", ("far.service",), "required peer Unit(far.service) is not scheduled locally (it is on m2)"),
    (
        "one of several is elsewhere",
        ("app.service", "far.service"),
        "required peer Unit(far.service) is not scheduled locally (it is on m2)",
    ),
    (
        "the peer is placed nowhere yet",
        ("wait.service",),
        "required peer Unit(wait.service) is not scheduled locally (it is placed nowhere)",
    ),
    ("no such peer", ("no.service",), "required peer Unit(no.service) is not scheduled locally (there is no such unit to be placed)"),
    ("names are exact, not globs", ("app*",), "required peer Unit(app*) is not scheduled locally (there is no such unit to be placed)"),
]


@pytest.mark.parametrize(("sentence", "peers", "reason"), PEERS)
def test_machine_of(sentence: str, peers: tuple[str, ...], reason: str) -> None:
    made = cluster(
        "m1 m2",
        {
            "app.service": (ANYWHERE, "m1"),
            "db.service": (ANYWHERE, "m1"),
            "far.service": (ANYWHERE, "m2"),
            "wait.service": (ANYWHERE, ""),
        },
    )
    assert on(made, "m1", machine_of.FILTER, "side.service", wants(peers=peers)) == reason, sentence


CONFLICTS = [
    ("nobody refuses anybody", "b.service", (), (), False),
    ("I refuse what is here, by name", "b.service", ("b.service",), (), True),
    ("I refuse what is here, by a glob", "b@1.service", ("b@*.service",), (), True),
    ("what is here refuses me", "b.service", (), ("a.*",), True),
    ("my glob matches another name", "b.service", ("c*",), (), False),
    ("a class and a question mark", "b@7.service", ("b@[5-9].servic?",), (), True),
    ("a class that does not match", "b@4.service", ("b@[5-9].service",), (), False),
    ("a glob that matches my own name only: a unit never conflicts with itself", "b.service", ("a*",), (), False),
    ("everything", "b.service", ("*",), (), True),
    ("several globs, the last one matches", "b.service", ("x*", "y*", "b*"), (), True),
]


@pytest.mark.parametrize(("sentence", "there", "mine", "theirs", "refused"), CONFLICTS)
def test_conflicts(sentence: str, there: str, mine: tuple[str, ...], theirs: tuple[str, ...], refused: bool) -> None:
    made = cluster("m1 m2", {there: (wants(conflicts=theirs), "m1")})
    reason = f"found conflict with locally-scheduled Unit({there})" if refused else ""
    wanted = wants(conflicts=mine)
    assert on(made, "m1", conflicts.FILTER, "a.service", wanted) == reason, sentence
    assert on(made, "m2", conflicts.FILTER, "a.service", wanted) == "", "another machine is free of it"


def test_a_unit_that_conflicts_with_all_of_its_kind_does_not_conflict_with_itself_where_it_is() -> None:
    made = cluster("m1", {"a@1.service": (wants(conflicts=("a@*",)), "m1")})
    job = made.jobs["a@1.service"]
    assert not conflicts.FILTER.refuses(made, job, made.spots["m1"])
    made.set_job(Job("a@2.service", wants(conflicts=("a@*",))))
    made.put("a@2.service", "m1")
    assert on(made, "m1", conflicts.FILTER, job.name, job.requirements) == "found conflict with locally-scheduled Unit(a@2.service)"


def test_a_machine_holds_no_second_copy() -> None:
    made = cluster("m1 m2", {"a.service": (ANYWHERE, "m1")})
    assert on(made, "m1", only_one.FILTER, "a.service", ANYWHERE) == "it is placed here already"
    assert on(made, "m2", only_one.FILTER, "a.service", ANYWHERE) == ""


REPLACES = [
    ("nobody replaces anybody", (), (), False),
    ("what is here replaces me: I have to go", (), ("a*",), True),
    ("I replace what is here: that is no reason against me", ("b*",), (), False),
    ("we replace each other: that is ignored", ("b*",), ("a*",), False),
]


@pytest.mark.parametrize(("sentence", "mine", "theirs", "refused"), REPLACES)
def test_replaces(sentence: str, mine: tuple[str, ...], theirs: tuple[str, ...], refused: bool) -> None:
    made = cluster("m1", {"b.service": (wants(replaces=theirs), "m1")})
    reason = "found replace with locally-scheduled Unit(b.service)" if refused else ""
    assert on(made, "m1", replaces.FILTER, "a.service", wants(replaces=mine)) == reason, sentence


def test_filters_are_asked_in_fleet_s_order_and_only_some_for_what_is_placed() -> None:
    assert [one.name for one in FILTERS] == [
        *("ready", "MachineID", "MachineMetadata", "Constraints", "MachineOf", "Affinities", "AntiAffinities", "Datasets"),
        *("Conflicts", "Global", "Replaces", "Ports", "Memory", "CPUs"),
    ]
    assert [one.name for one in STAYING] == ["MachineID", "MachineMetadata", "MachineOf", "Conflicts", "Replaces", "Ports"]
