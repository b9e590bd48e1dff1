"""What do 5,000 units cost one systemd and its agent's runtime: loaded, 1,000 of them running, one more started, found again?

Runs inside one full machine of a lab; hosts that cannot boot one measure nothing.
"""

from __future__ import annotations

import time
from typing import Any

from argosy.agent.systemd import SystemdRuntime
from bench.inside import FOLDER, main, run_inside, running

UNITS = 5_000
RUNNING = 1_000
TEXT = "[Unit]\nDescription=One of many\n[Service]\nExecStart=/bin/sleep 1000000\n"


async def run() -> dict[str, Any]:
    return await run_inside("bench.units", 280)


async def measure() -> dict[str, Any]:
    """In a machine with a systemd."""
    runtime = await SystemdRuntime.connect("system", FOLDER)
    names = [f"bench@{number}.service" for number in range(UNITS)]
    figures = {}
    began = time.perf_counter()
    await runtime.load([(name, TEXT) for name in names])
    figures[f"systemd: {UNITS} units loaded"] = since(began)
    began = time.perf_counter()
    await runtime.start([(name, 1) for name in names[:RUNNING]])
    await running(runtime, names[:RUNNING])
    figures[f"systemd: {RUNNING} of {UNITS} units started, all running"] = since(began)
    began = time.perf_counter()
    await runtime.load([("late.service", TEXT)])
    await runtime.start([("late.service", 1)])
    await running(runtime, ["late.service"])
    figures[f"systemd: one more unit beside {UNITS}, loaded, started, running"] = since(began)
    await runtime.close()
    began = time.perf_counter()
    runtime = await SystemdRuntime.connect("system", FOLDER)
    found = await runtime.units()
    assert sum(seen.active == "active" for seen in found.values()) == RUNNING + 1
    figures[f"systemd: {UNITS} units found again by another agent"] = since(began)
    await runtime.close()
    return figures


def since(began: float) -> dict[str, Any]:
    return {"value": time.perf_counter() - began, "unit": "s", "reach": None}


if __name__ == "__main__":
    main(measure)
