"""The registry as a service: what `argosy registry` runs, and the agent where [images] is enabled. It puts storage, gate, mirror, doors and
collector together as a configuration says."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from argosy.config import ImagesSection, TlsSection
from argosy.errors import ArgosyError, Conflict, InvalidInput
from argosy.images.access import ALL_TO_ANYONE, ALL_TO_USERS, ANONYMOUS, Rules, check_listen, parse_rules
from argosy.images.collector import Collector
from argosy.images.gate import Gate
from argosy.images.http import registry_api
from argosy.images.mirror import Mirror
from argosy.images.opening import open_storage
from argosy.images.passwords import Passwords
from argosy.images.registry import Registry
from argosy.images.storage import Storage
from argosy.images.tokens import Tokens, load_key, make_key
from argosy.images.upstream import Upstream
from argosy.reconcile import Clock
from argosy.trust import contexts
from argosy.web.addresses import is_loopback, join_address, split_address
from argosy.web.admission import Admission, reading
from argosy.web.listeners import Tcp
from argosy.web.server import Listener, Server
from argosy.web.users import users_of

log = logging.getLogger(__name__)

SERVICE = "argosy"
"""What tokens are for."""

COLLECT_RETRY_SECONDS = 300.0


class Door(msgspec.Struct, frozen=True):
    """Where the registry listens."""

    host: str
    port: int
    tls: bool

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{join_address(self.host, self.port)}"


class Serving(msgspec.Struct, frozen=True):
    """A registry that serves: `doors`, what it stands on, and a line for each that a person should know."""

    doors: tuple[Door, ...]
    storage: Storage
    said: tuple[str, ...]


async def run(section: ImagesSection, tls: TlsSection, clock: Clock, environment: Mapping[str, str] = os.environ) -> None:
    """Serve until cancelled. Raises what `serving` raises."""
    async with serving(section, tls, clock, environment) as made, asyncio.TaskGroup() as group:
        for line in made.said:
            log.info("images: %s", line)
        group.create_task(collecting(made.storage, section, clock))
        await asyncio.Event().wait()


@asynccontextmanager
async def serving(
    section: ImagesSection, tls: TlsSection, clock: Clock, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[Serving]:
    """Serves for as long as the block lasts. Raises InvalidInput for a configuration that cannot be served, StoreUnavailable and Refused
    for a store that cannot be used, Unsuitable for an address that is taken."""
    planned = doors(section, tls)
    gate, said = await asyncio.to_thread(_gate, section, clock)
    admission = await asyncio.to_thread(_admission, section, clock)
    by_tls = await asyncio.to_thread(_contexts, section, tls, planned)
    async with AsyncExitStack() as stack:
        storage = await open_storage(section.storage, environment)
        stack.push_async_callback(storage.close)
        registry = Registry(storage)
        mirror = None
        if section.mirror:
            user, password = await asyncio.to_thread(_credentials, section.mirror_credentials)
            upstream = await stack.enter_async_context(Upstream(section.mirror, clock, user=user, password=password))
            mirror = await stack.enter_async_context(Mirror(registry, upstream))
            said += (f"what is not here comes from {upstream.url}",)
        api = registry_api(
            registry, routes=gate.routes(), middlewares=[gate.middleware], filler=mirror, anonymous_mounts=not section.htpasswd
        )
        listeners = [Listener("images", Tcp(door.host, door.port, by_tls[door.tls]), admission, api) for door in planned]
        opened = await stack.enter_async_context(Server(listeners, clock).serving())
        ports = [split_address(address)[1] for address in opened["images"]]
        served = tuple(msgspec.structs.replace(door, port=port) for door, port in zip(planned, ports, strict=True))
        yield Serving(served, storage, (f"serving {storage.url} on {', '.join(door.url for door in served)}", *said))


def doors(section: ImagesSection, tls: TlsSection) -> tuple[Door, ...]:
    """Where to listen: with TLS everywhere if a certificate is given, with the cluster's beyond loopback otherwise. Raises InvalidInput for
    addresses that may not be listened on so."""
    found = []
    for address in section.listen:
        host, port = split_address(address)
        secure = bool(section.cert) or (bool(tls.cert) and not is_loopback(host))
        check_listen(host, users=bool(section.htpasswd), tls=secure, anyone=section.allow_anyone, plain=section.allow_plain)
        found.append(Door(host, port, secure))
    if not found:
        raise InvalidInput("the registry is to listen nowhere", remedy="give it an address, such as 127.0.0.1:5000")
    return tuple(found)


def _contexts(section: ImagesSection, tls: TlsSection, planned: tuple[Door, ...]) -> dict[bool, ssl.SSLContext | None]:
    if not any(door.tls for door in planned):
        return {False: None}
    cert, key = (section.cert, section.key or section.cert) if section.cert else (tls.cert, tls.key)
    return {False: None, True: contexts.public(cert, key)}


def _gate(section: ImagesSection, clock: Clock) -> tuple[Gate, tuple[str, ...]]:
    """And what a person should know about who may come in. Reads files."""
    if section.rules and not section.htpasswd:
        raise InvalidInput("there are rules and no users", remedy="name users with --htpasswd FILE")
    passwords = Passwords(Path(section.htpasswd), clock) if section.htpasswd else None
    rules = _rules(section.rules) if section.rules else ALL_TO_USERS if passwords is not None else ALL_TO_ANYONE
    anonymous = any(rule.who == ANONYMOUS for rule in rules.rules)
    gate = Gate(
        rules,
        Tokens(load_key(Path(section.token_key)) if section.token_key else make_key(), SERVICE),
        clock,
        passwords=passwords,
        bearer=section.challenge == "bearer" or (not section.challenge and anonymous and passwords is not None),
        realm=section.realm,
        read_only=section.read_only or bool(section.mirror),
    )
    who = (
        f"{_pushers(section)} may push, everybody on this machine may pull"
        if passwords is None
        else f"users are those of {section.htpasswd}"
    )
    if passwords is None and section.allow_anyone:
        who = "ANYBODY who reaches it may push and pull"
    return gate, ("it is read-only",) if section.read_only else ("it is a mirror: nothing is pushed here",) if section.mirror else (who,)


def _admission(section: ImagesSection, clock: Clock) -> Admission:
    """Without users the kernel says who may push: else every user of this machine could replace what its root runs."""
    is_open = not section.htpasswd and not section.allow_anyone
    return Admission(
        "images",
        users=users_of(section.group, "images", clock) if is_open else None,
        harmless=reading,
        trusted=section.trusted,
        pages=is_open,
        hosts=section.hosts,
        remedy=f"{_pushers(section)} may; or let users log in (--htpasswd)",
        command="argosy registry",
    )


def _pushers(section: ImagesSection) -> str:
    return f"root, user {os.geteuid()}" + (f" and members of group {section.group}" if section.group else "")


def _rules(path: str) -> Rules:
    try:
        return parse_rules(Path(path).read_text(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the rules {path}: {error}") from error


def _credentials(path: str) -> tuple[str, str]:
    """USER:PASSWORD of a file; nobody's without one."""
    if not path:
        return "", ""
    try:
        user, colon, password = Path(path).read_text().strip().partition(":")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the credentials {path}: {error}") from error
    if not colon or not user or "\n" in password:
        raise InvalidInput(f"{path} holds no USER:PASSWORD")
    return user, password


