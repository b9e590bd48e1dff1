"""Learning which machines there are, from any agent's API: through a unix socket, plain HTTP on loopback, or mutual TLS.

One agent is asked at a time, by blocking reads, so that a change is heard of at once. They are long, so that little is
asked while nothing happens; beside them its health is checked. When it falls silent, or its store is away, the next one is asked; beside
those that the operator named, every machine that has ever been told of is one to ask.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from argosy.errors import ArgosyError, InvalidInput, StoreUnavailable
from argosy.model import RouterReport
from argosy.reconcile import Backoff, Clock
from argosy.router.entry.plan import Member
from argosy.trust.names import machine_name
from argosy.web.addresses import join_address

log = logging.getLogger(__name__)

API = "/argosy/v1"
WAIT = 60.0
"""Seconds that a blocking read waits for news."""

HEALTH_EVERY = 2.0
"""Seconds between checks of the agent's health during a blocking read: an agent that has fallen silent is soon known for it."""

PATIENCE = 2.0
"""Seconds that an agent has for an answer, beyond the time of a blocking read."""

BREATH = 0.1
"""Least seconds between one reading and the next: on a busy cluster changes are gathered."""

ANY_MACHINE = "etcd.argosy"
"""A name that every machine's certificate carries: for agents of whom only the address is known."""

LONGEST = 256 * 1024 * 1024

T = TypeVar("T")

Know = Callable[[Sequence[Member], str], None]
"""What is told of the machines, and by whom."""


class Agent(msgspec.Struct, frozen=True):
    """One to ask: a unix socket's `path`, or a `url`. `name`: what its certificate must say."""

    shown: str
    url: str
    path: str = ""
    name: str = ""


class _Machines(msgspec.Struct, frozen=True):
    machines: list[Member]
    index: int


class _Routes(msgspec.Struct, frozen=True):
    routers: list[RouterReport]
    index: int


class _Health(msgspec.Struct, frozen=True):
    """What matters of /health is that it answers 200."""


class _Dumb(Exception):
    """An agent gave no answer that is of use."""


def agent(text: str, secure: bool) -> Agent:
    """`unix:///path`, `/path`, `http://host:port` or `https://host:port`; `secure`: there is a certificate to show. Raises InvalidInput."""
    if text.startswith(("/", "unix:///")):
        path = text.removeprefix("unix://")
        return Agent(f"unix://{path}", "http://argosy", path)
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port or 8700
    except ValueError:
        parts, host, port = urlsplit(""), None, 0
    if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/") or parts.query or parts.username is not None:
        raise InvalidInput(f"{text!r} is no agent", remedy="write unix:///run/argosy/argosy.sock or https://10.0.0.1:8700")
    url = f"{parts.scheme}://{join_address(host, port)}"
    if parts.scheme == "https" and not secure:
        raise InvalidInput(f"{text} asks for a certificate", remedy="give --ca, --cert and --key; argosy ca issue makes them")
    return Agent(url, url, name=ANY_MACHINE if parts.scheme == "https" else "")


