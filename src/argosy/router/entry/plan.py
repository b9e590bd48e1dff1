"""Whom an entry sends to: which machines belong, at which address, and which of them are used, with the reason for each that is not. Pure.

pool         what it carries                                     reached on each machine at
http         requests                                            where its router listens
tls          TLS connections, passed through as they are         where its router listens for TLS
tcp:PORT     TCP connections, passed through as they are         PORT
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec

from argosy.errors import InvalidInput
from argosy.model import RouterReport
from argosy.router.naming import parse_address, printable
from argosy.router.render import Settings, check_listen, check_settings
from argosy.router.tuning import Tuning

HTTP, TLS = "http", "tls"

LISTEN, TLS_LISTEN = ("0.0.0.0:80",), ("0.0.0.0:443",)
"""Where a router listens that does not report it."""

TRIES = 2
"""Checks in a row that one who is silent may miss, but for the last."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


class Wanted(msgspec.Struct, frozen=True):
    """What the operator wants of an entry. `tcp`: (where it listens, the machines' port). `metadata`: only machines that have all of it.
    `proxy_protocol`: tell routers the client's address in a PROXY line. `trusted`: networks of proxies in front of the entry.
    `assume`: a machine whose router reports nothing (it runs by itself, in a container) has one on the usual ports. `tuning`: limits and
    timeouts for HTTP."""

    listen: tuple[str, ...] = LISTEN
    tls_listen: tuple[str, ...] = ()
    tcp: tuple[tuple[str, int], ...] = ()
    metadata: dict[str, str] = {}
    proxy_protocol: bool = False
    trusted: tuple[str, ...] = ()
    assume: bool = False
    tuning: Tuning = Tuning()

    @property
    def everywhere(self) -> tuple[str, ...]:
        """All addresses that it listens on."""
        return (*self.listen, *self.tls_listen, *(listen for listen, _ in self.tcp))


class Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """A machine that is alive, as an agent tells of it. `router`: what its router reports, None where none does."""

    id: str
    name: str = ""
    address: str = ""
    metadata: dict[str, str] = {}
    door: str = ""
    cordoned: bool = False
    draining: bool = False
    router: RouterReport | None = None


class Backend(msgspec.Struct, frozen=True, order=True):
    """A machine in a pool. `address` is IP:PORT; `check` the IP:PORT whose health page must answer, "" where a connection to `address` is
    enough. `spare`: why it is used only when there is no other, "" for one that is ready."""

    pool: str
    name: str
    address: str
    check: str = ""
    spare: str = ""


class Left(msgspec.Struct, frozen=True, order=True):
    """A machine that is in no way part of a pool, and why."""

    pool: str
    name: str
    reason: str


class Plan(msgspec.Struct, frozen=True):
    """Both are sorted."""

    backends: tuple[Backend, ...] = ()
    left: tuple[Left, ...] = ()


class Pool(msgspec.Struct, frozen=True):
    """What is served: where it listens, and to whom it sends. `proxy`: with a PROXY line first."""

    name: str
    listen: tuple[str, ...]
    servers: tuple[Backend, ...] = ()
    proxy: bool = False

    @property
    def word(self) -> str:
        """The name as nginx and HAProxy may have it."""
        return "argosy_routers" if self.name == HTTP else f"argosy_{self.name.replace(':', '_')}"


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """A backend as the entry sees it. `failures` counts failed checks in a row (up to TRIES), `reason` is the last one's, `since` when
    `up` last changed. `spare`: why it gets nothing while others answer."""

    name: str
    address: str
    up: bool
    since: float
    failures: int = 0
    reason: str = ""
    pool: str = HTTP
    spare: str = ""


class Silent(Exception):
    """The router has not answered in time: it may be dead, or the machine busy."""


class Unhealthy(Exception):
    """The router refuses connections, or answers something else."""


def check_wanted(wanted: Wanted) -> Wanted:
    """The same, or InvalidInput that names the first wrong thing."""
    if not wanted.everywhere:
        raise InvalidInput("the entry is told to listen nowhere", remedy="give --listen, --tls-listen or --tcp")
    seen: set[str] = set()
    for listen in wanted.everywhere:
        check_listen(listen)
        if listen in seen:
            raise InvalidInput(f"the entry is told to listen on {listen} twice", remedy="each address carries one thing")
        seen.add(listen)
    check_settings(Settings(trusted=wanted.trusted))
    return wanted


def parse_tcp(text: str) -> tuple[str, int]:
    """`HOST:PORT=PORT`: where the entry listens, and the machines' port. Raises InvalidInput."""
    listen, equals, port = text.rpartition("=")
    if not equals or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidInput(f"{printable(text)!r} says not what to carry where", remedy="write LISTEN=PORT, such as 0.0.0.0:5432=5432")
    return check_listen(listen), int(port)


def plan(members: Sequence[Member], wanted: Wanted) -> Plan:
    """Who belongs to which pool, and who does not."""
    backends: list[Backend] = []
    left: list[Left] = []
    names = labels(members)
    for member in members:
        name = names[member.id]
        for pool in _pools(wanted):
            reason = _unfit(member, wanted)
            try:
                if reason:
                    raise InvalidInput(reason)
                address, check = _reached(member, pool, wanted)
            except InvalidInput as error:
                left.append(Left(pool, name, str(error)))
                continue
            backends.append(Backend(pool, name, address, check, _spare(member)))
    return Plan(tuple(sorted(set(backends))), tuple(sorted(set(left))))


