"""The store in SQLite: a file that several processes share, or private memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.reconcile import SystemClock
from argosy.store.base import Store
from argosy.store.sqlite import SqliteStore
from tests.contracts.store_contract import StoreContract


class TestFile(StoreContract):
    ttl = 0.6

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with SqliteStore(str(tmp_path / "store.db"), SystemClock()) as store:
            yield store

    @pytest.fixture
    async def other(self, tmp_path: Path, store: Store) -> AsyncIterator[Store]:
        async with SqliteStore(str(tmp_path / "store.db"), SystemClock()) as other:
            yield other


class TestMemory(StoreContract):
    ttl = 0.6

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        async with SqliteStore(":memory:", SystemClock()) as store:
            yield store

    @pytest.fixture
    def other(self, store: Store) -> Store:
        return store
