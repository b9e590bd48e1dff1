"""The feed over etcd's v2 keys API: the keys door of a machine, or a real etcd that still has it (up to 3.5, with --enable-v2).

List, wait for the next change from the index of the listing on, and list again whenever that may have missed something: after an error,
when etcd has forgotten the history, and now and then in any case.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp

from argosy.errors import HistoryGone, InvalidInput, StoreUnavailable
from argosy.model import Entry
from argosy.reconcile import Backoff, Clock
from argosy.router.naming import printable
from argosy.state.table import Changes

log = logging.getLogger(__name__)

PREFIX = "/services/web"
LIST_SECONDS = 10.0
HEAD_SECONDS = 5.0
WAIT_SECONDS = 45.0
"""How long one wait lasts before it is asked anew: less than what proxies and packet filters on the way think is an idle connection."""

LIST_EVERY = 300.0
LARGEST_BODY = 64 * 1024 * 1024
DEEPEST = 8
"""Levels below the prefix that are looked at: routes have two."""

NOT_FOUND, INDEX_CLEARED = 100, 401
ENDS = ("delete", "expire", "compareAndDelete")

_PREFIX = re.compile(r"(/[A-Za-z0-9@._:+=-]+)+", re.ASCII)
Items = dict[str, Entry | None]


class Times(NamedTuple):
    """Seconds: for a listing, until an answer begins, for one wait, between two listings."""

    listing: float = LIST_SECONDS
    head: float = HEAD_SECONDS
    wait: float = WAIT_SECONDS
    anew: float = LIST_EVERY


PATIENT = Times()


def check_prefix(prefix: str) -> str:
    """The prefix without a slash at its end. Raises InvalidInput."""
    found = "/" + prefix.strip("/")
    if not _PREFIX.fullmatch(found) or {".", ".."} & set(found.split("/")):
        raise InvalidInput(f"{printable(prefix)!r} is no prefix of keys", remedy=f"write it as {PREFIX}")
    return found


class Etcd2Feed:
    """The Feed contract over HTTP. `endpoints` (http://HOST:PORT) are tried in turn, beginning with the one that answered last."""

    def __init__(self, endpoints: Sequence[str], clock: Clock, prefix: str = PREFIX, times: Times = PATIENT) -> None:
        self._endpoints = list(endpoints)
        self._clock = clock
        self._prefix = check_prefix(prefix)
        self._times = times
        self._known: dict[str, Entry] = {}

    async def follow(self) -> AsyncIterator[Changes[Entry]]:
        backoff = Backoff()
        async with _session() as session:
            while True:
                try:
                    index = await self._list(session)
                    yield Changes(dict(self._known), {}, index, reset=True)
                    backoff.reset()
                    end = self._clock.monotonic() + self._times.anew
                    while self._clock.monotonic() < end:
                        changed, index = await self._next(session, index)
                        if changed:
                            yield Changes(changed, {}, index)
                except HistoryGone as error:
                    log.info("%s: listing %s again", error, self._prefix)
                except (StoreUnavailable, ValueError) as error:
                    pause = backoff.next()
                    log.warning("cannot follow %s: %s; trying again in %.1f s", self._prefix, error, pause)
                    self._endpoints.append(self._endpoints.pop(0))
                    await self._clock.sleep(pause)

    async def _list(self, session: aiohttp.ClientSession) -> int:
        """Reads all; the index to wait after."""
        status, headers, body = await self._ask(session, {"recursive": "true"}, self._times.listing)
        if status == 404 and body.get("errorCode") == NOT_FOUND:
            self._known = {}
            return _number(headers.get("X-Etcd-Index") or body.get("index"))
        if status != 200:
            raise StoreUnavailable(f"{self._endpoints[0]} answers {status} {printable(str(body.get('message', '')))}")
        self._known = {key: entry for key, entry in self._entries(_struct(body.get("node"))) if key}
        return _number(headers.get("X-Etcd-Index"))

    async def _next(self, session: aiohttp.ClientSession, index: int) -> tuple[Items, int]:
        """What changed first after `index`, and its own; nothing when nothing did for a while."""
        query = {"recursive": "true", "wait": "true", "waitIndex": str(index + 1)}
        status, headers, body = await self._ask(session, query, self._times.wait)
        if 0 < _number(headers.get("X-Etcd-Index") or 0) < index:
            raise HistoryGone("etcd has gone back to an older index, or is another one")
        if body.get("errorCode") == INDEX_CLEARED:
            raise HistoryGone("etcd has forgotten what was next")
        if status != 200:
            raise StoreUnavailable(f"{self._endpoints[0]} answers {status} {printable(str(body.get('message', '')))}")
        if not body:
            return {}, index
        node = _struct(body.get("node"))
        key = self._relative(node)
        if body.get("action") in ENDS:
            changed = self._without(key)
        else:
            changed = {**self._parents(key), **dict(self._entries(node))}
            changed.pop("", None)
        for name, entry in changed.items():
            if entry is None:
                del self._known[name]
            else:
                self._known[name] = entry
        return changed, max(index, _number(node.get("modifiedIndex")))

    def _without(self, key: str) -> Items:
        """The end of a key, and of what is below it."""
        return {name: None for name in self._known if not key or name == key or name.startswith(f"{key}/")}

    def _parents(self, key: str) -> Items:
        parts = key.split("/")[:-1]
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        return {name: Entry(directory=True) for name in above if name not in self._known}

    def _entries(self, node: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, Entry]]:
        directory = bool(node.get("dir"))
        value = node.get("value")
        yield self._relative(node), Entry("" if directory or not isinstance(value, str) else value, directory)
        if depth < DEEPEST:
            for child in node.get("nodes") or ():
                yield from self._entries(_struct(child), depth + 1)

    def _relative(self, node: Mapping[str, Any]) -> str:
        """A node's key without the prefix, "" for the prefix itself or what is above it."""
        key = node.get("key")
        if not isinstance(key, str) or not key.startswith(f"{self._prefix}/"):
            return ""
        return key.removeprefix(f"{self._prefix}/")

    async def _ask(
        self, session: aiohttp.ClientSession, query: Mapping[str, str], patience: float
    ) -> tuple[int, Mapping[str, str], dict[str, Any]]:
        """The answer, {} for one that is empty or that does not end within `patience` seconds. Raises StoreUnavailable."""
        endpoint = self._endpoints[0]
        url = f"{endpoint}/v2/keys{quote(self._prefix, safe='/@:+=-._~')}"
        try:
            async with (
                asyncio.timeout(self._times.head) as until_it_begins,
                session.get(url, params=query, allow_redirects=False) as response,
            ):
                until_it_begins.reschedule(None)
                return response.status, response.headers, await _body(response, patience, waits="wait" in query)
        except TimeoutError as error:
            raise StoreUnavailable(f"{endpoint} does not answer") from error
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            raise StoreUnavailable(f"{endpoint}: {str(error) or type(error).__name__}") from error


async def _body(response: aiohttp.ClientResponse, patience: float, *, waits: bool) -> dict[str, Any]:
    content = bytearray()
    try:
        async with asyncio.timeout(patience):
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > LARGEST_BODY:
                    raise ValueError(f"the answer has more than {LARGEST_BODY} bytes")
    except TimeoutError:
        if waits and not content:
            return {}
        raise
    return _struct(json.loads(content)) if content else {}


def _struct(value: Any) -> dict[str, Any]:
    """Raises ValueError for what is no JSON object."""
    if not isinstance(value, dict):
        raise ValueError("the answer is not of etcd's v2 keys API")
    return value


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError("the answer has no index: it is not of etcd's v2 keys API") from None


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(socket_factory=_vigilant, limit=4)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar())


def _vigilant(info: Any) -> socket.socket:
    """A socket that notices within seconds when the machine at the other end is gone."""
    made = socket.socket(info[0], info[1], info[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 3), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3), (socket.TCP_USER_TIMEOUT, 5000)):
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
