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
    return Seen(pid, parent, state, mark)


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


GROWING = r"""
import os, sys, time
end = time.monotonic() + 20
while time.monotonic() < end and sum(1 for _ in open(sys.argv[1])) < 100:
    if os.fork() == 0:
        os.setsid()
        with open(sys.argv[1], "a") as file:
            file.write("\n")
        if os.fork():
            os._exit(0)
while time.monotonic() < end:
    time.sleep(0.01)
"""
"""More and more processes, each of which has left its parent and its session; all end by themselves after a while."""


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Path]:
    """The folder of a machine whose processes grow in number."""
    folder = tmp_path / "m1"
    folder.mkdir()
    count = folder / "count"
    count.touch()
    child = subprocess.Popen([sys.executable, "-S", "-c", GROWING, str(count)], env={MARK: str(folder)})
    while len(count.read_text()) < 20:
        assert child.poll() is None
    yield folder
    processes.kill(str(folder))
    child.wait()


def test_processes_that_grow_in_number_while_they_are_looked_for_are_killed(growing: Path) -> None:
    processes.kill(str(growing))
    assert processes.below(str(growing), processes.scan()) == set()


async def test_killing_a_machine_without_processes_is_no_error(tmp_path: Path) -> None:
    started = time.monotonic()
    await asyncio.to_thread(processes.kill, str(tmp_path))
    assert time.monotonic() - started < 5


def test_a_process_is_described_as_people_know_it() -> None:
    (me,) = processes.describe([os.getpid(), 2**22 + 1])
    assert me.pid == os.getpid()
    assert "python" in me.command
    assert me.memory > 1_000_000
