"""What do requests notice when containers are updated one after the other, and when a machine with containers dies?

Four full machines with a Docker Engine each, the fleet starter on them (images built here, a registry and a router on every machine), four
instances of its app, and 200 requests a second through the entry. Needs root and Docker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

from examples.operator_side import ARGOSY, INSIDE, STARTER, Operator, has_azurite, operator, provision, shared_folder

from argosy.errors import RuntimeFailed
from argosy.lab import dockerd, host
from argosy.lab.asker import Asker
from argosy.lab.etc import has_docker
from argosy.lab.lab import Lab
from argosy.lab.leaders import ROLES, arrange
from argosy.lab.load import Load
from argosy.reconcile import SystemClock
from bench.cluster import LEASE, RATE, ROUNDS, figure, worst

CLOCK = SystemClock()
NAME = "bench"
MACHINES = 4
HOST = "example-app.example"
APP, SIDEKICK = "example-app@{}.service", "example-app-discovery@{}.service"
PATIENCE = 120.0


@contextlib.asynccontextmanager
async def starter_up() -> AsyncIterator[tuple[Operator, Asker]]:
    """The fleet starter with an instance of the app on every machine, all routed to."""
    lab = Lab(NAME)
    folder = shared_folder(lab)
    binds = [] if has_azurite() else [f"{folder}:{INSIDE}"]
    if binds:
        folder.mkdir(parents=True, exist_ok=True)
    record = await lab.up(MACHINES, ttl=LEASE, settings={"router.enabled": "no"}, binds=binds)
    try:
        async with operator(lab) as made, Asker(record, "m1") as asker:
            async for line in made.build():
                print(line, file=sys.stderr)
            await provision(made)
            await start(asker, "registry/registry.service", ["registry.service"])
            await start(asker, "router/router.service", ["router.service"])
            numbers = range(1, MACHINES + 1)
            await start(asker, "example-app/example-app@.service", [APP.format(number) for number in numbers])
            await start(asker, "example-app/example-app-discovery@.service", [SIDEKICK.format(number) for number in numbers])
            yield made, asker
    finally:
        await lab.down()
        if folder.exists():
            folder.rmdir()


async def start(asker: Asker, path: str, names: list[str]) -> None:
    await asker.wish(names, "launched", (STARTER / path).read_text())
    await asker.until_running(names, patience=PATIENCE)


@contextlib.asynccontextmanager
async def loaded(entry: str, instances: Iterable[int] = range(1, MACHINES + 1)) -> AsyncIterator[Load]:
    """200 requests a second, once these instances answer."""
    load = Load(f"http://{entry}/", HOST, RATE, CLOCK)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        try:
            await until_answered(load, 0.0, *(f"instance {number}" for number in instances))
            load.answers.clear()
            await CLOCK.sleep(2.0)
            yield load
        finally:
            load.stop()


async def until_answered(load: Load, since: float, *patterns: str) -> float:
    """When the last of these first answered (monotonic seconds)."""
    seen: dict[str, float] = {}
    end = CLOCK.monotonic() + PATIENCE
    while len(seen) < len(patterns):
        for answer in load.answers[-4 * RATE :]:
            for pattern in patterns:
                if answer.good and answer.due >= since and pattern not in seen and re.search(pattern, answer.text):
                    seen[pattern] = answer.due + answer.took
        if CLOCK.monotonic() > end:
            raise RuntimeError(f"no answers with {set(patterns) - set(seen)}; the last: {load.answers[-1:]}")
        await CLOCK.sleep(0.02)
    return max(seen.values())


async def rolling(made: Operator, load: Load) -> tuple[float, int, int]:
    """(seconds that a rolling restart onto a new image took, failed requests, all requests)."""
    async for line in made.build("--version", "2", "example-app"):
        print(line, file=sys.stderr)
    begun = CLOCK.monotonic()
    words = ("restart", "--rolling", *(APP.format(number) for number in range(1, MACHINES + 1)))
    process = await asyncio.create_subprocess_exec(ARGOSY, *words, env={**os.environ, "ARGOSY_LAB": NAME}, stdout=sys.stderr)
    if await process.wait():
        raise RuntimeError(f"argosy {' '.join(words)} ended with status {process.returncode}")
    took = CLOCK.monotonic() - begun
    await until_answered(load, begun, *(f"instance {number} .*version 2" for number in range(1, MACHINES + 1)))
    await CLOCK.sleep(2.0)
    return took, len(load.failed(begun)), sum(answer.due >= begun for answer in load.answers)


async def machines_lost(made: Operator, asker: Asker, rounds: int = ROUNDS) -> tuple[dict[str, list[float]], int, int]:
    """(seconds from each power cut until the replacement answered, by what the lost machine led; failed requests, all requests)."""
    took: dict[str, list[float]] = {role: [] for role in ROLES}
    failed = asked = 0
    for number in range(rounds):
        role = ROLES[number % len(ROLES)]
        await steer(asker)
        victim, _ = await asker.home(APP.format(1))
        await arrange(made.lab, asker, victim, role)
        async with loaded(made.record.entry, (1, 2)) as load:
            seconds, bad, sent = await machine_lost(made, victim, load)
        took[role].append(seconds)
        failed, asked = failed + bad, asked + sent
        print(f"machine lost that led {role}: {seconds:.2f} s until the replacement answered, {bad} of {sent} failed", file=sys.stderr)
        await made.lab.start(victim)
        await made.lab.wait_ready()
    return took, failed, asked


async def steer(asker: Asker) -> None:
    """Two instances, on the members of etcd that this file does not ask (m1 is asked); there is room for them elsewhere."""
    for number in range(1, MACHINES + 1):
        with contextlib.suppress(RuntimeFailed):
            await asker.ask("DELETE", f"/units/{SIDEKICK.format(number)}")
    await CLOCK.sleep(2.0)
    for number in range(1, MACHINES + 1):
        with contextlib.suppress(RuntimeFailed):
            await asker.ask("DELETE", f"/units/{APP.format(number)}")
    await CLOCK.sleep(3.0)
    for machine in ("m1", "m4"):
        await asker.ask("POST", f"/machines/{machine}/cordon", {})
    await start(asker, "example-app/example-app@.service", [APP.format(number) for number in (1, 2)])
    await start(asker, "example-app/example-app-discovery@.service", [SIDEKICK.format(number) for number in (1, 2)])
    for machine in ("m1", "m4"):
        await asker.ask("POST", f"/machines/{machine}/uncordon", {})


async def machine_lost(made: Operator, victim: str, load: Load) -> tuple[float, int, int]:
    """(seconds from the power cut until the replacement answered, failed requests, all requests)."""
    begun = CLOCK.monotonic()
    await made.lab.kill(victim)
    answered = await until_answered(load, begun, rf"instance 1 on (?!{victim}\b)")
    await CLOCK.sleep(2.0)
    for answer in load.failed(begun):
        print(
            f"failed: sent {answer.due - begun:.2f} s after the power cut, {answer.took:.2f} s long: {answer.status} {answer.text[:80]!r}",
            file=sys.stderr,
        )
    return answered - begun, len(load.failed(begun)), sum(answer.due >= begun for answer in load.answers)


async def run() -> dict[str, Any]:
    lacking = [*await host.obstacles(), *dockerd.obstacles(), *([] if has_docker() else ["Docker is not installed"])]
    if lacking:
        print(f"containers: {'; '.join(lacking)}; left out")
        return {}
    figures: dict[str, Any] = {}
    async with starter_up() as (made, asker):
        async with loaded(made.record.entry) as load:
            took, failed, asked = await rolling(made, load)
        figures[f"rolling update of {MACHINES} containers at {RATE}/s: failed requests"] = figure(failed, f"of {asked}", "0")
        figures["  it took"] = figure(took, "s", "")
        times, failed, asked = await machines_lost(made, asker)
        slowest, told = worst(times)
        figures[f"machine with containers killed: replacement answers, worst of {ROUNDS}"] = figure(slowest, "s", "≤ 6")
        figures[f"  by what the lost machine led: {told}"] = figure(slowest, "s", "")
        figures["  failed requests"] = figure(failed, f"of {asked}", f"≤ {5 * ROUNDS}")
    return figures


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2, ensure_ascii=False))
