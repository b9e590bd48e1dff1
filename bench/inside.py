"""Benchmarks that run inside one full machine of a lab, with a systemd of its own; hosts that cannot boot one measure nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from argosy.agent.runtime import Runtime
from argosy.lab import host
from argosy.lab.lab import Lab

ROOT = Path(__file__).parent.parent
FOLDER = Path("/run/argosy-bench/units")
INSIDE = "inside"


async def run_inside(module: str, timeout: float) -> dict[str, Any]:
    """Return the figures that `python -m MODULE inside` prints in a new machine. Raises RuntimeError with what it says if it fails."""
    if obstacles := await host.obstacles():
        print(f"systemd: no full machine can be booted here: {'; '.join(obstacles)}")
        return {}
    lab = Lab(module.replace(".", "-").replace("_", "-"))
    await lab.up(1, entry="")
    try:
        done = await lab.exec("m1", ["sh", "-c", f"cd {ROOT} && exec {sys.executable} -m {module} {INSIDE}"], timeout=timeout)
    finally:
        await lab.down()
    if done.code:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def running(runtime: Runtime, names: Collection[str]) -> None:
    """Wait until all of these units are active."""
    waiting = set(names)
    async for changed in runtime.changes():
        waiting -= {name for name, seen in (await runtime.units(changed & waiting)).items() if seen.active == "active"}
        if not waiting:
            return


def main(measure: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    """In the machine: measure and print."""

    async def measured() -> dict[str, Any]:
        return await measure()

    if sys.argv[1:] == [INSIDE]:
        print(json.dumps(asyncio.run(measured())))
