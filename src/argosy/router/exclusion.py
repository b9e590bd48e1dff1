"""Which upstreams cannot be connected to. Only that excludes an instance: what it answers, and how slowly, never does.

nginx itself would count bad headers and answers such as 503 as failures of the instance (`max_fails`), whatever is configured: one bad
endpoint would take a healthy application out of service. So its counting is off, and the router decides: an upstream that nginx's error
log names as failing to connect is connected to from here; if that fails too, it is excluded, and tried again until a connection succeeds.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Mapping

import msgspec

from argosy.reconcile import Clock
from argosy.sockdiag import Target

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 0.75
"""Seconds: as long as nginx waits."""

AT_ONCE = 64
"""Upstreams that one look connects to; of more, those that were tried longest ago come first."""


class Failing(msgspec.Struct, frozen=True):
    """Why connections to an upstream fail, and since when (Unix time)."""

    reason: str
    since: float


async def connect(host: str, port: int) -> str:
    """Return the reason why a connection fails, "" if it succeeds."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"no connection within {CONNECT_TIMEOUT:g} s"
    except OSError as error:
        return os.strerror(error.errno).lower() if error.errno else str(error)
    writer.transport.abort()
    return ""


class Exclusion:
    """`failing` holds the upstreams that cannot be connected to. `connect` is asked for the reason, "" for none."""

    def __init__(self, clock: Clock, connect: Callable[[str, int], Awaitable[str]] = connect) -> None:
        self._clock = clock
        self._connect = connect
        self._waiting: dict[Target, None] = {}
        self.failing: Mapping[Target, Failing] = {}

    async def look(self, suspects: Collection[Target], announced: Collection[Target]) -> bool:
        """Try the suspects and those that are failing, as far as they are announced at all; return True if `failing` has changed."""
        wanted = [target for target in (*self.failing, *sorted(suspects)) if target in announced]
        self._waiting = dict.fromkeys([*(target for target in self._waiting if target in wanted), *wanted])
        tried = list(self._waiting)[:AT_ONCE]
        reasons = dict(zip(tried, await asyncio.gather(*(self._connect(*target) for target in tried)), strict=True))
        for target in tried:
            del self._waiting[target]
        return self._take({target: known for target, known in self.failing.items() if target in announced}, reasons)

    def _take(self, before: Mapping[Target, Failing], reasons: Mapping[Target, str]) -> bool:
        now = self._clock.now()
        after = dict(before)
        for (host, port), reason in reasons.items():
            if not reason:
                if after.pop((host, port), None) is not None:
                    log.info("upstream %s port %d accepts connections again", host, port)
            elif (host, port) not in after:
                log.warning("upstream %s port %d excluded: %s", host, port, reason)
                after[host, port] = Failing(reason, now)
        changed = after.keys() != self.failing.keys()
        self.failing = after
        return changed
