"""How many machines count as lost although nothing is wrong but the load? Three full machines with 50 units each, and a load average of 8.

Eight processes that never rest compete with the machines for the host's processors for ten minutes (ARGOSY_BENCH_SECONDS: another
number). What the agents' journals then say about lost leases, unreachable machines and new leaders is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from argosy.lab import host
from argosy.lab.asker import Asker
from argosy.lab.lab import Lab
from argosy.reconcile import SystemClock
from bench.cluster import LEASE, SLEEPER, figure

CLOCK = SystemClock()
NAME = "bench"
SECONDS = float(os.environ.get("ARGOSY_BENCH_SECONDS", "600"))
HOGS = 8
UNITS = 150

EVENTS = {
    "false losses": re.compile(r"machine \w+ unreachable: reported|the lease of machine \w+ has ended|target Machine\(\w+\) went away"),
    "  reports of silent machines": re.compile(r"does not answer: reporting it"),
    "  changes of the engine's leader": re.compile(r"engine: no longer leading|engine: leader on machine"),
    "  keep-alives that came late": re.compile(r"cannot keep its lease alive:|cannot keep the leader's lease"),
}


@contextlib.asynccontextmanager
async def hogs(count: int) -> AsyncIterator[None]:
    """Processes that never rest."""
    running = [await asyncio.create_subprocess_exec("sh", "-c", "while :; do :; done") for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
        await asyncio.gather(*(process.wait() for process in running))


async def loads(seconds: float) -> float:
    """The mean of the one-minute load average over the second half of the time."""
    seen = []
    end = CLOCK.monotonic() + seconds
    while (left := end - CLOCK.monotonic()) > 0:
        if left < seconds / 2:
            seen.append((await asyncio.to_thread(os.getloadavg))[0])
        await CLOCK.sleep(min(5.0, left))
    return sum(seen) / max(1, len(seen))


async def journals(lab: Lab, since: float) -> Counter[str]:
    """How often each of EVENTS is in the agents' journals since then (Unix time)."""
    counted: Counter[str] = Counter()
    for machine in (await lab.record()).machines:
        found = await lab.exec(machine.name, ["journalctl", "-u", "argosy", f"--since=@{since:.0f}", "-o", "cat", "--no-pager"])
        for line in found.stdout.splitlines():
            for event, pattern in EVENTS.items():
                if pattern.search(line):
                    counted[event] += 1
                    print(f"{machine.name}: {line}", file=sys.stderr)
    return counted


async def run() -> dict[str, Any]:
    if lacking := await host.obstacles():
        print(f"false_losses: {'; '.join(lacking)}; left out")
        return {}
    lab = Lab(NAME)
    record = await lab.up(3, ttl=LEASE, entry="")
    try:
        async with Asker(record, "m1") as asker:
            names = [f"idle@{number}.service" for number in range(UNITS)]
            await asker.wish(names, "launched", SLEEPER)
            await asker.until_running(names)
            since = CLOCK.now()
            async with hogs(HOGS):
                load = await loads(SECONDS)
            counted = await journals(lab, since)
    finally:
        await lab.down()
    name = f"false losses in {SECONDS / 60:.3g} minutes at a load average of {load:.0f}"
    figures = {name: figure(counted["false losses"], "losses", "0")}
    return figures | {event: figure(counted[event], "times", "") for event in EVENTS if event.startswith(" ")}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
