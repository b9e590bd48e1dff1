"""Having a proxy that was killed started again: at once, and with growing delays if it keeps ending."""

from __future__ import annotations

from collections.abc import Callable

from argosy.reconcile import Backoff, Clock
from argosy.router.base import Proxy

STEADY = 10.0
"""Seconds that a proxy must have run for its end to count as the first."""


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
