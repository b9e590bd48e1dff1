"""A prefix of the store, decoded and kept current: list once, then watch, and list again when history is gone."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TypeVar

from argosy.errors import HistoryGone, StoreUnavailable
from argosy.reconcile import Backoff, Clock
from argosy.state.records import decoded as decoded
from argosy.state.table import Changes as Changes
from argosy.store.base import Batch, Store

log = logging.getLogger(__name__)

T = TypeVar("T")


async def follow(store: Store, prefix: str, kind: type[T], clock: Clock) -> AsyncIterator[Changes[T]]:
    """Yields everything under the prefix (reset), then what changes, for ever. While the store is away it yields nothing."""
    backoff = Backoff()
    while True:
        try:
            listing = await store.list(prefix)
        except StoreUnavailable as error:
            pause = backoff.next()
            log.warning("cannot list %s: %s; trying again in %.1f s", prefix, error, pause)
            await clock.sleep(pause)
            continue
        items: dict[str, T | None] = {}
        modified: dict[str, int] = {}
        for record in listing.records:
            value = decoded(kind, record)
            if value is not None:
                items[record.key[len(prefix) :]] = value
            modified[record.key[len(prefix) :]] = record.modified
        yield Changes(items, modified, listing.revision, reset=True)
        revision = listing.revision
        watch: AsyncIterator[Sequence[Batch]] | None = None
        try:
            watch = store.watch(prefix, revision)
            async for batches in watch:
                backoff.reset()
                items, modified = {}, {}
                for batch in batches:
                    revision = batch.revision
                    for event in batch.events:
                        name = event.key[len(prefix) :]
                        value = decoded(kind, event.record) if event.record is not None else None
                        items[name] = value
                        if event.record is not None:
                            modified[name] = event.record.modified
                        else:
                            modified.pop(name, None)
                yield Changes(items, modified, revision)
            return  # the store was closed
        except HistoryGone:
            log.info("the history of %s after revision %d is gone: listing again", prefix, revision)
        except StoreUnavailable as error:
            pause = backoff.next()
            log.warning("cannot watch %s: %s; listing again in %.1f s", prefix, error, pause)
            await clock.sleep(pause)
        finally:
            if isinstance(watch, AsyncGenerator):
                await watch.aclose()
