"""Stores for contract suites, opened twice on the same data: fixtures to be inherited beside a contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from argosy.reconcile import SystemClock
from argosy.store.base import Store
from argosy.store.etcd import EtcdStore
from argosy.store.sqlite import SqliteStore


class OnEtcd:
    @pytest.fixture
    async def store(self, endpoints: Sequence[str]) -> AsyncIterator[Store]:
        async with EtcdStore(endpoints, SystemClock()) as store:
            yield store

    @pytest.fixture
    async def other(self, endpoints: Sequence[str]) -> AsyncIterator[Store]:
        async with EtcdStore(endpoints, SystemClock()) as store:
            yield store


class OnSqliteFile:
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with SqliteStore(str(tmp_path / "store.db"), SystemClock()) as store:
            yield store

    @pytest.fixture
    async def other(self, tmp_path: Path, store: Store) -> AsyncIterator[Store]:
        async with SqliteStore(str(tmp_path / "store.db"), SystemClock()) as store:
            yield store
