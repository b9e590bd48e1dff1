"""A supervisor of its own for a test, and ways to do it harm."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from argosy.agent.supervise.cut import cut
from argosy.agent.supervise.family import Table
from argosy.agent.supervise.protocol import LOCK
from argosy.agent.supervisor import SupervisorRuntime
from argosy.locks import holder
from argosy.reconcile import SystemClock
from tests.contracts.runtime_ground import Ground, alive, eventually


class Own(Ground):
    """A ground whose supervisor belongs to one test."""

    @property
    def supervisor(self) -> SupervisorRuntime:
        assert isinstance(self.runtime, SupervisorRuntime)
        return self.runtime

    @property
    def folder(self) -> Path:
        return self.supervisor.folder

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        pid = holder(self.folder / LOCK)
        assert pid is not None, "no supervisor runs"
        return pid

    @property
    def pump(self) -> int:
        pid = holder(self.folder / "logs" / "pump.lock")
        assert pid is not None, "no pump runs"
        return pid

    async def kill_supervisor(self) -> None:
        """-9, and it is gone."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not alive(pid), "end of the supervisor")

    async def logged(self, name: str, text: str) -> None:
        """Returns as soon as the unit's log has a line that contains the text."""
        async with asyncio.timeout(15):
            async for line in self.runtime.logs(name, 10000, True):
                if text in line.text:
                    return


@contextlib.asynccontextmanager
async def own_supervisor(tmp_path: Path) -> AsyncIterator[Own]:
    """Started for this test, and ended with all that it started; nothing of it may be left."""
    folder = tmp_path / "run"

    async def connect() -> SupervisorRuntime:
        return await SupervisorRuntime.connect(folder, SystemClock())

    try:
        yield Own(await connect(), connect, tmp_path)
    finally:
        identity = (folder / "id").read_text()
        await asyncio.to_thread(cut, folder)
        assert not await asyncio.to_thread(lambda: list(Table().marked(identity)))
