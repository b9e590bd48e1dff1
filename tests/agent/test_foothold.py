"""At most one agent for each run folder, and what it leaves for the next."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from argosy.agent.foothold import FolderFoothold, Notes
from argosy.errors import Refused, Unsuitable

HOLD = """
import asyncio, sys
from pathlib import Path
from argosy.agent.foothold import FolderFoothold
asyncio.run(FolderFoothold(Path(sys.argv[1])).take())
print("held", flush=True)
sys.stdin.read()
"""


async def test_notes_reach_the_next_agent(tmp_path: Path) -> None:
    first = FolderFoothold(tmp_path / "run")
    assert await first.take() == Notes(first.boot)
    notes = Notes(first.boot, 12.5, 99.0, ("a.service",))
    await first.note(notes)
    await first.let_go()
    second = FolderFoothold(tmp_path / "run")
    assert await second.take() == notes
    await second.let_go()
    await second.let_go()


def test_a_second_agent_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Refused, match=f"held by process {holder.pid}"):
            asyncio.run(FolderFoothold(tmp_path).take())
        holder.kill()
        holder.wait()
        assert asyncio.run(FolderFoothold(tmp_path).take()).exclusive == ()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"boot": 1}', msgspec.json.encode(Notes("another boot", 5.0, 5.0, ("a.service",)))]
)
async def test_notes_that_are_damaged_or_of_another_boot_count_for_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "agent.json").write_bytes(content)
    foothold = FolderFoothold(tmp_path)
    assert await foothold.take() == Notes(foothold.boot)
    await foothold.let_go()


async def test_a_run_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unsuitable, match=r"agent\.lock"):
        await FolderFoothold(tmp_path / "file").take()
