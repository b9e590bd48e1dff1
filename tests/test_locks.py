"""Locks that end with their process."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from argosy import locks

HOLD = """
import sys
from argosy import locks
locks.sign(locks.take(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_one_process_has_it_and_others_see_which(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("12345678901234567890\n")  # what a holder of before has left, longer than any number
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert locks.take(path) is None
        assert locks.is_held(path)
        assert locks.holder(path) == other.pid
        other.kill()
        other.wait()
        assert locks.holder(path) is None
        taken = locks.take(path)
        assert taken is not None
        os.close(taken)


def test_a_lock_without_a_number_has_no_holder_to_name(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert locks.holder(path) is None
    assert not locks.is_held(path)
    taken = locks.take(path)
    assert taken is not None
    assert locks.is_held(path)
    assert locks.holder(path) is None
    locks.sign(taken)
    assert locks.holder(path) == os.getpid()
    os.close(taken)
    assert not locks.is_held(path)
    assert locks.holder(path) is None, "a number of before counts for nothing"


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    taken = locks.take(tmp_path / "lock")
    assert taken is not None
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    assert not os.get_inheritable(taken)
    os.close(taken)


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        locks.take(tmp_path / "gone" / "lock")


def test_somebody_who_only_looks_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    look = os.open(path, os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH)
    pauses: list[float] = []

    def look_away(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            fcntl.flock(look, fcntl.LOCK_UN)

    taken = locks.take(path, look_away)
    assert taken is not None
    assert len(pauses) == 3
    assert locks.take(path, look_away) is None
    assert len(pauses) == 3, "one that holds it is not waited for"
    os.close(taken)
    os.close(look)
