"""The supervisor keeps the Runtime contract, every sentence of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from argosy.agent.supervise.cut import cut
from argosy.agent.supervisor import SupervisorRuntime
from argosy.reconcile import SystemClock
from tests.contracts.runtime_contract import RuntimeContract
from tests.contracts.runtime_ground import Ground, on_ground


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One supervisor for all tests, as on a machine."""
    folder = tmp_path_factory.mktemp("supervisor")
    yield folder
    cut(folder)


class TestSupervisor(RuntimeContract):
    @pytest.fixture
    async def ground(self, folder: Path, tmp_path: Path) -> AsyncIterator[Ground]:
        async def connect() -> SupervisorRuntime:
            return await SupervisorRuntime.connect(folder, SystemClock())

        async with on_ground(connect, tmp_path) as ground:
            yield ground
