"""The entry: spreads over the machines that belong and answer, as long as it runs.

Every machine is asked for its health a few times a second. One that refuses is out at once, one that is silent after two tries, and it is
back with its first good answer; meanwhile nginx itself passes each request on to the next machine when it cannot connect. One that is
cordoned, draining or lost leaves as soon as an agent says so; what it is just doing for clients it may finish.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from argosy import files
from argosy.errors import ArgosyError
from argosy.reconcile import Backoff, Clock, Wake
from argosy.router.base import Proxy
from argosy.router.entry import metrics
from argosy.router.entry.plan import (
    Backend,
    Left,
    Member,
    Plan,
    Pool,
    Seen,
    Silent,
    Unhealthy,
    Wanted,
    believed,
    check_wanted,
    judged,
    plan,
    pools,
)
from argosy.router.entry.probe import probe, sever
from argosy.router.entry.render import render_nginx
from argosy.router.guard import guard, tend
from argosy.router.loop import gathering
from argosy.router.process import open_files
from argosy.router.sources import read_sources

log = logging.getLogger(__name__)

STATUS, MEMBERS = "status.json", "machines.json"

INTERVAL = 0.2
CHECKS_PER_SECOND = 250
"""Above so many the interval grows: an entry of a thousand machines must not spend its time asking."""

AT_ONCE = 100

BEGIN = 1.0
"""Seconds that a first word of the machines is waited for before nginx is started without any."""


class EntryStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the entry does now. `serves`: whom nginx sends to, by pool. `left`: machines that are no part of it. `source`: the agent that
    told of the machines last. `error` is nginx's word when it refused the newest configuration."""

    listen: tuple[str, ...]
    routers: tuple[Seen, ...] = ()
    error: str = ""
    tls_listen: tuple[str, ...] = ()
    tcp: tuple[tuple[str, int], ...] = ()
    left: tuple[Left, ...] = ()
    source: str = ""
    serves: dict[str, tuple[str, ...]] = {}


Key = tuple[str, str, str]
Probe = Callable[[Backend], Awaitable[None]]
Sever = Callable[[str], Awaitable[None]]


