"""A real etcd is restored from a backup while agents, engines, keys and routers run: within one lease all goes on by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from argosy.agent.fence import Fence
from argosy.agent.loop import Agent
from argosy.agent.runtimes import Runtimes
from argosy.api.keys.shapes import INDEX_CLEARED, Ask, KeyFault, value_of
from argosy.api.keys.space import Keyspace
from argosy.engine.loop import Engine
from argosy.errors import StoreUnavailable
from argosy.model import UNIT, Machine, RouterReport, Target, Unit
from argosy.reconcile import SystemClock
from argosy.router.feed import StoreFeed
from argosy.router.report import Reporter
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.lease import Lease
from argosy.state.records import encode
from argosy.store.base import Put, Store
from argosy.store.etcd import EtcdStore
from tests import stored
from tests.agent.stage import APP, FakeRuntime, Host
from tests.etcd_server import Cluster, etcd_cluster, fast_folder

TTL = 3.0
DEADLINE = 30.0
CLOCK = SystemClock()


class OneMachine:
    """All of a machine's rooms on a store of its own, with a runtime without processes."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.id = f"{number}" * 32
        self.store = EtcdStore(cluster.endpoints, CLOCK)
        self.cache = Cache(self.store, CLOCK)
        self.runtime = FakeRuntime(CLOCK)
        self.lease = Lease(self.store, CLOCK, TTL)
        runtimes = Runtimes({UNIT: self.runtime})
        self.fence = Fence(runtimes, self.lease, CLOCK, Host())
        self.agent = Agent(self.cache, self.lease, runtimes, Machine(self.id, "127.0.0.1", f"m{number}"), CLOCK, self.fence)
        self.space = Keyspace(self.store, CLOCK)
        self.reporter = Reporter(self.id, self.lease)
        self.routes: dict[str, str] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            engine = Engine(self.cache, self.id, CLOCK, self.lease)
            for work in (self.lease.run, self.fence.run, self.agent.run, self.space.run, self.follow, engine.run):
                group.create_task(work())

    async def follow(self) -> None:
        async for changes in StoreFeed(self.cache).follow():
            if changes.reset:
                self.routes.clear()
            for name, entry in changes.items.items():
                self.routes.pop(name, None)
                if entry is not None and not entry.directory:
                    self.routes[name] = entry.value


@asynccontextmanager
async def machines(count: int, folder: Path) -> AsyncIterator[tuple[Cluster, list[OneMachine]]]:
    async with etcd_cluster(folder, 1, secure=False) as cluster:
        found = [OneMachine(cluster, number) for number in range(1, count + 1)]
        tasks = [asyncio.create_task(machine.run()) for machine in found]
        try:
            yield cluster, found
        finally:
            for machine in found:
                machine.runtime.away = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(machine.store.close() for machine in found))


async def until(what: str, condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            if await condition():
                return
        except StoreUnavailable:
            pass
        assert time.monotonic() < deadline, f"did not happen in time: {what}"
        await asyncio.sleep(0.05)


async def launch(store: Store, *names: str) -> None:
    await store.commit([], [Put(keys.unit(name), encode(Unit(name, APP, Target.LAUNCHED, 1))) for name in names])


async def run(store: Store, machines: list[OneMachine], *names: str) -> None:
    """Until exactly these units are placed, run, and are told to be active by the machines that have them."""

    async def whole() -> bool:
        running = {(machine.id, name) for machine in machines for name in machine.runtime.running()}
        told = {place for place, state in (await stored.states(store)).items() if state.active == "active"}
        return set(await stored.placements(store)) == running == told and sorted(name for _, name in running) == sorted(names)

    await until(f"{names} run", whole)


@pytest.mark.parametrize("token", ["etcd-cluster", "another"], ids=["the same cluster id", "another cluster id"])
async def test_a_restored_cluster_is_whole_again_within_one_lease(token: str) -> None:
    with fast_folder() as folder:
        async with machines(2, folder) as (cluster, (one, two)), EtcdStore(cluster.endpoints, CLOCK) as store:
            await one.space.ready.wait()
            await launch(store, "a.service", "b.service")
            await run(store, [one, two], "a.service", "b.service")
            await one.space.write(Ask("PUT", "/services/web/app/1", value=b"10.0.0.1:80"))
            await cluster.snapshot(folder / "snapshot")

            await launch(store, "c.service", "d.service")
            await run(store, [one, two], "a.service", "b.service", "c.service", "d.service")
            await two.space.write(Ask("PUT", "/services/web/app/1", value=b"10.0.0.2:80"))
            one.reporter.publish(RouterReport(one.id, error="told after the backup"))

            async def told() -> bool:
                return one.id in await stored.routers(store)

            await until("the router's report stands", told)
            index = two.space.tree.revision

            async def caught_up() -> bool:
                return one.space.tree.revision >= index

            await until("the other door has heard of it, too", caught_up)
            await cluster.restore(folder / "snapshot", token)
            began = time.monotonic()
            await run(store, [one, two], "a.service", "b.service")
            await until("the router's report stands again", told)
            await launch(store, "e.service")
            await run(store, [one, two], "a.service", "b.service", "e.service")
            took = time.monotonic() - began

            async def known() -> bool:
                return set(await stored.machines(store)) == {one.id, two.id}

            await until("both machines stand", known)
            for machine in (one, two):
                node = machine.space.tree.get("/services/web/app/1")
                assert node is not None
                assert value_of(node.entry) == b"10.0.0.1:80"
                assert machine.routes == {"app/1": "10.0.0.1:80"}
            with pytest.raises(KeyFault) as refused:
                async with aclosing(one.space.wait(Ask("GET", "/", wait=True, recursive=True, wait_index=index + 1))) as events:
                    await anext(events)
            assert refused.value.code == INDEX_CLEARED
            await one.space.write(Ask("PUT", "/services/web/app/1", value=b"10.0.0.3:80"))

            async def routed() -> bool:
                return all(machine.routes == {"app/1": "10.0.0.3:80"} for machine in (one, two))

            await until("routers hear of it", routed)
            assert took < 3 * TTL, f"whole after {took:.1f} s"