class Agents:
    """`given` is asked for the operator's endpoints before each round, in a thread. `context`: `trust.contexts.client(...)`, or None.
    `wait`, `health_every` and `patience` as above, in seconds."""

    def __init__(
        self,
        given: Callable[[], Sequence[str]],
        clock: Clock,
        context: ssl.SSLContext | None = None,
        *,
        wait: float = WAIT,
        health_every: float = HEALTH_EVERY,
        patience: float = PATIENCE,
    ) -> None:
        self._given = given
        self._clock = clock
        self._context = context
        self._wait = wait
        self._health_every = health_every
        self._patience = patience
        self._doors: dict[str, Agent] = {}
        self._odd: set[str] = set()
        self._error = ""

    async def ask(self) -> list[Member]:
        """The machines as they are now, by the first agent that answers. Raises StoreUnavailable where none does."""
        for one in await self._all():
            try:
                async with self._session(one) as session:
                    machines, routes = await asyncio.gather(self._machines(session, one, 0), self._routes(session, one, 0))
                    return joined(machines.machines, routes.routers)
            except _Dumb as error:
                self._error = f"{one.shown}: {error}"
        raise StoreUnavailable(f"no agent tells of the machines: {self._error or 'none is named'}", remedy="name others with --agent")

    async def follow(self, know: Know) -> None:
        """For ever: calls `know` with what there is, and again after each change. While no agent answers it says so, and goes on asking."""
        backoff = Backoff(0.1, 2.0)
        while True:
            for one in await self._all():
                try:
                    async with self._session(one) as session:
                        await self._follow(session, one, know, backoff)
                except _Dumb as error:
                    self._tell(f"{one.shown}: {error}")
            await self._clock.sleep(backoff.next())

    async def _all(self) -> list[Agent]:
        try:
            given = [agent(text, self._context is not None) for text in await asyncio.to_thread(self._given)]
        except ArgosyError as error:
            self._tell(str(error))
            given = []
        return [*given, *self._doors.values()]

    def _tell(self, error: str) -> None:
        if error != self._error:
            log.warning("an agent is of no use, and another is asked: %s", error)
            self._error = error

    async def _follow(self, session: aiohttp.ClientSession, one: Agent, know: Know, backoff: Backoff) -> None:
        machines, routes = await asyncio.gather(self._machines(session, one, 0), self._routes(session, one, 0))
        told: list[Member] | None = None
        tasks: dict[str, asyncio.Task[Any]] = {"health": asyncio.create_task(self._check_health(session, one))}
        try:
            while True:
                now = joined(machines.machines, routes.routers)
                if now != told:
                    know(now, one.shown)
                    told = now
                    self._learn(now)
                if self._error:
                    log.info("%s tells of the machines", one.shown)
                    self._error = ""
                backoff.reset()
                if "machines" not in tasks:
                    tasks["machines"] = asyncio.create_task(self._machines(session, one, machines.index))
                if "routes" not in tasks:
                    tasks["routes"] = asyncio.create_task(self._routes(session, one, routes.index))
                done, _ = await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
                if tasks["health"] in done:
                    await tasks["health"]
                if tasks["machines"] in done:
                    machines = await tasks.pop("machines")
                if tasks["routes"] in done:
                    routes = await tasks.pop("routes")
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _check_health(self, session: aiohttp.ClientSession, one: Agent) -> None:
        """Ask the agent for its health, again and again. Raises _Dumb when it is silent or without its store."""
        while True:
            await self._clock.sleep(self._health_every)
            await self._read(session, one, "/health", {}, 0, _Health)

    def _learn(self, members: Sequence[Member]) -> None:
        if self._context is not None:
            found = {member.door: door for member in members if member.door and (door := self._door(member)) is not None}
            self._doors = found or self._doors

    def _door(self, member: Member) -> Agent | None:
        """None where what a machine says of its door names no agent: the others are asked without it."""
        try:
            return msgspec.structs.replace(agent(f"https://{member.door}", True), name=machine_name(member.id))
        except ArgosyError as error:
            if member.door not in self._odd:
                self._odd.add(member.door)
                log.warning("the door of machine %s is left out: %s", member.id, error)
            return None

    # --- one agent

    @asynccontextmanager
    async def _session(self, one: Agent) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.UnixConnector(one.path) if one.path else aiohttp.TCPConnector(ssl=self._context or True)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None, connect=self._patience)) as session:
            yield session

    async def _machines(self, session: aiohttp.ClientSession, one: Agent, index: int) -> _Machines:
        return await self._read(session, one, "/machines", {"brief": "true"}, index, _Machines)

    async def _routes(self, session: aiohttp.ClientSession, one: Agent, index: int) -> _Routes:
        return await self._read(session, one, "/routes", {"brief": "true"}, index, _Routes)

    async def _read(self, session: aiohttp.ClientSession, one: Agent, path: str, query: Mapping[str, str], index: int, kind: type[T]) -> T:
        if index:
            await self._clock.sleep(BREATH)
            query = {**query, "index": str(index), "wait": f"{self._wait:g}"}
        try:
            async with (
                asyncio.timeout(self._patience + (self._wait if index else 0)),
                session.get(f"{one.url}{API}{path}", params=query, server_hostname=one.name or None, allow_redirects=False) as answer,
            ):
                data = await answer.content.read(LONGEST) if answer.status != 200 else await answer.read()
                if answer.status != 200:
                    raise _Dumb(f"it answers {answer.status}: {data[:200].decode(errors='replace')}")
                return msgspec.json.decode(data, type=kind)
        except TimeoutError as error:
            raise _Dumb("it is silent") from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise _Dumb(f"its certificate is not good: {error.certificate_error}") from error
        except aiohttp.ClientConnectorError as error:
            raise _Dumb(error.os_error.strerror or str(error.os_error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _Dumb(str(error) or type(error).__name__) from error
        except msgspec.MsgspecError as error:
            raise _Dumb(f"what it says makes no sense: {error}") from error


def joined(machines: Sequence[Member], routers: Sequence[RouterReport]) -> list[Member]:
    """Each machine with its router's report, as far as it matters here; sorted by id."""
    reports = {
        one.machine: RouterReport(one.machine, listen=one.listen, tls_listen=one.tls_listen, proxy_protocol=one.proxy_protocol)
        for one in routers
    }
    return sorted((msgspec.structs.replace(machine, router=reports.get(machine.id)) for machine in machines), key=lambda member: member.id)


Follow = Callable[[Know], Awaitable[None]]
"""`Agents.follow`, or anything else that tells of the machines for ever."""
