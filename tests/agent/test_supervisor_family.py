"""Which processes belong to a unit: tables of made-up processes, and a few real ones."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

import pytest

from argosy.agent.supervise.exits import of_another, of_zombie
from argosy.agent.supervise.family import MARK, Marks, Table, mark_of, send
from argosy.agent.supervise.states import UNKNOWN, Exit, Pid
from argosy.proc import Process, look

RUN = "0123:app@1.service:aaaa"


def entry(pid: int, parent: int, session: int, start: int = 100, state: str = "S", threads: int = 1) -> Process:
    return Process(pid, state, parent, session, start, threads=threads)


INIT = entry(1, 0, 1, start=1)
MAIN = entry(50, 10, 50)

FAMILIES: Sequence[tuple[str, Sequence[Process], dict[int, str], Sequence[tuple[int, int]], set[int]]] = [
    ("a process is of its own family", [INIT, MAIN], {}, [(50, 100)], {50}),
    ("so are its children and theirs", [INIT, MAIN, entry(51, 50, 50), entry(52, 51, 52)], {}, [(50, 100)], {50, 51, 52}),
    ("others are not", [INIT, MAIN, entry(60, 1, 60), entry(61, 60, 60)], {}, [(50, 100)], {50}),
    ("an orphan of its session is", [INIT, MAIN, entry(51, 1, 50)], {}, [(50, 100)], {50, 51}),
    ("... when the leader is dead, too", [INIT, entry(51, 1, 50)], {}, [(50, 100)], {51}),
    ("a number that was given away is not ours", [INIT, entry(50, 1, 50, start=200), entry(51, 50, 50, 201)], {}, [(50, 100)], set()),
    ("one that carries the mark is", [INIT, MAIN, entry(70, 1, 70)], {70: RUN}, [(50, 100)], {50, 70}),
    ("... and so are its children", [INIT, MAIN, entry(70, 1, 70), entry(71, 70, 71)], {70: RUN}, [(50, 100)], {50, 70, 71}),
    ("another run's mark is not ours", [INIT, MAIN, entry(70, 1, 70)], {70: "0123:app@1.service:bbbb"}, [(50, 100)], {50}),
    ("what is older than the run is not looked at", [INIT, MAIN, entry(70, 1, 70, start=99)], {70: RUN}, [(50, 100)], {50}),
    ("the dead do not count", [INIT, entry(50, 10, 50, state="Z")], {}, [(50, 100)], set()),
    ("... but one whose other threads live does", [INIT, entry(50, 10, 50, state="Z", threads=3)], {}, [(50, 100)], {50}),
    ("nothing started, nobody there", [INIT], {}, [], set()),
]


@pytest.mark.parametrize(("sentence", "processes", "marks", "started", "members"), FAMILIES, ids=[row[0] for row in FAMILIES])
def test_families(
    sentence: str, processes: Sequence[Process], marks: dict[int, str], started: Sequence[tuple[int, int]], members: set[int]
) -> None:
    table = Table(processes, Marks(lambda pid: marks.get(pid, "")))
    assert set(table.family(started, RUN)) == members, sentence


def test_marks_tell_supervisors_units_and_runs_apart() -> None:
    marks = {50: RUN, 51: "0123:a:b.service:cccc", 52: "4567:app.service:dddd", 53: "", 54: "0123"}
    table = Table([entry(pid, 1, pid, start=200 - pid) for pid in marks], Marks(lambda pid: marks[pid]))
    found = [(member.pid, unit, invocation) for member, unit, invocation in table.marked("0123")]
    assert found == [(54, "", ""), (51, "a:b.service", "cccc"), (50, "app@1.service", "aaaa")], "the eldest first"


def test_a_mark_is_read_once_for_a_process_and_anew_for_the_next_with_its_number() -> None:
    read: list[int] = []

    def reading(pid: int) -> str:
        read.append(pid)
        return RUN

    marks = Marks(reading)
    for start in (1, 1, 2):
        table = Table([entry(50, 1, 50, start)], marks)
        table.family((), RUN)
    assert read == [50, 50]


@pytest.fixture
def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True, env={MARK: "x:y:z", "OTHER": f"{MARK}=no"})


def test_a_real_process_is_read_and_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    found = look(sleeper.pid)
    assert found is not None
    assert (found.pid, found.parent, found.session, found.dead) == (sleeper.pid, os.getpid(), sleeper.pid, False)
    assert mark_of(sleeper.pid) == "x:y:z"
    assert not send(signal.SIGKILL, found._replace(start=found.start + 1)), "another process with its number"
    assert send(signal.SIGKILL, found)
    assert sleeper.wait() == -signal.SIGKILL
    assert look(sleeper.pid) is None
    assert not send(signal.SIGKILL, found)
    assert mark_of(sleeper.pid) == ""


@pytest.mark.parametrize(("script", "ended"), [("exit 7", Exit("exited", 7)), ("kill -9 $$", Exit("killed", 9, "KILL"))])
def test_how_a_process_ended_can_be_seen_before_its_parent_asks(script: str, ended: Exit) -> None:
    child = subprocess.Popen(["/bin/sh", "-c", f"read go; {script}"], stdin=subprocess.PIPE)
    found = look(child.pid)
    assert found is not None
    pid = Pid(child.pid, found.start)
    assert of_zombie(pid) is None, "it is alive"
    fd = os.pidfd_open(child.pid)
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert of_zombie(pid) == ended
    assert of_another(fd, pid) == ended
    child.wait()
    assert of_zombie(pid) is None
    assert of_another(fd, pid) in (ended, UNKNOWN), "a kernel before 6.15 forgets it now"
    os.close(fd)
