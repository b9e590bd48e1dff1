"""Telling the cluster that this router serves, and how much: one small record under a lease of its own, written when it changes and never
otherwise."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import msgspec

from argosy.errors import InvalidInput, LeaseLost, StoreUnavailable
from argosy.model import RouterReport
from argosy.reconcile import Backoff, Clock, Wake
from argosy.router.announce.door import Door
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import Put, Store

REPORTS = "/_argosy/routers"
"""The directory of standalone routers' reports, among the users' keys: hidden from listings."""

KEY_TTL = 30
KEY_GATHER = 1.0
"""Least seconds between two reports of a standalone router."""

REFUSED_PAUSE = 60.0
"""Seconds until a report that the keys API has refused is tried again."""

log = logging.getLogger(__name__)


class Reports(Protocol):
    """Who is told what a router serves."""

    def publish(self, report: RouterReport) -> None:
        """Takes note; `run` tells it."""

    async def run(self) -> None:
        """For ever."""


class Untold:
    """For a router that nobody asks about."""

    def publish(self, report: RouterReport) -> None:
        pass

    async def run(self) -> None:
        await asyncio.Event().wait()


class KeysReporter:
    """Keeps the newest report of a standalone router in a key that ends KEY_TTL seconds after `run` does. `name` is its host's; `address`
    its machine's, as far as it is known."""

    def __init__(self, door: Door, name: str, address: str, clock: Clock) -> None:
        self._door = door
        self._name = name
        self._address = address
        self._clock = clock
        self._wake = Wake()
        self._wanted: RouterReport | None = None
        self._told = ""

    def publish(self, report: RouterReport) -> None:
        if report != self._wanted:
            self._wanted = report
            self._wake.set()

    async def run(self) -> None:
        backoff = Backoff(1.0, KEY_TTL / 3)
        pause: float | None = None
        while True:
            await self._wake.wait(self._clock, pause)
            if self._wanted is None:
                continue
            report = msgspec.structs.replace(self._wanted, machine=self._name, address=self._address, standalone=True)
            try:
                await self._door.put(f"{REPORTS}/{self._name}", encode(report).decode(), KEY_TTL)
                self._tell("")
                backoff.reset()
                pause = KEY_TTL / 3
            except StoreUnavailable:
                pause = backoff.next()  # whoever follows the keys logs that they are away
            except InvalidInput as error:
                self._tell(str(error))
                pause = REFUSED_PAUSE
            await self._clock.sleep(KEY_GATHER)

    def _tell(self, refusal: str) -> None:
        if refusal and refusal != self._told:
            log.warning("argosy routes does not list this router: %s", refusal)
        self._told = refusal


class Reporter:
    """Keeps the newest report that was published under /argosy/routers/<machine>, for as long as `run` runs and `ttl` seconds after."""

    def __init__(self, store: Store, machine_id: str, clock: Clock, ttl: float) -> None:
        self._store = store
        self._key = keys.router(machine_id)
        self._clock = clock
        self._ttl = ttl
        self._wake = Wake()
        self._wanted: RouterReport | None = None
        self._written: RouterReport | None = None
        self._lease = 0
        self._due = 0.0

    def publish(self, report: RouterReport) -> None:
        if report != self._wanted:
            self._wanted = report
            self._wake.set()

    async def run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._step()
            except LeaseLost:
                log.warning("the lease of this router's report has ended: writing it anew")
                self._lease = 0
                continue
            except StoreUnavailable as error:
                pause = backoff.next()
                log.warning("cannot report what this router serves: %s; trying again in %.1f s", error, pause)
                await self._clock.sleep(pause)
                continue
            backoff.reset()
            await self._wake.wait(self._clock, max(0.0, self._due - self._clock.monotonic()))

    async def _step(self) -> None:
        if not self._lease or self._clock.monotonic() >= self._due:
            due = self._clock.monotonic() + self._ttl / 3
            if self._lease:
                await self._store.keep_alive(self._lease)
            else:
                self._written = None
                self._lease = await self._store.grant(self._ttl)
            self._due = due
        wanted = self._wanted
        if wanted is not None and wanted is not self._written:
            await self._store.commit([], [Put(self._key, encode(wanted), self._lease)])
            self._written = wanted
