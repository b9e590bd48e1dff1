"""One term of a leader: it reads everything, keeps up with what changes, plans what is doubtful and commits it.

Nothing is changed before the first complete view. Whatever goes wrong with a commit ends the term: the picture is dropped, since it shows
what should have been committed, and a new one is read by whoever leads next.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from argosy.engine.actions import Action
from argosy.engine.commits import Commit, commits
from argosy.engine.loss.watch import LossWatch
from argosy.engine.plan import plan_round
from argosy.engine.rollouts.loop import Rollouts
from argosy.engine.rollouts.routers import AskRouters, no_routers
from argosy.engine.world import World
from argosy.errors import StoreUnavailable
from argosy.model import Placement, Probes, Target
from argosy.placement.strategies import SPREAD, Strategy
from argosy.placement.workloads import KINDS
from argosy.reconcile import Clock, Wake
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.contact import Contact
from argosy.state.kinds import MACHINES, ORDERS, PLACEMENTS, ROLLOUTS, SILENCES, STATES, RecordKind
from argosy.state.records import decoded, encode
from argosy.state.table import Changes
from argosy.store.base import Condition, Delete, Put, Write

log = logging.getLogger(__name__)

IN_FLIGHT = 8
"""Independent commits on their way at the same time."""

SHOWN = 20
"""Actions of one round that are logged one by one; more are summed up."""

PAUSE_EVERY = 256
"""Records read into the picture before the rest of the process gets a turn."""

DESIRED = {kind.records.prefix: kind for kind in KINDS.values()}
"""The kinds of workloads by the prefix of their desired records."""

RECORDS: tuple[RecordKind[Any], ...] = (
    MACHINES,
    ORDERS,
    *(kind.records for kind in DESIRED.values()),
    PLACEMENTS,
    STATES,
    SILENCES,
    ROLLOUTS,
)

ASSIGNED_AT_ONCE = 100
"""Records of who probes whom in one commit."""


class News(msgspec.Struct, frozen=True):
    """What a watch brought, and of which prefix."""

    prefix: str
    changes: Changes[Any]


class Reign:
    """`revision` is that of the leader's key, `machine_id` the machine that this engine runs on. `grace`: after a long break, for how many
    times the longest lease of a machine the store must have been there before a missing machine counts as lost: once for leases that a
    returning store renewed to run out, once for agents to come back."""

    def __init__(
        self,
        cache: Cache,
        revision: int,
        machine_id: str,
        clock: Clock,
        contact: Contact,
        ttl: float,
        grace: float = 2.0,
        ask_routers: AskRouters = no_routers,
        strategy: Strategy = SPREAD,
    ) -> None:
        self.world = World(patient=True, strategy=strategy)
        self.committed = 0
        self._cache = cache
        self._store = cache.store
        self._revision = revision
        self._clock = clock
        self._contact = contact
        self._longest = ttl
        self._grace = grace
        self._news: list[News] = []
        self._wake = Wake()
        self._loss = LossWatch(machine_id)
        self._rollouts = Rollouts(cache.store, self.world, revision, clock, ask_routers, self._wake)
        self._assign = Wake()
        self._unseen = {kind.prefix for kind in RECORDS}
        self._revisions: dict[tuple[str, str], int] = {}
        self._deleted: dict[tuple[str, str], int] = {}

    async def run(self) -> None:
        """Never returns; raises Conflict, LeaseLost or StoreUnavailable (in a group) when the term is over."""
        if not await self._cache.seen(self._revision):
            raise StoreUnavailable("this machine's view of the store is behind")
        await self._rollouts.load()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rollouts.routers.run())
            for kind in RECORDS:
                group.create_task(self._follow(kind))
            group.create_task(self._rule())
            group.create_task(self._assign_probes())

    async def _follow(self, kind: RecordKind[Any]) -> None:
        async for changes in self._cache.follow(kind):
            self._news.append(News(kind.prefix, changes))
            self._wake.set()
        raise StoreUnavailable("the store was closed")

    async def _rule(self) -> None:
        while True:
            await self._read()
            if self._unseen:
                await self._wake.wait(self._clock, None)
                continue
            patience = self._contact.settled(self._grace * self._longest)
            self.world.be_patient(patience > 0)
            again = self._judge()
            actions = plan_round(self.world, self._clock.now())
            if actions:
                await self._commit(actions)
            again = min(again, await self._rollouts.step())
            if not actions and not self.world.unsettled() and again > 0:
                await self._wake.wait(self._clock, min(patience or math.inf, again) if patience or again < math.inf else None)
            else:
                await asyncio.sleep(0)

    def _judge(self) -> float:
        """Marks the machines that nobody reaches. Returns the seconds until the next look is due by time alone."""
        verdict = self._loss.judge(self._clock.monotonic())
        if verdict.unreachable != self.world.unreachable:
            for machine in sorted(verdict.unreachable - self.world.unreachable):
                log.warning(
                    "machine %s unreachable: reported by %s; its units are placed elsewhere",
                    machine,
                    ", ".join(self._loss.reporters(machine)),
                )
            for machine in sorted(self.world.unreachable - verdict.unreachable):
                log.info("machine %s no longer reported as unreachable", machine)
            self.world.set_unreachable(verdict.unreachable)
        return math.inf if verdict.again is None else verdict.again

    async def _assign_probes(self) -> None:
        """Tells each machine which others to probe, and again when the ring changes. Only the leader writes these records: they are listed
        once, and known from then on."""
        listing = await self._store.list(keys.PROBES)
        found = {record.key[len(keys.PROBES) :]: decoded(Probes, record) for record in listing.records}
        while keys.MACHINES in self._unseen:
            await self._assign.wait(self._clock, None)
        self._loss.set_assigned({machine: record for machine, record in found.items() if record is not None}, found)
        while True:
            changed = self._loss.take_assignments()
            writes: list[Write] = [
                Delete(keys.probes(machine)) if record is None else Put(keys.probes(machine), encode(record))
                for machine, record in changed.items()
            ]
            for at in range(0, len(writes), ASSIGNED_AT_ONCE):
                await self._store.commit([Condition(keys.ENGINE_LEADER, self._revision)], writes[at : at + ASSIGNED_AT_ONCE])
            await self._assign.wait(self._clock, None)

    async def _read(self) -> None:
        """Takes what the watches brought into the picture. Never while commits are on their way: their placements are in it already."""
        news, self._news = self._news, []
        count = 0
        for piece in news:
            gone = self._gone(piece) if piece.changes.reset else {}
            for key, value in (*gone.items(), *piece.changes.items.items()):
                self._take(piece, key, value)
                count += 1
                if count % PAUSE_EVERY == 0:
                    await asyncio.sleep(0)
            self._unseen.discard(piece.prefix)
            if piece.prefix == keys.UNITS:
                self._rollouts.units_revision = piece.changes.revision
            if piece.prefix == keys.MACHINES:
                self._assign.set()
            if piece.prefix == keys.PLACEMENTS and self._deleted:
                self._deleted = {place: revision for place, revision in self._deleted.items() if revision > piece.changes.revision}

    def _gone(self, piece: News) -> dict[str, None]:
        """Keys of the picture that a complete listing does not have, or has in a form that cannot be decoded."""
        world = self.world
        known: dict[str, list[str]] = {
            keys.MACHINES: list(world.machines),
            keys.ORDERS: list(world.orders),
            **{prefix: [*world.names(kind.name), *piece.changes.modified] for prefix, kind in DESIRED.items()},
            keys.PLACEMENTS: [*(f"{machine}/{unit}" for machine, unit in self._revisions), *piece.changes.modified],
            keys.STATES: [f"{machine}/{unit}" for unit, here in world.states.items() for machine in here],
            keys.SILENCES: [f"{machine}/{observer}" for machine, observer in self._loss.reports()],
            keys.ROLLOUTS: self._rollouts.requests(),
        }
        return {key: None for key in known[piece.prefix] if key not in piece.changes.items}

    def _take(self, piece: News, key: str, value: Any) -> None:
        world = self.world
        if piece.prefix == keys.MACHINES:
            self._longest = max(self._longest, value.ttl if value is not None else 0.0)
            world.set_machine(key, value)
            self._loss.set_machine(key, value)
        elif piece.prefix == keys.SILENCES:
            machine, _, observer = key.partition("/")
            self._loss.set_report(machine, observer, piece.changes.modified.get(key, 0), self._clock.monotonic())
        elif piece.prefix == keys.ROLLOUTS:
            self._rollouts.set_request(key, value, piece.changes.modified.get(key, 0))
        elif piece.prefix == keys.ORDERS:
            world.set_order(key, value)
        elif piece.prefix in DESIRED:
            kind = DESIRED[piece.prefix]
            wanted = None if value is None else kind.workload(value)
            if wanted is not None and wanted.name == key:
                world.set_workload(key, wanted)
            else:
                world.set_workload(key, None, unreadable=kind.name if key in piece.changes.modified else "")
        else:
            machine, _, unit = key.partition("/")
            if value is not None and (value.machine, value.unit) != (machine, unit):
                log.error("the record under %s%s is of another unit or machine: left out", piece.prefix, key)
                value = None
            if value is None and piece.prefix == keys.PLACEMENTS and key in piece.changes.modified:
                value = Placement(unit, machine, "", Target.INACTIVE)  # it is put right where it is: what runs there goes on
            if piece.prefix == keys.STATES:
                world.set_state(machine, unit, value)
            else:
                self._take_placement(piece.changes, machine, unit, value)

    def _take_placement(self, changes: Changes[Any], machine: str, unit: str, value: Placement | None) -> None:
        """Mostly our own writes coming back, which are known (`_deleted` remembers deletions until the watch has brought them); anything
        newer was written by somebody else."""
        key = f"{machine}/{unit}"
        known = max(self._revisions.get((machine, unit), 0), self._deleted.get((machine, unit), 0))
        revision = changes.modified.get(key, 0)
        if revision:
            if revision <= known:
                return
            self._revisions[machine, unit] = revision
        elif changes.revision < known:
            return
        else:
            self._revisions.pop((machine, unit), None)
        self.world.set_placement(machine, unit, value)

    async def _commit(self, actions: Sequence[Action]) -> None:
        _tell(actions)
        todo = commits(actions, self._revisions, self._revision)
        gate = asyncio.Semaphore(IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._chain(todo.chain))
            for commit in todo.free:
                group.create_task(self._one(commit, gate))

    async def _chain(self, chain: Sequence[Commit]) -> None:
        for commit in chain:
            await self._send(commit)

    async def _one(self, commit: Commit, gate: asyncio.Semaphore) -> None:
        async with gate:
            await self._send(commit)

    async def _send(self, commit: Commit) -> None:
        revision = await self._store.commit(commit.conditions, commit.writes)
        self._contact.seen()
        self.committed += 1
        for place, write in zip(commit.placements, commit.writes, strict=True):
            if isinstance(write, Delete):
                self._revisions.pop(place, None)
                self._deleted[place] = revision
            else:
                self._revisions[place] = revision


def _tell(actions: Sequence[Action]) -> None:
    for action in actions[:SHOWN]:
        log.info("%s %s on %s: %s", type(action).__name__.lower(), action.unit, action.machine, action.reason)
    if len(actions) > SHOWN:
        log.info("... and %d more actions", len(actions) - SHOWN)
