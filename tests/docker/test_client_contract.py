"""The client on a real Docker Engine, by the contract's suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from argosy.docker.client import DockerClient
from argosy.lab import rootfs
from tests.contracts.docker_contract import DockerContract, prepare
from tests.docker.engines import Ground, needs_docker, needs_registry, on_ground


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground() -> AsyncIterator[Ground]:
    """One engine for all tests, as on a machine."""
    async with on_ground() as made:
        async with DockerClient(made.engine.url) as client:
            await prepare(client, await asyncio.to_thread(rootfs.pack))
        yield made


@needs_docker
@needs_registry
class TestDockerd(DockerContract):
    @pytest.fixture
    async def engine(self, ground: Ground) -> AsyncIterator[DockerClient]:
        async with DockerClient(ground.engine.url) as client:
            yield client
        async with DockerClient(ground.engine.url) as client:
            for one in await client.containers():
                await client.remove(one["Id"], force=True)

    @pytest.fixture
    def registry(self, ground: Ground) -> str:
        return ground.registry

    @pytest.fixture
    def guarded(self, ground: Ground) -> str:
        return ground.guarded
