"""What does the supervisor cost: 40 units started at once against 40 bare processes in the same run, and its memory and work when idle?"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from argosy.agent.supervise.cut import cut
from argosy.agent.supervise.protocol import LOCK
from argosy.agent.supervisor import SupervisorRuntime
from argosy.locks import holder
from argosy.reconcile import SystemClock

UNITS = 40
ROUNDS = 5
IDLE_SECONDS = 5.0
TEXT = "[Service]\nExecStart=/bin/sleep 1000\n"


async def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as scratch:
        folder = Path(scratch) / "run"
        try:
            return await _measure(folder)
        finally:
            await asyncio.to_thread(cut, folder)


async def _measure(folder: Path) -> dict[str, Any]:
    runtime = await SupervisorRuntime.connect(folder, SystemClock())
    names = [f"unit{number}.service" for number in range(UNITS)]
    await runtime.load([(name, TEXT) for name in names])
    bare, accepted, running = [], [], []
    for _ in range(ROUNDS):
        bare.append(_bare())
        began = time.perf_counter()
        await runtime.start([(name, 1) for name in names])
        accepted.append(time.perf_counter() - began)
        await _until(runtime, names, "active")
        running.append(time.perf_counter() - began)
        await runtime.stop(names)
        await _until(runtime, names, "inactive")
    await runtime.start([(name, 1) for name in names])
    await _until(runtime, names, "active")
    supervisor, pump = holder(folder / LOCK), holder(folder / "logs" / "pump.lock")
    assert supervisor is not None
    assert pump is not None
    before = _cpu(supervisor) + _cpu(pump)
    await asyncio.sleep(IDLE_SECONDS)
    busy = (_cpu(supervisor) + _cpu(pump) - before) / IDLE_SECONDS
    return {
        "supervisor: 40 bare processes": {"value": 1000 * min(bare), "unit": "ms", "reach": None},
        "supervisor: start of 40 units accepted": {"value": 1000 * min(accepted), "unit": "ms", "reach": None},
        "supervisor: start of 40 units, all running": {"value": 1000 * min(running), "unit": "ms", "reach": "<= 500"},
        "supervisor: resident memory with 40 units": {"value": _memory(supervisor, "Rss"), "unit": "MB", "reach": "<= 25"},
        "supervisor and its log pump: proportional memory": {
            "value": _memory(supervisor, "Pss") + _memory(pump, "Pss"),
            "unit": "MB",
            "reach": None,
        },
        "supervisor and its log pump: idle": {"value": 100 * busy, "unit": "% of a core", "reach": "<= 0.1"},
    }


def _bare() -> float:
    began = time.perf_counter()
    children = [subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True) for _ in range(UNITS)]
    took = time.perf_counter() - began
    for child in children:
        child.kill()
        child.wait()
    return took


async def _until(runtime: SupervisorRuntime, names: list[str], active: str) -> None:
    while True:
        units = await runtime.units()
        if all(units[name].active == active for name in names):
            return
        await asyncio.sleep(0.002)


def _cpu(pid: int) -> float:
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(fields[0]) / 1e9


def _memory(pid: int, kind: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{kind}:"))
