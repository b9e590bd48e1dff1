"""A lab's processes, seen in /proc."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from argosy.lab import processes
from argosy.lab.processes import Seen
from argosy.lab.state import MARK


def seen(pid: int, parent: int, mark: str = "", state: str = "S") -> Seen:
    return Seen(pid, parent, state, mark, nested=False, init=False)


TREES: Sequence[tuple[str, str, list[Seen], set[int]]] = [
    ("marked ones and what descends from them", "/l/m1", [seen(5, 1, "/l/m1"), seen(6, 5), seen(7, 6), seen(8, 1)], {5, 6, 7}),
    ("all machines of a lab", "/l", [seen(5, 1, "/l/m1"), seen(6, 1, "/l/m2"), seen(7, 1, "/l2/m1")], {5, 6}),
    ("a machine is not another whose name begins so", "/l/m1", [seen(5, 1, "/l/m11"), seen(6, 1, "/l/m1/run/nginx")], {6}),
    ("the dead do not count, their children do", "/l/m1", [seen(5, 1, "/l/m1", "Z"), seen(6, 5)], {6}),
    ("a lab does not end who asks, nor who started the asker", "/l/m1", [seen(5, 1, "/l/m1"), seen(os.getpid(), 5), seen(6, 5)], {6}),
]


@pytest.mark.parametrize(("sentence", "folder", "tree", "expected"), TREES, ids=[row[0] for row in TREES])
def test_what_belongs_to_a_lab(sentence: str, folder: str, tree: list[Seen], expected: set[int]) -> None:
    assert processes.below(folder, {process.pid: process for process in tree}) == expected


@pytest.fixture
def forking(tmp_path: Path) -> Iterator[Path]:
    """A machine's folder; its processes start new ones all the time, and forget their parents."""
    folder = tmp_path / "m1"
    folder.mkdir()
    script = f"import os\nopen({str(folder / 'up')!r}, 'w').close()\nwhile True:\n    if os.fork():\n        os._exit(0)\n"
    child = subprocess.Popen([sys.executable, "-S", "-c", script], env={MARK: str(folder)})
    while not (folder / "up").exists():
        assert child.poll() is None
    yield folder
    processes.kill(str(folder))
    child.wait()


def test_processes_that_fork_all_the_time_are_killed(forking: Path) -> None:
    processes.kill(str(forking))
    assert processes.below(str(forking), processes.scan()) == set()


async def test_killing_a_machine_without_processes_is_no_error(tmp_path: Path) -> None:
    started = time.monotonic()
    await asyncio.to_thread(processes.kill, str(tmp_path))
    assert time.monotonic() - started < 5


def test_a_process_is_described_as_people_know_it() -> None:
    (me,) = processes.describe([os.getpid(), 2**22 + 1])
    assert me.pid == os.getpid()
    assert "pytest" in me.command
    assert me.memory > 1_000_000
