"""How fast is a cluster of three machines: from a start to a process, from 120 starts to 120 processes, from a dead machine to an answer?

Runs on a lab of its own: full machines where the host can boot them, process machines otherwise (the figures' names say which).
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from argosy.lab.asker import Asker
from argosy.lab.lab import Lab
from argosy.lab.leaders import ROLES, arrange
from argosy.lab.load import Load
from argosy.lab.state import LabRecord
from argosy.reconcile import SystemClock

CLOCK = SystemClock()
NAME = "bench"
SLEEPER = "[Service]\nExecStart=/bin/sleep 1000000\n"
STARTS = 30
MACHINES = ("m1", "m2", "m3")
IDLE = 60.0
"""Seconds over which an idle agent is measured."""

BURST = 120
ROUNDS = 10
"""Power cuts, in turn of machines that led neither etcd nor the engine, either and both."""

RATE = 200
LEASE = 5.0
HERE = Path(__file__).parent.parent / "examples" / "hello"


@asynccontextmanager
async def lab_up() -> AsyncIterator[tuple[Lab, LabRecord, float]]:
    lab = Lab(NAME)
    begun = CLOCK.monotonic()
    record = await lab.up(3, ttl=LEASE, entry=None)
    took = CLOCK.monotonic() - begun
    try:
        yield lab, record, took
    finally:
        await lab.down()


async def single_starts(asker: Asker) -> float:
    """Median seconds from the request to the process running on whichever machine it went to, as told by that machine's state."""
    times = []
    for number in range(STARTS):
        name = f"one-{number}.service"
        begun = CLOCK.monotonic()
        await asker.wish([name], "launched", SLEEPER)
        times.append(await asker.until_running([name]) - begun)
    return statistics.median(times)


async def burst(asker: Asker) -> float:
    names = [f"many@{number}.service" for number in range(BURST)]
    begun = CLOCK.monotonic()
    await asker.wish(names, "launched", SLEEPER)
    return await asker.until_running(names) - begun


async def install_hello(lab: Lab, record: LabRecord) -> dict[str, str]:
    """The example's unit texts, fit for this lab."""
    texts = {path.name: path.read_text() for path in HERE.glob("*.service")}
    if record.kind != "nspawn":
        return {name: text.replace("/srv/hello/", f"{HERE}/") for name, text in texts.items()}
    for machine in record.machines:
        await lab.exec(machine.name, ["install", "-D", str(HERE / "hello.py"), "/srv/hello/hello.py"])
    return texts


async def start_hello(asker: Asker, texts: Mapping[str, str]) -> None:
    for template, text in texts.items():
        names = [template.replace("@", f"@{instance}") for instance in (1, 2)]
        await asker.wish(names, "launched", text)
    await asker.until_running([template.replace("@", f"@{instance}") for template in texts for instance in (1, 2)])
    while True:
        routers = (await asker.ask("GET", "/routes"))["routers"]
        if len(routers) == 3 and all(len(router.get("upstreams", [])) == 2 for router in routers):
            return
        await CLOCK.sleep(0.1)


async def machines_lost(
    lab: Lab, record: LabRecord, askers: Mapping[str, Asker], rounds: int = ROUNDS
) -> tuple[dict[str, list[float]], int, int]:
    """(seconds from each power cut until the replacement answered, by what the lost machine led; failed requests, all requests)."""
    texts = await install_hello(lab, record)
    took: dict[str, list[float]] = {role: [] for role in ROLES}
    failed = asked = 0
    for number in range(rounds):
        role = ROLES[number % len(ROLES)] if record.members else "neither"
        await start_hello(askers["m1"], texts)
        victim = (await askers["m1"].home("hello@1.service"))[0]
        other = next(asker for name, asker in askers.items() if name != victim)
        if record.members:
            await arrange(lab, other, victim, role)
            await start_hello(other, texts)
        seconds, bad, sent = await machine_lost(lab, record, victim)
        took[role].append(seconds)
        failed, asked = failed + bad, asked + sent
        sys.stderr.write(f"machine lost that led {role}: {seconds:.2f} s until the replacement answered, {bad} of {sent} requests failed\n")
        await lab.start(victim)
        await lab.wait_ready()
        await other.destroy_all()
        if record.kind == "nspawn":
            await lab.exec(victim, ["install", "-D", str(HERE / "hello.py"), "/srv/hello/hello.py"])
    return took, failed, asked


