"""A machine, or each machine's reason; and that the search costs no more in a large cluster than in a small one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters import FILTERS
from argosy.placement.filters.base import Depends, Filter
from argosy.placement.place import Accepted, Refusal, expulsion, pick, place, why, without_soft
from argosy.placement.spot import NANO, Spot, Traits
from argosy.placement.strategies import STRATEGIES
from argosy.requirements import Expression, Port, Requirements
from tests.placement.scenes import cluster, wants

ANYWHERE = wants()
WEB = {"role": "web"}

PLACES: list[tuple[str, Cluster, Requirements, str, str]] = [
    ("the machine with the fewest units", cluster("m1 m2", {"x": (ANYWHERE, "m1")}), ANYWHERE, "m2", "fewest units (0)"),
    ("the lowest id on a tie", cluster("m3 m2 m1"), ANYWHERE, "m1", "fewest units (0)"),
    ("not a cordoned one, however empty", cluster("m1! m2", {"x": (ANYWHERE, "m2")}), ANYWHERE, "m2", "fewest units (1)"),
    (
        "the fewest units among those with the metadata",
        cluster({"m1": {}, "m2": WEB, "m3": WEB}, {"x": (ANYWHERE, "m2")}),
        wants(metadata=(("role", ("web", "api")),)),
        "m3",
        "fewest units (0) of the machines with role=web or api",
    ),
    ("the machine that MachineID names", cluster("m1 m2"), wants(machine_id="m2"), "m2", "MachineID=m2"),
    (
        "beside the leader, however full its machine is",
        cluster("m1 m2", {"x": (ANYWHERE, "m2"), "app": (ANYWHERE, "m2")}),
        wants(peers=("app",)),
        "m2",
        "beside app (MachineOf)",
    ),
    (
        "past machines with a conflict",
        cluster(
            "m1 m2 m3", {"a@1": (wants(conflicts=("a@*",)), "m1"), "x": (ANYWHERE, "m2"), "y": (ANYWHERE, "m3"), "z": (ANYWHERE, "m3")}
        ),
        wants(conflicts=("a@*",)),
        "m2",
        "fewest units (1)",
    ),
    (
        "onto the machine whose unit it replaces",
        cluster("m1 m2", {"old": (ANYWHERE, "m1"), "x": (ANYWHERE, "m2"), "y": (ANYWHERE, "m2")}),
        wants(replaces=("old",)),
        "m1",
        "fewest units (1)",
    ),
]


@pytest.mark.parametrize(("sentence", "made", "wanted", "machine", "reason"), PLACES)
def test_a_unit_goes_to(sentence: str, made: Cluster, wanted: Requirements, machine: str, reason: str) -> None:
    made.set_job(Job("a@9", wanted))
    assert place(made, Job("a@9", wanted)) == Accepted(machine, reason), sentence


NOWHERE: list[tuple[str, Cluster, Requirements, list[tuple[str, str]]]] = [
    ("there is no machine", Cluster(), ANYWHERE, []),
    ("metadata nobody has", cluster("m1 m2"), wants(metadata=(("a", ("b",)),)), [("m1", "MachineMetadata"), ("m2", "MachineMetadata")]),
    ("every machine for its own reason", cluster("m1! m2~"), ANYWHERE, [("m1", "ready"), ("m2", "ready")]),
    ("a leader that is placed nowhere", cluster("m1", {"app": (ANYWHERE, "")}), wants(peers=("app",)), [("m1", "MachineOf")]),
    (
        "two leaders on two machines",
        cluster("m1 m2", {"app": (ANYWHERE, "m1"), "db": (ANYWHERE, "m2")}),
        wants(peers=("app", "db")),
        [("m1", "MachineOf"), ("m2", "MachineOf")],
    ),
    ("a conflict everywhere", cluster("m1", {"x": (wants(conflicts=("*",)), "m1")}), ANYWHERE, [("m1", "Conflicts")]),
    ("a machine that is not there", cluster("m1"), wants(machine_id="m7"), [("m1", "MachineID")]),
    (
        "the only machine holds a unit that replaces it",
        cluster("m1", {"new": (wants(replaces=("a*",)), "m1")}),
        ANYWHERE,
        [("m1", "Replaces")],
    ),
]


@pytest.mark.parametrize(("sentence", "made", "wanted", "refusals"), NOWHERE)
def test_a_unit_goes_nowhere_and_every_machine_says_why(
    sentence: str, made: Cluster, wanted: Requirements, refusals: list[tuple[str, str]]
) -> None:
    made.set_job(Job("a@9", wanted))
    answer = place(made, Job("a@9", wanted))
    assert isinstance(answer, tuple), sentence
    assert [(refusal.machine, refusal.filter) for refusal in answer] == refusals, sentence
    assert all(refusal.reason for refusal in answer)


def test_why_says_where_a_placed_unit_is_and_what_refuses_it_elsewhere() -> None:
    made = cluster({"m1": {}, "m2": WEB, "m3": WEB}, {"a": (wants(metadata=(("role", ("web",)),)), "m2")})
    found = why(made, made.jobs["a"])
    assert [answer.machine for answer in found] == ["m1", "m2", "m3"]
    assert isinstance(found[0], Refusal)
    assert found[1:] == (
        Accepted("m2", "it is placed here"),
        Accepted("m3", "it fits: fewest units (0) of the machines with role=web"),
    )


def test_why_says_which_of_the_fitting_machines_comes_first() -> None:
    made = cluster("m1 m2", {"x": (ANYWHERE, "m1")})
    made.set_job(Job("a", ANYWHERE))
    assert why(made, made.jobs["a"]) == (
        Accepted("m1", "it fits, but m2 comes first: fewest units (0)"),
        Accepted("m2", "it fits: fewest units (0)"),
    )


def test_a_placed_unit_is_not_expelled_by_orders_but_by_filters() -> None:
    made = cluster("m1~", {"a": (ANYWHERE, "m1")})
    assert expulsion(made, made.jobs["a"], made.spots["m1"]) is None
    assert why(made, made.jobs["a"]) == (Accepted("m1", "it is placed here; the machine is draining"),)
    made.set_job(Job("a", wants(machine_id="m2")))
    found = expulsion(made, made.jobs["a"], made.spots["m1"])
    assert found is not None
    assert found.filter == "MachineID"


def test_a_global_unit_fits_on_every_machine() -> None:
    made = cluster("m1 m2", {"x": (ANYWHERE, "m1")})
    made.set_job(Job("g", wants(everywhere=True)))
    assert [answer.reason for answer in why(made, made.jobs["g"])] == ["it fits: a global unit runs on every machine that fits"] * 2


# The pipeline against a search that looks at every machine

NAMES = [f"{app}@{number}" for app in ("a", "b") for number in (1, 2, 3)] + ["c", "d"]
GLOBS = ["a@*", "b@[12]", "*", "c", "?", "a@1", "[^a]*"]
MACHINES = ["m1", "m2", "m3", "m4"]
globs = st.lists(st.sampled_from(GLOBS), max_size=2, unique=True).map(tuple)
constraints = st.lists(
    st.builds(
        Expression, st.sampled_from(["role", "node", "none"]), st.sampled_from(["web", "w*", "/m[13]/", "m2"]), st.booleans(), st.booleans()
    ),
    max_size=2,
).map(tuple)
affinities = st.lists(
    st.builds(Expression, st.sampled_from(["container", "image"]), st.sampled_from(["a@*", "/[bc]/", "d"]), st.booleans(), st.booleans()),
    max_size=2,
).map(tuple)
ports = st.lists(st.sampled_from([Port(80, 80), Port(80, 80, address="127.0.0.1"), Port(70, 90), Port(80, 80, "udp")]), max_size=2).map(
    tuple
)
requirements = st.builds(
    Requirements,
    machine_id=st.sampled_from(["", "", "", "", "m2"]),
    metadata=st.sampled_from([(), (), (("role", ("web",)),), (("role", ("web", "db")),), (("none", ("x",)),)]),
    peers=st.lists(st.sampled_from(NAMES), max_size=1).map(tuple),
    conflicts=st.one_of(st.just(()), globs),
    replaces=st.one_of(st.just(()), st.just(()), globs),
    ports=st.one_of(st.just(()), ports),
    memory=st.sampled_from([0, 0, 1, 2]),
    cpus=st.sampled_from([0.0, 0.0, 0.1, 0.2, 1.5]),
    constraints=st.one_of(st.just(()), constraints),
    affinities=st.one_of(st.just(()), affinities),
    datasets=st.lists(st.sampled_from(["data"]), max_size=1).map(tuple),
)
traits = st.builds(
    Traits,
    metadata=st.sampled_from([{"role": "web"}, {"role": "db"}, {}]),
    cordoned=st.sampled_from([False, False, True]),
    memory=st.sampled_from([0, 2, 5]),
    cores=st.sampled_from([0, 1, 2]),
)
steps = st.one_of(
    st.tuples(st.just("job"), st.sampled_from(NAMES), requirements),
    st.tuples(st.just("drop"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("put"), st.sampled_from(NAMES), st.sampled_from(MACHINES)),
    st.tuples(st.just("take"), st.sampled_from(NAMES), st.sampled_from(MACHINES)),
    st.tuples(st.just("place"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("machine"), st.sampled_from(MACHINES), traits),
    st.tuples(st.just("lose"), st.sampled_from(MACHINES), st.none()),
)
histories = st.lists(steps, max_size=40)
strategies = st.sampled_from(sorted(STRATEGIES))


def _odd(made: Cluster, job: Job, spot: Spot) -> bool:
    return (len(job.name) + int(spot.id[1:])) % 2 == 1


def _has_c(made: Cluster, job: Job, spot: Spot) -> bool:
    return "c" in spot.units and job.name != "c"


def _lacks_d(made: Cluster, job: Job, spot: Spot) -> bool:
    return "d" not in spot.units


def _word(made: Cluster, job: Job, spot: Spot) -> str:
    return "because"


EXTRA = [
    Filter("one that declares nothing", _odd, _word),
    Filter("one that looks at the units there and declares nothing", _has_c, _word),
    Filter("one that lets pass what has a certain unit and declares nothing", _lacks_d, _word),
    Filter("one of the machine", _odd, _word, depends=Depends.MACHINE, question=lambda made, job: len(job.name)),
    Filter("one of the occupants", _has_c, _word, depends=Depends.OCCUPANTS, question=lambda made, job: job.name != "c"),
    Filter("one with candidates", _lacks_d, _word, candidates=lambda made, job: made.where.get("d", ())),
]


def searched(made: Cluster, job: Job, avoid: Collection[str], filters: Sequence[Filter]) -> str | None:
    """The answer without any queue: every machine in the strategy's order, every filter; soft expressions all or none."""
    for wish in (job, without_soft(job)):
        for spot in sorted(made.spots.values(), key=made.strategy.order(job.name, made.ring)):
            if spot.id not in avoid and not any(one.refuses(made, wish, spot) for one in filters):
                return spot.id
    return None


