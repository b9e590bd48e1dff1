"""Where a router hears of announced keys: the contract, and the store as its first implementation. `etcd2` is the other.

`tests/contracts/feed_contract.py` is this page as a test suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from argosy.model import Entry
from argosy.reconcile import Clock
from argosy.state import keys
from argosy.state.view import Changes, follow
from argosy.store.base import Store


class Feed(Protocol):
    """Announced keys, kept current."""

    def follow(self) -> AsyncIterator[Changes[Entry]]:
        """Everything there is (`reset`), then what changes, for ever; keys are without the prefix: <app> for an app's directory,
        <app>/<instance> for an address. While the keys cannot be reached it yields nothing, and when they can again, everything anew."""


class StoreFeed:
    """The keys under /services/web/ of the cluster's own store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def follow(self) -> AsyncIterator[Changes[Entry]]:
        return follow(self._store, keys.WEB, Entry, self._clock)
