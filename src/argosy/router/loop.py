"""The router: follows the announced keys, keeps the proxy serving them, and reports what it serves.

The first change after a quiet while is served at once; while changes keep coming they are gathered, and the more long connections linger in
earlier configurations, the longer. With the store away it serves what it last knew, even after a restart.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from argosy.config import RouterSection
from argosy.errors import ArgosyError, InvalidInput, RuntimeFailed
from argosy.model import Entry, RefusedRoute, RouterDetail, RouterReport
from argosy.reconcile import Backoff, Clock, Wake, within
from argosy.router import metrics
from argosy.router.base import Proxy
from argosy.router.exclusion import Exclusion
from argosy.router.feed import Feed
from argosy.router.guard import guard, tend
from argosy.router.includes import Includes
from argosy.router.naming import Address, check_ip, parse_address
from argosy.router.process import open_files
from argosy.router.render import Fragments, Routes, Settings, check_settings, excluding, hostnames, render, routes_of
from argosy.router.report import Reports, Untold
from argosy.router.served import Served, brief, detail, of_apps
from argosy.router.sources import read_sources
from argosy.router.tls.plan import Certificates, Shelved
from argosy.router.tuning import parse_tuning
from argosy.sockdiag import Target
from argosy.state.table import Changes

log = logging.getLogger(__name__)

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]

GATHER = 0.05
GATHER_LINGERING = 0.1
GATHER_MOST = 2.0
FIRST_LISTING = 1.0
RESOLVE_EVERY = 30.0
RESOLVE_TIMEOUT = 2.0
RESOLVE_AT_ONCE = 16
CERTIFICATES_EVERY = 0.5
INCLUDES_EVERY = 2.0

_RESOLVERS = ThreadPoolExecutor(4, thread_name_prefix="resolve")
"""Of their own: a name server that does not answer keeps a thread for long, and must hold up nobody else."""


def gathering(lingering: int, took: float = 0.0) -> float:
    """Seconds between one change of the configuration and the next, given how many processes still carry connections of earlier ones and
    how many seconds the change took: while changes keep coming, at most half of the time goes into them."""
    return min(GATHER_MOST, max(GATHER, took) + GATHER_LINGERING * lingering)


def _addresses(host: str) -> Sequence[Any]:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)


async def resolve(host: str) -> tuple[str, ...]:
    """The IPv4 addresses of a host name as this machine sees them, or else its IPv6 addresses; () when it has none."""
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            answers = await asyncio.get_running_loop().run_in_executor(_RESOLVERS, _addresses, host)
    except (OSError, UnicodeError):
        return ()
    found = {str(answer[4][0]) for answer in answers}
    ips = sorted(ip for ip in found if "%" not in ip and not check_ip(ipaddress.ip_address(ip)))
    return tuple(ip for ip in ips if ":" not in ip) or tuple(ips)


def settings_of(section: RouterSection) -> Settings:
    """What the operator's configuration says, within this process's limits. Raises InvalidInput."""
    if not section.certificates and section.tls_listen != RouterSection().tls_listen:
        raise InvalidInput("[router] tls_listen needs certificates", remedy="name the folder that holds them: certificates = FOLDER")
    tls_listen = section.tls_listen if section.certificates else ()
    try:
        tuning = parse_tuning(section.settings)
    except InvalidInput as error:
        raise InvalidInput(f"[router] settings: {error.message}", remedy=error.remedy) from error
    return check_settings(
        Settings(
            listen=section.listen, tls_listen=tls_listen, proxy_protocol=section.proxy_protocol, redirect=section.redirect,
            hsts=section.hsts, domain=section.domain, include=section.include, trusted=section.trusted, access_log=section.access_log,
            nofile=open_files(), tuning=tuning,
        )
    )  # fmt: skip


class Router:
    """`run` for ever serves the apps that `feed` tells of on this machine through `proxy`, and tells `reports` how much is served.
    `templates`: the operator's folder. `certificates`: for TLS. `memory`: keeps what is served over a restart. Raises InvalidInput for
    settings that break a rule."""

    def __init__(
        self,
        feed: Feed,
        machine_id: str,
        proxy: Proxy,
        settings: Settings,
        clock: Clock,
        *,
        reports: Reports | None = None,
        templates: Path | None = None,
        certificates: Certificates | None = None,
        memory: Served | None = None,
        exclusion: Exclusion | None = None,
        resolve: Resolve = resolve,
    ) -> None:
        self._feed = feed
        self._machine = machine_id
        self._proxy = proxy
        self._settings = check_settings(settings)
        self._clock = clock
        self._templates = templates
        self._resolve = resolve
        self._reports = reports or Untold()
        self._certificates = certificates
        self._shelved = Shelved()
        self._includes = Includes(settings.include)
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._listed = asyncio.Event()
        self._wake = Wake()
        self._ask = Wake()
        self._refused: frozenset[RefusedRoute] = frozenset()
        self._next = 0.0
        self._memory = memory
        self._exclusion = exclusion or Exclusion(clock)
        self._fragments = Fragments()
        self._targets: frozenset[Target] = frozenset()
        self.report = RouterReport(machine_id)
        """That something is served now, and how much, as published."""
        self.served = RouterDetail()
        """What is served now, in full."""

    async def detail(self, apps: Collection[str]) -> RouterDetail:
        """What is served now; with `apps` only what concerns these."""
        return of_apps(self.served, apps)

    async def run(self) -> None:
        """Leaves the proxy running when it is cancelled."""
        try:
            if await self._proxy.adopt():
                await self._remember()
            await self._look_at_certificates()
            await asyncio.to_thread(self._includes.look)
            async with asyncio.TaskGroup() as group:
                for work in (
                    self._follow,
                    self._look_up,
                    self._watch_certificates,
                    self._watch_includes,
                    self._serve,
                    self._guard,
                    self._reports.run,
                ):
                    group.create_task(work())
                group.create_task(tend(self._proxy, self._clock, self._look_at_failing))
        finally:
            await self._proxy.close()

    async def _remember(self) -> None:
        """What an earlier router on this machine served, and since when, as long as its proxy still runs."""
        if self._memory is not None:
            known = await asyncio.to_thread(self._memory.load)
            self.served = known or self.served
            self.report = brief(self._machine, self.served, self._settings, max((up.since for up in self.served.upstreams), default=0.0))

    # --- what is wanted

    async def _follow(self) -> None:
        async for changes in self._feed.follow():
            if self._take(changes):
                self._wake.set()
            if not hostnames({key: entry for key, entry in changes.items.items() if entry is not None}) <= self._names.keys():
                self._ask.set()
            self._listed.set()

    def _take(self, changes: Changes[Entry]) -> bool:
        """True if what the keys say has changed: a refresh with the same value is no change."""
        before = {key: meaning(entry) for key, entry in self._entries.items()} if changes.reset else {}
        if changes.reset:
            self._entries = {key: entry for key, entry in changes.items.items() if entry is not None}
            return not self._listed.is_set() or before != {key: meaning(entry) for key, entry in self._entries.items()}
        changed = False
        for key, entry in changes.items.items():
            known = self._entries.get(key)
            changed |= (known and meaning(known)) != (entry and meaning(entry))
            if entry is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = entry
        return changed

    async def _look_up(self) -> None:
        """Knows the addresses of announced host names, asking again now and then; a name that stops resolving keeps the ones it had."""
        limit = asyncio.Semaphore(RESOLVE_AT_ONCE)

        async def ask(name: str) -> tuple[str, tuple[str, ...]]:
            async with limit:
                return name, await self._resolve(name) or self._names.get(name, ())

        while True:
            wanted = hostnames(self._entries)
            names = dict(await asyncio.gather(*(ask(name) for name in wanted)))
            if names != self._names:
                self._names = names
                self._wake.set()
            await self._ask.wait(self._clock, RESOLVE_EVERY if wanted else None)

    async def _watch_certificates(self) -> None:
        while self._certificates is not None:
            await self._clock.sleep(CERTIFICATES_EVERY)
            await self._look_at_certificates()

    async def _look_at_certificates(self) -> None:
        if self._certificates is not None:
            found = await asyncio.to_thread(self._certificates.look, self._clock.now())
            if found is not None and found != self._shelved:
                self._shelved = found
                self._wake.set()

    async def _watch_includes(self) -> None:
        while self._settings.include:
            await self._clock.sleep(INCLUDES_EVERY)
            if await asyncio.to_thread(self._includes.look):
                self._wake.set()

    # --- what is served

    async def _serve(self) -> None:
        await self._first_listing()
        backoff = Backoff(0.5, 10.0)
        pause: float | None = None
        while True:
            await self._wake.wait(self._clock, pause)
            await self._clock.sleep(self._next - self._clock.monotonic())
            try:
                await self._round()
                pause = None
                backoff.reset()
            except ArgosyError as error:
                pause = backoff.next()
                log.error("routes are not served as announced: %s; trying again in %.1f s", error, pause)
                self._tell_failure(str(error))
                await self._revive("the newest configuration is refused")

    async def _revive(self, reason: str) -> None:
        if not self._proxy.active:
            try:
                if await self._proxy.revive():
                    log.warning("%s: serving what this router last served", reason)
            except ArgosyError as error:
                log.error("the last good configuration is not served either: %s", error)

    async def _first_listing(self) -> None:
        """With the store away, what was served before this machine started is better than nothing."""
        try:
            await within(self._clock, FIRST_LISTING, self._listed.wait())
        except TimeoutError:
            await self._revive("the store is away")
            await self._listed.wait()

    async def _round(self) -> None:
        started = self._clock.monotonic()
        routes, config = await asyncio.to_thread(self._render, dict(self._entries), dict(self._names))
        self._tell_refused(routes)
        if config != self._proxy.active:
            try:
                await self._apply(config, started)
            except RuntimeFailed as error:

                async def attempt(files: tuple[str, ...]) -> str:
                    config = await asyncio.to_thread(self._configuration, routes, files)
                    await self._apply(config, started)
                    return config

                config = await self._includes.isolate(error, attempt)
            if self._certificates is not None:
                await asyncio.to_thread(self._certificates.tidy, config)
        await asyncio.to_thread(self._serving, routes)
        self._reports.publish(self.report)

    def _render(self, entries: Mapping[str, Entry], names: Mapping[str, tuple[str, ...]]) -> tuple[Routes, str]:
        routes = routes_of(entries, names, self._settings.domain)
        failing = {str(Address(host, port, True)) for host, port in self._exclusion.failing}
        routes = excluding(routes, failing)
        self._targets = frozenset(parsed(target) for app in routes.apps for target in app.targets)
        return routes, self._configuration(routes, self._includes.chosen)

    def _configuration(self, routes: Routes, include: tuple[str, ...]) -> str:
        settings = msgspec.structs.replace(self._settings, include=include)
        config = render(routes, settings, read_sources(self._templates), self._shelved.certificates, self._fragments)
        return config + self._includes.mark(include)

    async def _apply(self, config: str, started: float) -> None:
        try:
            with metrics.APPLY.time():
                await self._proxy.apply(config)
            metrics.CHANGES.labels("served").inc()
        except ArgosyError:
            metrics.CHANGES.labels("refused").inc()
            raise
        finally:
            ended = self._clock.monotonic()
            self._next = ended + gathering(self._proxy.lingering, ended - started)
        log.info("serving a new configuration after %.0f ms", (self._clock.monotonic() - started) * 1000)

    async def _guard(self) -> None:
        def lost() -> None:
            metrics.LOST.inc()
            self._wake.set()

        await guard(self._proxy, self._clock, lost)

    async def _look_at_failing(self, suspects: Collection[Target]) -> None:
        if await self._exclusion.look(suspects, self._targets):
            self._wake.set()

    # --- what is told

    def _serving(self, routes: Routes) -> None:
        """Take note of what is served from now on. In a thread: it takes time that grows with the number of routes."""
        now = self._clock.now()
        failing = {str(Address(host, port, True)): one for (host, port), one in self._exclusion.failing.items()}
        shelved = msgspec.structs.replace(self._shelved, complaints=self._complaints)
        served = detail(routes, self.served, shelved, failing, now)
        same = self.report.since and (served.upstreams, served.hosts) == (self.served.upstreams, self.served.hosts)
        if self._memory is not None and served != self.served:
            self._memory.keep(served)
        self.served = served
        self.report = brief(self._machine, served, self._settings, self.report.since if same else now)
        metrics.ROUTES.set(self.report.routes)
        metrics.REFUSED.set(self.report.refusing)

    @property
    def _complaints(self) -> tuple[str, ...]:
        return (*self._shelved.complaints, *self._includes.complaints)

    def _tell_failure(self, error: str) -> None:
        """The configuration that was served goes on; what is refused is told all the same."""
        refused = tuple(sorted(self._refused, key=lambda route: route.key))
        self.served = msgspec.structs.replace(self.served, refused=refused, complaints=self._complaints)
        self.report = brief(self._machine, self.served, self._settings, self.report.since, error)
        metrics.REFUSED.set(self.report.refusing)
        self._reports.publish(self.report)

    def _tell_refused(self, routes: Routes) -> None:
        refused = frozenset(routes.refused)
        for route in sorted(refused - self._refused, key=lambda route: route.key):
            log.warning("refused route %s: %s", route.key, route.reason)
        still = {route.key for route in refused}
        for route in sorted(self._refused - refused, key=lambda route: route.key):
            if route.key not in still:
                log.info("route %s is refused no more", route.key)
        self._refused = refused


def meaning(entry: Entry) -> tuple[str, bool, bool]:
    """What of a key matters to a router: not when it expires."""
    return entry.value, entry.directory, entry.binary


def parsed(target: str) -> Target:
    """A target as nginx is told it, as address and port."""
    address = parse_address(target)
    return address.host, address.port
