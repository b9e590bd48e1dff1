"""Telling the cluster that this router serves, and how much: one small record, written when it changes and never otherwise."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import msgspec

from argosy.errors import InvalidInput, StoreUnavailable
from argosy.model import RouterReport
from argosy.reconcile import Backoff, Clock, Wake
from argosy.router.announce.door import Door
from argosy.state import keys
from argosy.state.lease import Lease
from argosy.state.records import encode

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
    """Publishes the newest report under the machine's lease."""

    def __init__(self, machine_id: str, lease: Lease) -> None:
        self._key = keys.router(machine_id)
        self._lease = lease
        self._told: RouterReport | None = None

    def publish(self, report: RouterReport) -> None:
        if report != self._told:
            self._told = report
            self._lease.publish(self._key, encode(report))

    async def run(self) -> None:
        await asyncio.Event().wait()
