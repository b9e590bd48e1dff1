"""A registry over each kind of store that needs no server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.images.storage import Storage
from tests.images.house import Client, client_of, storage_of


@pytest.fixture(params=["memory", "folder"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    async with storage_of(request.param, tmp_path / "images") as storage:
        yield storage


@pytest.fixture
async def client(storage: Storage) -> AsyncIterator[Client]:
    async with client_of(storage) as client:
        yield client
