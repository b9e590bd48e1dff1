"""Looking after a proxy: one that was killed is started again, at once, and with growing delays if it keeps ending; housekeeping."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection

from argosy.errors import ArgosyError
from argosy.reconcile import Backoff, Clock
from argosy.router.base import Proxy
from argosy.sockdiag import Target

log = logging.getLogger(__name__)

STEADY = 10.0
"""Seconds that a proxy must have run for its end to count as the first."""

TEND_EVERY = 0.5


async def guard(proxy: Proxy, clock: Clock, lost: Callable[[], None]) -> None:
    """For ever: calls `lost` after each end of the proxy that nobody asked for."""
    backoff = Backoff(0.05, 5.0)
    while True:
        started = clock.monotonic()
        await proxy.wait_lost()
        if clock.monotonic() - started > STEADY:
            backoff.reset()
        await clock.sleep(backoff.next())
        lost()


async def tend(proxy: Proxy, clock: Clock, failing: Callable[[Collection[Target]], Awaitable[None]] | None = None) -> None:
    """For ever: the proxy's housekeeping, after which `failing` is told which upstreams it could not connect to."""
    while True:
        await clock.sleep(TEND_EVERY)
        try:
            found = await proxy.tend()
        except ArgosyError as error:
            log.warning("%s", error)
            continue
        if failing is not None:
            await failing(found)