def step(made: Cluster, kind: str, name: str, value: object) -> None:
    if kind == "job":
        assert isinstance(value, Requirements)
        made.set_job(Job(name, value))
    elif kind == "drop":
        made.drop_job(name)
    elif kind == "put":
        made.put(name, str(value))
    elif kind == "take":
        made.take(name, str(value))
    elif kind == "place" and name in made.jobs:
        spot = pick(made, made.jobs[name])
        if spot is not None:
            made.put(name, spot.id)
            fits = made.jobs[name].requirements
            assert not fits.memory or spot.memory_reserved <= spot.memory
            assert not fits.cpus or spot.cpus_reserved <= spot.cpus
    elif kind == "machine":
        assert isinstance(value, Traits)
        made.set_machine(name, value)
    elif kind == "lose":
        made.lose_machine(name)


@settings(max_examples=200, deadline=None)
@given(histories, strategies, st.one_of(st.none(), st.tuples(st.sampled_from(EXTRA), st.integers(0, len(FILTERS)))))
def test_pick_finds_what_a_search_of_all_machines_finds_after_any_history_whatever_filter_is_added(
    history: list[tuple[str, str, object]], strategy: str, extra: tuple[Filter, int] | None
) -> None:
    filters = list(FILTERS)
    if extra is not None:
        filters.insert(extra[1], extra[0])
    made = Cluster(STRATEGIES[strategy])
    for machine in MACHINES[:3]:
        made.set_machine(machine, Traits(memory=3, cores=1))
    for kind, name, value in history:
        step(made, kind, name, value)
        for job in made.jobs.values():
            for avoid in ((), made.where.get(job.name, ())):
                found = pick(made, job, avoid, filters)
                assert (found.id if found is not None else None) == searched(made, job, avoid, filters)


