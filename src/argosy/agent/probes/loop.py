"""Probing other machines, and objecting when this one is reported although it is well.

The engine leader names up to three machines to probe. This keeps a connection to each; nothing is sent over it but the kernel's own
keep-alives, which the other kernel answers however busy its machine is. A machine that was reached before and does not answer at all any
more is reported; one that refuses connections is alive. A report is a record under this machine's lease, and is deleted when the machine
answers again. While nothing is silent, nothing is written and nothing wakes up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from argosy.agent.heartbeat import within
from argosy.errors import LeaseLost, StoreUnavailable
from argosy.model import Probes, ProbeTarget, Silence
from argosy.reconcile import Backoff, Clock, Wake
from argosy.state import keys
from argosy.state.records import encode
from argosy.state.view import follow
from argosy.store.base import Delete, Put, Store

log = logging.getLogger(__name__)

UNANSWERED = 2
"""Connection attempts in a row that nothing came back from, after which a machine is silent."""

SILENT_PAUSE = 0.25
"""Seconds between attempts to reach a silent machine."""

WRITING = 0.8
"""Seconds that a report may take to be written before it is tried again, perhaps at another member of the store."""

LOOK_AGAIN = 0.25
"""Seconds between looks at the lease while something is to be written or stands in the store."""


class Unanswered(Exception):
    """Nothing came back: neither a connection nor its refusal."""


class Link(Protocol):
    """A connection that stands."""

    async def ended(self) -> None: ...

    def close(self) -> None: ...


class Dial(Protocol):
    """Connects to a machine. `answered` is called as soon as its kernel has answered in any way. Returns None if there is no connection
    although something answered. Raises Unanswered."""

    async def __call__(self, target: ProbeTarget, answered: Callable[[], None]) -> Link | None: ...


class Prober:
    """`lease`: this machine's lease, 0 while there is none."""

    def __init__(self, store: Store, machine_id: str, clock: Clock, lease: Callable[[], int], dial: Dial) -> None:
        self._store = store
        self._machine = machine_id
        self._clock = clock
        self._lease = lease
        self._dial = dial
        self._silent: dict[str, float] = {}
        self._against_me: Mapping[str, int] = {}
        self._objected = 0
        self._written: dict[str, int] = {}
        self._wake = Wake()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_targets(group))
            group.create_task(self._follow_reports())
            group.create_task(self._write())

    async def _follow_targets(self, group: asyncio.TaskGroup) -> None:
        probing: dict[ProbeTarget, asyncio.Task[None]] = {}
        async for changes in follow(self._store, keys.probes(self._machine), Probes, self._clock):
            record = changes.items.get("")
            targets = set(record.targets) if record is not None else set()
            for target in probing.keys() - targets:
                probing.pop(target).cancel()
                self._say(target.machine, silent=False)
            for target in targets - probing.keys():
                probing[target] = group.create_task(self._probe(target), name=f"probe {target.machine}")

    async def _probe(self, target: ProbeTarget) -> None:
        heard = False
        unanswered = 0
        backoff = Backoff(least=SILENT_PAUSE)
        while True:
            try:
                link = await self._dial(target, lambda: self._say(target.machine, silent=False))
            except Unanswered:
                unanswered += 1
                if heard and unanswered >= UNANSWERED:
                    self._say(target.machine, silent=True)
                    await self._clock.sleep(SILENT_PAUSE)
                elif not heard:
                    await self._clock.sleep(backoff.next())
                continue
            unanswered = 0
            if link is not None:
                heard = True
                backoff.reset()
                try:
                    await link.ended()
                finally:
                    link.close()
                continue
            await self._clock.sleep(backoff.next())

    def _say(self, machine: str, *, silent: bool) -> None:
        if silent == (machine in self._silent):
            return
        if silent:
            self._silent[machine] = self._clock.now()
            log.warning("machine %s does not answer: reporting it", machine)
        else:
            del self._silent[machine]
            log.info("machine %s answers again", machine)
        self._wake.set()

    async def _follow_reports(self) -> None:
        """What others report about this machine."""
        reports: dict[str, int] = {}
        async for changes in follow(self._store, keys.silences_of(self._machine), Silence, self._clock):
            if changes.reset:
                reports, self._objected = {}, 0  # a store that was restored counts its revisions anew
            for observer in {*changes.items, *changes.modified} - {self._machine}:
                if observer in changes.modified:
                    reports[observer] = changes.modified[observer]
                else:
                    reports.pop(observer, None)
            if reports != self._against_me:
                self._against_me = dict(reports)
                self._wake.set()

    def _wanted(self) -> dict[str, bytes]:
        """The records that should stand, by key."""
        wanted = {
            keys.silence(machine, self._machine): encode(Silence(machine, self._machine, since)) for machine, since in self._silent.items()
        }
        if self._against_me:
            wanted[keys.silence(self._machine, self._machine)] = encode(Silence(self._machine, self._machine, self._clock.now()))
        return wanted

    def _writes(self, lease: int) -> list[Put | Delete]:
        wanted = self._wanted()
        own = keys.silence(self._machine, self._machine)
        newest = max(self._against_me.values(), default=0)
        puts = [
            Put(key, value, lease)
            for key, value in wanted.items()
            if self._written.get(key) != lease or (key == own and newest > self._objected)
        ]
        return [*puts, *(Delete(key) for key in self._written if key not in wanted)]

    async def _write(self) -> None:
        backoff = Backoff(most=0.5)
        while True:
            lease = self._lease()
            writes = self._writes(lease) if lease else []
            newest = max(self._against_me.values(), default=0)
            if writes:
                try:
                    await within(self._clock, WRITING, self._store.commit([], writes))
                except (StoreUnavailable, LeaseLost) as error:
                    log.debug("reports of silent machines are written later: %s", error)
                    await self._clock.sleep(backoff.next())
                    continue
                backoff.reset()
                for write in writes:
                    if isinstance(write, Put):
                        self._written[write.key] = lease
                    else:
                        self._written.pop(write.key, None)
                self._objected = newest
            await self._wake.wait(self._clock, LOOK_AGAIN if self._written or self._wanted() else None)
