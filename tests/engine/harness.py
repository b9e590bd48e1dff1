"""A cluster around real engines: a store in memory, a fake clock, agents that only keep their leases, and a store that can be cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import msgspec

from argosy.engine.loop import Engine
from argosy.engine.rollouts.routers import AskRouters, no_routers
from argosy.errors import StoreUnavailable
from argosy.model import Machine, Order, Placement, Target, Unit, UnitState
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.lease import Lease
from argosy.state.records import encode
from argosy.store.base import Batch, Condition, Delete, Listing, Put, Record, Room, Store, Write
from argosy.store.sqlite import SqliteStore
from argosy.unit.text import unit_text
from tests import stored
from tests.conftest import FakeClock, settle

TTL = 5.0
PLAIN = "[Service]\nExecStart=/bin/sleep 1000\n"


class Line:
    """One process's line to the store. `cut`: calls fail and watches are silent. `commits_left`: it is cut after so many commits of
    placements; with `answers_lost` the last of them is applied, but its answer does not arrive. `ahead` is what somebody else writes just
    before the next commit of placements. `broken`: such a commit fails as by a defect. `counted` is the prefix of these.
    `commits` are those that went through."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._whole = asyncio.Event()
        self._whole.set()
        self.commits_left: int | None = None
        self.answers_lost = False
        self.counted = keys.PLACEMENTS
        self.ahead: list[Write] = []
        self.broken = False
        self.commits: list[tuple[Sequence[Condition], Sequence[Write]]] = []

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self.commits_left = None
        self._whole.set()

    def _check(self) -> None:
        if not self._whole.is_set():
            raise StoreUnavailable("the line is cut")

    async def get(self, key: str) -> Record | None:
        self._check()
        return await self._store.get(key)

    async def list(self, prefix: str) -> Listing:
        self._check()
        return await self._store.list(prefix)

    async def commit(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        await asyncio.sleep(0)
        self._check()
        counts = any(isinstance(write, Put | Delete) and write.key.startswith(self.counted) for write in writes)
        if counts and self.broken:
            raise KeyError("a defect")
        if counts and self.ahead:
            ahead, self.ahead = self.ahead, []
            await self._store.commit([], ahead)
        if counts and self.commits_left is not None:
            self.commits_left -= 1
            if self.commits_left <= 0:
                self.cut()
                if self.answers_lost:
                    await self._store.commit(conditions, writes)
                raise StoreUnavailable("the line was cut")
        revision = await self._store.commit(conditions, writes)
        self.commits.append((conditions, writes))
        return revision

    async def watch(self, prefix: str, after: int, *, previous: bool = False) -> AsyncIterator[Sequence[Batch]]:
        async for batches in self._store.watch(prefix, after, previous=previous):
            await self._whole.wait()
            yield batches

    async def grant(self, ttl: float) -> int:
        self._check()
        return await self._store.grant(ttl)

    async def keep_alive(self, lease: int) -> float:
        self._check()
        return await self._store.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        self._check()
        await self._store.revoke(lease)

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def remaining(self, lease: int) -> float:
        return await self._store.remaining(lease)

    async def room(self) -> Room:
        return await self._store.room()

    async def tidy(self, revision: int) -> None:
        await self._store.tidy(revision)

    async def close(self) -> None:
        await self._store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


async def run(engine: Engine, lease: Lease) -> None:
    """An engine and its lease, as a process runs them."""
    async with asyncio.TaskGroup() as group:
        group.create_task(lease.hold())
        group.create_task(engine.run())


class Harness:
    """The cluster: what users, operators and agents write, and engines that can be started and killed."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.leases: dict[str, int] = {}
        self.engines: dict[str, tuple[Engine, Line, asyncio.Task[None]]] = {}
        self.launches = 0
        self.ask_routers: AskRouters = no_routers

    async def engine(self, name: str) -> Line:
        line = Line(self.store)
        lease = Lease(line, self.clock, TTL)
        engine = Engine(Cache(line, self.clock), name, self.clock, lease, self.ask_routers)
        self.engines[name] = (engine, line, asyncio.create_task(run(engine, lease), name=f"engine {name}"))
        await settle()
        return line

    async def stop(self, name: str) -> None:
        """As its process is told to stop."""
        _, _, task = self.engines.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await settle()

    async def kill(self, name: str) -> None:
        """As a power cut: it cannot even resign."""
        self.engines[name][1].cut()
        await self.stop(name)

    def leaders(self) -> list[str]:
        return [name for name, (engine, _, _) in self.engines.items() if engine.leading]

    async def machine(self, name: str, **metadata: str) -> None:
        """A machine whose agent keeps its lease as long as `pass_time` moves the clock."""
        lease = await self.store.grant(TTL)
        await self.store.commit([], [Put(keys.machine(name), encode(Machine(name, metadata=metadata, ttl=TTL)), lease)])
        self.leases[name] = lease

    async def machine_dies(self, name: str) -> None:
        """Its lease ends (no later than this returns)."""
        await self.store.revoke(self.leases.pop(name))

    async def pass_time(self, seconds: float, step: float = 1.0) -> None:
        while seconds > 0:
            for lease in self.leases.values():
                await self.store.keep_alive(lease)
            await self.clock.advance(min(step, seconds))
            seconds -= step

    async def submit(self, *names: str, text: str = PLAIN, target: Target = Target.LAUNCHED) -> None:
        self.launches += 1
        for at in range(0, len(names), 100):
            writes = [Put(keys.unit(name), encode(Unit(name, text, target, self.launches))) for name in names[at : at + 100]]
            await self.store.commit([], writes)

    async def destroy(self, name: str) -> None:
        await self.store.commit([], [Delete(keys.unit(name))])

    async def order(self, machine: str, order: Order) -> None:
        await self.store.commit([], [Put(keys.order(machine), encode(order))])

    async def report(self, machine: str, name: str, **fields: object) -> None:
        """What the machine's agent says of a unit; `hash` and `launch` are its placement's."""
        record = await self.store.get(keys.placement(machine, name))
        assert record is not None
        placement = msgspec.json.decode(record.value, type=Placement)
        state = UnitState(name, machine, hash=unit_text(placement.text).hash, launch=placement.launch, load="loaded")
        await self.store.commit([], [Put(keys.state(machine, name), encode(msgspec.structs.replace(state, **fields)))])

    async def placements(self) -> dict[tuple[str, str], Placement]:
        return await stored.placements(self.store)

    async def where(self, name: str) -> list[str]:
        return sorted(machine for machine, unit in await self.placements() if unit == name)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Lets everything run, without any time passing, until the condition holds."""
        for _ in range(400):
            if await condition():
                return
            await settle(20)
        raise AssertionError(f"did not happen; placed are {sorted(await self.placements())}")

    async def until_placed(self, count: int) -> None:
        async def placed() -> bool:
            return len((await self.store.list(keys.PLACEMENTS)).records) == count

        await self.until(placed)

    async def until_on(self, name: str, *machines: str) -> None:
        async def there() -> bool:
            return await self.where(name) == sorted(machines)

        await self.until(there)


@asynccontextmanager
async def harness(
    clock: FakeClock, *machines: str, engines: Sequence[str] = ("e1",), ask_routers: AskRouters = no_routers
) -> AsyncIterator[Harness]:
    """A cluster with these machines whose engines have been in touch with the store for long enough to believe that a machine is lost."""
    async with SqliteStore(":memory:", clock) as store:
        cluster = Harness(store, clock)
        cluster.ask_routers = ask_routers
        for name in machines:
            await cluster.machine(name)
        for name in engines:
            await cluster.engine(name)
        await cluster.pass_time(2 * TTL + 1)
        try:
            yield cluster
        finally:
            for name in list(cluster.engines):
                await cluster.stop(name)
