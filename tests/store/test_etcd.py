"""The store on a real etcd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from argosy.reconcile import SystemClock
from argosy.store.base import Store
from argosy.store.etcd import EtcdStore
from tests.contracts.store_contract import StoreContract
from tests.etcd_server import etcd_server, fast_folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoints() -> AsyncIterator[Sequence[str]]:
    with fast_folder() as folder:
        async with etcd_server(folder) as endpoints:
            yield endpoints


class TestEtcd(StoreContract):
    @pytest.fixture
    async def store(self, endpoints: Sequence[str]) -> AsyncIterator[Store]:
        async with EtcdStore(endpoints, SystemClock()) as store:
            yield store

    @pytest.fixture
    async def other(self, endpoints: Sequence[str]) -> AsyncIterator[Store]:
        async with EtcdStore(endpoints, SystemClock()) as store:
            yield store
