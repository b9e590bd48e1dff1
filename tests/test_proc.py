"""What /proc tells of processes: of this one, of children, and of those that are gone or another user's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy import proc
from argosy.proc import look

GONE = 2**22 + 1
"""A number that no process has."""


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {"NAME": "a value", "OTHER": "NAME=no", "NAMED": "x", "RAW": os.fsdecode(b"\xff")}
    with subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True, env=environment, cwd=tmp_path) as child:
        yield child
        child.kill()


def test_the_boot_has_an_id_that_stays() -> None:
    assert proc.boot_id() == proc.boot_id() != ""


def test_a_process_is_seen_as_it_is(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    found = look(sleeper.pid)
    assert found is not None
    assert (found.pid, found.parent, found.session, found.name, found.dead) == (sleeper.pid, os.getpid(), sleeper.pid, "sleep", False)
    assert found.memory > 0
    assert [process.start for process in proc.processes() if process.pid == sleeper.pid] == [found.start]
    assert sleeper.pid in proc.children(os.getpid())
    assert proc.command_line(sleeper.pid) == "/bin/sleep 1000"
    assert [proc.variable(sleeper.pid, name) for name in ("NAME", "NAMED", "RAW", "AME")] == ["a value", "x", "\udcff", ""]
    assert proc.folder(sleeper.pid) == str(tmp_path)
    assert proc.proportional_memory(os.getpid()) > 1_000_000


def test_a_folder_is_the_same_under_another_path(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert proc.works_in(sleeper.pid, tmp_path / "link")
    assert not proc.works_in(sleeper.pid, tmp_path.parent)
    assert not proc.works_in(sleeper.pid, tmp_path / "gone")


def test_a_zombie_is_dead_and_keeps_its_status(sleeper: subprocess.Popen[bytes]) -> None:
    proc.send([sleeper.pid], signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    found = look(sleeper.pid)
    assert found is not None
    assert (found.state, found.dead, os.WTERMSIG(found.status)) == ("Z", True, signal.SIGKILL)
    assert proc.command_line(sleeper.pid) == ""


def test_of_one_that_is_gone_nothing_is_seen(tmp_path: Path) -> None:
    assert look(GONE) is None
    assert (proc.command_line(GONE), proc.variable(GONE, "NAME"), proc.folder(GONE)) == ("", "", "")
    assert (proc.children(GONE), proc.proportional_memory(GONE), proc.works_in(GONE, tmp_path)) == ([], 0, False)
    proc.send([GONE], signal.SIGKILL)


def test_a_name_full_of_brackets_does_not_confuse_the_reader() -> None:
    script = "import ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (', 0, 0, 0); print('', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-I", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    found = look(child.pid)
    assert found is not None
    assert found.parent == os.getpid()
    child.communicate(b"\n")


def test_kernel_threads_are_no_processes_of_ours() -> None:
    name = Path("/proc/2/comm")
    if name.exists() and name.read_text() == "kthreadd\n":  # not in a container
        assert look(2) is None
    assert look(os.getpid()) is not None
