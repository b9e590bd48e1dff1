"""A stage for the agent: a store in memory that can go away, a runtime that does what it is told at once, clocks moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import msgspec

from argosy.agent.fence import Fence
from argosy.agent.foothold import Notes
from argosy.agent.loop import Agent
from argosy.agent.runtimes import Runtimes
from argosy.errors import NotFound, Refused, RuntimeFailed, StoreUnavailable, first_error
from argosy.model import UNIT, Detail, LogLine, Machine, Observed, Placement, Target, UnitState
from argosy.reconcile import Clock
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.lease import Lease
from argosy.state.records import encode
from argosy.store.base import Batch, Condition, Delete, Listing, Put, Record, Room, Store, Write
from argosy.store.sqlite import SqliteStore
from argosy.unit.text import unit_text
from tests import stored
from tests.conftest import FakeClock, settle

M = "a" * 32
TTL = 5.0
APP = "[Service]\nExecStart=/bin/app\n"
SIDEKICK = "[Unit]\nBindsTo=app.service\n[Service]\nExecStart=/bin/kick\n"
EXCLUSIVE = APP + "[X-Argosy]\nOnDisconnect=stop\n"


class FakeRuntime:
    """The Runtime contract without processes: every start succeeds at once and gets a number for a pid. Tests end units by hand.

    `refuses` are units that it will not load, start or stop, and why; `stubborn` units stop only when they are killed; `away` makes every
    call fail. `calls` is all that it was asked, in order, `looked` how many units it was asked about.
    """

    kind = "supervisor"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._units: dict[str, Observed] = {}
        self._texts: dict[str, str] = {}
        self._bound: dict[str, dict[str, None]] = {}
        self._watchers: list[asyncio.Queue[frozenset[str] | None]] = []
        self._pid = 100
        self.calls: list[str] = []
        self.looked = 0
        self.refuses: dict[str, str] = {}
        self.stubborn: set[str] = set()
        self.away = False

    async def units(self, names: Iterable[str] | None = None) -> dict[str, Observed]:
        self._reach()
        wanted = list(self._units if names is None else names)
        self.looked += len(wanted)
        return {name: self._units[name] for name in wanted if name in self._units}

    async def load(self, units: Sequence[tuple[str, str]]) -> None:
        accepted = self._accept("load", [name for name, _ in units])
        for name, text in units:
            digest = self.digest(text)
            if name in accepted and (name not in self._units or self._units[name].hash != digest):
                self._units[name] = Observed(name, digest)
                self._texts[name] = text
                for leader in self.leaders(name, text):
                    self._bound.setdefault(leader, {})[name] = None
        self._told("load", [name for name, _ in units])

    async def unload(self, names: Sequence[str]) -> None:
        self._accept("unload", names)
        for name in names:
            self._units.pop(name, None)
        self._told("unload", names)

    async def start(self, launches: Sequence[tuple[str, int]]) -> None:
        accepted = self._accept("start", [name for name, _ in launches])
        for name, launch in launches:
            seen = self._units.get(name)
            if seen is not None and seen.active == "active" and seen.launch in (0, launch):
                self._units[name] = msgspec.structs.replace(seen, launch=launch)
            elif name in accepted:
                self.begin(name, launch)
        self._told("start", [name for name, _ in launches])

    async def stop(self, names: Sequence[str]) -> None:
        accepted = self._accept("stop", names)
        for name in accepted:
            self._units[name] = msgspec.structs.replace(self._units[name], launch=0)
            if name in self.stubborn:
                self.turn(name, active="deactivating", sub="stop-sigterm")
            else:
                self.down(name)
        self._told("stop", names)

    async def kill(self, names: Sequence[str]) -> None:
        self._accept("kill", names)
        for name in names:
            self._units[name] = msgspec.structs.replace(self._units[name], launch=0)
            self.down(name)
        self._told("kill", names)

    async def changes(self) -> AsyncIterator[frozenset[str]]:
        self._reach()
        queue: asyncio.Queue[frozenset[str] | None] = asyncio.Queue()
        self._watchers.append(queue)
        try:
            yield frozenset(self._units)
            while True:
                names = await queue.get()
                if names is None:
                    raise RuntimeFailed("the runtime is away")
                yield names
        finally:
            self._watchers.remove(queue)

    async def detail(self, name: str) -> Detail:
        if name not in self._units:
            raise NotFound(f"unit {name} is not loaded here")
        return Detail(self._units[name])

    async def logs(self, name: str, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        for number in range(lines):
            yield LogLine(self._clock.now(), f"{name} {number}")

    async def close(self) -> None:
        """Nothing to let go of."""

    # ------------------------------------------------------------ what tests do

    def down(self, name: str, *, code: int | None = None, result: str = "success") -> None:
        """The unit ends, and with it those that are bound to it."""
        failed = result != "success"
        self.turn(name, active="failed" if failed else "inactive", sub="failed" if failed else "dead", pid=0, code=code, result=result)
        for other in self._bound.get(name, ()):
            bound = name in self.leaders(other, self._texts[other])
            if bound and self._units.get(other, Observed(other, "")).active == "active":
                self.down(other)
        self._push(name)

    def begin(self, name: str, launch: int = 0) -> None:
        """The unit runs; with launch 0 because the engine behind the runtime started it by itself."""
        self._pid += 1
        run = {"pid": self._pid, "code": None, "result": "success", "invocation": f"{self._pid:032x}"}
        self.turn(name, active="active", sub="running", launch=launch, began=True, **run)

    def fail(self, name: str) -> None:
        self.down(name, code=1, result="exit-code")

    def turn(self, name: str, *, began: bool = False, **changes: object) -> None:
        now = self._clock.now()
        started = now if began else self._units[name].started
        self._units[name] = msgspec.structs.replace(self._units[name], since=now, started=started, **changes)
        self._push(name)

    def lose(self) -> None:
        """The engine behind it goes away; `away = False` brings it back."""
        self.away = True
        for queue in self._watchers:
            queue.put_nowait(None)

    def pid(self, name: str) -> int:
        return self._units[name].pid if name in self._units else 0

    def running(self) -> list[str]:
        return sorted(name for name, seen in self._units.items() if seen.active in ("active", "deactivating"))

    # ------------------------------------------------------------ inside

    @staticmethod
    def digest(text: str) -> str:
        return unit_text(text).hash

    @staticmethod
    def leaders(name: str, text: str) -> tuple[str, ...]:
        return unit_text(text).requirements(name).binds_to

    def _push(self, *names: str) -> None:
        for queue in self._watchers:
            queue.put_nowait(frozenset(names))

    def _reach(self) -> None:
        if self.away:
            raise RuntimeFailed("the runtime is away")

    def _accept(self, what: str, names: Sequence[str]) -> set[str]:
        self._reach()
        self.calls.append(f"{what} {' '.join(name.removesuffix('.service') for name in names)}")
        return {name for name in names if name not in self.refuses}

    def _told(self, what: str, names: Sequence[str]) -> None:
        self._push(*names)
        refused = {name: self.refuses[name] for name in names if name in self.refuses and what in ("load", "start", "stop")}
        if refused:
            raise RuntimeFailed(f"cannot {what} {', '.join(refused)}", refused=refused)


class FlakyStore:
    """A store that tests take away and bring back; while it is `away`, calls fail and watches stand still. `commits` counts."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.commits: list[Sequence[Write]] = []
        self._there = asyncio.Event()
        self._there.set()

    @property
    def away(self) -> bool:
        return not self._there.is_set()

    @away.setter
    def away(self, away: bool) -> None:
        if away:
            self._there.clear()
        else:
            self._there.set()

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable("the store is away")

    async def get(self, key: str) -> Record | None:
        self._reach()
        return await self.store.get(key)

    async def list(self, prefix: str) -> Listing:
        self._reach()
        return await self.store.list(prefix)

    async def commit(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        self._reach()
        revision = await self.store.commit(conditions, writes)
        self.commits.append(writes)
        return revision

    async def watch(self, prefix: str, after: int, *, previous: bool = False) -> AsyncIterator[Sequence[Batch]]:
        inner = self.store.watch(prefix, after, previous=previous)
        try:
            async for batches in inner:
                await self._there.wait()
                yield batches
        finally:
            with contextlib.suppress(AttributeError):
                await inner.aclose()  # type: ignore[attr-defined]

    async def grant(self, ttl: float) -> int:
        self._reach()
        return await self.store.grant(ttl)

    async def keep_alive(self, lease: int) -> float:
        self._reach()
        return await self.store.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        self._reach()
        await self.store.revoke(lease)

    async def compact(self, revision: int) -> None:
        await self.store.compact(revision)

    async def remaining(self, lease: int) -> float:
        return await self.store.remaining(lease)

    async def room(self) -> Room:
        return await self.store.room()

    async def tidy(self, revision: int) -> None:
        await self.store.tidy(revision)

    async def close(self) -> None:
        await self.store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


class Host:
    """What agents of one host share: at most one of them, and its notes."""

    def __init__(self) -> None:
        self.boot = "boot"
        self.notes = Notes("boot")
        self.taken = False
        self.full = False

    async def take(self) -> Notes:
        if self.taken:
            raise Refused("an agent runs here already")
        self.taken = True
        return self.notes

    async def note(self, notes: Notes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.notes = notes

    async def let_go(self) -> None:
        self.taken = False


@dataclass
class Stage:
    """One machine and its store. `agents` are tasks that run; the last is the present one. `others` are runtimes of further kinds."""

    clock: FakeClock
    store: FlakyStore
    runtime: FakeRuntime
    host: Host = field(default_factory=Host)
    agents: list[asyncio.Task[None]] = field(default_factory=list)
    agent: Agent | None = None
    others: dict[str, FakeRuntime] = field(default_factory=dict)
    lease: Lease = field(init=False)

    async def begin(self, *, clock: FakeClock | None = None, **machine: object) -> asyncio.Task[None]:
        """Starts an agent and lets it come to rest."""
        record = msgspec.structs.replace(Machine(M, "127.0.0.1", "m1"), **machine)
        self.lease = Lease(self.store, clock or self.clock, TTL)
        runtimes = Runtimes({UNIT: self.runtime, **self.others})
        fence = Fence(runtimes, self.lease, clock or self.clock, self.host)
        self.agent = Agent(Cache(self.store, clock or self.clock), self.lease, runtimes, record, clock or self.clock, fence)
        self.agents.append(asyncio.create_task(run(self.agent, fence, self.lease)))
        await settle(200)
        return self.agents[-1]

    async def stop(self) -> None:
        """As SIGTERM does."""
        task = self.agents[-1]
        task.cancel()
        await settle()
        while not task.done():
            await self.clock.advance(0.25)

    async def kill(self) -> None:
        """As SIGKILL does: nothing is done any more, not even on the way out."""
        host, self.host.taken = self.host, False
        runtime_calls, commits = list(self.runtime.calls), list(self.store.commits)
        away, self.store.away = self.store.away, True
        self.runtime.away = True
        await self.stop()
        self.store.away, self.runtime.away = away, False
        assert (self.runtime.calls, self.store.commits) == (runtime_calls, commits)
        host.taken = False

    async def place(self, *placements: Placement) -> None:
        writes: list[Write] = [Put(keys.placement(M, placement.unit), encode(placement)) for placement in placements]
        await self.store.store.commit([], writes)
        await settle(200)

    async def remove(self, *units: str) -> None:
        await self.store.store.commit([], [Delete(keys.placement(M, unit)) for unit in units])
        await settle(200)

    async def run_app(self, text: str = APP, unit: str = "app.service") -> int:
        """Places a unit and waits until it runs; its pid."""
        await self.place(placed(unit, text))
        assert unit in self.runtime.running()
        return self.runtime.pid(unit)

    async def states(self) -> dict[str, UnitState]:
        """As they stand in the store."""
        return {unit: state for (_, unit), state in (await stored.states(self.store.store)).items()}

    async def machine(self) -> Machine | None:
        return (await stored.machines(self.store.store)).get(M)


async def run(agent: Agent, fence: Fence, lease: Lease) -> None:
    """A machine's services as far as units are concerned. Raises the first error of one of them."""
    try:
        async with asyncio.TaskGroup() as group:
            for service in (lease, fence, agent):
                group.create_task(service.run())
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors


def placed(
    unit: str = "app.service",
    text: str = APP,
    *,
    target: Target = Target.LAUNCHED,
    launch: int = 1,
    finished: bool = False,
    kind: str = UNIT,
) -> Placement:
    return Placement(unit, M, text, target, launch, "fewest units", 1.0, finished, kind)


@contextlib.asynccontextmanager
async def on_stage(clock: FakeClock) -> AsyncIterator[Stage]:
    """An empty machine; in the end its agents are stopped, and none may have failed unseen."""
    async with SqliteStore(":memory:", clock) as store:
        stage = Stage(clock, FlakyStore(store), FakeRuntime(clock))
        try:
            yield stage
        finally:
            stage.runtime.away = True
            for task in stage.agents:
                task.cancel()
            results = await asyncio.gather(*stage.agents, return_exceptions=True)
    defects = [
        result for result in results if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError | Refused)
    ]
    assert not defects, defects
