"""What a router serves, in full and in brief. Pure but for `Served`, which remembers it over a restart of the agent."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from argosy import files
from argosy.errors import InvalidInput
from argosy.model import Entry, ExcludedUpstream, RouterDetail, RouterReport, ServedCertificate, Upstream
from argosy.router.exclusion import Failing
from argosy.router.render import Routes, Settings, hostnames, routes_of
from argosy.router.tls.plan import Shelved
from argosy.state.records import decode, encode

log = logging.getLogger(__name__)

LONGEST_ERROR = 400
MOST_LISTEN = 16
PLACEHOLDER = ("192.0.2.1",)
"""An address for documentation: stands for a host name's own where only the names of routes matter."""


def detail(routes: Routes, before: RouterDetail, shelved: Shelved, failing: Mapping[str, Failing], now: float) -> RouterDetail:
    """What is served from `now` on, given what was served before: an upstream that stays keeps the time since when it is served. `failing`
    says of excluded targets why."""
    since = {(up.app, up.instance, up.address): up.since for up in before.upstreams}
    upstreams = tuple(
        Upstream(app.name, server.instance, server.address, since.get((app.name, server.instance, server.address), now))
        for app in routes.apps
        for server in app.servers
    )
    excluded = tuple(
        ExcludedUpstream(app.name, server.instance, target, failing[target].reason, failing[target].since)
        for app in routes.apps
        if app.excluded
        for server in app.servers
        for target in server.targets
        if target in app.excluded and target in failing
    )
    return RouterDetail(
        upstreams,
        routes.refused,
        {app.name: app.hosts[-1] for app in routes.apps},
        excluded,
        tuple(ServedCertificate(one.name, one.names, one.until) for one in shelved.certificates),
        shelved.complaints,
    )


def brief(machine: str, served: RouterDetail, settings: Settings, since: float, error: str = "") -> RouterReport:
    """The report of a router that serves this: less than 2 kB however much that is."""
    return RouterReport(
        machine,
        since,
        error if len(error) <= LONGEST_ERROR else f"{error[: LONGEST_ERROR - 1]}…",
        len(served.upstreams),
        len(served.refused),
        len(served.excluded),
        digest((up.app, up.instance, up.address) for up in served.upstreams),
        settings.listen[:MOST_LISTEN],
        settings.tls_listen[:MOST_LISTEN] if served.certificates else (),
        settings.proxy_protocol,
        settings.domain,
    )


def digest(upstreams: Iterable[tuple[str, str, str]]) -> str:
    """Equal for equal sets of (app, instance, address). None of the three holds a line break or a slash."""
    lines = sorted("/".join(upstream) for upstream in upstreams)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def announced(entries: Mapping[str, Entry], domain: str) -> RouterDetail:
    """What a router without exclusions serves once it follows these keys (without their prefix), as if every host name resolved."""
    routes = routes_of(entries, dict.fromkeys(hostnames(entries), PLACEHOLDER), domain)
    return detail(routes, RouterDetail(), Shelved(), {}, 0.0)


def of_apps(served: RouterDetail, apps: Collection[str]) -> RouterDetail:
    """Only what concerns these apps; all of it if none is named."""
    if not apps:
        return served
    wanted = set(apps)
    return msgspec.structs.replace(
        served,
        upstreams=tuple(up for up in served.upstreams if up.app in wanted),
        refused=tuple(route for route in served.refused if _app(route.key) in wanted),
        hosts={app: host for app, host in served.hosts.items() if app in wanted},
        excluded=tuple(one for one in served.excluded if one.app in wanted),
    )


def _app(key: str) -> str:
    return key.removeprefix("/services/web/").partition("/")[0]


class Served:
    """A file that keeps what is served. Blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> RouterDetail | None:
        """None where nothing was kept, or nothing that can be read."""
        try:
            return decode(RouterDetail, self._path.read_bytes(), str(self._path))
        except (OSError, InvalidInput):
            return None

    def keep(self, served: RouterDetail) -> None:
        try:
            files.write(self._path, encode(served))
        except OSError as error:
            log.warning("cannot keep what is served in %s: %s", self._path, error.strerror or error)
