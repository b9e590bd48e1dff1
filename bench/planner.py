"""How many placements a second does the planner decide, and does one cost more in a larger cluster?

The engine's own path: units in a `World`, `plan_round` until nothing is left, in seconds of one core (CPU time of this process, so that
other work on the machine does not count). Of ten units, four ask for nothing, three are
spread over machines by their conflicts, two want metadata and one follows another.
"""

from __future__ import annotations

import gc
import time
from typing import Any

from argosy.engine.plan import plan_round
from argosy.engine.world import World
from argosy.model import Machine, Target, Unit
from argosy.placement.workloads import unit_workload

SIZES = ((100_000, 1_000), (1_000_000, 5_000))
RUN = "[Service]\nExecStart=/usr/bin/app --instance %i\n"
SPREAD = RUN + "[X-Fleet]\nConflicts=%p@*.service\n"
WEB = RUN + "[X-Fleet]\nMachineMetadata=role=web\n"
BESIDE = RUN + "[X-Fleet]\nMachineOf=plain-{}@0.service\n"


def units_of_app(app: int) -> list[tuple[str, str]]:
    return [
        *[(f"plain-{app}@{n}.service", RUN) for n in range(8)],
        *[(f"spread-{app}@{n}.service", SPREAD) for n in range(6)],
        *[(f"web-{app}@{n}.service", WEB) for n in range(4)],
        *[(f"side-{app}@{n}.service", BESIDE.format(app)) for n in range(2)],
    ]


def measure(units: int, machines: int) -> tuple[float, float, float]:
    """(placements a second, microseconds for one, microseconds to take one unit in)."""
    world = World()
    for number in range(machines):
        name = f"{number:032x}"
        world.set_machine(name, Machine(name, metadata={"role": "web" if number % 3 == 0 else "db", "rack": str(number % 40)}))
    wanted = [Unit(name, text, Target.LAUNCHED, 1) for app in range(units // 20) for name, text in units_of_app(app)]
    started = time.process_time()
    for unit in wanted:
        world.set_workload(unit.name, unit_workload(unit))
    taken = time.process_time() - started
    placed = 0
    started = time.process_time()
    while world.unsettled():
        placed += len(plan_round(world, 0.0))
    took = time.process_time() - started
    assert placed == len(wanted)
    return placed / took, took / placed * 1e6, taken / placed * 1e6


def run() -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    costs = []
    for units, machines in SIZES:
        rate, cost, taken = measure(units, machines)
        gc.collect()
        costs.append(cost)
        name = f"planner, {units:,} units on {machines:,} machines"
        figures[name] = {"value": rate, "unit": "placements/s", "reach": ">= 20,000"}
        figures[f"{name}: cost of one"] = {"value": cost, "unit": "µs", "reach": "flat"}
        figures[f"{name}: taking one in"] = {"value": taken, "unit": "µs", "reach": None}
    figures["planner, cost of one at the larger size / at the smaller"] = {
        "value": costs[1] / costs[0],
        "unit": "times",
        "reach": "flat (~1)",
    }
    return figures


if __name__ == "__main__":
    for what, figure in run().items():
        print(f"{what:<70} {figure['value']:>12,.2f} {figure['unit']:<13} {figure['reach'] or ''}")
