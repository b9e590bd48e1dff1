"""Objects through obstore: here in memory; tests/images/test_clouds.py has those that need a server."""

from __future__ import annotations

import pytest
from obstore.store import HTTPStore, MemoryStore

from argosy.errors import StoreUnavailable
from argosy.images.objects import Objects
from argosy.images.storage import Storage
from tests.contracts.storage_contract import StorageContract


class TestMemory(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return Objects(MemoryStore(), "memory://")

    @pytest.fixture
    def other(self, storage: Storage) -> Storage:
        return storage


async def test_a_store_that_nobody_answers_for_is_told_without_its_secrets() -> None:
    store = HTTPStore("http://127.0.0.1:9/secret", client_options={"allow_http": True}, retry_config={"max_retries": 0})
    objects = Objects(store, "az://images")
    for call in (objects.get(["a"]), objects.put("a", b""), objects.stat("a"), objects.children("a/"), objects.entries("a/")):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        assert "az://images" in str(caught.value)
        assert "secret" not in str(caught.value)
