"""Each filter, alone: what it lets pass, and its words for what it refuses."""

from __future__ import annotations

import pytest

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.expressions import parse_expression
from argosy.placement.filters import (
    FILTERS,
    affinities,
    anti_affinities,
    conflicts,
    constraints,
    cpus,
    datasets,
    machine_id,
    machine_metadata,
    machine_of,
    memory,
    only_one,
    ports,
    ready,
    replaces,
)
from argosy.placement.filters.base import Filter
from argosy.placement.place import STAYING
from argosy.placement.spot import Traits
from argosy.requirements import Port, Requirements
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


PORT = Port(8080, 8080)
PORTS = [
    ("no ports are published", (), ""),
    ("another port", (Port(81, 81),), ""),
    ("another protocol", (Port(80, 80, "udp"),), ""),
    ("the same port", (Port(80, 80),), "port 80/tcp is published here by Unit(web.service)"),
    (
        "the same port on one address, where the other has all",
        (Port(80, 80, address="::1"),),
        "port [::1]:80/tcp is published here by Unit(web.service)",
    ),
    ("the same port on another address", (Port(90, 90, address="10.0.0.2"),), ""),
    (
        "the same port on the same address",
        (Port(90, 90, address="10.0.0.1"),),
        "port 10.0.0.1:90/tcp is published here by Unit(web.service)",
    ),
    ("a range that holds a port", (Port(70, 85),), "port 70-85/tcp is published here by Unit(web.service)"),
    ("a port in a range", (Port(1005, 1005),), "port 1005/tcp is published here by Unit(web.service)"),
    ("two ranges that meet", (Port(1010, 1020),), "port 1010-1020/tcp is published here by Unit(web.service)"),
    ("two ranges that do not", (Port(1011, 1020),), ""),
    ("the second of two ports", (Port(81, 81), Port(80, 80)), "port 80/tcp is published here by Unit(web.service)"),
]


@pytest.mark.parametrize(("sentence", "mine", "reason"), PORTS)
def test_ports(sentence: str, mine: tuple[Port, ...], reason: str) -> None:
    published = (Port(80, 80), Port(90, 90, address="10.0.0.1"), Port(1000, 1010))
    made = cluster("m1 m2", {"web.service": (wants(ports=published), "m1")})
    assert on(made, "m1", ports.FILTER, "a.service", wants(ports=mine)) == reason, sentence
    assert on(made, "m2", ports.FILTER, "a.service", wants(ports=mine)) == "", "another machine is free"
    assert on(made, "m1", ports.FILTER, "web.service", wants(ports=published)) == "", "its own ports do not count against it"


def sized(memory: int, cores: int, *units: Requirements) -> Cluster:
    made = Cluster()
    made.set_machine("m1", Traits(memory=memory, cores=cores))
    for number, wanted in enumerate(units):
        made.set_job(Job(f"u{number}", wanted))
        made.put(f"u{number}", "m1")
    return made


GIB = 2**30
MEMORY = [
    ("a workload that reserves nothing", 0, [], ""),
    ("as much as there is", 4 * GIB, [], ""),
    ("more than there is", 5 * GIB, [], "5,120 MiB of memory are required, 4,096 MiB of 4,096 MiB are not reserved"),
    ("as much as is left", 1 * GIB, [1 * GIB, 2 * GIB], ""),
    ("more than is left", 2 * GIB, [1 * GIB, 2 * GIB], "2,048 MiB of memory are required, 1,024 MiB of 4,096 MiB are not reserved"),
    ("nothing, where too much is reserved already", 0, [9 * GIB], ""),
    ("something, where too much is reserved already", 1, [9 * GIB], "0 MiB of memory are required, 0 MiB of 4,096 MiB are not reserved"),
]


@pytest.mark.parametrize(("sentence", "wanted", "there", "reason"), MEMORY)
def test_memory(sentence: str, wanted: int, there: list[int], reason: str) -> None:
    made = sized(4 * GIB, 0, *[wants(memory=size) for size in there])
    assert on(made, "m1", memory.FILTER, "a.service", wants(memory=wanted)) == reason, sentence


CPUS = [
    ("a workload that reserves nothing", 0.0, [], ""),
    ("as many as there are", 2.0, [], ""),
    ("more than there are", 2.5, [], "2.5 CPUs are required, 2 of 2 are not reserved"),
    ("tenths add up exactly", 0.1, [0.1] * 19, ""),
    ("one tenth too many", 0.1, [0.1] * 20, "0.1 CPUs are required, 0 of 2 are not reserved"),
]


@pytest.mark.parametrize(("sentence", "wanted", "there", "reason"), CPUS)
def test_cpus(sentence: str, wanted: float, there: list[float], reason: str) -> None:
    made = sized(0, 2, *[wants(cpus=number) for number in there])
    assert on(made, "m1", cpus.FILTER, "a.service", wants(cpus=wanted)) == reason, sentence


