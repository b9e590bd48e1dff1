"""etcd's v2 keys API on a door of its own, exact enough for etcdctl, confd, sidekicks and every old client. See docs/keys.md."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import web

from argosy.api.keys.plan import Plan
from argosy.api.keys.shapes import (
    INTERNAL,
    INVALID_FIELD,
    UNAUTHORIZED,
    Ask,
    KeyFault,
    NodeView,
    clean_path,
    node_told,
    parse_form,
    read_ask,
)
from argosy.api.keys.space import Keyspace
from argosy.api.keys.stats import Stats
from argosy.api.keys.tree import Node
from argosy.errors import ArgosyError, StoreUnavailable, TooLarge
from argosy.state.keys import KV_MARK
from argosy.web.admission import READING
from argosy.web.answers import answer, stream
from argosy.web.bodies import whole
from argosy.web.errors import failure
from argosy.web.server import READS, Route

PREFIX = "/v2/keys"
METHODS = ("HEAD", "GET", "PUT", "POST", "DELETE")
LARGEST_BODY = 4 * 1024 * 1024
WATCH_SECONDS = 300.0
"""How long a client may wait for an event (etcd's own limit); it then gets an empty answer and asks again."""

FIRST_SECONDS = 1.0
"""How long the head is held back to see whether the history that a client asks for is gone."""

HEALTH_SECONDS = 1.0

VERSION = {"etcdserver": "2.3.8", "etcdcluster": "2.3.0"}
"""The release whose API this is: etcd 2.3 was the last that had only this one."""

CLUSTER_ID = hashlib.sha256(b"argosy").hexdigest()[:16]


class Keys:
    """The handlers of etcd's v2 API, as its members serve it."""

    def __init__(self, space: Keyspace, machine_id: str, machine_name: str) -> None:
        self.space = space
        self.member_id = hashlib.sha256(machine_id.encode()).hexdigest()[:16]
        self.name = machine_name or machine_id[:8]
        self.counted = Stats(space.now())

    def routes(self) -> list[Route]:
        return [
            Route("*", PREFIX, self.serve),
            Route("*", PREFIX + "/{path:(?s:.*)}", self.serve),
            Route(READS, "/version", self.version),
            Route(READS, "/health", self.health),
            Route(READS, "/v2/members", self.members),
            Route(READS, "/v2/members/leader", self.leader),
            Route(READS, "/v2/machines", self.machines),
            Route(READS, "/v2/stats/self", self.stats),
            Route(READS, "/v2/stats/store", self.stats_store),
            Route(READS, "/v2/stats/leader", self.stats_leader),
            Route(READS, "/v2/auth/enable", self.auth),
        ]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.method not in METHODS:
            return web.Response(status=405, text="Method Not Allowed\n", headers={"Allow": ",".join(METHODS)})
        ask = await _asked(request)
        await self._opened()
        if ask.wait:
            return await self._wait(request, ask)
        try:
            response = await (self._get(ask) if ask.method in READING else self._write(ask))
        except KeyFault as fault:
            self.counted.count(ask, fault)
            raise
        self.counted.count(ask)
        return response

    async def _opened(self) -> None:
        if self.space.ready.is_set():
            return
        try:
            async with asyncio.timeout(2.0):
                await self.space.ready.wait()
        except TimeoutError:
            raise StoreUnavailable("the store has not been reached yet") from None

    async def _get(self, ask: Ask) -> web.StreamResponse:
        node, index = await self.space.read(ask)
        told = node_told(node.view(), self.space.now(), children=self._children(node, ask, ask.recursive))
        return self._answer({"action": "get", "node": told}, index)

    def _children(self, node: Node, ask: Ask, deep: bool) -> list[dict[str, Any]]:
        """What a directory lists: hidden keys are left out, and what is below its own directories unless it is asked for."""
        now = self.space.now()
        found = [child for name, child in (node.children or {}).items() if not name.startswith("_")]
        if ask.sorted:
            found.sort(key=lambda child: child.path)
        return [node_told(child.view(), now, children=self._children(child, ask, deep) if deep else None) for child in found]

    async def _write(self, ask: Ask) -> web.StreamResponse:
        planned, index, node = await self.space.write(ask)
        created = planned.action == "create" or (planned.action == "set" and planned.previous is None)
        told = _written(planned, node, index, self.space.now())
        if ask.silent and ask.method != "DELETE":
            told = {"action": planned.action}
        return self._answer(told, index, 201 if created else 200)

    async def _wait(self, request: web.Request, ask: Ask) -> web.StreamResponse:
        """The head of the answer goes out at once, each event as it comes."""
        headers = self._headers(self.space.tree.revision) | {"Content-Type": "application/json"}
        return await stream(request, self._events(ask), headers=headers, hold=FIRST_SECONDS if self.space.is_older(ask) else 0.0)

    async def _events(self, ask: Ask) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        end = loop.time() + WATCH_SECONDS
        async with aclosing(self.space.wait(ask)) as events:
            while True:
                try:
                    async with asyncio.timeout_at(end):
                        event = await anext(events)
                except (TimeoutError, StopAsyncIteration):
                    return
                yield _line(event.told(self.space.now()))
                if not ask.stream:
                    return

    def _headers(self, index: int) -> dict[str, str]:
        return {"X-Etcd-Cluster-Id": CLUSTER_ID, "X-Etcd-Index": str(index), "X-Raft-Index": str(index), "X-Raft-Term": "1"}

    def _answer(self, told: dict[str, Any], index: int, status: int = 200) -> web.Response:
        return web.Response(body=_line(told), status=status, content_type="application/json", headers=self._headers(index))

    def failed(self, error: ArgosyError) -> web.Response:
        """In etcd's words. Who may not write is told so by the error of an etcd with authentication."""
        if isinstance(error, StoreUnavailable):
            error = KeyFault(INTERNAL, str(error), self.space.tree.revision, status=error.status)
        elif error.status == 403 and not isinstance(error, KeyFault):
            cause = f"{error.message}: {error.remedy}" if error.remedy else error.message
            error = KeyFault(UNAUTHORIZED, cause, status=error.status)
        if not isinstance(error, KeyFault):
            return failure(error)
        headers = {"X-Etcd-Cluster-Id": CLUSTER_ID, "X-Etcd-Index": str(error.index)}
        return web.Response(body=_line(error.body()), status=error.status, content_type="application/json", headers=headers)

    # What clients ask beside keys

    async def version(self, request: web.Request) -> web.Response:
        return answer(VERSION)

    async def health(self, request: web.Request) -> web.Response:
        """As etcd says it: a store that is away, or so full that it refuses to write, is not healthy."""
        reason = ""
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                await self.space.store.get(KV_MARK)
                room = await self.space.store.room()
                if room.full:
                    reason = f"the store is full: it holds {room.used} of {room.limit} bytes and takes nothing more"
        except StoreUnavailable as error:
            reason = str(error)
        except TimeoutError:
            reason = f"the store does not answer within {HEALTH_SECONDS:g} s"
        told = {"health": "false", "reason": reason} if reason else {"health": "true"}
        return answer(told, 503 if reason else 200)

    async def members(self, request: web.Request) -> web.Response:
        return answer({"members": [self._member(request)]})

    async def leader(self, request: web.Request) -> web.Response:
        return answer(self._member(request))

    async def machines(self, request: web.Request) -> web.Response:
        return web.Response(text=_reached_at(request))

    async def stats(self, request: web.Request) -> web.Response:
        return answer(self.counted.self_(self.name, self.member_id, self.space.now()))

    async def stats_store(self, request: web.Request) -> web.Response:
        return answer(self.counted.store(self.space.expired, self.space.watchers))

    async def stats_leader(self, request: web.Request) -> web.Response:
        return answer({"leader": self.member_id, "followers": {}})

    async def auth(self, request: web.Request) -> web.Response:
        return answer({"enabled": False})

    def _member(self, request: web.Request) -> dict[str, Any]:
        """One member: this door, at the address by which its client reached it, so that clients stay with it."""
        return {"id": self.member_id, "name": self.name, "peerURLs": [], "clientURLs": [_reached_at(request)]}


def _reached_at(request: web.Request) -> str:
    return f"http://{request.headers.get('Host') or 'localhost:4001'}"


async def _asked(request: web.Request) -> Ask:
    form_type = request.content_type == "application/x-www-form-urlencoded"
    body = b""
    if request.method in ("PUT", "POST"):
        try:
            content = await whole(request, LARGEST_BODY)
        except TooLarge as error:
            raise KeyFault(INVALID_FIELD, error.message, status=413) from error
        body = content if form_type else b""
    query = request.raw_path.partition("?")[2].encode("utf-8", "surrogateescape")
    form = parse_form(query, body)
    return read_ask(request.method, clean_path(request.path.removeprefix(PREFIX)), form)


def _line(told: dict[str, Any]) -> bytes:
    return msgspec.json.encode(told) + b"\n"


def _written(planned: Plan, node: NodeView, index: int, now: float) -> dict[str, Any]:
    """The answer to a write. The end of a key by comparison does not say that it was no directory, as its deletion would."""
    told = node_told(node, now, bare=planned.entry is None)
    answer: dict[str, Any] = {"action": planned.action, "node": told | {"modifiedIndex": index}}
    if planned.previous is not None:
        answer["prevNode"] = node_told(planned.previous, now)
    return answer
