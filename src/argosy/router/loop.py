"""The router: follows the announced keys, keeps the proxy serving them, and reports what it serves.

The first change after a quiet while is served at once; while changes keep coming they are gathered, and the more long connections linger in
earlier configurations, the longer. With the store away it serves what it last knew, even after a restart.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from argosy.config import RouterSection
from argosy.errors import ArgosyError, InvalidInput, RuntimeFailed
from argosy.model import Entry, RefusedRoute, RouterReport, ServedCertificate, Upstream
from argosy.reconcile import Backoff, Clock, Wake
from argosy.router import metrics
from argosy.router.base import Proxy
from argosy.router.feed import Feed
from argosy.router.guard import guard, tend
from argosy.router.includes import Includes
from argosy.router.naming import check_ip
from argosy.router.process import open_files
from argosy.router.render import Routes, Settings, check_settings, hostnames, render, routes_of
from argosy.router.report import Reports, Untold
from argosy.router.sources import read_sources
from argosy.router.tls.plan import Certificates, Shelved
from argosy.router.tuning import parse_tuning
from argosy.state.view import Changes

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


def gathering(lingering: int) -> float:
    """Seconds between one change of the configuration and the next, given how many processes still carry connections of earlier ones."""
    return min(GATHER_MOST, GATHER + GATHER_LINGERING * lingering)


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
    """`run` for ever serves the apps that `feed` tells of on this machine through `proxy`, and tells `reports` what is served. `templates`:
    the operator's folder. `certificates`: for TLS. Raises InvalidInput for settings that break a rule."""

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
        self.report = RouterReport(machine_id)
        """What is served now, as published."""

    async def run(self) -> None:
        """Leaves the proxy running when it is cancelled."""
        try:
            if await self._proxy.adopt():
                self.report = await self._reports.last() or self.report
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
                group.create_task(tend(self._proxy, self._clock))
        finally:
            await self._proxy.close()

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
                self._publish(error=str(error))
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
        waiter = asyncio.ensure_future(self._listed.wait())
        timer = asyncio.ensure_future(self._clock.sleep(FIRST_LISTING))
        await asyncio.wait((waiter, timer), return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        if not self._listed.is_set():
            await self._revive("the store is away")
        await waiter

    async def _round(self) -> None:
        routes, config = await asyncio.to_thread(self._render, dict(self._entries), dict(self._names))
        self._tell_refused(routes)
        if config != self._proxy.active:
            try:
                await self._apply(config)
            except RuntimeFailed as error:

                async def attempt(files: tuple[str, ...]) -> str:
                    config = await asyncio.to_thread(self._configuration, routes, files)
                    await self._apply(config)
                    return config

                config = await self._includes.isolate(error, attempt)
            if self._certificates is not None:
                await asyncio.to_thread(self._certificates.tidy, config)
        self._publish(routes)

    def _render(self, entries: Mapping[str, Entry], names: Mapping[str, tuple[str, ...]]) -> tuple[Routes, str]:
        routes = routes_of(entries, names, self._settings.domain)
        return routes, self._configuration(routes, self._includes.chosen)

    def _configuration(self, routes: Routes, include: tuple[str, ...]) -> str:
        settings = msgspec.structs.replace(self._settings, include=include)
        config = render(routes, settings, read_sources(self._templates), self._shelved.certificates)
        return config + self._includes.mark(include)

    async def _apply(self, config: str) -> None:
        started = self._clock.monotonic()
        try:
            with metrics.APPLY.time():
                await self._proxy.apply(config)
            metrics.CHANGES.labels("served").inc()
        except ArgosyError:
            metrics.CHANGES.labels("refused").inc()
            raise
        finally:
            self._next = self._clock.monotonic() + gathering(self._proxy.lingering)
        log.info("serving a new configuration after %.0f ms", (self._clock.monotonic() - started) * 1000)

    async def _guard(self) -> None:
        def lost() -> None:
            metrics.LOST.inc()
            self._wake.set()

        await guard(self._proxy, self._clock, lost)

    # --- what is told

    def _publish(self, routes: Routes | None = None, error: str = "") -> None:
        now = self._clock.now()
        before, replace = self.report, msgspec.structs.replace
        if routes is None:
            report = replace(before, refused=tuple(sorted(self._refused, key=lambda route: route.key)), error=error)
        else:
            since = {(up.app, up.instance, up.address): up.since for up in before.upstreams}
            upstreams = tuple(
                Upstream(app.name, server.instance, server.address, since.get((app.name, server.instance, server.address), now))
                for app in routes.apps
                for server in app.servers
            )
            hosts = {app.name: app.hosts[-1] for app in routes.apps}
            same = before.since and upstreams == before.upstreams and hosts == before.hosts
            certificates = tuple(ServedCertificate(one.name, one.names, one.until) for one in self._shelved.certificates)
            report = RouterReport(self._machine, upstreams, routes.refused, hosts, before.since if same else now, certificates=certificates)
        self.report = replace(
            report,
            listen=self._settings.listen,
            tls_listen=self._settings.tls_listen if report.certificates else (),
            complaints=(*self._shelved.complaints, *self._includes.complaints),
            proxy_protocol=self._settings.proxy_protocol,
        )
        metrics.ROUTES.set(len(self.report.upstreams))
        metrics.REFUSED.set(len(self.report.refused))
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
