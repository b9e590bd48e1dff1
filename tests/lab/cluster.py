"""A lab's machines, asked and broken: what the scenarios share."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from argosy.errors import StoreUnavailable
from argosy.lab.asker import Asker, View
from argosy.lab.lab import DRIVERS, Lab
from argosy.lab.state import LabRecord


class Cluster:
    """A lab and each machine's API."""

    def __init__(self, lab: Lab, record: LabRecord, askers: dict[str, Asker]) -> None:
        self.lab = lab
        self.record = record
        self.askers = askers

    def __getitem__(self, machine: str) -> Asker:
        return self.askers[machine]

    def other(self, *machines: str) -> str:
        return next(name for name in self.askers if name not in machines)

    async def alive(self, machine: str, pid: int) -> bool:
        """Whether that process of that machine is there and is no zombie."""
        found = await self.lab.exec(machine, ["sh", "-c", f"grep -q '^State:.[^Z]' /proc/{pid}/status"])
        return found.code == 0

    async def gone(self, machine: str, pid: int, patience: float = 30.0) -> None:
        end = asyncio.get_running_loop().time() + patience
        while await self.alive(machine, pid):
            assert asyncio.get_running_loop().time() < end, f"process {pid} on {machine} still runs"
            await asyncio.sleep(0.05)

    async def kill_program(self, machine: str, *pattern: str) -> None:
        """SIGKILL to the machine's processes whose command line has all these words (not to a process machine's init)."""
        found = await DRIVERS[self.record.kind]().processes(await self.lab.record(), machine)
        pids = [process.pid for process in found if all(word in process.command for word in pattern) and "init.py" not in process.command]
        assert pids, f"{machine} runs nothing like {pattern}: {[process.command for process in found]}"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    async def answers(self, machine: str) -> None:
        """Waits until the machine's own agent answers again."""
        end = asyncio.get_running_loop().time() + 30
        while True:
            try:
                await self[machine].ask("GET", "/version")
                return
            except (aiohttp.ClientError, OSError):
                assert asyncio.get_running_loop().time() < end, f"{machine}'s agent does not come back"
                await asyncio.sleep(0.05)

    async def joins(self, machine: str, asked: str) -> None:
        """Waits until `asked` lists the machine again."""
        end = asyncio.get_running_loop().time() + 30
        while machine not in await self[asked].machines():
            assert asyncio.get_running_loop().time() < end, f"{machine} does not come back"
            await asyncio.sleep(0.05)

    async def leaves(self, machine: str, asked: str) -> None:
        end = asyncio.get_running_loop().time() + 30
        while machine in await self[asked].machines():
            assert asyncio.get_running_loop().time() < end, f"{machine} is not lost"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def whole(lab: Lab) -> AsyncIterator[Cluster]:
    """The lab; whole and empty again afterwards."""
    record = await lab.record()
    async with AsyncExitStack() as stack:
        askers = {machine.name: await stack.enter_async_context(Asker(record, machine.name)) for machine in record.machines}
        yield Cluster(lab, record, askers)
        for machine in (await lab.record()).machines:
            if not machine.off:
                await lab.resume(machine.name)
        await lab.heal()
        for machine in (await lab.record()).machines:
            if machine.off:
                await lab.start(machine.name)
        await lab.wait_ready()
        await emptied(askers["m1"])


async def emptied(asker: Asker) -> None:
    """After a partition is healed, etcd may be electing a leader for a moment."""
    for _ in range(100):
        try:
            return await asker.destroy_all()
        except (StoreUnavailable, aiohttp.ClientError):
            await asyncio.sleep(0.1)
    await asker.destroy_all()


def placed_on(units: dict[str, View], name: str) -> set[str]:
    return {place["machine"] for place in units.get(name, {}).get("places", [])}