@settings(max_examples=150, deadline=None)
@given(histories)
def test_the_indexes_after_any_history_are_those_of_a_cluster_made_at_once(history: list[tuple[str, str, object]]) -> None:
    made = cluster("m1 m2 m3")
    for kind, name, value in history:
        step(made, kind, name, value)
    fresh = Cluster()
    for spot in made.spots.values():
        fresh.set_machine(spot.id, spot.traits)
    for name, places in made.where.items():
        for machine in places:
            fresh.put(name, machine)
    for job in made.jobs.values():
        fresh.set_job(job)
    assert fresh.where == made.where
    assert fresh.followers == made.followers
    assert fresh.ring == made.ring == sorted(made.spots)
    assert sorted(fresh.holders("data", "")) == sorted(made.holders("data", ""))
    for machine, spot in made.spots.items():
        for field in ("units", "memory_reserved", "cpus_reserved", "ports"):
            assert getattr(spot, field) == getattr(fresh.spots[machine], field), f"{machine}: {field}"
    for patterns, rebuilt in ((made.globs, fresh.globs), (made.affinities, fresh.affinities)):
        for pattern in (*GLOBS, "a@*", "/[bc]/", "d"):
            old, new = patterns.get(pattern), rebuilt.get(pattern)
            if old is None or new is None:
                assert old is new
                continue
            for field in ("conflicting", "replacing", "matched", "held", "pushing"):
                assert getattr(old, field) == getattr(new, field), f"{pattern}: {field}"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(requirements, st.booleans()), max_size=30), strategies)
