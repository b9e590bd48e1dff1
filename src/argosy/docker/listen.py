"""Listening to an engine's changes without losing one, over broken connections and restarts.

An engine remembers its last changes (Docker: 256, in memory only), and tells them again to who asks `since` a time. After a connection
broke, it is asked for all it remembers. If the last change that was heard is among them, nothing was lost: what comes after it is new. If
it is not, the engine was started anew or forgot some: Anew. This trusts no clock. Changes are read as fast as they come, whatever the
reader does: an engine drops changes for those who are slow.
"""

from __future__ import annotations

import asyncio
import calendar
import re
import time
from collections import deque
from collections.abc import AsyncIterator

from argosy.docker.base import Anew, Change, Filters, Json
from argosy.docker.streams import Lines
from argosy.docker.wire import Wire, filters_text
from argosy.errors import ArgosyError, DockerUnavailable, RuntimeFailed
from argosy.reconcile import Backoff

LIMIT = 10_000
"""Changes that a reader may be behind; then it is told to list anew."""

REPLAY = 1.0
"""Seconds in which an engine tells what it remembers."""

QUIET = 15.0
"""After so many seconds without a change the engine is pinged: a connection whose other end is gone looks the same as a quiet one."""

PING = 10.0

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|([+-])(\d\d):(\d\d))\Z")


class Feed(AsyncIterator[Change | Anew]):
    """What was heard and is not yet read. An Anew makes what is unread before it superfluous."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._items: deque[Change | Anew] = deque()
        self._limit = limit
        self._news = asyncio.Event()
        self._error: BaseException | None = None
        self.ended = False

    def put(self, item: Change | Anew) -> None:
        if len(self._items) >= self._limit:
            item = Anew(f"the reader fell {self._limit} changes behind")
        if isinstance(item, Anew):
            self._items.clear()
        self._items.append(item)
        self._news.set()

    def end(self, error: BaseException | None = None) -> None:
        """After what is unread, the reader gets the error, or the end."""
        self._error, self.ended = error, True
        self._news.set()

    async def __anext__(self) -> Change | Anew:
        while not self._items:
            if self.ended:
                raise self._error or StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._items.popleft()


async def listen(wire: Wire, feed: Feed, filters: Filters | None) -> None:
    """Feeds for ever; ends only with an error that waiting does not mend (a filter that the engine refuses, an API too old)."""
    try:
        last: Change | None = None
        reason = "listening begins"
        backoff = Backoff(0.05, 2.0)
        while True:
            ear = _Ear(wire, feed, last, reason)
            try:
                await ear.hear(filters)
                reason = "the engine ended the stream"
            except (DockerUnavailable, RuntimeFailed) as error:  # an engine in trouble says 500, and later not
                reason = error.message
            last = ear.last
            if ear.heard:
                backoff.reset()
            await asyncio.sleep(backoff.next())
    except ArgosyError as error:
        feed.end(error)


class _Ear:
    """One connection's listening. `last` is the newest change that was fed, None before the first since Anew."""

    def __init__(self, wire: Wire, feed: Feed, last: Change | None, reason: str) -> None:
        self.last = last
        self.heard = False
        self._wire = wire
        self._feed = feed
        self._reason = reason

    async def hear(self, filters: Filters | None) -> None:
        # The engine answers a moment before it listens: asked since a time before that, it tells what happened in between, too.
        since = "0" if self.last is not None else await self._now()
        params = {"since": since, **filters_text(filters)}
        async with self._wire.open("listen to the engine", "GET", "events", params=params, timeout=self._wire.timeout) as answer:
            self.heard = True
            lines = Lines(answer)
            if self.last is None:
                self._feed.put(Anew(self._reason))
            else:
                await self._catch_up(lines, self.last)
            while True:
                change = await self._next(lines, QUIET)
                if change is not None:
                    self._feed.put(change)
                    self.last = change
                elif not await self._wire.ping(PING):
                    raise DockerUnavailable("the engine does not answer any more")

    async def _catch_up(self, lines: Lines, last: Change) -> None:
        """Reads what the engine remembers up to the last change that was heard; if that is not there, all is listed anew."""
        end = asyncio.get_running_loop().time() + REPLAY
        while (left := end - asyncio.get_running_loop().time()) > 0:
            if await self._next(lines, left) == last:
                return
        self.last = None
        self._feed.put(Anew(f"changes may be missing: {self._reason}"))

    async def _next(self, lines: Lines, seconds: float) -> Change | None:
        """The next change, None if there is none for so long. Raises DockerUnavailable at the stream's end."""
        try:
            async with asyncio.timeout(seconds):
                return to_change(await anext(lines))
        except TimeoutError:
            return None
        except StopAsyncIteration:
            raise DockerUnavailable("the engine ended the stream") from None

    async def _now(self) -> str:
        found = (await self._wire.call("ask the engine for its time", "GET", "info") or {}).get("SystemTime", "")
        nanoseconds = to_nanoseconds(str(found))
        return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


def to_change(line: Json) -> Change:
    """An event of the API as a Change. Raises DockerUnavailable for what is none."""
    actor = line.get("Actor") or {}
    try:
        return Change(
            kind=str(line.get("Type", "")),
            action=str(line.get("Action") or line.get("status") or ""),
            id=str(actor.get("ID") or line.get("id") or ""),
            attributes={str(name): str(value) for name, value in (actor.get("Attributes") or {}).items()},
            time=int(line.get("timeNano") or int(line["time"]) * 10**9),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DockerUnavailable(f"the engine told a change that is none: {str(line)[:120]}") from None


def to_nanoseconds(text: str) -> int:
    """Unix time of an RFC 3339 text, exact to the nanosecond (a float is not). Raises DockerUnavailable for anything else."""
    match = _TIME.match(text)
    if not match:
        raise DockerUnavailable(f"the engine's clock says {text[:40]!r}, which is no time")
    whole, fraction, _, sign, hours, minutes = match.groups()
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    offset = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1) if hours else 0
    return (seconds - offset) * 10**9 + int((fraction or "0").ljust(9, "0"))
