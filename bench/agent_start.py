"""How fast does one systemd take 40 units from an agent: loaded, started, running? Against 40 transient services started by systemd-run.

Runs inside one full machine of a lab; hosts that cannot boot one measure nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from typing import Any

from argosy.agent.systemd import SystemdRuntime
from bench.inside import FOLDER, main, run_inside, running

UNITS = 40
ROUNDS = 5
TEXT = "[Unit]\nDescription=One of many\n[Service]\nExecStart=/bin/sleep 1000\n"


async def run() -> dict[str, Any]:
    return await run_inside("bench.agent_start", 120)


async def measure() -> dict[str, Any]:
    """In a machine with a systemd."""
    runtime = await SystemdRuntime.connect("system", FOLDER)
    names = [f"bench@{number}.service" for number in range(UNITS)]
    loads, starts, alls, bare = [], [], [], []
    for number in range(ROUNDS):
        bare.append(transient(number))
        began = time.perf_counter()
        await runtime.load([(name, TEXT) for name in names])
        loads.append(time.perf_counter() - began)
        await runtime.start([(name, 1) for name in names])
        starts.append(time.perf_counter() - began)
        await running(runtime, names)
        alls.append(time.perf_counter() - began)
        await runtime.unload(names)
    await runtime.close()
    return {
        f"systemd: {UNITS} transient services by systemd-run": milliseconds(bare, None),
        f"systemd: {UNITS} units loaded": milliseconds(loads, None),
        f"systemd: {UNITS} units loaded, starts accepted": milliseconds(starts, None),
        f"systemd: {UNITS} units loaded, started, all running": milliseconds(alls, "<= 500"),
    }


def transient(round: int) -> float:
    """Seconds that systemd-run needs for as many services, one process each as people use it, four at a time."""
    began = time.perf_counter()
    command = f"seq {UNITS} | xargs -P 4 -I @ systemd-run --quiet --no-ask-password --unit=bare{round}-@ /bin/sleep 1000"
    subprocess.run(["sh", "-c", command], check=True)
    took = time.perf_counter() - began
    subprocess.run(["systemctl", "stop", f"bare{round}-*.service"], check=True)
    return took


def milliseconds(times: list[float], reach: str | None) -> dict[str, Any]:
    return {"value": 1000 * statistics.median(times), "unit": "ms", "reach": reach}


if __name__ == "__main__":
    main(measure)
