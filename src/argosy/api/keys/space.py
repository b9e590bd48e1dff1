"""Users' keys, served: a tree kept current by one watch of the store, those who wait for changes, and writes by compare-and-swap.

Plain reads come from the tree, as etcd's come from the member that is asked: they cost the store nothing and go on while it is away. A
write is planned on the tree; if that turns out to be old (the commit conflicts) or forbids the write, it is planned again on what the
store itself says, so that no client is refused for something that is no longer so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import takewhile

import msgspec

from argosy.api.keys.allowance import Allowance
from argosy.api.keys.leases import KeyLeases
from argosy.api.keys.plan import Plan, find, plan, sweep
from argosy.api.keys.shapes import INDEX_CLEARED, INTERNAL, Ask, KeyEvent, KeyFault, NodeView
from argosy.api.keys.tree import Node, Tree, events_of, key, parents, timed
from argosy.config import KeysSection
from argosy.errors import Conflict, HistoryGone, InvalidInput, LeaseLost, StoreFull, StoreUnavailable
from argosy.reconcile import Backoff, Clock, Wake, reconcile
from argosy.state import keys
from argosy.state.records import decode, encode
from argosy.store.base import Batch, Condition, Put, Record, Store, Write

log = logging.getLogger(__name__)

HISTORY = 4000
"""Events kept in memory for clients that ask for what they have missed; older ones are read from the store."""

QUEUE = 1000
"""Events that may wait for one slow client before it is let go."""

DEFAULT = KeysSection()

ATTEMPTS = 16
SETTLE_SECONDS = 2.0
"""How long a write is held back until this door's own tree has it, so that its client reads what it wrote."""

SURE_SECONDS = 2.0
ASKED_AT_ONCE = 64
"""How long, and how many at once, leases are asked for how long they last when keys are read anew."""


class Waiter:
    """A client that waits for what happens at a path. Iterate `events`; it ends when the client was too slow or the history was lost."""

    def __init__(self, path: str, recursive: bool, since: int, queue: int) -> None:
        self._queue = queue
        self.path = path
        self.recursive = recursive
        self.since = since
        self._events: deque[KeyEvent] = deque()
        self._wake = asyncio.Event()
        self._closed = False

    def tell(self, event: KeyEvent) -> None:
        if event.revision < self.since or not event.concerns(self.path, self.recursive) or self._closed:
            return
        self._events.append(event)
        if len(self._events) > self._queue:
            self.close()
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def events(self) -> AsyncGenerator[KeyEvent, None]:
        while True:
            while self._events:
                yield self._events.popleft()
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()


