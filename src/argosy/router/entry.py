"""The entry in front of a cluster's routers: one address that spreads over those that answer.

Every router is asked for its health page a few times a second. One that refuses is out at once, one that is silent after two tries, and
it is back with its first good answer; meanwhile nginx itself passes each request on to the next router when it cannot connect. When
none answers, all are used: then it is rather the asking that fails.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import msgspec

from argosy.errors import ArgosyError
from argosy.reconcile import Backoff, Clock, Wake
from argosy.router.base import Proxy
from argosy.router.guard import guard, tend
from argosy.router.naming import parse_address
from argosy.router.process import open_files
from argosy.router.render import HEALTH, HEALTH_HOST, is_router, render_entry
from argosy.router.sockdiag import end_connections
from argosy.router.sources import read_sources

log = logging.getLogger(__name__)

Routers = Sequence[tuple[str, str]]
"""(machine's name, IP:PORT of its router)."""

INTERVAL = 0.3
TIMEOUT = 0.5
TRIES = 2


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """A router as the entry sees it. `failures` counts failed checks in a row (up to TRIES), `reason` is the last one's, `since` when
    up last changed."""

    name: str
    address: str
    up: bool
    since: float
    failures: int = 0
    reason: str = ""


class EntryStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the entry does now; `error` is nginx's word when it refused the newest configuration."""

    listen: tuple[str, ...]
    routers: tuple[Seen, ...] = ()
    error: str = ""


class Silent(Exception):
    """The router has not answered in time: it may be dead, or the machine busy."""


class Unhealthy(Exception):
    """The router refuses connections, or answers something else."""


def judged(known: Seen | None, name: str, address: str, failure: Silent | Unhealthy | None, now: float) -> Seen:
    """What is known of a router after one more check. A router that is new is up with its first good answer."""
    if failure is None:
        up, failures = True, 0
    else:
        failures = min(TRIES, known.failures + 1) if known else 1
        up = known is not None and known.up and isinstance(failure, Silent) and failures < TRIES
    return Seen(name, address, up, known.since if known and known.up == up else now, failures, str(failure or ""))


Probe = Callable[[str], Awaitable[None]]


async def probe(address: str) -> None:
    """Asks one router for its health page. Raises Silent or Unhealthy."""
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(force_close=True)) as session,
            session.get(f"http://{address}{HEALTH}", headers={"Host": HEALTH_HOST}, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise Unhealthy(f"its health page answers {answer.status}")
    except TimeoutError as error:
        raise Silent(f"no answer within {TIMEOUT:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unhealthy(str(error) or type(error).__name__) from error


async def sever(address: str) -> None:
    """Ends this host's connections to a router that has fallen silent: nginx sees them fail and asks another router for what may be
    repeated, where it would wait for ever. A host that does not allow it loses nothing but time."""
    target = parse_address(address)
    try:
        await asyncio.to_thread(end_connections, [(target.host, target.port)])
    except OSError as error:
        log.debug("connections to %s cannot be ended: %s", address, error)


class Entry:
    """`run` for ever serves `listen` through `proxy`. `routers` is asked again before every check, in a thread, so it may read a file.
    `status`: a file that always holds the newest EntryStatus as JSON. `sever` ends connections to a router that has just gone out."""

    def __init__(
        self,
        routers: Callable[[], Routers],
        listen: Sequence[str],
        proxy: Proxy,
        clock: Clock,
        *,
        status: Path | None = None,
        probe: Probe = probe,
        sever: Probe = sever,
    ) -> None:
        self._routers = routers
        self._listen = tuple(listen)
        self._proxy = proxy
        self._clock = clock
        self._file = status
        self._probe = probe
        self._sever = sever
        self._wake = Wake()
        self.status = EntryStatus(self._listen)

    async def run(self) -> None:
        """Leaves the proxy running when it is cancelled."""
        sources = await asyncio.to_thread(read_sources)
        try:
            await self._proxy.adopt()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._check())
                group.create_task(self._serve(sources))
                group.create_task(guard(self._proxy, self._clock, self._wake.set))
                group.create_task(tend(self._proxy, self._clock))
        finally:
            await self._proxy.close()

    async def _check(self) -> None:
        wanted: Routers = ()
        used: object = None
        while True:
            try:
                wanted = sorted(set(await asyncio.to_thread(self._routers)))
            except (OSError, ValueError) as error:
                log.error("cannot read which routers there are: %s", error)
            seen = tuple(await asyncio.gather(*(self._look(name, address) for name, address in wanted)))
            if seen != self.status.routers:
                self.status = msgspec.structs.replace(self.status, routers=seen)
                await asyncio.to_thread(self._write)
            if used != (used := self._used()):
                self._wake.set()
            await self._clock.sleep(INTERVAL)

    def _used(self) -> tuple[str, ...]:
        routers = self.status.routers
        return tuple(router.address for router in routers if router.up) or tuple(
            router.address for router in routers if is_router(router.address)
        )

    async def _look(self, name: str, address: str) -> Seen:
        known = next((router for router in self.status.routers if (router.name, router.address) == (name, address)), None)
        failure: Silent | Unhealthy | None = None
        try:
            if not is_router(address):
                raise Unhealthy("it is not given as IP:PORT")
            await self._probe(address)
        except (Silent, Unhealthy) as error:
            failure = error
        seen = judged(known, name, address, failure, self._clock.now())
        if known is not None and known.up and not seen.up and isinstance(failure, Silent):
            await self._sever(address)
        if known is None or known.up != seen.up:
            log.info("router %s at %s %s", name, address, "answers" if seen.up else f"is out: {seen.reason}")
        return seen

    async def _serve(self, sources: dict[str, str]) -> None:
        backoff = Backoff(0.5, 10.0)
        pause: float | None = None
        while True:
            await self._wake.wait(self._clock, pause)
            try:
                await self._proxy.apply(self._config(sources))
                pause, error = None, ""
                backoff.reset()
            except ArgosyError as refusal:
                pause, error = backoff.next(), str(refusal)
                log.error("the entry does not serve as it should: %s; trying again in %.1f s", error, pause)
            if error != self.status.error:
                self.status = msgspec.structs.replace(self.status, error=error)
                await asyncio.to_thread(self._write)

    def _config(self, sources: dict[str, str]) -> str:
        return render_entry(self._used(), self._listen, open_files(), sources)

    def _write(self) -> None:
        if self._file is None:
            return
        part = self._file.with_name(f"{self._file.name}.part")
        try:
            part.write_bytes(msgspec.json.encode(self.status))
            os.replace(part, self._file)
        except OSError as error:
            log.error("cannot write %s: %s", self._file, error.strerror)
