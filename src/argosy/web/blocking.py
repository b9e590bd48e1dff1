"""Waiting for the store to move on: the blocking reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from argosy.errors import HistoryGone
from argosy.reconcile import Clock
from argosy.store.base import Store


async def beyond(
    store: Store, prefixes: Sequence[str], after: int, seconds: float, clock: Clock, relevant: Callable[[str], bool] | None = None
) -> bool:
    """True as soon as something under the prefixes has changed at a revision above `after` (of a key that is `relevant`) or the history
    since then is gone, or is another one (the store has not come as far as `after`); False when `seconds` have passed first. Raises
    StoreUnavailable."""
    if after > (await store.list(f"{prefixes[0]}/")).revision:  # any small listing: it says how far the store is
        return True
    watchers = [asyncio.create_task(_moved(store, prefix, after, relevant)) for prefix in prefixes]
    timer = asyncio.create_task(clock.sleep(seconds))
    try:
        done, _ = await asyncio.wait((*watchers, timer), return_when=asyncio.FIRST_COMPLETED)
        for watcher in watchers:
            if watcher in done:
                await watcher
                return True
        return False
    finally:
        for task in (*watchers, timer):
            task.cancel()
        await asyncio.gather(*watchers, timer, return_exceptions=True)


async def _moved(store: Store, prefix: str, after: int, relevant: Callable[[str], bool] | None) -> None:
    events = store.watch(prefix, after)
    try:
        async for batches in events:
            if relevant is None or any(relevant(event.key) for batch in batches for event in batch.events):
                return
    except HistoryGone:
        return
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
