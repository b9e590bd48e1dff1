"""Which processes belong to a unit, and how to reach each of them exactly once.

A process belongs to a run of a unit if it descends from one that the run started, shares a session with one, or carries the run's mark
in its environment. So a child that made a session of its own and lost its parent is found too, unless it also wiped its environment.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping

from argosy import proc
from argosy.proc import Process

MARK = "ARGOSY_RUN"
"""The variable that every process of a unit carries: <supervisor's folder>:<unit>:<invocation>."""


class Marks:
    """The marks of processes, each read once: a process has its mark from birth, and keeps belonging if it drops it."""

    def __init__(self, read: Callable[[int], str]) -> None:
        self._read = read
        self._known: dict[tuple[int, int], str] = {}

    def of(self, entry: Process) -> str:
        key = entry.pid, entry.start
        if key not in self._known:
            self._known[key] = self._read(entry.pid)
        return self._known[key]

    def keep(self, processes: Mapping[int, Process]) -> None:
        """Forgets those that are gone."""
        self._known = {key: mark for key, mark in self._known.items() if key[0] in processes and processes[key[0]].start == key[1]}


class Table:
    """All processes at one moment, without those of the kernel."""

    def __init__(self, processes: Collection[Process] | None = None, marks: Marks | None = None) -> None:
        found = proc.processes() if processes is None else processes
        self.processes = {entry.pid: entry for entry in found if not entry.dead}
        self._marks = marks or Marks(mark_of)
        self._marks.keep(self.processes)
        self._children: dict[int, list[int]] = {}
        self._sessions: dict[int, list[int]] = {}
        for entry in self.processes.values():
            self._children.setdefault(entry.parent, []).append(entry.pid)
            self._sessions.setdefault(entry.session, []).append(entry.pid)

    def family(self, started: Collection[tuple[int, int]], mark: str) -> dict[int, Process]:
        """Those alive that belong to a run: `started` are (pid, start) of what it started, dead or alive; `mark` its mark.

        A session keeps the number of a leader that has died, and the kernel gives that number to no new process meanwhile. A number
        that now belongs to a younger process was given away, so its session is not ours.
        """
        todo: list[int] = []
        for pid, start in started:
            entry = self.processes.get(pid)
            if entry is None or entry.start == start:
                todo += self._sessions.get(pid, ())
                if entry is not None:
                    todo.append(pid)
        began = min((start for _, start in started), default=0)
        todo += [entry.pid for entry in self.processes.values() if entry.start >= began and self._marks.of(entry) == mark]
        found: dict[int, Process] = {}
        while todo:
            pid = todo.pop()
            if pid not in found:
                found[pid] = self.processes[pid]
                todo += self._children.get(pid, ())
        return found

    def marked(self, folder: str) -> Iterator[tuple[Process, str, str]]:
        """(process, unit, invocation) of all that carry a mark of this supervisor, eldest first."""
        for entry in sorted(self.processes.values(), key=lambda entry: entry.start):
            owner, _, rest = self._marks.of(entry).partition(":")
            if owner == folder:
                unit, _, invocation = rest.rpartition(":")
                yield entry, unit, invocation


def mark_of(pid: int) -> str:
    """The mark in a process's environment, "" if it has none or may not be read."""
    return proc.variable(pid, MARK)


def send(number: int, target: Process) -> bool:
    """A signal to exactly this process and never to a later one with its number; False if it is gone."""
    try:
        fd = os.pidfd_open(target.pid)
    except OSError:
        return False
    try:
        now = proc.look(target.pid)
        if now is None or now.start != target.start:
            return False
        signal.pidfd_send_signal(fd, number)
        if number in (signal.SIGTERM, signal.SIGHUP):
            signal.pidfd_send_signal(fd, signal.SIGCONT)  # a stopped process would not hear it
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