def test_what_leaves_gives_back_what_it_reserved() -> None:
    made = sized(4 * GIB, 2, wants(memory=3 * GIB, cpus=2.0, ports=(PORT,)))
    wanted = wants(memory=2 * GIB, cpus=0.5, ports=(PORT,))
    filters = (ports.FILTER, memory.FILTER, cpus.FILTER)
    assert all(on(made, "m1", one, "a.service", wanted) for one in filters)
    made.take("u0", "m1")
    assert not any(on(made, "m1", one, "a.service", wanted) for one in filters)


CONSTRAINTS = [
    ("no constraint", [], ""),
    ("metadata that match", ["storage==ssd", "rack==r*", "rack==/[0-9]$/"], ""),
    ("metadata that do not", ["storage==disk"], "constraint storage==disk is not met: the machine has storage=ssd"),
    ("one of several", ["storage==ssd", "rack!=r1"], "constraint rack!=r1 is not met: the machine has rack=r1"),
    ("metadata that it lacks", ["gpu==yes"], "constraint gpu==yes is not met: the machine has no gpu"),
    ("what it lacks is not equal", ["gpu!=yes"], ""),
    ("the machine's name", ["node==alpha"], ""),
    ("its short id", ["node==85c0c595"], ""),
    ("its id", [f"node=={LONG}"], ""),
    ("another machine", ["node==beta"], "constraint node==beta is not met: the machine is alpha"),
    ("not this one", ["node!=alpha"], "constraint node!=alpha is not met: the machine is alpha"),
    ("facts", ["operatingsystem==/(?i)DEBIAN/", "kernelversion==6.*", "ostype==linux"], ""),
    ("facts are not overridden by metadata", ["ostype==beos"], "constraint ostype==beos is not met: the machine has ostype=linux"),
    ("case counts", ["storage==SSD"], "constraint storage==SSD is not met: the machine has storage=ssd"),
]


@pytest.mark.parametrize(("sentence", "texts", "reason"), CONSTRAINTS)
def test_constraints(sentence: str, texts: list[str], reason: str) -> None:
    made = Cluster()
    metadata = {"storage": "ssd", "rack": "r1", "ostype": "beos"}
    made.set_machine(LONG, Traits("alpha", metadata, kernel="6.1.0", os="Debian GNU/Linux 12"))
    wanted = wants(constraints=tuple(map(parse_expression, texts)))
    assert on(made, LONG, constraints.FILTER, "a.service", wanted) == reason, sentence


AFFINITIES = [
    ("no affinity", [], ""),
    ("beside a workload, by name", ["container==web@1.service"], ""),
    ("by a glob", ["unit==web@*"], ""),
    ("by a regular expression", ["container==/^web@[12]/"], ""),
    ("which is elsewhere", ["container==db.service"], "affinity container==db.service is not met: nothing that matches is placed here"),
    ("away from what is elsewhere", ["container!=db.service"], ""),
    ("away from what is here", ["container!=web*"], "affinity container!=web* is not met: something that matches is placed here"),
    ("a key that no workload has", ["image==nginx"], "affinity image==nginx is not met: nothing that matches is placed here"),
    ("a key that no workload has, negated", ["image!=nginx"], ""),
]


@pytest.mark.parametrize(("sentence", "texts", "reason"), AFFINITIES)
def test_affinities(sentence: str, texts: list[str], reason: str) -> None:
    made = cluster("m1 m2", {"web@1.service": (ANYWHERE, "m1"), "db.service": (ANYWHERE, "m2")})
    wanted = wants(affinities=tuple(map(parse_expression, texts)))
    found = [on(made, "m1", one, "a.service", wanted) for one in (affinities.FILTER, anti_affinities.FILTER)]
    assert "".join(found) == reason, sentence


DATASETS = [
    ("no dataset", (), "m1", ""),
    ("a dataset that nobody uses", ("new",), "m1", ""),
    ("a dataset that is in use here", ("data",), "m1", ""),
    ("a dataset that is in use elsewhere", ("new", "data"), "m2", "dataset data is in use on m1"),
]


@pytest.mark.parametrize(("sentence", "wanted", "machine", "reason"), DATASETS)
def test_datasets(sentence: str, wanted: tuple[str, ...], machine: str, reason: str) -> None:
    made = cluster("m1 m2", {"db.service": (wants(datasets=("data",)), "m1")})
    assert on(made, machine, datasets.FILTER, "a.service", wants(datasets=wanted)) == reason, sentence
    assert on(made, "m2", datasets.FILTER, "db.service", wants(datasets=("data",))) == "", "what it holds itself does not count against it"