async def machine_lost(lab: Lab, record: LabRecord, victim: str) -> tuple[float, int, int]:
    """(seconds from the power cut until the replacement answered, failed requests, all requests)."""
    load = Load(f"http://{record.entry}/", "hello.example", RATE, CLOCK)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        await CLOCK.sleep(3.0)
        before = {answer.text for answer in load.answers if answer.good and "instance 1" in answer.text}
        begun = CLOCK.monotonic()
        await lab.kill(victim)
        took = await replaced(load, before, begun)
        await CLOCK.sleep(2.0)
        load.stop()
    for answer in load.failed():
        sys.stderr.write(
            f"failed: sent {answer.due - begun:.2f} s after the power cut, {answer.took:.2f} s: {answer.status} {answer.text[:80]!r}\n"
        )
    return took, len(load.failed()), len(load.answers)


async def replaced(load: Load, before: set[str], begun: float) -> float:
    while CLOCK.monotonic() < begun + 60:
        for answer in load.answers[-400:]:
            if answer.good and "instance 1" in answer.text and answer.text not in before and answer.due > begun:
                return answer.due + answer.took - begun
        await CLOCK.sleep(0.02)
    raise RuntimeError("instance 1 never answered again")


async def idle(lab: Lab, asker: Asker) -> tuple[float, float]:
    """(proportional memory in MB, percent of a core) of the agent that needs most, each with its 50 units, idle for IDLE seconds."""
    await asker.wish([f"idle@{number}.service" for number in range(150)], "launched", SLEEPER)
    await asker.until_running([f"idle@{number}.service" for number in range(150)])
    await CLOCK.sleep(5.0)
    before = [await agent_usage(lab, name) for name in MACHINES]
    await CLOCK.sleep(IDLE)
    after = [await agent_usage(lab, name) for name in MACHINES]
    used = max(late[1] - early[1] for early, late in zip(before, after, strict=True))
    return max(memory for memory, _ in after) / 1e6, used / IDLE * 100


async def agent_usage(lab: Lab, name: str) -> tuple[float, float]:
    """(bytes of proportional memory, seconds of processor time so far) of that machine's agent."""
    script = "p=$(pgrep -o -f '[a]rgosy agent') && grep ^Pss: /proc/$p/smaps_rollup && cut -d' ' -f14,15 /proc/$p/stat && getconf CLK_TCK"
    found = await lab.exec(name, ["sh", "-c", script])
    memory, ticks, hertz = found.stdout.strip().splitlines()
    return float(memory.split()[1]) * 1024, sum(map(int, ticks.split())) / int(hertz)


def worst(took: Mapping[str, list[float]]) -> tuple[float, str]:
    """(the longest of all times in seconds, each role's times in words)."""
    every = [seconds for times in took.values() for seconds in times]
    told = "; ".join(f"{role}: {', '.join(f'{seconds:.1f}' for seconds in times)}" for role, times in took.items() if times)
    return max(every), told


def figure(value: float, unit: str, reach: str) -> dict[str, Any]:
    return {"value": round(value, 4), "unit": unit, "reach": reach}


async def run() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    async with lab_up() as (lab, record, took):
        kind = record.kind
        figures[f"lab up, three {kind} machines"] = figure(took, "s", "≤ 10")
        async with Asker(record, "m1") as m1, Asker(record, "m2") as m2, Asker(record, "m3") as m3:
            askers = {"m1": m1, "m2": m2, "m3": m3}
            figures["start of one unit until its process runs, median"] = figure(await single_starts(m1) * 1000, "ms", "≤ 150")
            await m1.destroy_all()
            bursts = []
            for _ in range(3):
                bursts.append(await burst(m1))
                await m1.destroy_all()
            figures[f"{BURST} instances started at once until all run, median"] = figure(statistics.median(bursts), "s", "≤ 1.5")
            memory, percent = await idle(lab, m1)
            figures["an agent with 50 units, idle: proportional memory"] = figure(memory, "MB", "≤ 50")
            figures["an agent with 50 units, idle: processor"] = figure(percent, "% of a core", "≤ 1")
            await m1.destroy_all()
            times, failed, asked = await machines_lost(lab, record, askers)
            slowest, told = worst(times)
            figures[f"power cut until the replacement answers, worst of {ROUNDS}"] = figure(slowest, "s", "≤ 5")
            figures[f"  by what the lost machine led: {told}"] = figure(slowest, "s", "")
            figures[f"requests failed then, of {asked} at {RATE}/s"] = figure(failed, "requests", f"≤ {5 * ROUNDS}")
    return figures


if __name__ == "__main__":
    for name, found in asyncio.run(run()).items():
        sys.stdout.write(f"{name}: {found['value']} {found['unit']} (reach {found['reach']})\n")
