"""What do 5,000 units cost one systemd and its agent's runtime: loaded, 1,000 of them running, one more started, found again?

Runs inside one full machine of a lab; hosts that cannot boot one measure nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from argosy.agent.runtime import Runtime
from argosy.agent.systemd import SystemdRuntime
from argosy.lab import host
from argosy.lab.lab import Lab

UNITS = 5_000
RUNNING = 1_000
TEXT = "[Unit]\nDescription=One of many\n[Service]\nExecStart=/bin/sleep 1000000\n"
ROOT = Path(__file__).parent.parent
FOLDER = Path("/run/argosy-bench/units")
INSIDE = "inside"


async def run() -> dict[str, Any]:
    if obstacles := await host.obstacles():
        print(f"systemd: no full machine can be booted here: {'; '.join(obstacles)}")
        return {}
    lab = Lab("bench-units")
    await lab.up(1, entry="")
    try:
        done = await lab.exec("m1", ["sh", "-c", f"cd {ROOT} && exec {sys.executable} -m bench.units {INSIDE}"], timeout=280)
    finally:
        await lab.down()
    if done.code:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


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


async def running(runtime: Runtime, names: list[str]) -> None:
    waiting = set(names)
    async for changed in runtime.changes():
        waiting -= {name for name, seen in (await runtime.units(changed & waiting)).items() if seen.active == "active"}
        if not waiting:
            return


def since(began: float) -> dict[str, Any]:
    return {"value": time.perf_counter() - began, "unit": "s", "reach": None}


if __name__ == "__main__":
    if sys.argv[1:] == [INSIDE]:
        print(json.dumps(asyncio.run(measure())))
