"""How many placements a second does the planner decide, and does one cost more in a larger cluster, or in a fuller one?

The engine's own path: workloads in a `World`, `plan_round` until nothing is left, in seconds of one core (CPU time of this process, so that
other work on the machine does not count). Two mixes:

- units: of ten, four ask for nothing, three are spread over machines by their conflicts, two want metadata and one follows another;
- reserving: all reserve memory; of ten, four publish a port, three are spread by their conflicts and reserve CPUs, two have constraints and
  one follows another. At the end half of all memory is reserved, two thirds where the constraints lead. They are a kind of their own, since
  no unit says constraints.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import msgspec

from argosy.engine.plan import plan_round
from argosy.engine.world import World
from argosy.model import Facts, Job, Machine, Target, Workload
from argosy.placement.jobs import Reading
from argosy.placement.workloads import KINDS, Kind
from argosy.requirements import Expression, Port, Requirements

SIZES = ((100_000, 1_000), (1_000_000, 5_000))
PARTS = 10
RUN = "[Service]\nExecStart=/usr/bin/app --instance %i\n"
SPREAD = RUN + "[X-Fleet]\nConflicts=%p@*.service\n"
WEB = RUN + "[X-Fleet]\nMachineMetadata=role=web\n"
BESIDE = RUN + "[X-Fleet]\nMachineOf=plain-{}@0.service\n"

MIB = 2**20
SSD = (Expression("storage", "ssd"), Expression("rack", "/7$/", negated=True))


def units_of_app(app: int) -> Iterable[Workload]:
    texts = [
        *[(f"plain-{app}@{n}.service", RUN) for n in range(8)],
        *[(f"spread-{app}@{n}.service", SPREAD) for n in range(6)],
        *[(f"web-{app}@{n}.service", WEB) for n in range(4)],
        *[(f"side-{app}@{n}.service", BESIDE.format(app)) for n in range(2)],
    ]
    return [Workload(name, text, Target.LAUNCHED, 1) for name, text in texts]


def reserving_of_app(app: int) -> Iterable[Workload]:
    """The name begins with the app, so that the planner meets the kinds of workloads evenly."""
    port = 1024 + app % 60_000
    wanted = [
        *[(f"app-{app:06}-port@{n}", Requirements(ports=(Port(port, port),), memory=64 * MIB)) for n in range(8)],
        *[(f"app-{app:06}-run@{n}", Requirements(conflicts=(f"app-{app:06}-run@*",), memory=128 * MIB, cpus=0.05)) for n in range(6)],
        *[(f"app-{app:06}-ssd@{n}", Requirements(constraints=SSD, memory=256 * MIB)) for n in range(4)],
        *[(f"app-{app:06}-with@{n}", Requirements(peers=(f"app-{app:06}-port@0",), memory=64 * MIB)) for n in range(2)],
    ]
    return [Workload(name, msgspec.json.encode(asked).decode(), Target.LAUNCHED, 1, "bench") for name, asked in wanted]


def _read(name: str, body: str) -> Reading:
    return Reading(Job(name, msgspec.json.decode(body, type=Requirements)))


def measure(of_app: Callable[[int], Iterable[Workload]], count: int, machines: int) -> tuple[float, float, float, float]:
    """(placements a second, microseconds for one, microseconds to take one workload in, cost in the last tenth / in the first)."""
    KINDS["bench"] = Kind("bench", KINDS["unit"].records, lambda record: record, _read, lambda body: "")
    world = World()
    facts = Facts(cores=16, memory=48 * 1024 * MIB)
    for number in range(machines):
        name = f"{number:032x}"
        metadata = {"role": "web" if number % 3 == 0 else "db", "rack": str(number % 40), "storage": "ssd" if number % 2 else "disk"}
        world.set_machine(name, Machine(name, metadata=metadata, facts=facts))
    wanted = [workload for app in range(count // 20) for workload in of_app(app)]
    started = time.process_time()
    for workload in wanted:
        world.set_workload(workload.name, workload)
    taken = time.process_time() - started
    placed = 0
    parts: list[tuple[int, float]] = [(0, time.process_time())]
    while world.unsettled():
        placed += len(plan_round(world, 0.0))
        if placed >= len(parts) * len(wanted) // PARTS:
            parts.append((placed, time.process_time()))
    if parts[-1][0] < placed:
        parts.append((placed, time.process_time()))
    least = 0.999 if of_app is reserving_of_app else 1.0  # a few follow another onto a machine that is full by then
    assert least * len(wanted) <= placed <= len(wanted)
    costs = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairwise(parts)]
    took = parts[-1][1] - parts[0][1]
    return placed / took, took / placed * 1e6, taken / placed * 1e6, costs[-1] / costs[0]


MIXES = (("units", units_of_app, ">= 20,000"), ("reserving", reserving_of_app, ">= 15,000"))


def run() -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    for mix, of_app, reach in MIXES:
        costs = []
        for count, machines in SIZES:
            rate, cost, taken, drift = measure(of_app, count, machines)
            gc.collect()
            costs.append(cost)
            name = f"planner, {count:,} {mix} on {machines:,} machines"
            figures[name] = {"value": rate, "unit": "placements/s", "reach": reach}
            figures[f"{name}: cost of one"] = {"value": cost, "unit": "µs", "reach": "flat"}
            figures[f"{name}: taking one in"] = {"value": taken, "unit": "µs", "reach": None}
            if of_app is reserving_of_app:
                figures[f"{name}: last tenth / first"] = {"value": drift, "unit": "times", "reach": "flat (<= 1.2)"}
        figures[f"planner, cost of one of {mix} at the larger size / at the smaller"] = {
            "value": costs[1] / costs[0],
            "unit": "times",
            "reach": "flat (~1)",
        }
    return figures


if __name__ == "__main__":
    for what, figure in run().items():
        print(f"{what:<80} {figure['value']:>12,.2f} {figure['unit']:<13} {figure['reach'] or ''}")
