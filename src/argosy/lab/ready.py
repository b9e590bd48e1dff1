"""When a lab is ready: every machine that is on answers, and sees every other on its side that is on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp

from argosy.errors import RuntimeFailed
from argosy.lab.base import Driver, Power
from argosy.lab.state import LabRecord, MachineRecord, side_of
from argosy.reconcile import Clock

POLL = 0.05
LINES = 5
MACHINES = "http://argosy/argosy/v1/machines"


async def wait(lab: LabRecord, driver: Driver, clock: Clock, timeout: float, say: Callable[[str], None]) -> None:
    """Raises RuntimeFailed after `timeout` seconds, saying for each machine what is missing."""
    powers = await asyncio.gather(*(driver.power(lab, machine.name) for machine in lab.machines))
    on = [machine for machine, power in zip(lab.machines, powers, strict=True) if power is Power.ON]
    end = clock.monotonic() + timeout
    waiting = {machine.name: "does not answer" for machine in on}
    while True:
        for machine in on:
            if machine.name in waiting:
                waiting[machine.name] = await lacking(lab.socket(machine.name), _peers(lab, machine, on))
                if not waiting[machine.name]:
                    del waiting[machine.name]
                    say(f"{machine.name} is ready at {machine.address}")
        if not waiting:
            return
        if clock.monotonic() > end:
            missing = "; ".join(f"{name} {what}" for name, what in waiting.items())
            first = next(iter(waiting))
            said = await driver.log(lab, first, LINES)
            raise RuntimeFailed(
                f"lab {lab.name} is not ready after {timeout:.0f} s: {missing}. The agent of {first} says: {said or 'nothing'}"
            )
        await clock.sleep(POLL)


async def lacking(socket: Path, peers: Mapping[str, str]) -> str:
    """What a machine lacks, in words: "" once its agent answers and sees all peers ({machine id: name})."""
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=aiohttp.ClientTimeout(total=2)) as session,
            session.get(MACHINES) as response,
        ):
            if response.status != 200:
                return f"answers with status {response.status}"
            seen = {machine["id"] for machine in (await response.json())["machines"]}
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError):
        return "does not answer"
    unseen = [name for machine_id, name in peers.items() if machine_id not in seen]
    return f"does not see {', '.join(unseen)}" if unseen else ""


def _peers(lab: LabRecord, machine: MachineRecord, on: list[MachineRecord]) -> dict[str, str]:
    side = side_of(machine.name, lab.groups)
    return {other.id: other.name for other in on if side_of(other.name, lab.groups) == side}