def test_no_placement_takes_a_machine_beyond_its_capacity_or_publishes_a_port_twice(
    wanted: list[tuple[Requirements, bool]], strategy: str
) -> None:
    made = Cluster(STRATEGIES[strategy])
    for number, machine in enumerate(MACHINES):
        made.set_machine(machine, Traits(memory=number, cores=number))
    for number, (asked, leaves) in enumerate(wanted):
        name = f"{'abcd'[number % 4]}@{number}"
        made.set_job(Job(name, asked))
        spot = pick(made, made.jobs[name])
        if spot is not None:
            made.put(name, spot.id)
            if leaves:
                made.take(name, spot.id)
        for each in made.spots.values():
            there = [made.jobs[unit].requirements for unit in each.units]
            assert sum(one.memory for one in there) == each.memory_reserved <= each.memory
            assert sum(round(one.cpus * NANO) for one in there) == each.cpus_reserved <= each.cpus
            published = [(unit, port) for unit in each.units for port in made.jobs[unit].requirements.ports]
            assert not any(unit != other and port.clashes(used) for unit, port in published for other, used in published)


class Counting:
    """Counts how many machines are looked at, and refuses none."""

    def __init__(self) -> None:
        self.asked = 0

    def refuses(self, made: Cluster, job: Job, spot: Spot) -> bool:
        self.asked += 1
        return False


def test_the_search_for_one_machine_looks_at_few_however_many_there_are() -> None:
    looked: dict[int, int] = {}
    for size in (100, 3000):
        made = cluster(" ".join(f"m{n:04}" for n in range(size)))
        jobs = [Job(f"app{n // 10}@{n}", wants(conflicts=(f"app{n // 10}@*",), ports=(Port(n // 10, n // 10),))) for n in range(1000)]
        for job in jobs:
            made.set_job(job)
        counting = Counting()
        filters = (*FILTERS, Filter("counting", counting.refuses, _word))
        for job in jobs:
            spot = pick(made, job, (), filters)
            assert spot is not None
            made.put(job.name, spot.id)
        looked[size] = counting.asked
    assert looked[3000] <= looked[100] <= 3 * 1000


def test_a_unit_that_many_machines_refuse_does_not_make_its_kind_search_them_again_and_again() -> None:
    made = cluster(" ".join(f"m{n:04}" for n in range(400)), {f"x@{n}": (ANYWHERE, f"m{n:04}") for n in range(200, 400)})
    jobs = [Job(f"a@{n}", wants(conflicts=("a@*", "b"))) for n in range(400)]
    for job in jobs:
        made.set_job(job)
    counting = Counting()
    filters = (Filter("counting", counting.refuses, _word), *FILTERS)
    for job in jobs:
        spot = pick(made, job, (), filters)
        assert spot is not None
        made.put(job.name, spot.id)
    assert len({made.where[job.name] for job in jobs}) == 400
    assert counting.asked < 4 * 400
    made.set_job(Job("a@400", jobs[0].requirements))
    assert pick(made, made.jobs["a@400"]) is None
    made.take("a@7", made.where["a@7"][0])
    assert pick(made, made.jobs["a@400"]) is not None