class Entry:
    """`run` for ever serves what is `wanted` through `proxy`; `know` tells it of the machines, whenever they change. `folder`: where
    status.json always holds the newest EntryStatus, and what is known is kept for the next start. `stream_module`: nginx's file for TCP
    and TLS. `sever` ends connections to a machine that has just fallen silent. Raises InvalidInput for what cannot be wanted."""

    def __init__(
        self,
        wanted: Wanted,
        proxy: Proxy,
        clock: Clock,
        *,
        folder: Path | None = None,
        stream_module: str = "",
        interval: float = INTERVAL,
        probe: Probe = probe,
        sever: Sever = sever,
    ) -> None:
        self._wanted = check_wanted(wanted)
        self._proxy = proxy
        self._clock = clock
        self._folder = folder
        self._stream_module = stream_module
        self._interval = interval
        self._probe = probe
        self._sever = sever
        self._members: tuple[Member, ...] | None = None
        self._plan = Plan()
        self._seen: dict[Key, Seen] = {}
        self._asking: set[Key] = set()
        self._all_seen = False
        self._pools: tuple[Pool, ...] | None = None
        self._check_now, self._serve_now, self._keep_now = Wake(), Wake(), Wake()
        self._limit = asyncio.Semaphore(AT_ONCE)
        self.status = EntryStatus(wanted.listen, tls_listen=wanted.tls_listen, tcp=wanted.tcp)

    def know(self, members: Sequence[Member], source: str = "") -> None:
        """The machines that are alive now, as `source` says. That a pool has lost all of its machines at once is not believed: then it is
        rather the store that has lost them for a moment."""
        fresh, kept = believed(self._plan, plan(members, self._wanted))
        if kept:
            log.warning("%s tells of no machine for %s: going on with those that are known", source, ", ".join(kept))
        _tell(self._plan, fresh)
        self._members, self._plan = (tuple(members) if not kept else self._members), fresh
        keys = {key(backend) for backend in fresh.backends}
        self._seen = {known: seen for known, seen in self._seen.items() if known in keys}
        self._say(source=source, left=fresh.left)
        self._choose()
        self._check_now.set()

    async def run(self) -> None:
        """Leaves the proxy running when it is cancelled."""
        sources = await asyncio.to_thread(read_sources)
        try:
            adopted = await self._proxy.adopt()
            known = await asyncio.to_thread(self._read)
            if self._members is None and known:
                self.know(known, "the run before")
            async with asyncio.TaskGroup() as group:
                if not adopted:
                    group.create_task(self._begin())
                group.create_task(self._check())
                group.create_task(self._serve(sources))
                group.create_task(self._keep())
                group.create_task(guard(self._proxy, self._clock, self._serve_now.set))
                group.create_task(tend(self._proxy, self._clock))
        finally:
            await self._proxy.close()

    async def _begin(self) -> None:
        """It listens soon, even with nobody to send to."""
        await self._clock.sleep(BEGIN)
        if self._pools is None:
            self._pools = pools(self._wanted, ())
            self._serve_now.set()

    # --- whom it may send to

    async def _check(self) -> None:
        async with asyncio.TaskGroup() as looking:
            while True:
                for backend in self._plan.backends:
                    if key(backend) not in self._asking:
                        self._asking.add(key(backend))
                        looking.create_task(self._look(backend))
                await self._check_now.wait(self._clock, max(self._interval, len(self._plan.backends) / CHECKS_PER_SECOND))

    async def _look(self, backend: Backend) -> None:
        failure: Silent | Unhealthy | None = None
        try:
            async with self._limit:
                await self._probe(backend)
        except (Silent, Unhealthy) as error:
            failure = error
            metrics.FAILED.labels(backend.pool, backend.name).inc()
        finally:
            self._asking.discard(key(backend))
        known = self._seen.get(key(backend))
        seen = judged(known, backend, failure, self._clock.now())
        if known is None or known.up != seen.up:
            log.info("%s: %s at %s %s", backend.pool, backend.name, backend.address, "answers" if seen.up else f"is out: {seen.reason}")
        if seen != known and any(key(other) == key(backend) for other in self._plan.backends):
            self._seen[key(backend)] = seen
            self._choose()
        if known is not None and known.up and not seen.up and isinstance(failure, Silent):
            await self._sever(backend.address)

    def _choose(self) -> None:
        """Nothing is chosen before everybody has been asked once."""
        backends = self._plan.backends
        seen = {backend: self._seen[key(backend)] for backend in backends if key(backend) in self._seen}
        self._say(routers=tuple(msgspec.structs.replace(one, spare=backend.spare) for backend, one in seen.items()))
        self._all_seen = self._all_seen or len(seen) == len(backends)
        if not self._all_seen:
            return
        up = {backend for backend, one in seen.items() if one.up}
        chosen = pools(self._wanted, backends, up)
        metrics.show(backends, up, chosen)
        if chosen != self._pools:
            self._pools = chosen
            self._serve_now.set()

    # --- what is served

    async def _serve(self, sources: dict[str, str]) -> None:
        backoff = Backoff(0.5, 10.0)
        pause: float | None = None
        while True:
            await self._serve_now.wait(self._clock, pause)
            if self._pools is None:
                continue  # nginx was found running and has ended again before anything is known
            chosen = self._pools
            try:
                await self._proxy.apply(self._config(chosen, sources))
                self._say(serves={pool.name: tuple(server.name for server in pool.servers) for pool in chosen})
                metrics.CHANGES.labels("served").inc()
                pause, error = None, ""
                backoff.reset()
            except ArgosyError as refusal:
                metrics.CHANGES.labels("refused").inc()
                pause, error = backoff.next(), str(refusal)
                log.error("the entry does not serve as it should: %s; trying again in %.1f s", error, pause)
            self._say(error=error)
            await self._clock.sleep(gathering(self._proxy.lingering))

    def _config(self, chosen: Sequence[Pool], sources: dict[str, str]) -> str:
        return render_nginx(chosen, self._wanted, sources, nofile=open_files(), stream_module=self._stream_module)

    # --- what is told and kept

    def _say(self, **changes: Any) -> None:
        status = msgspec.structs.replace(self.status, **changes)
        if status != self.status:
            self.status = status
            self._keep_now.set()

    async def _keep(self) -> None:
        if self._folder is None:
            return
        kept: tuple[Member, ...] | None = None
        await asyncio.to_thread(_write, self._folder / STATUS, self.status)
        while True:
            await self._keep_now.wait(self._clock, None)
            await asyncio.to_thread(_write, self._folder / STATUS, self.status)
            if self._members != kept:
                kept = self._members
                await asyncio.to_thread(_write, self._folder / MEMBERS, kept)

    def _read(self) -> tuple[Member, ...]:
        """The machines as an earlier run knew them last."""
        try:
            return msgspec.json.decode((self._folder / MEMBERS).read_bytes(), type=tuple[Member, ...]) if self._folder else ()
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("what the run before knew is lost: %s", error)
            return ()


def key(backend: Backend) -> Key:
    """What makes a backend the same one, whatever the operator has ordered about its machine."""
    return backend.pool, backend.name, backend.address


def _write(path: Path, value: object) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, msgspec.json.encode(value))
    except OSError as error:
        log.error("cannot write %s: %s", path, error.strerror)


def _tell(before: Plan, after: Plan) -> None:
    """Into the log: who has come, who has gone, who is spare now, and who is left out for which reason."""
    old, new = ({key(backend): backend for backend in each.backends} for each in (before, after))
    for gone in old.keys() - new.keys():
        log.info("%s: %s at %s has gone", *gone)
    for each in new:
        was = old[each].spare if each in old else ""
        if each not in old:
            log.info("%s: %s at %s has come%s", *each, f", {new[each].spare}" if new[each].spare else "")
        elif was != new[each].spare:
            log.info("%s: %s at %s is %s", *each, new[each].spare or "ready again")
    for left in after.left:
        if left not in before.left:
            log.info("%s: %s is no part of it: %s", left.pool, left.name, left.reason)
