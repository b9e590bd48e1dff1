"""Probing other machines, and objecting when this one is reported although it is well.

The engine leader names up to three machines to probe. This keeps a connection to each; nothing is sent over it but the kernel's own
keep-alives, which the other kernel answers however busy its machine is. A machine that was reached before and does not answer at all any
more is reported; one that refuses connections is alive. A report is a record under this machine's lease, and is deleted when the machine
answers again. While nothing is silent, nothing is written and nothing wakes up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from argosy.model import ProbeTarget, Silence
from argosy.reconcile import Backoff, Clock
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.kinds import SILENCES, probes_of
from argosy.state.lease import Lease
from argosy.state.records import encode

log = logging.getLogger(__name__)

UNANSWERED = 2
"""Connection attempts in a row that nothing came back from, after which a machine is silent."""

SILENT_PAUSE = 0.25
"""Seconds between attempts to reach a silent machine."""


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
    """Reports silent machines, and objects to reports of this one, under this machine's lease."""

    def __init__(self, cache: Cache, machine_id: str, clock: Clock, lease: Lease, dial: Dial) -> None:
        self._cache = cache
        self._machine = machine_id
        self._clock = clock
        self._lease = lease
        self._dial = dial
        self._silent: set[str] = set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_targets(group))
                group.create_task(self._follow_reports())
        except Exception:  # nobody would take these back; an agent that is told to stop leaves them to end with its lease
            for machine in tuple(self._silent):
                self._say(machine, silent=False)
            self._lease.withdraw(keys.silence(self._machine, self._machine))
            raise

    async def _follow_targets(self, group: asyncio.TaskGroup) -> None:
        probing: dict[ProbeTarget, asyncio.Task[None]] = {}
        async for changes in self._cache.follow(probes_of(self._machine)):
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
        key = keys.silence(machine, self._machine)
        if silent:
            self._silent.add(machine)
            log.warning("machine %s does not answer: reporting it", machine)
            self._lease.publish(key, encode(Silence(machine, self._machine, self._clock.now())), urgent=True)
        else:
            self._silent.discard(machine)
            log.info("machine %s answers again", machine)
            self._lease.withdraw(key)

    async def _follow_reports(self) -> None:
        """Object to every new report about this machine, and take that back with the last of them."""
        own = keys.silence(self._machine, self._machine)
        reports: dict[str, int] = {}
        objected = 0
        async for changes in self._cache.follow(SILENCES):
            stood = bool(reports)
            if changes.reset:
                reports, objected = {}, 0  # a store that was restored counts its revisions anew
            for key in {*changes.items, *changes.modified}:
                machine, _, observer = key.partition("/")
                if machine != self._machine or observer == self._machine:
                    continue
                if key in changes.modified:
                    reports[observer] = changes.modified[key]
                else:
                    reports.pop(observer, None)
            newest = max(reports.values(), default=0)
            if newest > objected:
                objected = newest
                self._lease.publish(own, encode(Silence(self._machine, self._machine, self._clock.now())), urgent=True)
            elif stood and not reports:
                self._lease.withdraw(own)