def believed(known: Plan, fresh: Plan) -> tuple[Plan, tuple[str, ...]]:
    """What to go on with, and the pools whose known machines are kept: that a pool has lost all of its machines at once is not believed,
    for then it is rather the store that has lost them for a moment."""
    filled = {backend.pool for backend in fresh.backends}
    kept = [backend for backend in known.backends if backend.pool not in filled]
    return Plan(tuple(sorted((*fresh.backends, *kept))), fresh.left), tuple(dict.fromkeys(backend.pool for backend in kept))


def labels(members: Sequence[Member]) -> Mapping[str, str]:
    """What each machine is called in configurations, by its id: its name, as far as it is a plain word that no other machine has."""
    named = Counter(member.name for member in members)
    found: dict[str, str] = {}
    for number, member in enumerate(sorted(members, key=lambda member: member.id)):
        good = _NAME.fullmatch(member.name) and named[member.name] == 1
        label = member.name if good else member.id if _NAME.fullmatch(member.id) else f"machine-{number}"
        while label in found.values():
            label = f"machine-{number}-{label[:40]}"
        found[member.id] = label
    return found


def _pools(wanted: Wanted) -> tuple[str, ...]:
    ports = dict.fromkeys(port for _, port in wanted.tcp)
    return (*([HTTP] if wanted.listen else []), *([TLS] if wanted.tls_listen else []), *(f"tcp:{port}" for port in ports))


def _unfit(member: Member, wanted: Wanted) -> str:
    for key, value in wanted.metadata.items():
        if member.metadata.get(key) != value:
            has = f"{key}={member.metadata[key]}" if key in member.metadata else f"no {key}"
            return printable(f"it is not {key}={value}: it has {has}")
    return ""


def _spare(member: Member) -> str:
    return "draining" if member.draining else "cordoned" if member.cordoned else ""


def _reached(member: Member, pool: str, wanted: Wanted) -> tuple[str, str]:
    """(address, check). Raises InvalidInput with the reason where there is no way."""
    if pool not in (HTTP, TLS):
        return reach((f"0.0.0.0:{pool[4:]}", f"[::]:{pool[4:]}"), member.address), ""
    router = member.router or (RouterReport(member.id, listen=LISTEN, tls_listen=TLS_LISTEN) if wanted.assume else None)
    if router is None:
        raise InvalidInput("no router reports from there")
    http = router.listen or LISTEN
    if pool == HTTP:
        address = reach(http, member.address)
        return address, address
    if not router.tls_listen:
        raise InvalidInput("its router does not listen for TLS")
    if router.proxy_protocol != wanted.proxy_protocol:
        wants = "expects" if router.proxy_protocol else "does not take"
        raise InvalidInput(f"its router {wants} the PROXY protocol")
    address = reach(router.tls_listen, member.address)
    try:
        return address, reach(http, member.address)
    except InvalidInput:
        return address, ""


def reach(listen: Sequence[str], address: str) -> str:
    """IP:PORT at which others reach what listens like that on a machine of that address. Raises InvalidInput."""
    try:
        own = ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise InvalidInput(f"its address {printable(address)!r} is no IP address") from None
    found = []
    for text in listen:
        host, _, port = text.rpartition(":")
        if host in (("0.0.0.0", "*") if own.version == 4 else ("[::]",)):
            found.append((1, f"[{own}]:{port}" if own.version == 6 else f"{own}:{port}"))
        elif is_router(text):
            ip = ipaddress.ip_address(parse_address(text).host)
            if ip == own or not ip.is_loopback or own.is_loopback:
                found.append((0 if ip == own else 2, text))
    for _, text in sorted(found):
        return str(parse_address(text))
    raise InvalidInput(f"it listens on {printable(', '.join(listen))} only, where {printable(address)} is not reached")


def is_router(address: str) -> bool:
    """True for IP:PORT and [IPV6]:PORT, which an entry can be told to use."""
    try:
        return parse_address(address).literal
    except InvalidInput:
        return False


def judged(known: Seen | None, backend: Backend, failure: Silent | Unhealthy | None, now: float) -> Seen:
    """What is known of a backend after one more check. One that is new is up with its first good answer."""
    if failure is None:
        up, failures = True, 0
    else:
        failures = min(TRIES, known.failures + 1) if known else 1
        up = known is not None and known.up and isinstance(failure, Silent) and failures < TRIES
    since = known.since if known and known.up == up else now
    return Seen(backend.name, backend.address, up, since, failures, str(failure or ""), backend.pool, backend.spare)


def chosen(backends: Sequence[Backend], up: Collection[Backend]) -> tuple[Backend, ...]:
    """Whom a pool sends to: those that are ready and answer; or else spare ones that answer; or else all that are ready, and at last all:
    where none answers, it is rather the asking that fails."""
    ready = [backend for backend in backends if not backend.spare]
    for some in ([one for one in ready if one in up], [one for one in backends if one in up], ready):
        if some:
            return tuple(some)
    return tuple(backends)


def pools(wanted: Wanted, backends: Sequence[Backend], up: Collection[Backend] | None = None) -> tuple[Pool, ...]:
    """What is served, given who answers (None: all do)."""
    answering = frozenset(backends if up is None else up)
    made = []
    for name in _pools(wanted):
        members = [backend for backend in backends if backend.pool == name]
        listen = {HTTP: wanted.listen, TLS: wanted.tls_listen}.get(name) or tuple(
            listen for listen, port in wanted.tcp if f"tcp:{port}" == name
        )
        made.append(Pool(name, listen, _once(chosen(members, answering)), wanted.proxy_protocol and name == TLS))
    return tuple(made)


def _once(servers: Sequence[Backend]) -> tuple[Backend, ...]:
    """Each address once: two machines that claim one are one server."""
    return tuple({server.address: server for server in reversed(servers)}.values())[::-1]
