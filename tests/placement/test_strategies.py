"""The order of machines, and how a strategy says why."""

from __future__ import annotations

from collections import Counter

import pytest

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.place import Accepted, pick, place
from argosy.placement.spot import Traits
from argosy.placement.strategies import STRATEGIES
from tests.placement.scenes import wants


def sized(strategy: str, *there: tuple[str, int, float]) -> Cluster:
    """Machines of 100 bytes and 10 cores, m1 to m3; `there` are units: the machine, and what each reserves."""
    made = Cluster(STRATEGIES[strategy])
    for machine in ("m1", "m2", "m3"):
        made.set_machine(machine, Traits(memory=100, cores=10))
    for number, (machine, memory, cpus) in enumerate(there):
        made.set_job(Job(f"u{number}", wants(memory=memory, cpus=cpus)))
        made.put(f"u{number}", machine)
    return made


CHOICES = [
    (
        "spread: the fewest units, whatever they reserve",
        "spread",
        [("m1", 1, 0.0), ("m1", 1, 0.0), ("m2", 90, 0.0)],
        0,
        "m3",
        "fewest units (0)",
    ),
    (
        "binpack: the fullest machine",
        "binpack",
        [("m1", 1, 0.0), ("m2", 50, 2.0)],
        10,
        "m2",
        "fullest (50 % of memory and 20 % of CPUs reserved, 1 units)",
    ),
    (
        "binpack: the fullest on which it fits",
        "binpack",
        [("m1", 20, 0.0), ("m2", 95, 0.0)],
        10,
        "m1",
        "fullest (20 % of memory and 0 % of CPUs reserved, 1 units)",
    ),
    (
        "binpack: the most units, where as much is reserved",
        "binpack",
        [("m3", 0, 0.0)],
        0,
        "m3",
        "fullest (0 % of memory and 0 % of CPUs reserved, 1 units)",
    ),
    ("binpack: the lowest id on a tie", "binpack", [], 0, "m1", "fullest (0 % of memory and 0 % of CPUs reserved, 0 units)"),
]


@pytest.mark.parametrize(("sentence", "strategy", "there", "memory", "machine", "reason"), CHOICES)
def test_a_workload_goes_to(
    sentence: str, strategy: str, there: list[tuple[str, int, float]], memory: int, machine: str, reason: str
) -> None:
    made = sized(strategy, *there)
    made.set_job(Job("a", wants(memory=memory)))
    assert place(made, made.jobs["a"]) == Accepted(machine, reason), sentence


def test_binpack_fills_one_machine_after_the_other() -> None:
    made = sized("binpack")
    for number in range(9):
        made.set_job(Job(f"a{number}", wants(memory=30)))
        spot = pick(made, made.jobs[f"a{number}"])
        assert spot is not None
        made.put(f"a{number}", spot.id)
    assert [made.where[f"a{number}"] for number in range(9)] == [("m1",)] * 3 + [("m2",)] * 3 + [("m3",)] * 3


def test_random_uses_all_machines_and_finds_the_same_one_again() -> None:
    made = Cluster(STRATEGIES["random"])
    for number in range(10):
        made.set_machine(f"m{number}", Traits())
    picked = {name: pick(made, Job(name, wants())) for name in (f"a{number}" for number in range(1000))}
    found = Counter(spot.id for spot in picked.values() if spot is not None)
    assert len(found) == 10
    assert all(50 < count < 150 for count in found.values())
    assert all(pick(made, Job(name, wants())) is spot for name, spot in picked.items())


def test_random_finds_the_only_machine_that_fits() -> None:
    made = Cluster(STRATEGIES["random"])
    for number in range(1000):
        made.set_machine(f"m{number:04}", Traits(metadata={"role": "web"} if number == 700 else {}))
    wanted = Job("a", wants(metadata=(("role", ("web",)),)))
    assert place(made, wanted) == Accepted("m0700", "drawn at random of the machines with role=web")
