"""Telling the cluster what this router serves: one record under a lease of its own, written when it changes and never otherwise."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import msgspec

from argosy.errors import LeaseLost, StoreUnavailable
from argosy.model import RouterReport
from argosy.reconcile import Backoff, Clock, Wake
from argosy.state import keys
from argosy.state.records import encode
from argosy.state.view import decoded
from argosy.store.base import MAX_VALUE, Put, Store

log = logging.getLogger(__name__)

MOST_REFUSED = 500
MOST_CERTIFICATES = 200
MOST_BYTES = MAX_VALUE * 9 // 10


def bounded(report: RouterReport) -> RouterReport:
    """The report cut to what one value of the store holds; `omitted` counts what was left out."""
    omitted = max(0, len(report.refused) - MOST_REFUSED)
    report = msgspec.structs.replace(
        report,
        refused=report.refused[:MOST_REFUSED],
        omitted=omitted,
        certificates=report.certificates[:MOST_CERTIFICATES],
        complaints=report.complaints[:MOST_CERTIFICATES],
    )
    while len(encode(report)) > MOST_BYTES:
        upstreams = report.upstreams[: len(report.upstreams) * 3 // 4]
        apps = {upstream.app for upstream in upstreams}
        omitted += len(report.upstreams) - len(upstreams)
        hosts = {app: host for app, host in report.hosts.items() if app in apps}
        report = msgspec.structs.replace(report, upstreams=upstreams, hosts=hosts, refused=report.refused[:50], omitted=omitted)
    return report


class Reports(Protocol):
    """Who is told what a router serves."""

    def publish(self, report: RouterReport) -> None:
        """Takes note; `run` tells it."""

    async def last(self) -> RouterReport | None:
        """What was told last, if that is known: by this router, or by the one before it on this machine."""

    async def run(self) -> None:
        """For ever."""


class Untold:
    """For a router by itself: its log is what it says."""

    def publish(self, report: RouterReport) -> None:
        pass

    async def last(self) -> RouterReport | None:
        return None

    async def run(self) -> None:
        await asyncio.Event().wait()


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

    async def last(self) -> RouterReport | None:
        try:
            record = await self._store.get(self._key)
        except StoreUnavailable:
            return None
        return decoded(RouterReport, record) if record else None

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
            await self._store.commit([], [Put(self._key, encode(bounded(wanted)), self._lease)])
            self._written = wanted
