"""A prefix of the store, decoded and kept current: list once, then watch, and list again when history is gone."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from argosy.errors import HistoryGone, InvalidInput, StoreUnavailable
from argosy.reconcile import Backoff, Clock
from argosy.state.records import decode
from argosy.store.base import Batch, Record, Store

log = logging.getLogger(__name__)

T = TypeVar("T")


class Changes(msgspec.Struct, Generic[T], frozen=True):
    """What changed under a prefix. `reset`: `items` is all there is, forget what you knew. Otherwise each item is one key's new record,
    None where it was deleted. Keys are without the prefix. `modified` holds the revision of each key that stands; a key that stands there
    without an item (or with None) holds something that could not be decoded."""

    items: Mapping[str, T | None]
    modified: Mapping[str, int]
    revision: int
    reset: bool = False


def decoded(kind: type[T], record: Record) -> T | None:
    """The record's value, or None (and a line in the log) if it is not valid: one broken record harms no other."""
    try:
        return decode(kind, record.value, record.key)
    except InvalidInput as error:
        log.error("%s", error)
        return None


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
