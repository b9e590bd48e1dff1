"""How many units a second get from being submitted to a placement record, in a real etcd of three members?

One client writes units in commits of sixty; an engine on a connection of its own elects itself, watches, plans and commits; a third
connection watches the placements. All members and all of this share the machine. The peer in the same run: the same number of plain
writes in the same batches, without any engine.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from tests.etcd_server import etcd_cluster, fast_folder

from argosy.engine.loop import Engine
from argosy.model import Machine, Target, Unit
from argosy.reconcile import SystemClock
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.lease import Lease
from argosy.state.records import encode
from argosy.store.base import Condition, Put, Store
from argosy.store.etcd import EtcdStore

UNITS = 6000
MACHINES = 20
BATCH = 60
SINGLES = 60
TEXT = (
    "[Unit]\nDescription=Hello %i\n[Service]\nExecStart=/usr/bin/hello --instance %i\nRestart=always\n[X-Fleet]\nConflicts=%p@%i.service\n"
)


def key_of_unit(name: str) -> Put:
    return Put(keys.unit(name), encode(Unit(name, TEXT, Target.LAUNCHED, 1, time.time())))


async def write(store: Store, puts: list[Put]) -> None:
    for at in range(0, len(puts), BATCH):
        part = puts[at : at + BATCH]
        await store.commit([Condition(put.key, 0) for put in part], part)


class Observer:
    """Sees placement records as an agent does: pushed, over one watch that stands from the beginning."""

    def __init__(self) -> None:
        self.placed: set[str] = set()
        self._more = asyncio.Condition()

    async def watch(self, store: Store, after: int) -> None:
        async for batches in store.watch(keys.PLACEMENTS, after):
            async with self._more:
                self.placed.update(event.key for batch in batches for event in batch.events if event.record is not None)
                self._more.notify_all()

    async def until(self, count: int) -> None:
        async with self._more:
            await self._more.wait_for(lambda: len(self.placed) >= count)


async def burst(client: Store, observer: Observer) -> float:
    """Seconds from the first submit to the last placement record."""
    puts = [key_of_unit(f"app-{number // 10}@{number}.service") for number in range(UNITS)]
    started = time.perf_counter()
    await asyncio.gather(write(client, puts), observer.until(len(observer.placed) + UNITS))
    return time.perf_counter() - started


async def one_by_one(client: Store, observer: Observer) -> list[float]:
    """Seconds from a submit to its placement record, each unit alone."""
    took = []
    for number in range(SINGLES):
        started = time.perf_counter()
        await write(client, [key_of_unit(f"single@{number}.service")])
        await observer.until(number + 1)
        took.append(time.perf_counter() - started)
    return took


async def plain_writes(client: Store) -> float:
    started = time.perf_counter()
    await write(client, [Put(f"/bench/{number:06}", TEXT.encode()) for number in range(UNITS)])
    return time.perf_counter() - started


async def run() -> dict[str, dict[str, Any]]:
    clock = SystemClock()
    with fast_folder() as folder:
        async with (
            etcd_cluster(folder) as cluster,
            EtcdStore(cluster.endpoints, clock, cluster.tls) as client,
            EtcdStore(cluster.endpoints, clock, cluster.tls) as agents,
            EtcdStore(cluster.endpoints, clock, cluster.tls) as store,
        ):
            plain = await plain_writes(client)
            for number in range(MACHINES):
                name = f"{number:032x}"
                await client.commit([], [Put(keys.machine(name), encode(Machine(name, metadata={"role": "web"})))])
            lease = Lease(store, clock, 5.0)
            engine = Engine(Cache(store, clock), "f" * 32, clock, lease)
            observer = Observer()
            tasks = [asyncio.create_task(lease.hold()), asyncio.create_task(engine.run())]
            tasks.append(asyncio.create_task(observer.watch(agents, (await agents.list(keys.PLACEMENTS)).revision)))
            try:
                await write(client, [key_of_unit("first.service")])
                await observer.until(1)
                observer.placed.clear()
                singles = await one_by_one(client, observer)
                took = await burst(client, observer)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "submit to placement, three-member etcd, batched": {"value": UNITS / took, "unit": "units/s", "reach": ">= 2,000"},
        "submit to placement, one unit, median": {"value": statistics.median(singles) * 1000, "unit": "ms", "reach": None},
        "submit to placement: the submitting writes alone": {"value": UNITS / plain, "unit": "writes/s", "reach": "peer"},
    }


if __name__ == "__main__":
    for what, figure in asyncio.run(run()).items():
        print(f"{what:<60} {figure['value']:>12,.1f} {figure['unit']:<10} {figure['reach'] or ''}")