async def collecting(storage: Storage, section: ImagesSection, clock: Clock) -> None:
    """Garbage collection every `collect` hours, by whichever registry on the store comes first. Ends at once if it is never to be."""
    every = section.collect * 3600.0
    if every <= 0 or section.read_only:
        return
    collector = Collector(storage, clock, grace=section.grace * 3600.0, keep_untagged=section.keep_untagged)
    while True:
        await clock.sleep(await _collected(collector, every))


async def _collected(collector: Collector, every: float) -> float:
    """Seconds until it is to be looked at again."""
    try:
        left = await collector.due_in(every)
        if left > 0:
            return left
        report = await collector.collect()
    except Conflict as error:
        log.info("images: %s", error)
        return COLLECT_RETRY_SECONDS
    except ArgosyError as error:
        log.warning("images: garbage collection failed: %s", error)
        return COLLECT_RETRY_SECONDS
    except Exception:  # serving images does not depend on it
        log.exception("images: garbage collection failed")
        return COLLECT_RETRY_SECONDS
    log.info(
        "images: garbage collection: %d untagged manifests and %d blobs removed, %d blobs condemned, %d uploads ended, %d bytes freed",
        report.untagged_removed,
        report.removed,
        report.condemned,
        report.uploads,
        report.freed,
    )
    return every
