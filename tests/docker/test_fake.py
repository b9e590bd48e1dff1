"""The fake engine: the contract's suite, and what can be made to happen to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from argosy.docker.fake import FakeDocker
from argosy.docker.fake_images import FakeRegistry
from argosy.reconcile import SystemClock
from tests.contracts.docker_contract import AUTH, DockerContract, prepare, tiny_tar

OPEN, GUARDED = "registry.test:5000", "guarded.test:5000"


class TestFake(DockerContract):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[FakeDocker]:
        async with FakeDocker(SystemClock(), registries={OPEN: FakeRegistry(), GUARDED: FakeRegistry(AUTH)}) as fake:
            await prepare(fake, tiny_tar())
            yield fake

    @pytest.fixture
    def registry(self) -> str:
        return OPEN

    @pytest.fixture
    def guarded(self) -> str:
        return GUARDED