class Keyspace:
    """`run` must be running; `ready` is set once the keys have been read. Methods raise KeyFault and StoreUnavailable."""

    def __init__(self, store: Store, clock: Clock, limits: KeysSection = DEFAULT, *, history: int = HISTORY, queue: int = QUEUE) -> None:
        self._allowance = Allowance(store, clock, limits)
        self._leases = KeyLeases(store, clock)
        self.store = store
        self.clock = clock
        self._queue = queue
        self.ready = asyncio.Event()
        self._epoch = clock.now() - clock.monotonic()
        self.expired = 0
        self.tree = Tree()
        self._history: deque[KeyEvent] = deque(maxlen=history)
        self._history_from = 0
        self._told_until = 0
        self._exact: dict[str, set[Waiter]] = {}
        self._deep: dict[str, set[Waiter]] = {}
        self._moved = asyncio.Condition()
        self._ended = Wake()
        self._ordering = asyncio.Lock()

    def now(self) -> float:
        """Unix time by this machine's clock when it began: it goes on evenly however the wall clock is set meanwhile."""
        return self._epoch + self.clock.monotonic()

    @property
    def watchers(self) -> int:
        """Clients that wait."""
        return sum(len(waiters) for table in (self._exact, self._deep) for waiters in table.values())

    async def run(self) -> None:
        """Keeps the tree current until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                tidying = (
                    group.create_task(reconcile("keys below an ended directory", self._sweep_ended, self._ended, self.clock)),
                    group.create_task(reconcile("leases without keys", self._leases.tidy, self._leases.idle, self.clock)),
                )
                await self._keep_current()
                for task in tidying:
                    task.cancel()
        finally:
            self.ready.clear()
            self._close_waiters()

    async def _keep_current(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._read_all()
                backoff.reset()
                await self._follow()
                return  # the store was closed
            except HistoryGone:
                log.info("the history of keys after revision %d is gone: reading them again", self.tree.revision)
            except StoreUnavailable as error:
                pause = backoff.next()
                log.warning("keys: %s; trying again in %.1f s", error, pause)
                await self.clock.sleep(pause)

    async def _read_all(self) -> None:
        listing = await self.store.list(keys.KV_ALL)
        tree = Tree(listing.records, listing.revision)
        await self._make_sure(tree)
        self._close_waiters()
        if listing.revision < self.tree.revision:
            self._told_until = self.tree.revision
        self.tree = tree
        self._leases.reset(((node.path, node.lease) for node in tree.below("/")), listing.revision)
        self._history.clear()
        self._history_from = listing.revision + 1
        self.ready.set()
        await self._tell_moved()
        self._ended.set()

    async def _follow(self) -> None:
        async for batches in self.store.watch(keys.KV_ALL, self.tree.revision):
            for batch in batches:
                self._take(batch)
            await self._tell_moved()

    async def _tell_moved(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    def _take(self, batch: Batch) -> None:
        for event in self.tree.apply(batch, self.now()):
            self.expired += event.action == "expire"
            if len(self._history) == self._history.maxlen:
                self._history_from = self._history[0].revision + 1
            self._history.append(event)
            for waiter in self._concerned(event):
                waiter.tell(event)
        for change in batch.events:
            if change.key.startswith(keys.KV):
                self._leases.saw(change.key[len(keys.KV) - 1 :], change.record.lease if change.record else 0, batch.revision)
        if self.tree.ended:
            self._ended.set()

    def _concerned(self, event: KeyEvent) -> Iterator[Waiter]:
        path = event.node.path
        yield from list(self._exact.get(path, ()))
        for above in ("/", *parents(path), path):
            yield from list(self._deep.get(above, ()))
        if event.node.entry.directory and event.action in ("delete", "expire"):
            inside = path + "/"
            for table in (self._exact, self._deep):
                for watched in [watched for watched in table if watched.startswith(inside)]:
                    yield from list(table[watched])

    def _close_waiters(self) -> None:
        for table in (self._exact, self._deep):
            for waiters in table.values():
                for waiter in waiters:
                    waiter.close()

    # Reading

    async def read(self, ask: Ask) -> tuple[Node, int]:
        """The node, and the index of the tree that it is from. With `quorum` as the store itself has it now."""
        tree = await self.fresh(ask.path) if ask.quorum else self.tree
        return find(tree, ask.path), tree.revision

    async def fresh(self, path: str) -> Tree:
        """What the store says now of a path, the directories it lies in, and all that is below it."""
        below = key(path) + "/" if path != "/" else keys.KV
        above = [] if path == "/" else [*parents(path), path]
        listing, times, found = await asyncio.gather(
            self.store.list(below),
            self.store.list(timed(path.rstrip("/")) + "/"),
            asyncio.gather(*(self.store.get(name) for directory in above for name in (timed(directory), key(directory)))),
        )
        records: list[Record] = [*(record for record in found if record is not None), *listing.records]
        newest = max((record.modified for record in records), default=0)
        tree = Tree([*records, *times.records], max(newest, self.tree.revision))
        await self._make_sure(tree)
        return tree

    async def _make_sure(self, tree: Tree) -> None:
        """Learns when keys end that were written before this door was open: from their leases, since the clock of whoever wrote them may be
        wrong. What cannot be learnt soon stands as it was written."""
        unsure = [node for node in tree.below("/") if not node.sure and node.lease]
        asked: dict[int, list[Node]] = {}
        for node in unsure:
            known = self.tree.get(node.path)
            if known is not None and known.sure and known.revision == node.revision:
                node.entry, node.sure = known.entry, True
            else:
                asked.setdefault(node.lease, []).append(node)
        leases = list(asked)
        with contextlib.suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(SURE_SECONDS):
                for at in range(0, len(leases), ASKED_AT_ONCE):
                    await asyncio.gather(*(self._ask_end(lease, asked[lease]) for lease in leases[at : at + ASKED_AT_ONCE]))

    async def _ask_end(self, lease: int, nodes: Sequence[Node]) -> None:
        with contextlib.suppress(LeaseLost):
            left = await self.store.remaining(lease)
            for node in nodes:
                ends = self.now() + min(left, node.entry.ttl)
                node.entry, node.sure = msgspec.structs.replace(node.entry, expires=ends), True

    # Waiting

    def is_older(self, ask: Ask) -> bool:
        """Whether a wait asks for what only the store still knows, if anybody does."""
        return 0 < ask.wait_index < self._history_from

    async def wait(self, ask: Ask) -> AsyncGenerator[KeyEvent, None]:
        """What happens at a path from `wait_index` on (0: from now on). Raises KeyFault when that is no longer known."""
        if self.tree.revision + 1 < ask.wait_index <= self._told_until + 1:
            cause = f"the store has gone back to an older index [{self.tree.revision}/{ask.wait_index}]"
            raise KeyFault(INDEX_CLEARED, cause, self.tree.revision)
        if self.is_older(ask):
            async for event in self._older(ask):
                yield event
            return
        waiter = Waiter(ask.path, ask.recursive, ask.wait_index or self.tree.revision + 1, self._queue)
        if ask.wait_index:
            for event in reversed([*takewhile(lambda event: event.revision >= ask.wait_index, reversed(self._history))]):
                waiter.tell(event)
        table = self._deep if ask.recursive else self._exact
        table.setdefault(ask.path, set()).add(waiter)
        events = waiter.events()
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()
            table[ask.path].discard(waiter)
            if not table[ask.path]:
                del table[ask.path]

    async def _older(self, ask: Ask) -> AsyncGenerator[KeyEvent, None]:
        """For a client that asks for more than is kept in memory: a watch of the store of its own."""
        watch = self.store.watch(keys.KV_ALL, ask.wait_index - 1, previous=True)
        try:
            async for batches in watch:
                for event in (event for batch in batches for event in events_of(batch)):
                    if event.concerns(ask.path, ask.recursive):
                        yield event
        except HistoryGone:
            cause = f"the requested history has been cleared [{self._history_from}/{ask.wait_index}]"
            raise KeyFault(INDEX_CLEARED, cause, self.tree.revision) from None
        finally:
            close = getattr(watch, "aclose", None)
            if close is not None:
                await close()

    # Writing

    async def write(self, ask: Ask) -> tuple[Plan, int, NodeView]:
        """Does a PUT, POST or DELETE: what was done, the index it was done at, and the node afterwards."""
        size = len(ask.value) if ask.method != "DELETE" else 0
        if ask.method != "DELETE" and ask.path != "/" and not ask.refresh:
            await self._allowance.admit(self.tree, f"{ask.path}/0" if ask.method == "POST" else ask.path, size)
        self._allowance.pending += size
        try:
            if ask.method == "POST":
                async with self._ordering:
                    done = await self._write(ask)
            else:
                done = await self._write(ask)
            await self._settled(done[1])
        finally:
            self._allowance.pending -= size
        return done

    async def _write(self, ask: Ask) -> tuple[Plan, int, NodeView]:
        tree: Tree | None = self.tree
        for _ in range(ATTEMPTS):
            now = self.now()
            try:
                planned = plan(tree or await self.fresh(ask.path), ask, now, *await self._number(ask))
            except KeyFault:
                if tree is None:
                    raise
                tree = None
                continue
            tree = None
            try:
                revision = await self._carry_out(planned)
            except LeaseLost:
                continue
            except Conflict as error:
                if error.key.startswith(keys.KV_TIMED):
                    await self._sweep(error.key[len(keys.KV_TIMED) :])
                continue
            except InvalidInput as error:
                raise KeyFault(INTERNAL, error.message, self.tree.revision) from error
            return planned, revision, planned.answer(revision)
        raise KeyFault(INTERNAL, "the key is being changed by others all the time", self.tree.revision, status=503)

    async def _carry_out(self, planned: Plan) -> int:
        """Commit what is planned, the key under a lease if it has a time to live; returns the revision."""
        entry = planned.entry
        if entry is None or not entry.expires:
            return await self._commit(planned.conditions, _writes(planned, 0))
        async with self._leases.lend(planned.path, entry.ttl, planned.lease) as lease:
            revision = await self._commit(planned.conditions, _writes(planned, lease.number))
            self._leases.attach(planned.path, lease, revision)
            return revision

    async def _commit(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        """A full store still takes deletions, without the mark that says what they were: then each key's end is told by itself."""
        try:
            return await self.store.commit(conditions, writes)
        except StoreFull:
            deletions = [write for write in writes if not isinstance(write, Put)]
            if not deletions or any(isinstance(write, Put) and write.key != keys.KV_MARK for write in writes):
                raise
            return await self.store.commit(conditions, deletions)

    async def _number(self, ask: Ask) -> tuple[int, int]:
        if ask.method != "POST":
            return 0, 0
        record = await self.store.get(keys.KV_NUMBER)
        last = decode(int, record.value, record.key) if record else 0
        return max(last, self.tree.revision) + 1, record.modified if record else 0

    async def _settled(self, revision: int) -> None:
        try:
            async with asyncio.timeout(SETTLE_SECONDS), self._moved:
                await self._moved.wait_for(lambda: self.tree.revision >= revision)
        except TimeoutError:
            log.warning("keys: the store has not told of revision %d within %.0f s", revision, SETTLE_SECONDS)

    # Tidying up

    async def _sweep_ended(self) -> None:
        for path in tuple(self.tree.ended):
            await self._sweep(path)
            self.tree.ended.discard(path)

    async def _sweep(self, path: str) -> None:
        """Deletes what was below a directory that has ended, if nobody has yet. Every door may do this at once."""
        record = await self.store.get(timed(path))
        try:
            await self._commit(*sweep(path, record.modified if record else 0))
        except Conflict as error:
            log.debug("keys below %s: %s", path, error)  # another door did the same, or the directory is there again


def _writes(planned: Plan, lease: int) -> Sequence[Write]:
    if planned.entry is None:
        return planned.writes
    return [*planned.writes, Put(key(planned.path), encode(planned.entry), lease)]
