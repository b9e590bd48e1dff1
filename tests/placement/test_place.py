"""A machine, or each machine's reason; and that the search costs no more in a large cluster than in a small one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters import FILTERS
from argosy.placement.place import Accepted, Refusal, expulsion, pick, place, why
from argosy.requirements import Requirements
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


# The index against a search that looks at every machine

NAMES = [f"{app}@{number}" for app in ("a", "b") for number in (1, 2, 3)] + ["c", "d"]
GLOBS = ["a@*", "b@[12]", "*", "c", "?", "a@1", "[^a]*"]
MACHINES = ["m1", "m2", "m3", "m4"]
globs = st.lists(st.sampled_from(GLOBS), max_size=2, unique=True).map(tuple)
requirements = st.builds(
    Requirements,
    machine_id=st.sampled_from(["", "", "", "", "m2"]),
    metadata=st.sampled_from([(), (), (("role", ("web",)),), (("role", ("web", "db")),), (("none", ("x",)),)]),
    peers=st.lists(st.sampled_from(NAMES), max_size=1).map(tuple),
    conflicts=globs,
    replaces=st.one_of(st.just(()), st.just(()), globs),
)
steps = st.one_of(
    st.tuples(st.just("job"), st.sampled_from(NAMES), requirements),
    st.tuples(st.just("drop"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("put"), st.sampled_from(NAMES), st.sampled_from(MACHINES)),
    st.tuples(st.just("take"), st.sampled_from(NAMES), st.sampled_from(MACHINES)),
    st.tuples(st.just("place"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("machine"), st.sampled_from(MACHINES), st.sampled_from([{"role": "web"}, {"role": "db"}, {}])),
    st.tuples(st.just("cordon"), st.sampled_from(MACHINES), st.just({"role": "web"})),
    st.tuples(st.just("lose"), st.sampled_from(MACHINES), st.none()),
)


def searched(made: Cluster, job: Job) -> str | None:
    """The answer without any queue: every machine in the strategy's order, every filter."""
    for spot in sorted(made.spots.values(), key=made.strategy):
        if all(not check(made, job, spot) for _, check in FILTERS):
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
    elif kind in ("machine", "cordon"):
        assert isinstance(value, dict)
        made.set_machine(name, value, cordoned=kind == "cordon")
    elif kind == "lose":
        made.lose_machine(name)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=40))
def test_the_queues_find_what_a_search_of_all_machines_finds_after_any_history(history: list[tuple[str, str, object]]) -> None:
    made = cluster("m1 m2 m3")
    for kind, name, value in history:
        step(made, kind, name, value)
        for job in made.jobs.values():
            found = pick(made, job, avoid=made.where.get(job.name, ()))
            assert (found.id if found is not None else None) == searched(made, job)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=40))
def test_the_indexes_after_any_history_are_those_of_a_cluster_made_at_once(history: list[tuple[str, str, object]]) -> None:
    made = cluster("m1 m2 m3")
    for kind, name, value in history:
        step(made, kind, name, value)
    fresh = Cluster()
    for spot in made.spots.values():
        fresh.set_machine(spot.id, spot.metadata, cordoned=spot.cordoned, draining=spot.draining)
    for name, places in made.where.items():
        for machine in places:
            fresh.put(name, machine)
    for job in made.jobs.values():
        fresh.set_job(job)
    assert fresh.where == made.where
    assert fresh.followers == made.followers
    for pattern in GLOBS:
        old, new = made.globs.get(pattern), fresh.globs.get(pattern)
        if old is None or new is None:
            assert old is new
            continue
        for field in ("conflicting", "replacing", "matched", "held", "pushing"):
            assert getattr(old, field) == getattr(new, field), f"{pattern}: {field}"


def test_the_search_for_one_machine_looks_at_few_however_many_there_are() -> None:
    looked: dict[int, int] = {}
    for size in (100, 3000):
        made = cluster(" ".join(f"m{n:04}" for n in range(size)))
        count = 0

        def counted(machine, of=made.strategy):  # type: ignore[no-untyped-def]
            nonlocal count
            count += 1
            return of(machine)

        jobs = [Job(f"app{n // 10}@{n}", wants(conflicts=(f"app{n // 10}@*",))) for n in range(1000)]
        for job in jobs:
            made.set_job(job)
        made.strategy = counted
        pick(made, jobs[0])  # builds the queue
        count = 0
        for job in jobs:
            spot = pick(made, job)
            assert spot is not None
            made.put(job.name, spot.id)
        looked[size] = count
    assert looked[3000] <= looked[100] <= 3 * 1000


def test_a_unit_that_many_machines_refuse_does_not_make_its_kind_search_them_again_and_again() -> None:
    made = cluster(" ".join(f"m{n:04}" for n in range(400)), {f"x@{n}": (ANYWHERE, f"m{n:04}") for n in range(200, 400)})
    jobs = [Job(f"a@{n}", wants(conflicts=("a@*", "b"))) for n in range(400)]
    for job in jobs:
        made.set_job(job)
    refusals = 0
    for job in jobs:
        shape = made.shape(job)
        assert shape is not None
        queue = made.shape_queue(shape)
        before = queue.wasted
        spot = pick(made, job)
        assert spot is not None
        made.put(job.name, spot.id)
        refusals += queue.wasted - before
    assert len({made.where[job.name] for job in jobs}) == 400
    assert refusals < 3 * 400
    made.set_job(Job("a@400", jobs[0].requirements))
    assert pick(made, made.jobs["a@400"]) is None
    made.take("a@7", made.where["a@7"][0])
    assert pick(made, made.jobs["a@400"]) is not None
