"""The first process of a process machine."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from argosy.lab import init, processes
from argosy.lab.state import MARK

DEADLINE = 10.0


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.01)


def words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


async def test_it_starts_the_command_again_takes_in_orphans_and_shows_its_address(tmp_path: Path) -> None:
    script = f"echo $PPID >>{tmp_path}/starts; setsid -f sh -c 'echo $$ >>{tmp_path}/orphans; exec sleep 98770'"
    command = [sys.executable, "-S", init.__file__, "127.0.251.7", "/bin/sh", "-c", script]
    child = await asyncio.create_subprocess_exec(*command, env={**os.environ, MARK: str(tmp_path)})
    try:
        await until(lambda: len(words(tmp_path / "starts")) >= 2 and len(words(tmp_path / "orphans")) >= 2)
        assert set(words(tmp_path / "starts")) == {str(child.pid)}
        seen = await asyncio.to_thread(processes.scan)
        assert {seen[int(orphan)].parent for orphan in words(tmp_path / "orphans")[:2]} == {child.pid}
        table = await asyncio.to_thread(Path("/proc/net/udp").read_text)
        assert "07FB007F:" in table
    finally:
        await asyncio.to_thread(processes.kill, str(tmp_path))
        await child.wait()
