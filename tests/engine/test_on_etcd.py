"""The engine on a real etcd of three members, which lose their leader and their power."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from argosy.engine.loop import Engine
from argosy.errors import ArgosyError, LeaseLost
from argosy.model import Machine, Placement, Target, Unit
from argosy.reconcile import SystemClock
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.lease import Lease
from argosy.state.records import encode
from argosy.store.base import Put, Store
from argosy.store.etcd import EtcdStore
from tests import stored
from tests.engine.harness import PLAIN, run
from tests.etcd_server import Cluster, etcd_cluster, fast_folder

TTL = 3.0
DEADLINE = 30.0
MACHINES = ("m1", "m2", "m3")


async def agent(store: Store, machine: str) -> None:
    """Keeps a machine's lease as an agent does: a lease that has ended is followed by a new one."""
    lease = 0
    while True:
        try:
            if not lease:
                lease = await store.grant(TTL)
                await store.commit([], [Put(keys.machine(machine), encode(Machine(machine, ttl=TTL)), lease)])
            await store.keep_alive(lease)
        except LeaseLost:
            lease = 0
            continue
        except ArgosyError:
            pass
        await asyncio.sleep(TTL / 5)


class Lab:
    """Three agents and two engines, each engine on a line of its own; `store` is the agents' and the user's."""

    def __init__(self, cluster: Cluster) -> None:
        self.clock = SystemClock()
        self.stores = [EtcdStore(cluster.endpoints, self.clock, cluster.tls) for _ in range(3)]
        self.store = self.stores[0]
        leases = {f"e{n}": Lease(store, self.clock, TTL) for n, store in enumerate(self.stores[1:])}
        views = {f"e{n}": Cache(store, self.clock) for n, store in enumerate(self.stores[1:])}
        self.engines = {name: Engine(views[name], name, self.clock, lease) for name, lease in leases.items()}
        self.tasks = {machine: asyncio.create_task(agent(self.store, machine)) for machine in MACHINES}
        self.tasks |= {name: asyncio.create_task(run(engine, leases[name])) for name, engine in self.engines.items()}

    async def settled(self) -> None:
        """Until the engines have been in touch with the store for so long that they believe in lost machines."""
        await self.clock.sleep(2 * TTL)

    async def power_cut(self, machine: str) -> None:
        """The machine with the leading engine: neither says goodbye."""
        (leader,) = [name for name, engine in self.engines.items() if engine.leading]
        await self.stores[1 + int(leader[1:])].close()
        await self._stop(leader, machine)

    async def close(self) -> None:
        await self._stop(*self.tasks)
        for store in self.stores:
            await store.close()

    async def _stop(self, *names: str) -> None:
        for name in names:
            self.tasks[name].cancel()
        await asyncio.gather(*(self.tasks[name] for name in names), return_exceptions=True)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Cluster, Lab]]:
    with fast_folder() as folder:
        async with etcd_cluster(folder) as cluster:
            lab = Lab(cluster)
            try:
                yield cluster, lab
            finally:
                await lab.close()


async def submit(store: Store, names: list[str]) -> None:
    for at in range(0, len(names), 50):
        writes = [Put(keys.unit(name), encode(Unit(name, PLAIN, Target.LAUNCHED, 1))) for name in names[at : at + 50]]
        while True:
            try:
                await store.commit([], writes)
                break
            except ArgosyError:
                await asyncio.sleep(0.1)


async def placed(store: Store) -> dict[tuple[str, str], Placement]:
    try:
        return await stored.placements(store)
    except ArgosyError:
        return {}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not await condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.05)


async def test_a_deploy_goes_on_when_etcd_loses_its_leader_in_the_middle_of_it() -> None:
    names = [f"a@{number}.service" for number in range(600)]
    async with running() as (cluster, lab):
        store = lab.store

        async def some() -> bool:
            return len(await placed(store)) > 100

        async def all_of_them() -> bool:
            return {unit for _, unit in await placed(store)} == set(names)

        submitting = asyncio.create_task(submit(store, names))
        await until(some)
        await cluster.kill(await cluster.leader())
        await submitting
        await until(all_of_them)
        counts = [sum(machine == one for machine, _ in await placed(store)) for one in MACHINES]
        assert counts == [200, 200, 200]


async def test_a_machine_that_takes_the_leaders_of_etcd_and_engine_along_is_replaced_within_its_lease_and_a_little() -> None:
    async with running() as (cluster, lab):
        await submit(lab.store, ["a.service"])

        async def on_m1() -> bool:
            return list(await placed(lab.store)) == [("m1", "a.service")]

        async def elsewhere() -> bool:
            return list(await placed(lab.store)) == [("m2", "a.service")]

        await until(on_m1)
        await lab.settled()
        started = time.monotonic()
        await lab.power_cut("m1")
        await cluster.kill(await cluster.leader())
        await until(elsewhere)
        assert time.monotonic() - started < 3 * TTL


async def test_nothing_moves_when_all_members_lose_their_power_and_come_back() -> None:
    async with running() as (cluster, lab):
        store = lab.store

        async def both() -> bool:
            return len(await placed(store)) == 30

        await submit(store, [f"a@{number}.service" for number in range(30)])
        await until(both)
        before = await placed(store)
        for number in range(3):
            await cluster.kill(number)
        await asyncio.sleep(TTL + 1)  # nobody keeps a lease alive
        for number in range(3):
            await cluster.restart(number, wait=False)

        async def answers() -> bool:
            await submit(store, ["b.service"])
            return any(unit == "b.service" for _, unit in await placed(store))

        await until(answers)
        after = await placed(store)
        assert {place: after[place] for place in after if place[1] != "b.service"} == before
